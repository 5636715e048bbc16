//! How two samples of numbers or dates are distributed, in bins that suit both.

mod calendar;
mod ruler;

use super::bars::Bars;

/// What the numbers of a sample are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Numbers.
    Numbers,
    /// Days since 1970-01-01.
    Days,
}

/// Bars of a picture at most.
const MOST_BARS: i64 = 30;

/// Share of the values at either end that may lie too far out to be drawn where they are.
const TAIL: f64 = 0.005;

/// How much room such values may take beside the others, as a share of theirs.
const ROOM: f64 = 0.125;

/// Numbers beyond this are not drawn, so that differences stay finite.
const GREATEST: f64 = 1e300;

/// Shares of both samples in bins of one width; what is missing counts, but has no bin.
///
/// Values beyond the quantiles of 0.5 % and 99.5 % of both together, where these lie far out, are counted in the outer
/// bins, which then say ≤ and ≥. Bins of whole numbers have a whole width, and those of other values on a grid a multiple of
/// its spacing, so that each holds as many different values as its neighbours.
pub fn histogram(real: &[f64], synthetic: &[f64], scale: Scale) -> Bars {
    let mut all: Vec<f64> = present(real).chain(present(synthetic)).collect();
    all.sort_unstable_by(f64::total_cmp);
    let (Some(&least), Some(&greatest)) = (all.first(), all.last()) else { return Bars::default() };
    let bins = match scale {
        Scale::Numbers => ruler::bins(present(real), shown(&all)),
        Scale::Days => calendar::bins(present(real), shown(&all)),
    };
    Bars {
        labels: bins.labels(least, greatest),
        real: bins.shares(real),
        synthetic: bins.shares(synthetic),
        note: bins.note,
    }
}

fn present(values: &[f64]) -> impl Iterator<Item = f64> + Clone {
    values.iter().copied().filter(|value| value.abs() <= GREATEST)
}

/// The range that is drawn of values in order: without an end that lies far out.
fn shown(values: &[f64]) -> [f64; 2] {
    let last = values.len() - 1;
    let beyond = (TAIL * last as f64) as usize;
    let ([least, low], [high, greatest]) = ([values[0], values[beyond]], [values[last - beyond], values[last]]);
    let room = ROOM * (high - low);
    // Where nearly all are alike, what differs is the picture.
    if room == 0.0 {
        return [least, greatest];
    }
    [if low - least > room { low } else { least }, if greatest - high > room { high } else { greatest }]
}

/// Bins side by side.
struct Bins {
    /// At least one, in order.
    bins: Vec<Bin>,
    /// Where the last one ends.
    end: f64,
    /// What is to be known of all of them.
    note: String,
}

struct Bin {
    /// Where it begins.
    start: f64,
    /// What it is called.
    label: String,
    /// Its first and its last value.
    ends: [String; 2],
}

impl Bins {
    /// What stands below them, when values reach from `least` to `greatest`.
    fn labels(&self, least: f64, greatest: f64) -> Vec<String> {
        let (is_low, is_high) = (least < self.bins[0].start, greatest > self.end);
        let label = |(i, bin): (usize, &Bin)| match (is_low && i == 0, is_high && i + 1 == self.bins.len()) {
            (false, false) => bin.label.clone(),
            (true, false) => format!("≤ {}", bin.ends[1]),
            (false, true) => format!("≥ {}", bin.ends[0]),
            (true, true) => "all".to_owned(),
        };
        self.bins.iter().enumerate().map(label).collect()
    }

    /// The share of values in each.
    fn shares(&self, values: &[f64]) -> Vec<f64> {
        let mut counts = vec![0_u64; self.bins.len()];
        for value in present(values) {
            counts[self.bins.partition_point(|bin| bin.start <= value).saturating_sub(1)] += 1;
        }
        counts.into_iter().map(|count| count as f64 / values.len().max(1) as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_data::calendar::days_of;

    fn labels(values: &[f64]) -> Vec<String> {
        histogram(values, &[], Scale::Numbers).labels
    }

    fn whole(range: std::ops::Range<i32>) -> Vec<f64> {
        range.map(f64::from).collect()
    }

    #[test]
    fn bins_of_whole_numbers_hold_equally_many() {
        assert_eq!(labels(&whole(0..4)), ["0", "1", "2", "3"]);
        let ages = histogram(&whole(20..90), &whole(20..90), Scale::Numbers);
        assert_eq!((&*ages.labels[0], ages.labels.len()), ("20 to 24", 14));
        assert!(ages.real.iter().all(|share| (share - 5.0 / 70.0).abs() < 1e-9), "no saw-tooth: {:?}", ages.real);
        assert_eq!(labels(&whole(-6..6)).first().unwrap(), "-6");
        for n in [1, 2, 29, 30, 31, 59, 61, 1_000, 12_345] {
            let bars = histogram(&whole(0..n), &[], Scale::Numbers);
            let [first, .., _] = &bars.real[..] else { continue };
            assert!(bars.real.len() <= 30, "{n}: {}", bars.real.len());
            assert!(bars.real[..bars.real.len() - 1].iter().all(|share| (share - first).abs() < 1e-9), "{n}");
        }
    }

    #[test]
    fn bins_of_other_grids_hold_equally_many_too() {
        for (step, label) in [(0.25, "0 to 0.24"), (0.1, "0"), (5.0, "0 to 4")] {
            let values: Vec<f64> = (0..25).map(|i| f64::from(i) * step).collect();
            let bars = histogram(&values, &[], Scale::Numbers);
            assert_eq!((&*bars.labels[0], bars.labels.len()), (label, 25));
            assert!(bars.real.iter().all(|share| (share - 0.04).abs() < 1e-9), "{step}: {:?}", bars.real);
        }
    }

    #[test]
    fn other_numbers_have_bins_of_round_width() {
        let values: Vec<f64> = (0..=1000).map(|i| f64::from(i) / 1000.0 * std::f64::consts::PI).collect();
        let labels = labels(&values);
        assert_eq!([&*labels[0], &*labels[1], &*labels[15]], ["0 to 0.2", "0.2 to 0.4", "3 to 3.2"]);
    }

    #[test]
    fn what_lies_far_out_is_in_the_outer_bins() {
        let mut values: Vec<f64> = (0..1000).map(|i| 200.0 + 300.0 * (f64::from(i) / 1000.0).sqrt()).collect();
        values.extend([56.0, 1223.0]);
        let bars = histogram(&values, &values, Scale::Numbers);
        let n = bars.labels.len();
        assert!(n > 12 && bars.labels[0].starts_with("≤ 2") && bars.labels[n - 1] == "≥ 490", "{:?}", bars.labels);
        assert!((bars.real.iter().sum::<f64>() - 1.0).abs() < 1e-9, "everything is counted");
        let few = histogram(&[1.0; 1000], &[7.0], Scale::Numbers);
        assert_eq!([&*few.labels[0], &*few.labels[6]], ["1", "7"], "what differs from all others is not hidden");
    }

    #[test]
    fn dates_are_dates() {
        let day = |year, month, day| days_of(year, month, day).unwrap() as f64;
        let of = |low: f64, high: f64| {
            let values: Vec<f64> = (0..=1000).map(|i| (low + (high - low) * f64::from(i) / 1000.0).floor()).collect();
            histogram(&values, &[], Scale::Days)
        };
        let days = of(day(2023, 6, 19), day(2023, 7, 2));
        assert_eq!((&*days.labels[0], days.labels.len(), &*days.note), ("2023-06-19", 14, "each bar spans one day"));
        let weeks = of(day(2023, 6, 19), day(2023, 10, 1));
        assert_eq!((&*weeks.labels[1], &*weeks.note), ("2023-06-26", "each bar spans 7 days"));
        let months = of(day(2022, 1, 1), day(2023, 12, 31));
        assert_eq!((&*months.labels[13], months.labels.len()), ("2023-02", 24));
        let years = of(day(1990, 3, 1), day(2019, 2, 1));
        assert_eq!((&*years.labels[0], years.labels.len()), ("1990", 30));
        let times: Vec<f64> = (0..600).map(|i| (1440.0 * day(2023, 6, 19) + f64::from(i)) / 1440.0).collect();
        let times = histogram(&times, &[], Scale::Days);
        assert_eq!((&*times.labels[1], times.real[1]), ("2023-06-19 00:30", 0.05));
    }

    #[test]
    fn nothing_breaks_it() {
        let odd = [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, 1e300, -1e300, 1e-300, 0.0, 0.1, 9e15, 1e15 + 0.5];
        for a in odd {
            for b in odd {
                for scale in [Scale::Numbers, Scale::Days] {
                    for bars in [histogram(&[a, b], &[b], scale), histogram(&[], &[a, b], scale)] {
                        assert!(bars.labels.len() <= 30 && bars.labels.len() == bars.real.len(), "{a} {b}");
                    }
                }
            }
        }
        assert_eq!(histogram(&[f64::NAN], &[], Scale::Numbers).labels, [""; 0]);
    }
}
