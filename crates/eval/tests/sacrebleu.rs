//! Scores and words against the Python package sacrebleu: stored ones, and fresh ones where it is installed.

use flate2::read::GzDecoder;
use genera_eval::metric::{Bleu, Chrf, Smoothing, TextMetric, Tokenizer};
use genera_eval::{Bootstrap, Corpus};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const CASES: &str = include_str!("sacrebleu/cases.json");
const SCORES: &str = include_str!("sacrebleu/scores.json");
const SCRIPT: &str = include_str!("sacrebleu/score.py");

/// Scores are from 0 to 100; what remains is rounding.
const TOLERANCE: f64 = 1e-9;

#[test]
fn stored_scores_agree() {
    compare(&parse(CASES), &parse(SCORES));
}

#[test]
fn fresh_scores_of_generated_corpora_agree() {
    let mut random = Random(1);
    let mut job = parse(CASES);
    job["corpora"] = (0..12).map(|i| generated_corpus(&mut random, 1 + i % 3)).collect();
    job["texts"] = (0..3000).map(|_| Value::from(random.string(40))).collect();
    if let Some(scores) = sacrebleu(&job) {
        compare(&job, &scores);
    }
}

/// All but intl, whose tables of punctuation grow with Unicode.
#[test]
fn every_character_of_the_first_plane_is_cut_alike() {
    let of_block =
        |block: u32| (block << 8..(block + 1) << 8).filter_map(char::from_u32).flat_map(|c| [c, 'a', '1', c]);
    let texts: Vec<String> = (0..256).map(|block| of_block(block).collect()).collect();
    let job = json!({ "corpora": [], "settings": [], "texts": texts, "tokenizers": ["13a", "zh", "char", "none"] });
    if let Some(words) = sacrebleu(&job) {
        compare(&job, &words);
    }
}

#[test]
fn fresh_scores_of_multi30k_agree() {
    let Some(folder) = std::env::var_os("GENERA_TEST_DATA") else {
        println!("skipped: GENERA_TEST_DATA names no folder with Multi30k");
        return;
    };
    let read = |name: &str| read_lines(&Path::new(&folder).join("translation").join(name));
    let mut random = Random(2);
    let mut job = parse(CASES);
    job["texts"] = json!([]);
    job["corpora"] = ["test_2016_flickr.en.gz", "test_2016_flickr.de.gz", "val.fr.gz"]
        .map(|name| {
            let references = &read(name)[..400];
            let hypotheses: Vec<String> = references.iter().map(|line| random.perturb(line)).collect();
            json!({ "hypotheses": hypotheses, "references": [references] })
        })
        .into();
    if let Some(scores) = sacrebleu(&job) {
        compare(&job, &scores);
    }
}

/// The outer percentiles of 10,000 scores by sacrebleu's own resampling (seed 12345) of all cases with one reference.
const STORED_INTERVAL: (f64, f64) = (33.95, 53.79);

#[test]
fn stored_interval_agrees_as_two_seeds_do() {
    let cases = parse(CASES);
    let with_one =
        cases["corpora"].as_array().unwrap().iter().filter(|c| c["references"].as_array().unwrap().len() == 1);
    let pairs = with_one.flat_map(|c| strings(&c["hypotheses"]).into_iter().zip(strings(&c["references"][0])));
    let (hypotheses, references): (Vec<String>, Vec<String>) = pairs.unzip();
    let reference_sets = [references];
    let (bleu, corpus) = (Bleu::default(), Corpus::new(&hypotheses, &reference_sets).unwrap());
    let bootstrap = Bootstrap { n_resamples: 10_000, ..Bootstrap::default() };
    let interval = bootstrap.interval(&bleu, &bleu.statistics(&corpus));
    // Other seeds of sacrebleu move its ends by up to 0.3.
    let (low, high) = STORED_INTERVAL;
    assert!(
        (interval.low - low).abs() < 0.5 && (interval.high - high).abs() < 0.5,
        "{interval:?}, not {low} to {high}"
    );
}

/// Checks every score, signature and word of the job against those of sacrebleu.
fn compare(job: &Value, expect: &Value) {
    let settings = job["settings"].as_array().unwrap();
    for (corpus_json, expect_row) in job["corpora"].as_array().unwrap().iter().zip(expect["scores"].as_array().unwrap())
    {
        let texts = Texts::from_json(corpus_json);
        for (setting, expect) in settings.iter().zip(expect_row.as_array().unwrap()) {
            let metric = metric(setting);
            let score = metric.score(&metric.statistics(&texts.corpus()).sum());
            let expect = expect.as_f64().unwrap();
            assert!((score - expect).abs() < TOLERANCE, "{score}, not {expect}, for {setting} of {corpus_json}");
        }
    }
    for (setting, expect) in settings.iter().zip(expect["signatures"].as_array().unwrap()) {
        let expect = expect.as_str().unwrap();
        let signature =
            format!("|{}|version:", metric(setting).settings().replace("|beta:3", "").replace("|beta:1", ""));
        assert!(expect.contains(&signature), "{signature:?} is not in {expect:?}");
    }
    for (name, expect) in strings(&job["tokenizers"]).iter().zip(expect["words"].as_array().unwrap()) {
        let tokenizer = Tokenizer::by_name(name).unwrap();
        for (text, expect) in strings(&job["texts"]).iter().zip(expect.as_array().unwrap()) {
            assert_eq!(json!(tokenizer.words(text)), *expect, "{name} {text:?}");
        }
    }
}

/// The metric that sacrebleu's options describe.
fn metric(setting: &Value) -> Box<dyn TextMetric> {
    let flag = |key: &str| setting[key].as_bool().unwrap_or(false);
    let number = |key: &str, default: f64| setting[key].as_f64().unwrap_or(default);
    if setting["metric"] == "chrf" {
        return Box::new(Chrf {
            char_order: number("char_order", 6.0) as usize,
            word_order: number("word_order", 0.0) as usize,
            beta: number("beta", 2.0),
            lowercase: flag("lowercase"),
            whitespace: flag("whitespace"),
            epsilon_smoothing: flag("eps_smoothing"),
        });
    }
    let smoothing = match setting["smooth_method"].as_str().unwrap_or("exp") {
        "exp" => Smoothing::Exp,
        "floor" => Smoothing::Floor(number("smooth_value", 0.1)),
        "add-k" => Smoothing::AddK(number("smooth_value", 1.0)),
        _ => Smoothing::None,
    };
    let tokenizer = Tokenizer::by_name(setting["tokenize"].as_str().unwrap_or("13a")).unwrap();
    Box::new(Bleu { tokenizer, smoothing, effective_order: flag("effective_order"), lowercase: flag("lowercase") })
}

/// A corpus as it stands in JSON; `null` in place of a reference is none.
struct Texts {
    hypotheses: Vec<String>,
    references: Vec<Vec<Option<String>>>,
}

impl Texts {
    fn from_json(corpus: &Value) -> Self {
        let optional = |set: &Value| set.as_array().unwrap().iter().map(|r| r.as_str().map(str::to_owned)).collect();
        let references = corpus["references"].as_array().unwrap().iter().map(optional).collect();
        Self { hypotheses: strings(&corpus["hypotheses"]), references }
    }

    fn corpus(&self) -> Corpus<'_> {
        let of_segment = |i: usize| self.references.iter().filter_map(|set| set[i].as_deref()).collect();
        Corpus::from_segments(self.hypotheses.iter().enumerate().map(|(i, h)| (h.as_str(), of_segment(i)))).unwrap()
    }
}

/// What the Python package says, or nothing where it is not installed.
fn sacrebleu(job: &Value) -> Option<Value> {
    let python = |code: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let found = python("import sacrebleu").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: python3 has no package sacrebleu (pip install sacrebleu)");
        return None;
    }
    let mut child = python(SCRIPT).spawn().unwrap();
    // The script reads all of its input before it writes.
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn strings(json: &Value) -> Vec<String> {
    json.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect()
}

fn read_lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Segments made of a small stock of words and of marks, so that much matches and much does not.
fn generated_corpus(random: &mut Random, n_references: usize) -> Value {
    let n = 1 + random.below(30);
    let references: Vec<Vec<String>> = (0..n_references).map(|_| (0..n).map(|_| random.sentence()).collect()).collect();
    let hypotheses: Vec<String> = references[0].iter().map(|line| random.perturb(line)).collect();
    json!({ "hypotheses": hypotheses, "references": references })
}

/// A linear congruential generator, good enough to make up texts.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn sentence(&mut self) -> String {
        const WORDS: [&str; 24] = [
            "the",
            "The",
            "a",
            "dog",
            "dogs",
            "Dog's",
            "runs",
            "over",
            "3.5",
            "1,000",
            "1998-99",
            "e.g.",
            "well-known",
            "&amp;",
            "&quot;so&quot;",
            "(maybe)",
            "ÉCOLE",
            "straße",
            "дом",
            "北京",
            "5€",
            "x/y",
            "…",
            "\u{3c3}\u{3a3}",
        ];
        let n_words = self.below(14);
        let words: Vec<&str> = (0..n_words).map(|_| self.pick(&WORDS)).collect();
        words.join(self.pick(&[" ", " ", " ", "  ", "\u{a0}"])) + self.pick(&["", ".", ".", "!", "?\"", " ,", "\n"])
    }

    /// The text with about a quarter of its words dropped, doubled, exchanged or put in capitals.
    fn perturb(&mut self, text: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match self.below(16) {
                0 => {}
                1 => words.extend([word.to_owned(), word.to_owned()]),
                2 => words.push(word.to_uppercase()),
                3 => words.insert(words.len().saturating_sub(1), word.to_owned()),
                _ => words.push(word.to_owned()),
            }
        }
        words.join(" ")
    }

    /// Characters of all kinds: half of them those that the rules of tokenizers are about, the rest from all of Unicode.
    fn string(&mut self, max_len: usize) -> String {
        (0..self.below(max_len)).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        /// Wholly assigned long ago, so that every table of punctuation in use agrees on them.
        const COMPLETE_BLOCKS: [(u32, usize); 7] = [
            (0x80, 0xe0),
            (0x3b0, 0xe0),
            (0x2010, 0x50),
            (0x2190, 0xe0),
            (0x30a0, 0x60),
            (0x4e00, 0xe0),
            (0xff01, 0xbe),
        ];
        const SPECIAL: &str =
            "..,,--''\"&;:/ab19 \n\t\u{1c}\u{85}\u{a0}\u{2028}\u{3000}\u{200b}“”„«»–…€½²٣१№ÀßΣİ中。？Ａ１\u{301}👍";
        match self.below(4) {
            0 => char::from(32 + self.below(95) as u8),
            1 | 2 => SPECIAL.chars().nth(self.below(SPECIAL.chars().count())).unwrap(),
            _ => {
                let (first, n) = COMPLETE_BLOCKS[self.below(COMPLETE_BLOCKS.len())];
                char::from_u32(first + self.below(n) as u32).unwrap()
            }
        }
    }
}
