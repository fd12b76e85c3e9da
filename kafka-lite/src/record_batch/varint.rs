//! Zig-zag variable-length integers of records.
//!
//! What it is        the signed varint (32 bit) and varlong (64 bit) of the record format.
//! What it is not    the unsigned varints of flexible API versions.
//! Source            Kafka 4.3 `ByteUtils.readVarint`, `readVarlong`.

/// Splits a varlong off; `None` when bytes run out or it has more than 64 bits.
#[inline]
pub(super) fn take_varlong(rest: &mut &[u8]) -> Option<i64> {
    match take_short_form(rest) {
        Some(raw) => Some(unzigzag(u64::from(raw))),
        None => take_long_form(rest, u64::MAX).map(unzigzag),
    }
}

/// Splits a varint off; `None` when bytes run out or it has more than 32 bits.
#[inline]
pub(super) fn take_varint(rest: &mut &[u8]) -> Option<i32> {
    if let Some(raw) = take_short_form(rest) {
        let raw = u32::from(raw);
        return Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
    }
    let raw = take_long_form(rest, u64::from(u32::MAX))?;
    i32::try_from(unzigzag(raw)).ok()
}

/// Splits one or two bytes off: nearly all varints of small records. `None` for longer ones.
#[inline]
fn take_short_form(rest: &mut &[u8]) -> Option<u16> {
    match **rest {
        [first, ref after @ ..] if first < 0x80 => {
            *rest = after;
            Some(u16::from(first))
        }
        [first, second, ref after @ ..] if second < 0x80 => {
            *rest = after;
            Some(u16::from(first & 0x7f) | u16::from(second) << 7)
        }
        _ => None,
    }
}

/// Reads any form; `max` is the largest raw value of the type.
#[inline(never)]
fn take_long_form(rest: &mut &[u8], max: u64) -> Option<u64> {
    let mut raw = 0_u64;
    let mut shift = 0_u32;
    let mut bytes = *rest;
    loop {
        let (&byte, after) = bytes.split_first()?;
        bytes = after;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (shift == 63 && bits > 1) {
            return None;
        }
        raw |= bits << shift;
        if raw > max || (max == u64::from(u32::MAX) && shift > 28) {
            return None;
        }
        if byte < 0x80 {
            *rest = bytes;
            return Some(raw);
        }
        shift += 7;
    }
}

fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

/// Appends a varlong (a varint is the same for values that fit).
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned();
    while raw >= 0x80 {
        out.push(raw.to_le_bytes()[0] | 0x80);
        raw >>= 7;
    }
    out.push(raw.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varlongs_round_trip() {
        for shift in 0..64 {
            for value in [
                1_i64 << shift,
                (1_i64 << shift).wrapping_neg(),
                (1_i64 << shift) ^ -1,
            ] {
                let mut out = Vec::new();
                put_varlong(&mut out, value);
                let mut rest = out.as_slice();
                assert_eq!(take_varlong(&mut rest), Some(value));
                assert!(rest.is_empty());
                let mut rest = out.as_slice();
                assert_eq!(take_varint(&mut rest), i32::try_from(value).ok());
            }
        }
    }

    #[test]
    fn overlong_and_cut_varints_are_refused() {
        let check = |bytes: &[u8]| (take_varint(&mut &*bytes), take_varlong(&mut &*bytes));
        assert_eq!(check(&[]), (None, None));
        assert_eq!(check(&[0x80]), (None, None));
        assert_eq!(check(&[0xff; 4]), (None, None));
        assert_eq!(check(&[0xff, 0xff, 0xff, 0xff, 0x0f]).0, Some(i32::MIN));
        assert_eq!(check(&[0xff, 0xff, 0xff, 0xff, 0x1f]).0, None);
        assert_eq!(check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]).0, None);
        let mut longest = [0xff; 10];
        longest[9] = 0x01;
        assert_eq!(check(&longest).1, Some(i64::MIN));
        longest[9] = 0x02;
        assert_eq!(check(&longest).1, None);
        longest[9] = 0x81;
        assert_eq!(check(&longest).1, None);
        assert_eq!(check(&[0xff; 20]).1, None);
    }
}
