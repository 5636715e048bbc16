//! The page about a synthetic table: figures, a picture of each column, and how columns go together.

use super::judgement::Judgement;
use crate::failure::Outcome;
use crate::show::bars::Bars;
use crate::show::heat_map::{Meaning, heat_map};
use crate::show::histogram::{Scale, histogram};
use crate::show::html::{escape, page};
use genera_eval::table::{MISSING, Table, Values, correlation};
use std::fmt::Write;

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
    for ((i, (name, column)), (_, synthetic)) in real.columns.iter().enumerate().zip(&synthetic.columns) {
        let scale = if real.dates.contains(name) { Scale::Days } else { Scale::Numbers };
        let shape =
            judgement.shapes[i].1.map_or_else(|| "–".to_owned(), |shape| format!("{:.2} %", 100.0 * (1.0 - shape)));
        let svg = bars(column, synthetic, scale).to_svg(&format!("{name} (shape error {shape})"))?;
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
            format!("<figure>{}</figure>", heat_map(title, &names, &cell, Meaning::Correlation))
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
    heat_map("1 − error of each pair; on the diagonal, of each column", &names, &cell, Meaning::Likeness)
}

/// The values of a column, real and synthetic, as shares of the rows.
fn bars(real: &Values, synthetic: &Values, scale: Scale) -> Bars {
    match (real, synthetic) {
        (Values::Numeric(real), Values::Numeric(synthetic)) => histogram(real, synthetic, scale),
        (Values::Categorical { codes: real, labels }, Values::Categorical { codes: synthetic, .. }) => {
            of_categories(real, synthetic, labels)
        }
        _ => Bars::default(),
    }
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
    let note = match order.len() {
        n if n > N_CATEGORIES => format!("the {N_CATEGORIES} most frequent of {n}"),
        _ => String::new(),
    };
    order.truncate(N_CATEGORIES);
    let label = |&i: &usize| labels.get(i).cloned().unwrap_or_else(|| "missing".to_owned());
    Bars {
        labels: order.iter().map(label).collect(),
        real: order.iter().map(|&i| real[i]).collect(),
        synthetic: order.iter().map(|&i| synthetic[i]).collect(),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genera_data::calendar::days_of;
    use std::sync::Arc;

    fn table() -> Table {
        let day = days_of(2023, 6, 19).unwrap() as f64;
        let numbers = |of: fn(usize) -> f64| Values::Numeric((0..200).map(of).collect());
        let since = (0..200).map(|i| day + (i % 20) as f64).collect();
        let codes = (0..200).map(|i| i % 25).collect();
        let labels: Arc<[String]> = (0..25).map(|i| format!("kind {i}")).collect();
        let columns = [
            ("age", numbers(|i| 20.0 + (i % 50) as f64)),
            ("pay", numbers(|i| (i as f64).sqrt())),
            ("since", Values::Numeric(since)),
            ("kind", Values::Categorical { codes, labels }),
        ];
        let columns = columns.map(|(name, values)| (name.to_owned(), values)).into();
        Table { columns, dates: vec!["since".to_owned()] }
    }

    #[test]
    fn a_page_shows_dates_whole_numbers_and_a_scale_of_every_map() {
        let table = table();
        let judgement = Judgement::of(&table, None, &table, None).unwrap();
        let page = html("a table", &judgement, &table, &table).unwrap();
        for part in [
            ">2023-06-19</text>",
            "each bar spans one day",
            "20 to 21",
            "the 20 most frequent of 25",
            "blue: both rise",
            "1 is ideal and pale",
            "since × age: 1.000",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        assert!(!page.contains("19.5k"), "a date as a number");
    }
}
