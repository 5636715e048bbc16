//! A picture of who attends to whom: a panel for each layer and head.

use super::html::{self, escape};
use crate::answers::{self, Settings};
use crate::failure::{Failure, Outcome, While};
use crate::model::{LoadedModel, SpeakingModel};
use genera_engine::model::{Captured, Mode, Probe, Rows};
use genera_tensor::Tape;
use std::fmt::Write;

/// Tokens that are drawn at most: more could not be read.
const MOST_TOKENS: usize = 64;

/// The weights of one attention layer.
pub struct AttentionMap {
    /// For example `decoder.2.attention`.
    pub name: String,
    /// What each query is.
    pub queries: Vec<String>,
    /// What each key is.
    pub keys: Vec<String>,
    /// `[H][T][S]`
    pub weights: Vec<Vec<Vec<f32>>>,
}

/// Runs the model over a text and computes the weights of every layer.
///
/// # Errors
/// When the text cannot be encoded, has a token that the model has not, or is too long to be drawn.
pub fn maps(model: &LoadedModel, prompt: &str) -> Outcome<Vec<AttentionMap>> {
    let speaking = model.speaking()?;
    let ids = speaking.encode(prompt)?;
    if ids.is_empty() {
        return Err(Failure::new("--prompt is empty; give a text to look at"));
    }
    speaking.check_tokens(&ids, prompt).during("--prompt")?;
    let transformer = &model.transformer;
    let (n, longest) = (ids.len(), transformer.config().longest(true));
    if n > MOST_TOKENS {
        return Err(Failure::new(format!(
            "--prompt has {n} tokens; a picture of more than {MOST_TOKENS} cannot be read"
        )));
    }
    if n > longest {
        return Err(Failure::new(format!("--prompt has {n} tokens, but the model's context holds {longest}")));
    }
    let names =
        |ids: &[u32]| -> Vec<String> { ids.iter().map(|&id| shown(&speaking.codebook.token_text(id))).collect() };
    let probe = Probe::default();
    let tape = Tape::inference(transformer.device());
    let mode = Mode { probe: Some(&probe), ..Mode::default() };
    let (source, target) = if transformer.config().is_encoder_decoder() {
        let answer = answer(&speaking, &ids)?;
        let memory = transformer.encode(&tape, &Rows::dense(ids.len(), &ids), mode);
        transformer.decode(&tape, &Rows::dense(answer.len(), &answer), Some(memory), mode);
        (names(&ids), names(&answer))
    } else {
        transformer.decode(&tape, &Rows::dense(ids.len(), &ids), None, mode);
        (names(&ids), names(&ids))
    };
    let map = |captured: Captured| {
        let of_encoder = captured.name.starts_with("encoder");
        let queries = if of_encoder { &source } else { &target };
        let keys = if of_encoder || captured.name.ends_with(".cross") { &source } else { &target };
        AttentionMap { weights: captured.weights(), name: captured.name, queries: queries.clone(), keys: keys.clone() }
    };
    Ok(probe.into_captured().into_iter().map(map).collect())
}

/// What a sequence-to-sequence model answers, with the token that opens it.
fn answer(model: &SpeakingModel<'_>, source: &[u32]) -> Outcome<Vec<u32>> {
    let max_tokens = MOST_TOKENS.min(model.transformer.config().context_len) - 1;
    let settings = Settings { max_tokens, ..Settings::greedy() };
    let answers = answers::answer(model, vec![source.to_vec()], &settings)?.into_iter().flatten();
    Ok([vec![model.decoder_start()?], answers.flat_map(|answer| answer.tokens).collect()].concat())
}

fn shown(token: &str) -> String {
    token.replace(' ', "␣").replace('\n', "⏎").replace('\t', "⇥")
}

const CELL: usize = 13;
const LABEL: usize = 74;
const GAP: usize = 22;
/// Width of a letter of a panel's title.
const TITLE_CHARACTER: usize = 8;

/// All panels as one picture: a row a layer, a column a head.
pub fn svg(maps: &[AttentionMap]) -> String {
    let title = |map: &AttentionMap| (map.name.len() + " head 10".len()) * TITLE_CHARACTER;
    let panel_width = |map: &AttentionMap| (LABEL + map.keys.len() * CELL).max(title(map)) + GAP;
    let panel_height = |map: &AttentionMap| LABEL + map.queries.len() * CELL + 2 * GAP;
    let width = maps.iter().map(|map| map.weights.len() * panel_width(map)).max().unwrap_or(0) + GAP;
    let height: usize = maps.iter().map(panel_height).sum::<usize>() + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut top = GAP;
    for map in maps {
        for (head, weights) in map.weights.iter().enumerate() {
            svg += &panel(map, head, weights, GAP + head * panel_width(map), top);
        }
        top += panel_height(map);
    }
    svg + "</svg>\n"
}

fn panel(map: &AttentionMap, head: usize, weights: &[Vec<f32>], left: usize, top: usize) -> String {
    let mut out = String::new();
    let (x0, y0) = (left + LABEL, top + LABEL);
    let mut add = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a string takes what is written to it");
    add(format_args!(
        "<text x=\"{left}\" y=\"{}\" font-size=\"12\" font-weight=\"bold\" fill=\"#222\">{} head {head}</text>\n",
        top,
        escape(&map.name)
    ));
    for (i, query) in map.queries.iter().enumerate() {
        let y = y0 + i * CELL + CELL - 3;
        add(format_args!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"#444\">{}</text>\n",
            x0 - 4,
            escape(query)
        ));
    }
    for (j, key) in map.keys.iter().enumerate() {
        let (x, y) = (x0 + j * CELL + CELL - 3, y0 - 4);
        add(format_args!(
            "<text x=\"{x}\" y=\"{y}\" transform=\"rotate(-90 {x} {y})\" fill=\"#444\">{}</text>\n",
            escape(key)
        ));
    }
    let (width, height) = (map.keys.len() * CELL, map.queries.len() * CELL);
    add(format_args!(
        "<rect x=\"{x0}\" y=\"{y0}\" width=\"{width}\" height=\"{height}\" fill=\"#f5f7fa\" stroke=\"#c9ced6\"/>\n"
    ));
    for (i, row) in weights.iter().enumerate() {
        for (j, &weight) in row.iter().enumerate() {
            // What is fainter than this cannot be told from the paper.
            if weight < 0.01 {
                continue;
            }
            let (x, y) = (x0 + j * CELL, y0 + i * CELL);
            let title = format!("{} → {}: {weight:.3}", map.queries[i], map.keys[j]);
            add(format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"#0b3d91\" fill-opacity=\"{weight:.3}\"><title>{}</title></rect>\n",
                escape(&title)
            ));
        }
    }
    out
}

/// The picture on a page, with an explanation.
pub fn page(maps: &[AttentionMap], prompt: &str) -> String {
    let body = format!(
        "<h1>Who attends to whom</h1>\n<p class=\"quiet\">{}</p>\n<p>Each row of a panel is a token that looks, each column a \
         token that is looked at; dark is much. Point at a cell to read its weight.</p>\n<figure>{}</figure>",
        escape(prompt),
        svg(maps)
    );
    html::page("Attention", &body)
}
