//! Points in time as users write and read them.
//!
//! What it is        milliseconds since 1970, RFC 3339, dates, and times before now.
//! What it is not    a calendar of any zone but UTC and fixed offsets.
//! Source            RFC 3339 §5.6; the calendar rule is that of the proleptic Gregorian calendar.

use std::time::{SystemTime, UNIX_EPOCH};

const MS_PER_SECOND: i64 = 1_000;
const MS_PER_MINUTE: i64 = 60 * MS_PER_SECOND;
const MS_PER_HOUR: i64 = 60 * MS_PER_MINUTE;
const MS_PER_DAY: i64 = 24 * MS_PER_HOUR;

/// Days of 400 years, after which the calendar repeats.
const DAYS_PER_CYCLE: i64 = 146_097;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// Now, in ms since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Reads a time: `1732352400000` (ms), `2026-11-23T10:00:00Z`, `2026-11-23`, `-1h30m`, `now`.
pub(super) fn parse_time(text: &str, now: i64) -> Result<i64, String> {
    if text == "now" {
        return Ok(now);
    }
    let parsed = if let Some(ago) = text.strip_prefix('-') {
        parse_duration(ago).and_then(|ago| now.checked_sub(ago))
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        parse_rfc3339(text)
    };
    parsed.ok_or_else(|| {
        format!(
            "`{text}` is not a time: give ms since 1970, 2026-11-23T10:00:00Z, 2026-11-23 or -1h30m"
        )
    })
}

/// Writes a time as `2026-11-23T10:00:00.000Z`.
pub(super) fn rfc3339(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(MS_PER_DAY), ms.rem_euclid(MS_PER_DAY));
    let (year, month, day) = date_of(days);
    let hour = in_day.div_euclid(MS_PER_HOUR);
    let minute = in_day.rem_euclid(MS_PER_HOUR).div_euclid(MS_PER_MINUTE);
    let second = in_day.rem_euclid(MS_PER_MINUTE).div_euclid(MS_PER_SECOND);
    let fraction = in_day.rem_euclid(MS_PER_SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Reads `1h30m`, `90s`, `500ms`, `2d`; at least one number with its unit.
fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let unit = match unit {
            "ms" => 1,
            "s" => MS_PER_SECOND,
            "m" => MS_PER_MINUTE,
            "h" => MS_PER_HOUR,
            "d" => MS_PER_DAY,
            "w" => 7 * MS_PER_DAY,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = after;
    }
    Some(total)
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = number(parts.next()?, 2).filter(|day| *day >= 1)?;
    if parts.next().is_some() {
        return None;
    }
    let days = days_of(year, month, day);
    // A day that the month does not have comes back as another date.
    if date_of(days) != (year, month, day) {
        return None;
    }
    let in_day = time.map_or(Some(0), parse_time_of_day)?;
    days.checked_mul(MS_PER_DAY)?.checked_add(in_day)
}

/// Reads `10:00:00[.fraction](Z|+HH:MM|-HH:MM)` as ms after midnight UTC; may be negative.
fn parse_time_of_day(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at_checked(zone_at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = number(parts.next()?, 2).filter(|second| *second < 60)?;
    if parts.next().is_some() || fraction.is_empty() {
        return None;
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: String = fraction.chars().chain("00".chars()).take(3).collect();
    let fraction: i64 = thousandths.parse().ok()?;
    let local = hour * MS_PER_HOUR + minute * MS_PER_MINUTE + second * MS_PER_SECOND + fraction;
    Some(local - zone_offset(zone)?)
}

fn zone_offset(zone: &str) -> Option<i64> {
    let (sign, digits) = if let Some(digits) = zone.strip_prefix('+') {
        (1, digits)
    } else if let Some(digits) = zone.strip_prefix('-') {
        (-1, digits)
    } else {
        return matches!(zone, "Z" | "z").then_some(0);
    };
    let (hour, minute) = digits.split_once(':')?;
    let hour = number(hour, 2).filter(|hour| *hour < 24)?;
    let minute = number(minute, 2).filter(|minute| *minute < 60)?;
    Some(sign * (hour * MS_PER_HOUR + minute * MS_PER_MINUTE))
}

/// Reads exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a date. The year starts in March, so that the leap day is its last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let month_of_year = (month + 9).rem_euclid(12);
    let day_of_year = (153 * month_of_year + 2).div_euclid(5) + day - 1;
    let leap_days = year_of_cycle.div_euclid(4) - year_of_cycle.div_euclid(100);
    cycle * DAYS_PER_CYCLE + year_of_cycle * 365 + leap_days + day_of_year - DAYS_TO_EPOCH
}

/// Year, month and day of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(DAYS_TO_EPOCH);
    let cycle = days.div_euclid(DAYS_PER_CYCLE);
    let day_of_cycle = days.rem_euclid(DAYS_PER_CYCLE);
    // Leap days before this one are taken out: of 4, of 100 and of 400 years.
    let leap_days = day_of_cycle.div_euclid(1_460) - day_of_cycle.div_euclid(36_524)
        + day_of_cycle.div_euclid(146_096);
    let year_of_cycle = (day_of_cycle - leap_days).div_euclid(365);
    let year_start =
        365 * year_of_cycle + year_of_cycle.div_euclid(4) - year_of_cycle.div_euclid(100);
    let day_of_year = day_of_cycle - year_start;
    let month_of_year = (5 * day_of_year + 2).div_euclid(153);
    let day = day_of_year - (153 * month_of_year + 2).div_euclid(5) + 1;
    let month = (month_of_year + 2).rem_euclid(12) + 1;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{date_of, days_of, parse_time, rfc3339};

    /// 2026-11-23T10:00:00Z
    const NOW: i64 = 1_795_428_000_000;

    #[test]
    fn the_forms_of_a_time() {
        let rows = [
            ("0", 0),
            ("1732352400000", 1_732_352_400_000),
            ("now", NOW),
            ("-1h", NOW - 3_600_000),
            ("-1h30m", NOW - 5_400_000),
            ("-2d", NOW - 172_800_000),
            ("-1w", NOW - 604_800_000),
            ("-90s", NOW - 90_000),
            ("-500ms", NOW - 500),
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1_000),
            ("2026-11-23T10:00:00Z", NOW),
            ("2026-11-23 10:00:00.25Z", NOW + 250),
            ("2026-11-23T10:00:00.123456Z", NOW + 123),
            ("2026-11-23T12:00:00+02:00", NOW),
            ("2026-11-23T08:30:00-01:30", NOW),
            ("2000-02-29", 951_782_400_000),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_time(text, NOW), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "-",
            "-1",
            "-h",
            "-1y",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-11-23T10:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T10:00:00",
            "2026-1-1",
            "2026-11-23T10:00:00.Z",
            "99999999999999999999",
            "-99999999999999w",
        ] {
            parse_time(text, NOW).unwrap_err();
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        for days in days_of(1_900, 1, 1)..days_of(2_300, 1, 1) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(rfc3339(NOW + 7), "2026-11-23T10:00:00.007Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }
}
