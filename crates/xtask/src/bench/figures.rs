//! Figures: what was measured, as a table for people and as JSON for comparisons.

use std::time::Duration;

use serde::Serialize;

/// One measured thing.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The part of the benchmark.
    pub part: &'static str,
    pub what: String,
    pub unit: &'static str,
    /// The median of `samples`, or the one value there is.
    pub value: f64,
    /// One value for each round.
    pub samples: Vec<f64>,
    /// The value should be below this.
    pub target: Option<f64>,
    /// By how much the value would differ if nothing differed; more than the target: nothing is known.
    pub noise: f64,
    pub note: String,
}

impl Figure {
    /// Of several rounds. Their median is the figure; it exists, so there must be a round.
    pub fn of(
        part: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        samples: &[f64],
    ) -> Self {
        Figure {
            part,
            what: what.into(),
            unit,
            value: median(samples),
            samples: samples.to_vec(),
            target: None,
            noise: 0.0,
            note: String::new(),
        }
    }

    pub fn below(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub fn noise(mut self, noise: f64) -> Self {
        self.noise = noise;
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn row(&self) -> [String; 4] {
        let spread = match self.samples.len() {
            0 | 1 => String::new(),
            count => {
                let low = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
                let high = self
                    .samples
                    .iter()
                    .copied()
                    .fold(f64::NEG_INFINITY, f64::max);
                format!("{} to {} ({count})", digits(low), digits(high))
            }
        };
        let target = match self.target {
            Some(target) if self.noise > target => {
                format!("< {}: lost in noise", digits(target))
            }
            Some(target) if self.value < target => format!("< {}: met", digits(target)),
            Some(target) => format!("< {}: MISSED", digits(target)),
            None => String::new(),
        };
        [
            self.what.clone(),
            format!("{} {}", digits(self.value), self.unit),
            spread,
            target,
        ]
    }
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// The table, a block for each part, with the notes under the rows that they are about.
pub fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["", "median", "spread (rounds)", "target"].map(str::to_owned)];
    rows.extend(figures.iter().map(Figure::row));
    let widths: Vec<usize> = (0..4)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; 4]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 3 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = line(&rows[0]) + "\n";
    let mut part = "";
    for (figure, row) in figures.iter().zip(&rows[1..]) {
        if figure.part != part {
            part = figure.part;
            text += &format!("\n{part}\n");
        }
        text += &format!("{}\n", line(row));
        if !figure.note.is_empty() {
            text += &format!("    {}\n", figure.note);
        }
    }
    text
}

/// NaN when there is nothing.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}

/// Between which two samples the median of what they are drawn from lies, with a confidence of at least 95 %, whatever
/// its distribution: so many of them are left out at either end as a fair coin would at most leave (the sign test's
/// interval). None: they are too few to say.
pub fn interval(samples: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    // The chance that at most so many of `count` fall below the median, doubled for both ends.
    let mut chance = 2.0 * 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut outside = 2.0 * 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut left_out = None;
    for end in 0..count / 2 {
        if outside > 0.05 {
            break;
        }
        left_out = Some(end);
        chance *= (count - end) as f64 / (end + 1) as f64;
        outside += chance;
    }
    let end = left_out?;
    Some((sorted[end], sorted[count - 1 - end]))
}

/// What rounds of a comparison have shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough to say; more may.
    More,
    /// The difference is one, with a confidence of 95 %.
    AboveNoise,
    /// After the most rounds there are, it may still be none.
    LostInNoise,
}

/// Of the differences that rounds showed, `most` at most.
pub fn verdict(differences: &[f64], most: usize) -> Verdict {
    match interval(differences) {
        Some((low, high)) if low > 0.0 || high < 0.0 => Verdict::AboveNoise,
        _ if differences.len() < most => Verdict::More,
        _ => Verdict::LostInNoise,
    }
}

/// How long each of many calls took.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub fn extend(&mut self, others: Times) {
        self.0.extend(others.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time within which `share` of the calls were answered, in ms (nearest rank).
    pub fn quantile_ms(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        let at = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0
            .get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_more_samples_the_narrower_is_where_the_median_lies() {
        let samples = |count: u32| (1..=count).map(f64::from).collect::<Vec<f64>>();
        assert_eq!(interval(&samples(5)), None);
        // The ranks of the tables of the sign test at 5 %.
        for (count, low, high) in [
            (6, 1.0, 6.0),
            (8, 1.0, 8.0),
            (9, 2.0, 8.0),
            (12, 3.0, 10.0),
            (15, 4.0, 12.0),
            (20, 6.0, 15.0),
        ] {
            assert_eq!(interval(&samples(count)), Some((low, high)), "{count}");
        }
    }

    #[test]
    fn rounds_go_on_until_the_difference_is_known() {
        assert_eq!(verdict(&[3.0; 5], 20), Verdict::More);
        assert_eq!(verdict(&[3.0; 6], 20), Verdict::AboveNoise);
        assert_eq!(verdict(&[-3.0; 6], 20), Verdict::AboveNoise);
        let mixed: Vec<f64> = (0..20).map(|n| [1.0, -1.0][n % 2]).collect();
        assert_eq!(verdict(&mixed[..19], 20), Verdict::More);
        assert_eq!(verdict(&mixed, 20), Verdict::LostInNoise);
        // One round that something disturbed does not hide what all others show.
        let disturbed = [5.0, 4.0, 6.0, 5.0, -40.0, 4.0, 5.0, 6.0, 5.0];
        assert_eq!(verdict(&disturbed, 20), Verdict::AboveNoise);
    }

    #[test]
    fn a_quantile_is_a_time_that_occurred() {
        let mut times = Times::default();
        for ms in (1..=100).rev() {
            times.push(Duration::from_millis(ms));
        }
        assert_eq!(times.quantile_ms(0.5), 50.0);
        assert_eq!(times.quantile_ms(0.99), 99.0);
        assert_eq!(times.quantile_ms(1.0), 100.0);
        assert!(Times::default().quantile_ms(0.5).is_nan());
    }

    #[test]
    fn the_table_says_whether_a_target_is_met() {
        let figures = [
            Figure::of("calls", "p99", "ms", &[0.5, 0.7, 0.6]).below(1.0),
            Figure::of("calls", "memory", "MiB", &[120.0])
                .below(100.0)
                .note("of five"),
        ];
        let noisy = Figure::of("calls", "overhead", "%", &[1.0]);
        let noisy = table(&[noisy.below(5.0).noise(30.0)]);
        assert!(noisy.contains("< 5.00: lost in noise"), "{noisy}");
        let text = table(&figures);
        assert!(text.contains("0.600 ms"), "{text}");
        assert!(text.contains("0.500 to 0.700 (3)"), "{text}");
        assert!(text.contains("< 1.00: met"), "{text}");
        assert!(text.contains("< 100: MISSED\n    of five"), "{text}");
    }
}
