//! Gradient-boosted trees over histograms: the judge of what a table teaches, and of whether two tables can be told apart.

use super::{MISSING, Table, Values};

/// What trees are fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// A probability; targets are 0 and 1.
    Logistic,
    /// A number, by least squares.
    Squared,
}

/// How trees are grown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostingSettings {
    /// Number of trees.
    pub n_trees: usize,
    /// Splits from the root to a leaf at most.
    pub depth: usize,
    /// Share of each tree's answer that is added.
    pub learning_rate: f64,
    /// Weight of the penalty on answers.
    pub l2: f64,
    /// Rows of a leaf at least.
    pub least_rows: usize,
}

impl Default for BoostingSettings {
    fn default() -> Self {
        Self { n_trees: 150, depth: 6, learning_rate: 0.1, l2: 1.0, least_rows: 20 }
    }
}

/// Bins of a feature; bin 0 is for missing values.
const MAX_BINS: usize = 128;

/// Trees that add up to an answer.
///
/// # Source
/// Friedman 2001, "Greedy function approximation: a gradient boosting machine"; second-order leaves as in Chen and Guestrin,
/// arXiv 1603.02754, equations 5 to 7. Categories are put in order of their mean target, which for these losses contains the
/// best split in two sets (Breiman et al. 1984, "Classification and regression trees", theorem 4.5).
#[derive(Clone, Debug)]
pub struct Boosted {
    features: Vec<Feature>,
    trees: Vec<Tree>,
    base: f64,
    objective: Objective,
}

/// How a column becomes bins.
#[derive(Clone, Debug)]
enum Feature {
    /// Ascending ends of the bins.
    Numeric(Vec<f64>),
    /// The bin of each category.
    Categorical(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(f64),
    /// Rows whose bin is at most `bin` go to the node `left`, others to the one behind it.
    Split {
        feature: usize,
        bin: u8,
        left: usize,
    },
}

type Tree = Vec<Node>;

impl Feature {
    fn of(values: &Values, targets: &[f64]) -> Self {
        match values {
            Values::Numeric(values) => {
                let mut present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
                present.sort_by(f64::total_cmp);
                let mut ends: Vec<f64> = (1..MAX_BINS - 1)
                    .filter_map(|i| present.get(i * present.len() / (MAX_BINS - 1)).copied())
                    .collect();
                ends.dedup();
                Self::Numeric(ends)
            }
            Values::Categorical { codes, labels } => {
                let mut sums = vec![(0.0, 0.0); labels.len()];
                for (&code, target) in codes.iter().zip(targets).filter(|(code, _)| **code != MISSING) {
                    let (sum, n) = &mut sums[code as usize];
                    (*sum, *n) = (*sum + target, *n + 1.0);
                }
                let mean = targets.iter().sum::<f64>() / targets.len().max(1) as f64;
                // Few rows say little: their mean is drawn toward that of all.
                let score = |&(sum, n): &(f64, f64)| (sum + 5.0 * mean) / (n + 5.0);
                let mut order: Vec<usize> = (0..labels.len()).collect();
                order.sort_by(|&a, &b| score(&sums[a]).total_cmp(&score(&sums[b])));
                let mut bins = vec![0; labels.len()];
                let n = order.len().max(1);
                order.iter().enumerate().for_each(|(rank, &code)| {
                    bins[code] = (1 + if n < MAX_BINS { rank } else { rank * (MAX_BINS - 1) / n }) as u8;
                });
                Self::Categorical(bins)
            }
        }
    }

    fn bins(&self, values: &Values) -> Vec<u8> {
        match (self, values) {
            (Self::Numeric(ends), Values::Numeric(values)) => {
                let bin =
                    |&value: &f64| if value.is_nan() { 0 } else { 1 + ends.partition_point(|&end| end <= value) as u8 };
                values.iter().map(bin).collect()
            }
            (Self::Categorical(bins), Values::Categorical { codes, .. }) => {
                codes.iter().map(|&code| bins.get(code as usize).copied().unwrap_or(0)).collect()
            }
            _ => vec![0; values.len()],
        }
    }
}

impl Boosted {
    /// Fits trees to targets, one for each row.
    ///
    /// # Panics
    /// When there are more or fewer targets than rows, or none.
    pub fn fit(table: &Table, targets: &[f64], objective: Objective, settings: &BoostingSettings) -> Self {
        assert_eq!(table.n_rows(), targets.len(), "each row has a target");
        assert!(!targets.is_empty(), "trees are fitted to at least one row");
        let features: Vec<Feature> = table.columns.iter().map(|(_, values)| Feature::of(values, targets)).collect();
        let bins: Vec<Vec<u8>> =
            features.iter().zip(&table.columns).map(|(feature, (_, values))| feature.bins(values)).collect();
        let mean = targets.iter().sum::<f64>() / targets.len() as f64;
        let base = match objective {
            Objective::Squared => mean,
            Objective::Logistic => (mean.clamp(1e-6, 1.0 - 1e-6) / (1.0 - mean.clamp(1e-6, 1.0 - 1e-6))).ln(),
        };
        let mut answers = vec![base; targets.len()];
        let mut trees = Vec::with_capacity(settings.n_trees);
        for _ in 0..settings.n_trees {
            let slopes: Vec<[f64; 2]> =
                answers.iter().zip(targets).map(|(&answer, &target)| slopes(objective, answer, target)).collect();
            let tree = grow(&bins, &slopes, settings);
            answers.iter_mut().enumerate().for_each(|(row, answer)| *answer += walk(&tree, &bins, row));
            trees.push(tree);
        }
        Self { features, trees, base, objective }
    }

    /// The answer for each row: a probability or a number.
    ///
    /// # Panics
    /// When the table has other columns than the one it was fitted to.
    pub fn predict(&self, table: &Table) -> Vec<f64> {
        assert_eq!(table.columns.len(), self.features.len(), "the columns are those of the fit");
        let bins: Vec<Vec<u8>> =
            self.features.iter().zip(&table.columns).map(|(feature, (_, values))| feature.bins(values)).collect();
        let answer = |row| {
            let sum = self.base + self.trees.iter().map(|tree| walk(tree, &bins, row)).sum::<f64>();
            match self.objective {
                Objective::Squared => sum,
                Objective::Logistic => logistic(sum),
            }
        };
        (0..table.n_rows()).map(answer).collect()
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// First and second derivative of the loss.
fn slopes(objective: Objective, answer: f64, target: f64) -> [f64; 2] {
    match objective {
        Objective::Squared => [answer - target, 1.0],
        Objective::Logistic => {
            let p = logistic(answer);
            [p - target, (p * (1.0 - p)).max(1e-9)]
        }
    }
}

fn walk(tree: &Tree, bins: &[Vec<u8>], row: usize) -> f64 {
    let mut place = 0;
    loop {
        match tree[place] {
            Node::Leaf(answer) => return answer,
            Node::Split { feature, bin, left } => place = left + usize::from(bins[feature][row] > bin),
        }
    }
}

/// One tree, grown until no split gains anything.
fn grow(bins: &[Vec<u8>], slopes: &[[f64; 2]], settings: &BoostingSettings) -> Tree {
    let mut tree: Tree = vec![Node::Leaf(0.0)];
    let mut open: Vec<(usize, usize, Vec<u32>)> = vec![(0, 0, (0..slopes.len() as u32).collect())];
    while let Some((place, depth, rows)) = open.pop() {
        let split = if depth < settings.depth { best_split(bins, slopes, &rows, settings) } else { None };
        let Some((feature, bin)) = split else {
            let [g, h] = total(slopes, &rows);
            tree[place] = Node::Leaf(-settings.learning_rate * g / (h + settings.l2));
            continue;
        };
        let left = tree.len();
        tree.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
        tree[place] = Node::Split { feature, bin, left };
        let (low, high) = rows.into_iter().partition(|&row| bins[feature][row as usize] <= bin);
        open.push((left, depth + 1, low));
        open.push((left + 1, depth + 1, high));
    }
    tree
}

fn total(slopes: &[[f64; 2]], rows: &[u32]) -> [f64; 2] {
    rows.iter().fold([0.0; 2], |[g, h], &row| [g + slopes[row as usize][0], h + slopes[row as usize][1]])
}

/// The feature and the last bin of the left side that gain most.
fn best_split(bins: &[Vec<u8>], slopes: &[[f64; 2]], rows: &[u32], settings: &BoostingSettings) -> Option<(usize, u8)> {
    let [all_g, all_h] = total(slopes, rows);
    let score = |g: f64, h: f64| g * g / (h + settings.l2);
    let mut best = (1e-9, None);
    for (feature, bins) in bins.iter().enumerate() {
        let mut histogram = [[0.0; 3]; MAX_BINS + 1];
        for &row in rows {
            let [g, h] = slopes[row as usize];
            let [sum_g, sum_h, n] = &mut histogram[bins[row as usize] as usize];
            (*sum_g, *sum_h, *n) = (*sum_g + g, *sum_h + h, *n + 1.0);
        }
        let (mut g, mut h, mut n) = (0.0, 0.0, 0.0);
        for (bin, [bin_g, bin_h, bin_n]) in histogram.iter().enumerate() {
            (g, h, n) = (g + bin_g, h + bin_h, n + bin_n);
            let is_fair = n >= settings.least_rows as f64 && rows.len() as f64 - n >= settings.least_rows as f64;
            let gain = score(g, h) + score(all_g - g, all_h - h) - score(all_g, all_h);
            if is_fair && *bin_n > 0.0 && gain > best.0 {
                best = (gain, Some((feature, bin as u8)));
            }
        }
    }
    best.1
}
