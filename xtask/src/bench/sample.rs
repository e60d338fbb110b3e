//! A figure: the median of its samples, with their range. Means are absent: on a
//! machine shared with others, one preempted sample moves them.

use std::fmt;

/// Samples of one thing, in one unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub(super) fn shown(&self, unit: Unit) -> String {
        let sorted = self.sorted();
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return "no samples".into() };
        format!("{} ({}–{}), n={}", unit.of(self.median()), unit.of(*least), unit.of(*most), sorted.len())
    }
}

impl From<Vec<f64>> for Samples {
    fn from(values: Vec<f64>) -> Self {
        Samples(values)
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds, from samples in nanoseconds.
    MicrosOfNanos,
}

impl Unit {
    pub(super) fn of(self, value: f64) -> Figure {
        match self {
            Unit::Ms => Figure(value, "ms"),
            Unit::MicrosOfNanos => Figure(value / 1000.0, "µs"),
        }
    }
}

/// A value with its unit, to three significant digits.
pub(super) struct Figure(f64, &'static str);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", digits(self.0), self.1)
    }
}

pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_median_and_range() {
        let check =
            |values: &[f64], expected: &str| assert_eq!(Samples::from(values.to_vec()).shown(Unit::Ms), expected);
        check(&[3.0, 1.0, 200.0], "3.00 ms (1.00 ms–200 ms), n=3");
        check(&[10.0, 20.0], "15.0 ms (10.0 ms–20.0 ms), n=2");
        check(&[], "no samples");
    }
}
