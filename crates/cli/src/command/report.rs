//! `genera report`: one self-contained page about one run or several.

use super::Common;
use crate::failure::{Failure, Outcome, While};
use crate::run::directory::RunDirectory;
use crate::run::log::{self, AdversarialRow, Row, StepRow, ValidationRow};
use crate::run::samples;
use crate::show::html::{escape, is_page, page};
use crate::show::number;
use crate::show::svg::{Chart, Curve};
use genera_data::prepare::{Summary, load_summary};
use genera_engine::params::ParamCount;
use genera_engine::recipe::{Family, Recipe};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Write a page about a run: curves, samples, data, configuration; several runs are compared.
///
/// Example: genera report runs/a runs/b --output report.html
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run directories.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The page to write.
    #[arg(long, value_name = "FILE.html")]
    output: PathBuf,
}

/// Everything the page says about one run.
struct RunReport {
    name: String,
    recipe: Recipe,
    recipe_text: String,
    /// The last logged step, and the seconds of training until then.
    last: (u64, f64),
    steps: Vec<StepRow>,
    validations: Vec<ValidationRow>,
    /// Those of a GAN.
    adversarial: Vec<AdversarialRow>,
    samples: Vec<(u64, String)>,
    data: Option<Summary>,
    n_parameters: Option<usize>,
}

pub fn run(arguments: Arguments, common: Common) -> Outcome {
    if !is_page(&arguments.output) {
        return Err(Failure::new(format!(
            "--output {} is no name of a page; the report is HTML: end the name in .html",
            arguments.output.display()
        )));
    }
    let reports = arguments.runs.iter().map(read).collect::<Outcome<Vec<RunReport>>>()?;
    let title = reports.iter().map(|report| report.name.as_str()).collect::<Vec<&str>>().join(", ");
    let text = page(&title, &body(&title, &reports)?);
    std::fs::write(&arguments.output, text).during(format!("cannot write {}", arguments.output.display()))?;
    if common.json {
        println!("{}", serde_json::json!({ "output": arguments.output, "n_runs": reports.len() }));
    } else {
        println!("wrote {}", arguments.output.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> Outcome<RunReport> {
    let run = RunDirectory::open(path)?;
    let recipe_text = std::fs::read_to_string(run.recipe()).during("cannot read the recipe")?;
    let rows = log::read(&run.log()).during(format!("cannot read {}", run.log().display()))?;
    let last = rows.iter().rev().find(|row| row.validation().is_none()).map(|row| (row.step(), row.seconds()));
    let last = last.ok_or_else(|| {
        Failure::new(format!("{} has no logged step yet; wait for the first rows of its log.jsonl", path.display()))
    })?;
    let (mut steps, mut validations, mut adversarial) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::Step(row) => steps.push(row),
            Row::Validation(row) => validations.push(row),
            Row::Adversarial(row) => adversarial.push(row),
        }
    }
    let recipe = Recipe::load(&run.recipe())?;
    let data = load_summary(&run.data()).ok();
    // A GAN is made of other layers, and of a base there is more than the recipe says.
    let is_counted = recipe.base.path.is_none() && recipe.model.family == Family::Transformer;
    let config = data.as_ref().filter(|_| is_counted).and_then(|data| recipe.model.config(data.vocab_size).ok());
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok(RunReport {
        name: absolute
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
        n_parameters: config.map(|config| ParamCount::of(&config).total()),
        data,
        samples: samples::read(&run.samples()).unwrap_or_default(),
        recipe,
        recipe_text,
        last,
        steps,
        validations,
        adversarial,
    })
}

fn body(title: &str, reports: &[RunReport]) -> Outcome<String> {
    let mut body = format!("<h1>{}</h1>\n<p class=\"quiet\">A training report by Genera.</p>\n", escape(title));
    write!(body, "<table>{}</table>\n<h2>Curves</h2>\n", overview(reports))?;
    for chart in charts(reports)? {
        if !chart.is_empty() {
            writeln!(body, "<figure>{chart}</figure>")?;
        }
    }
    for report in reports {
        let name = if reports.len() > 1 { format!(" of {}", escape(&report.name)) } else { String::new() };
        if !report.samples.is_empty() {
            writeln!(body, "<h2>Samples{name}</h2>")?;
        }
        for (i, (step, text)) in report.samples.iter().enumerate().rev() {
            let open = if i + 1 == report.samples.len() { " open" } else { "" };
            writeln!(body, "<details{open}><summary>step {step}</summary><pre>{}</pre></details>", escape(text))?;
        }
        writeln!(
            body,
            "<h2>Recipe{name}</h2>\n<details><summary>complete, with the reasons of derived values</summary><pre>{}</pre></details>",
            escape(&report.recipe_text)
        )?;
    }
    Ok(body)
}

/// One column a run, one row a fact that is known of any.
fn overview(reports: &[RunReport]) -> String {
    type Fact = (&'static str, fn(&RunReport) -> String);
    let facts: [Fact; 14] = [
        ("", |report| escape(&report.name)),
        ("data", |report| {
            escape(&report.data.as_ref().map_or(report.recipe.data.kind.clone(), |data| data.corpus.clone()))
        }),
        ("training tokens", |report| {
            report.data.as_ref().map_or_else(dash, |data| number::count(data.n_tokens as f64))
        }),
        ("tokenizer", |report| {
            report.data.as_ref().map_or_else(dash, |data| format!("{}, {}", data.tokenizer, data.vocab_size))
        }),
        ("model", |report| {
            let model = &report.recipe.model;
            let name = if report.adversarial.is_empty() { escape(&model.preset) } else { "GAN".to_owned() };
            format!("{name}, {} layers, width {}", model.n_layers, model.d_model)
        }),
        ("parameters", |report| report.n_parameters.map_or_else(dash, |n| number::count(n as f64))),
        ("steps", |report| format!("{} of {}", report.last.0, report.recipe.train.steps)),
        ("tokens seen", |report| report.last_step().map_or_else(dash, |row| number::count(row.n_tokens as f64))),
        ("epochs", |report| {
            let both = report.data.as_ref().zip(report.last_step());
            both.map_or_else(dash, |(data, row)| format!("{:.2}", row.n_tokens as f64 / data.n_tokens.max(1) as f64))
        }),
        ("training loss", |report| {
            report.last_step().map_or_else(dash, |row| format!("{:.4} nats per token", row.loss))
        }),
        ("validation loss", |report| {
            report.validations.last().map_or_else(dash, |row| format!("{:.4} nats per token", row.validation_loss))
        }),
        ("bits per byte", |report| {
            report.validations.last().and_then(|row| row.bits_per_byte).map_or_else(dash, |bits| format!("{bits:.4}"))
        }),
        ("time", |report| number::duration(Duration::from_secs_f64(report.last.1))),
        ("arithmetic", |report| report.last_step().map_or_else(dash, |_| number::flops(log::n_flops(&report.steps)))),
    ];
    let row = |(name, fact): &Fact| {
        let cells: Vec<String> = reports.iter().map(fact).collect();
        let is_known = cells.iter().any(|cell| *cell != dash());
        is_known.then(|| format!("<tr><th>{name}</th><td>{}</td></tr>\n", cells.join("</td><td>")))
    };
    facts.iter().filter_map(row).collect()
}

fn dash() -> String {
    "–".to_owned()
}

fn charts(reports: &[RunReport]) -> Outcome<Vec<String>> {
    let mut losses = Vec::new();
    for report in reports {
        let name = if reports.len() > 1 { format!("{}, ", report.name) } else { String::new() };
        let validations = report.validations.iter().map(|row| (row.step as f64, row.validation_loss)).collect();
        losses.push(Curve { name: format!("{name}training"), points: report.curve(|row| row.loss), has_dots: false });
        losses.push(Curve { name: format!("{name}validation"), points: validations, has_dots: true });
    }
    let of = |value: fn(&StepRow) -> f64| -> Vec<Curve> {
        let curve =
            |report: &RunReport| Curve { name: report.name.clone(), points: report.curve(value), has_dots: false };
        reports.iter().map(curve).collect()
    };
    let of_gan = |name: &'static str, value: fn(&AdversarialRow) -> f64| {
        let several = reports.len() > 1;
        reports.iter().map(move |report| Curve {
            name: if several { format!("{}, {name}", report.name) } else { name.to_owned() },
            points: report.adversarial.iter().map(|row| (row.step as f64, value(row))).collect(),
            has_dots: false,
        })
    };
    let judged: Vec<Curve> =
        of_gan("distance", |row| row.distance).chain(of_gan("penalty", |row| row.penalty)).collect();
    let asked: Vec<Curve> = of_gan("condition", |row| row.condition_loss).collect();
    let draw = |title, y_label, curves: &[Curve]| Chart { title, x_label: "step", y_label, curves }.to_svg();
    Ok(vec![
        draw("Loss", "nats per token", &losses)?,
        draw("How far apart the discriminator finds real and made rows", "", &judged)?,
        draw("How far made rows are from what was asked for", "nats per row", &asked)?,
        draw("Learning rate", "", &of(|row| row.learning_rate))?,
        draw("Norm of the gradient", "before clipping", &of(|row| row.grad_norm))?,
        draw("Speed", "tokens per second", &of(|row| row.tokens_per_s))?,
    ])
}

impl RunReport {
    /// Of a Transformer.
    fn last_step(&self) -> Option<&StepRow> {
        self.steps.last()
    }

    fn curve(&self, value: fn(&StepRow) -> f64) -> Vec<(f64, f64)> {
        self.steps.iter().map(|row| (row.step as f64, value(row))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a GAN without samples.
    fn report() -> RunReport {
        let row = |step: u64| {
            let distance = if step == 1 { -0.4 } else { 0.4 };
            AdversarialRow { step, distance, penalty: 0.5, condition_loss: 0.25, seconds: 2.0 }
        };
        RunReport {
            name: "run".to_owned(),
            recipe: Recipe::default(),
            recipe_text: String::new(),
            last: (2, 2.0),
            steps: Vec::new(),
            validations: Vec::new(),
            adversarial: vec![row(1), row(2)],
            samples: Vec::new(),
            data: None,
            n_parameters: None,
        }
    }

    #[test]
    fn what_a_run_has_not_is_left_out() {
        let page = body("run", &[report()]).unwrap();
        assert!(page.contains("GAN") && page.contains("<th>steps</th>") && page.contains("made rows"), "{page}");
        for absent in ["Samples", "<td>–</td>", "validation loss", "Learning rate", "\n-0\n"] {
            assert!(!page.contains(absent), "{absent} in {page}");
        }
        let sampled = RunReport { samples: vec![(2, "a < b".to_owned())], n_parameters: Some(3), ..report() };
        let page = body("two", &[report(), sampled]).unwrap();
        assert!(page.contains("<h2>Samples of run</h2>") && page.contains("a &lt; b"), "{page}");
        assert!(page.contains("<th>parameters</th><td>–</td><td>3</td>"), "known of one of them: {page}");
    }
}
