//! Figures: a value that says what it is, how sure it is, and how to have it again.

use crate::Statistics;
use crate::metric::Metric;
use serde::{Serialize, Serializer};
use std::fmt;

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 100, as translations are scored.
    Points,
    /// Share of a hundred.
    Percent,
    /// Natural logarithms, for each token.
    NatsPerToken,
    /// Binary logarithms, for each byte of text.
    BitsPerByte,
    /// A number of equally likely choices.
    Choices,
}

impl Unit {
    /// How the unit is written after a number.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Points => "",
            Self::Percent => "%",
            Self::NatsPerToken => "nats/token",
            Self::BitsPerByte => "bits/byte",
            Self::Choices => "choices",
        }
    }

    /// How many digits after the point are worth printing.
    pub fn n_decimals(self) -> usize {
        match self {
            Self::Points | Self::Percent => 2,
            Self::Choices => 3,
            Self::NatsPerToken | Self::BitsPerByte => 4,
        }
    }

    fn format(self, value: f64) -> String {
        format!("{value:.*}", self.n_decimals())
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *self == Self::Points { "points" } else { self.symbol() })
    }
}

/// Which direction of a score is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// Where a value lies, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability between 0 and 1, such as 0.95.
    pub confidence: f64,
}

impl Interval {
    /// The 95 % interval of a share, in percent, by Wilson's formula: right for few examples and for 0 or 100 % too,
    /// where a bootstrap says ± 0.
    ///
    /// # Panics
    /// When `n` is 0 or less than `n_hits`.
    ///
    /// # Source
    /// Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.
    pub fn of_share_95(n_hits: usize, n: usize) -> Self {
        assert!(n > 0 && n_hits <= n, "{n_hits} of {n} is not a share");
        let (z, n, share) = (1.959_963_984_540_054_f64, n as f64, n_hits as f64 / n as f64);
        let centre = share + z * z / (2.0 * n);
        let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let percent = |x: f64| (100.0 * x / (1.0 + z * z / n)).clamp(0.0, 100.0);
        Self { low: percent(centre - half), high: percent(centre + half), confidence: 0.95 }
    }
}

/// One measured value.
///
/// As JSON it is an object of its fields; a value that does not exist (0 / 0) is `null`. Printed, it is one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured: the name of a metric.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// Where the value would lie on other examples of the same kind.
    pub interval: Option<Interval>,
    /// On how many examples.
    pub n: usize,
    /// Seed of what was random in it.
    pub seed: Option<u64>,
    /// The settings that two figures must share to be compared, `key:value` separated by `|`.
    pub signature: String,
}

impl Figure {
    /// The score of all examples, without interval; [`Bootstrap::figure`](crate::Bootstrap::figure) gives one with it.
    pub fn of(metric: &dyn Metric, statistics: &Statistics) -> Self {
        Self {
            name: metric.name().to_owned(),
            value: metric.score(&statistics.sum()),
            unit: metric.unit(),
            better: metric.better(),
            interval: None,
            n: statistics.n_rows(),
            seed: None,
            signature: signature(metric, statistics, ""),
        }
    }

    /// The share of `n` examples that passed a test, with Wilson's interval. Of no examples it does not exist (NaN).
    ///
    /// # Panics
    /// When `n` is less than `n_hits`.
    pub fn share(name: impl Into<String>, n_hits: usize, n: usize) -> Self {
        let interval = (n > 0).then(|| Interval::of_share_95(n_hits, n));
        let value = 100.0 * n_hits as f64 / n as f64;
        let (unit, better, signature) = (Unit::Percent, Better::Higher, "interval:wilson".to_owned());
        Self { name: name.into(), value, unit, better, interval, n, seed: None, signature }
    }

    /// The same figure, of which less is better.
    pub fn lower_is_better(self) -> Self {
        Self { better: Better::Lower, ..self }
    }

    fn cells(&self) -> [String; 6] {
        let interval = self.interval.map_or_else(String::new, |i| {
            format!("[{}, {}] {} %", self.unit.format(i.low), self.unit.format(i.high), round_percent(i.confidence))
        });
        let value = format!("{} {}", self.unit.format(self.value), self.unit.symbol());
        let seed = self.seed.map_or_else(String::new, |seed| format!("seed {seed}"));
        let n = format!("n {}", self.n);
        [self.name.clone(), value.trim_end().to_owned(), interval, n, seed, self.signature.clone()]
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells();
        let filled: Vec<&str> = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        f.write_str(&filled.join("  "))
    }
}

/// Figures that belong together; printed, they are a table with one row each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 6]> = self.figures.iter().map(Figure::cells).collect();
        let width_of = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width_of);
        for row in &rows {
            let padded = row.iter().zip(widths).filter(|(_, width)| *width > 0);
            let line: Vec<String> = padded.map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// What two figures must share to be compared, in the order of sacrebleu; the version marks that this program computed it.
pub(crate) fn signature(metric: &dyn Metric, statistics: &Statistics, sampling: &str) -> String {
    let (settings, version) = (metric.settings(), concat!("version:genera-", env!("CARGO_PKG_VERSION")));
    let parts = [statistics.evidence(), sampling, &settings, version];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("|")
}

/// 0.95 as 95, 0.999 as 99.9, whatever the binary fraction.
fn round_percent(confidence: f64) -> f64 {
    (confidence * 1e6).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bootstrap;
    use crate::metric::{Bleu, Perplexity};

    fn figure(name: &str, value: f64, unit: Unit) -> Figure {
        let interval = Some(Interval { low: value - 1.0, high: value + 1.0, confidence: 0.95 });
        let (better, signature) = (Better::Higher, "nrefs:1".to_owned());
        Figure { name: name.to_owned(), value, unit, better, interval, n: 1000, seed: Some(7), signature }
    }

    #[test]
    fn a_report_is_an_aligned_table() {
        let plain = Figure { interval: None, seed: None, ..figure("bits_per_byte", 1.5, Unit::BitsPerByte) };
        let report = Report { figures: vec![figure("bleu", 34.567, Unit::Points), plain] };
        let expect = "bleu           34.57             [33.57, 35.57] 95 %  n 1000  seed 7  nrefs:1\n\
                      bits_per_byte  1.5000 bits/byte                       n 1000          nrefs:1\n";
        assert_eq!(report.to_string(), expect);
        assert_eq!(report.figures[1].to_string(), "bits_per_byte  1.5000 bits/byte  n 1000  nrefs:1");
    }

    #[test]
    fn signatures_follow_the_order_of_sacrebleu() {
        let statistics = Statistics::new([[1.0; 10]], "nrefs:2");
        let version = concat!("|version:genera-", env!("CARGO_PKG_VERSION"));
        let plain = Figure::of(&Bleu::DEFAULT, &statistics).signature;
        assert_eq!(plain, format!("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp{version}"));
        let sampled = Bootstrap::default().figure(&Bleu::DEFAULT, &statistics).signature;
        assert_eq!(sampled, format!("nrefs:2|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp{version}"));
        assert_eq!(Figure::of(&Perplexity, &Statistics::new([[1.0; 3]], "")).signature, version[1..]);
    }

    #[test]
    fn a_figure_is_a_json_object() {
        let json = serde_json::to_value(figure("bleu", 34.5, Unit::Points)).unwrap();
        let expect = serde_json::json!({
            "name": "bleu", "value": 34.5, "unit": "points", "better": "higher",
            "interval": {"low": 33.5, "high": 35.5, "confidence": 0.95}, "n": 1000, "seed": 7, "signature": "nrefs:1"
        });
        assert_eq!(json, expect);
        let undefined = serde_json::to_value(figure("bleu", f64::NAN, Unit::Points)).unwrap();
        assert!(undefined["value"].is_null());
    }

    #[test]
    fn wilson_intervals_match_published_values() {
        // R: prop.test(x, n, correct = FALSE)$conf.int
        for (n_hits, n, low, high) in [(0, 10, 0.0, 27.7533), (10, 10, 72.2467, 100.0), (50, 100, 40.3832, 59.6168)] {
            let interval = Interval::of_share_95(n_hits, n);
            assert!((interval.low - low).abs() < 1e-3 && (interval.high - high).abs() < 1e-3, "{interval:?}");
        }
    }
}
