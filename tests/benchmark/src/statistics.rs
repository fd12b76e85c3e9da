//! Median and range of what the rounds gave.

/// Median with the least and the greatest value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    /// The middle value (the lower of two).
    pub(crate) median: f64,
    /// The least value.
    pub(crate) least: f64,
    /// The greatest value.
    pub(crate) greatest: f64,
}

/// The spread of `values`; zeros for none.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) >> 1;
    Spread {
        median: sorted.get(middle).copied().unwrap_or(0.0),
        least: sorted.first().copied().unwrap_or(0.0),
        greatest: sorted.last().copied().unwrap_or(0.0),
    }
}

/// A short form of a number for a table cell.
pub(crate) fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

impl Spread {
    /// `median (least–greatest)`.
    pub(crate) fn text(self) -> String {
        format!(
            "{} ({}–{})",
            short(self.median),
            short(self.least),
            short(self.greatest)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_median_is_the_middle_and_the_range_is_whole() {
        let found = spread([3.0, 1.0, 2.0]);
        assert_eq!(found.text(), "2.000 (1.000–3.000)");
        assert_eq!(spread([]).text(), "0.000 (0.000–0.000)");
    }
}
