//! The page about a synthetic table: figures, a picture of each column, and how columns go together.

use super::judgement::Judgement;
use crate::failure::Outcome;
use crate::show::bars::{Bars, heat_map};
use crate::show::html::{escape, page};
use genera_eval::table::{MISSING, Table, Values, correlation};
use std::fmt::Write;

/// Bars of a picture of numbers.
const N_BARS: usize = 30;

/// Categories that are shown.
const N_CATEGORIES: usize = 20;

/// The page.
///
/// # Errors
/// When a picture cannot be drawn.
pub fn html(title: &str, judgement: &Judgement, real: &Table, synthetic: &Table) -> Outcome<String> {
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"quiet\">A synthetic table beside the real one, by Genera.</p>\n",
        escape(title)
    );
    body += "<table>\n";
    for [name, value, meaning] in judgement.rows() {
        writeln!(body, "<tr><th>{}</th><td>{}</td><td>{meaning}</td></tr>", escape(&name), escape(&value))?;
    }
    body += "</table>\n<h2>Correlations</h2>\n";
    writeln!(body, "<div class=\"pair\">{}</div>", correlations(real, synthetic))?;
    body += "<h2>Trends of pairs</h2>\n";
    writeln!(body, "<figure>{}</figure>", trends(judgement))?;
    body += "<h2>Columns</h2>\n";
    for ((i, (name, real)), (_, synthetic)) in real.columns.iter().enumerate().zip(&synthetic.columns) {
        let shape =
            judgement.shapes[i].1.map_or_else(|| "–".to_owned(), |shape| format!("{:.2} %", 100.0 * (1.0 - shape)));
        let svg = bars(real, synthetic).to_svg(&format!("{name} (shape error {shape})"))?;
        writeln!(body, "<figure>{svg}</figure>")?;
    }
    Ok(page(title, &body))
}

/// Heat maps of the numbers' correlations, real and synthetic.
fn correlations(real: &Table, synthetic: &Table) -> String {
    let numeric = |table: &Table| -> Vec<(String, Vec<f64>)> {
        let of = |(name, values): &(String, Values)| match values {
            Values::Numeric(values) => Some((name.clone(), values.clone())),
            Values::Categorical { .. } => None,
        };
        table.columns.iter().filter_map(of).collect()
    };
    let map = |title: &str, table: &Table| {
        let columns = numeric(table);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let cell = |i: usize, j: usize| correlation(&columns[i].1, &columns[j].1);
        if names.len() < 2 {
            String::new()
        } else {
            format!("<figure>{}</figure>", heat_map(title, &names, &cell, (-1.0, 1.0)))
        }
    };
    format!("{}{}", map("Correlation, real", real), map("Correlation, synthetic", synthetic))
}

fn trends(judgement: &Judgement) -> String {
    let names: Vec<&str> = judgement.shapes.iter().map(|(name, _)| name.as_str()).collect();
    let find = |i: usize, j: usize| {
        let pair = (i.min(j), i.max(j));
        judgement.trends.iter().find(|known| known.columns == pair).and_then(|known| known.trend)
    };
    let cell = |i: usize, j: usize| if i == j { judgement.shapes[i].1 } else { find(i, j) };
    heat_map("1 − error of each pair; on the diagonal, of each column", &names, &cell, (0.8, 1.0))
}

/// The values of a column, real and synthetic, as shares of the rows.
fn bars(real: &Values, synthetic: &Values) -> Bars {
    match (real, synthetic) {
        (Values::Numeric(real), Values::Numeric(synthetic)) => of_numbers(real, synthetic),
        (Values::Categorical { codes: real, labels }, Values::Categorical { codes: synthetic, .. }) => {
            of_categories(real, synthetic, labels)
        }
        _ => Bars::default(),
    }
}

fn of_numbers(real: &[f64], synthetic: &[f64]) -> Bars {
    let mut present: Vec<f64> = real.iter().copied().filter(|value| !value.is_nan()).collect();
    present.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (present.first(), present.last()) else { return Bars::default() };
    let width = if high > low { (high - low) / N_BARS as f64 } else { 1.0 };
    let shares = |values: &[f64]| {
        let mut shares = vec![0.0; N_BARS];
        for value in values.iter().filter(|value| !value.is_nan()) {
            shares[(((value - low) / width) as usize).min(N_BARS - 1)] += 1.0 / values.len() as f64;
        }
        shares
    };
    let label = |i: usize| crate::show::number::count(low + (i as f64 + 0.5) * width);
    Bars { labels: (0..N_BARS).map(label).collect(), real: shares(real), synthetic: shares(synthetic) }
}

fn of_categories(real: &[u32], synthetic: &[u32], labels: &[String]) -> Bars {
    let shares = |codes: &[u32]| {
        let mut shares = vec![0.0; labels.len() + 1];
        codes.iter().for_each(|&code| {
            shares[if code == MISSING { labels.len() } else { code as usize }] += 1.0 / codes.len() as f64;
        });
        shares
    };
    let (real, synthetic) = (shares(real), shares(synthetic));
    let mut order: Vec<usize> = (0..=labels.len()).filter(|&i| real[i] + synthetic[i] > 0.0).collect();
    order.sort_by(|&a, &b| real[b].total_cmp(&real[a]));
    order.truncate(N_CATEGORIES);
    let label = |&i: &usize| labels.get(i).cloned().unwrap_or_else(|| "missing".to_owned());
    Bars {
        labels: order.iter().map(label).collect(),
        real: order.iter().map(|&i| real[i]).collect(),
        synthetic: order.iter().map(|&i| synthetic[i]).collect(),
    }
}
