//! The first pass: every error in the files shows here, before anything is written.

use super::{Fitting, Preparation, Report, Stage, n_bytes_total};
use crate::curate::Curation;
use crate::order::mix64;
use crate::split::Rule;
use crate::{Corpus, Document, Error, Result, TokenizerSpec};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What the tokenizer is trained on, at most.
const SAMPLE_BYTES: usize = 32 << 20;

/// What was found in a corpus.
pub(super) struct Survey {
    pub(super) n_documents: u64,
    pub(super) n_characters: u64,
    pub(super) has_pairs: bool,
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) dropped_examples: Vec<String>,
    /// Whether each code point occurs; empty when nobody wants to know.
    occurs: Vec<bool>,
    /// Pieces of text with the smallest hashes, so a fair sample of the whole; absent when nobody wants to know.
    sample: Option<BinaryHeap<Sampled>>,
    n_sample_bytes: usize,
    /// What learns the values of the training documents.
    pub(super) fitting: Option<Box<dyn Fitting>>,
    /// Which documents are for validation, as far as that is known before they are counted.
    rule: Rule,
    /// Whether the last document that is no variant is learned, and its variants with it.
    takes_variants: bool,
}

/// A piece of text that may be trained on; ordered by a hash of where it comes from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sampled {
    priority: u64,
    document: u64,
    first_character: u64,
    text: String,
}

impl Survey {
    pub(super) fn take(preparation: &Preparation, report: &mut Report) -> Result<Self> {
        let wants_characters = preparation.fit.is_none() && preparation.tokenizer == TokenizerSpec::Characters;
        let wants_sample = matches!(preparation.tokenizer, TokenizerSpec::Bpe { .. });
        let mut survey = Self {
            n_documents: 0,
            n_characters: 0,
            has_pairs: false,
            dropped: BTreeMap::new(),
            dropped_examples: Vec::new(),
            occurs: if wants_characters { vec![false; char::MAX as usize + 1] } else { Vec::new() },
            sample: wants_sample.then(BinaryHeap::new),
            n_sample_bytes: 0,
            fitting: preparation.fit.as_ref().map(|fit| fit.begin()),
            rule: match preparation.fit {
                Some(_) if preparation.validation.is_none() => preparation.split.rule(u64::MAX, 0, false)?,
                _ => Rule::AllTraining,
            },
            takes_variants: false,
        };
        report.begin(Stage::Survey, n_bytes_total(preparation));
        survey.read(&*preparation.corpus, preparation, report)?;
        let (n_documents, n_characters) = (survey.n_documents, survey.n_characters);
        if let Some(validation) = &preparation.validation {
            // The vocabulary comes from the training data alone, but errors in the validation data show here too.
            let mut other =
                Self { sample: None, occurs: Vec::new(), dropped: BTreeMap::new(), fitting: None, ..survey };
            other.read(&**validation, preparation, report)?;
            survey.dropped_examples = other.dropped_examples;
        }
        if n_documents == 0 {
            return Err(nothing_left(preparation, &survey.dropped, &survey.dropped_examples));
        }
        (survey.n_documents, survey.n_characters) = (n_documents, n_characters);
        Ok(survey)
    }

    fn read(&mut self, corpus: &dyn Corpus, preparation: &Preparation, report: &mut Report) -> Result<()> {
        let mut curation = Curation::new(preparation.steps());
        for document in corpus.documents(&report.counter)? {
            let document = document?;
            let is_variant = document.is_variant;
            let kept = curation.apply(document);
            if !is_variant {
                self.takes_variants = kept.is_some() && !self.rule.takes(self.n_documents);
            }
            if let Some(document) = kept.filter(|_| !is_variant || self.takes_variants) {
                self.add(&document)?;
            }
            report.advance(1, 0);
        }
        for (reason, n) in curation.dropped() {
            *self.dropped.entry((*reason).to_owned()).or_default() += n;
        }
        self.dropped_examples.extend_from_slice(curation.examples());
        Ok(())
    }

    fn add(&mut self, document: &Document) -> Result<()> {
        if let Some(fitting) = self.fitting.as_mut().filter(|_| self.takes_variants) {
            fitting.add(document)?;
        }
        self.has_pairs |= document.target.is_some();
        for text in document.as_text().into_iter().chain(document.target.as_deref()) {
            if !self.occurs.is_empty() {
                text.chars().for_each(|character| self.occurs[character as usize] = true);
            }
            // What decides where documents go is counted without their variants.
            if document.is_variant {
                continue;
            }
            self.add_to_sample(text);
            self.n_characters += text.chars().count() as u64;
        }
        self.n_documents += u64::from(document.piece.ends() && !document.is_variant);
        Ok(())
    }

    fn add_to_sample(&mut self, text: &str) {
        let Some(sample) = &mut self.sample else { return };
        let priority = mix64(self.n_documents ^ mix64(self.n_characters));
        let is_full = self.n_sample_bytes + text.len() > SAMPLE_BYTES;
        if is_full && sample.peek().is_some_and(|last| last.priority < priority) {
            return;
        }
        self.n_sample_bytes += text.len();
        let (document, first_character, text) = (self.n_documents, self.n_characters, text.to_owned());
        sample.push(Sampled { priority, document, first_character, text });
        while self.n_sample_bytes > SAMPLE_BYTES && sample.len() > 1 {
            self.n_sample_bytes -= sample.pop().map_or(0, |last| last.text.len());
        }
    }

    /// The characters that occur.
    pub(super) fn characters(&self) -> BTreeSet<char> {
        let codes = (0_u32..).zip(&self.occurs).filter(|(_, occurs)| **occurs);
        codes.filter_map(|(code, _)| char::from_u32(code)).collect()
    }

    /// Texts to train a tokenizer on, without those that `rule` keeps for validation.
    pub(super) fn sample(&self, rule: Rule) -> Vec<String> {
        let is_training = |sampled: &&Sampled| match rule {
            Rule::Cut { n_characters } => sampled.first_character < n_characters,
            rule => !rule.takes(sampled.document),
        };
        let sample = self.sample.iter().flat_map(|sample| sample.iter()).filter(is_training);
        sample.map(|sampled| sampled.text.clone()).collect()
    }
}

/// What is said when no document is left: how many were dropped for which reason, and where the first of them stand.
fn nothing_left(preparation: &Preparation, dropped: &BTreeMap<String, u64>, examples: &[String]) -> Error {
    let reasons: Vec<String> = dropped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    let reasons =
        if reasons.is_empty() { "there was none".to_owned() } else { format!("dropped: {}", reasons.join(", ")) };
    let examples: String = examples.iter().map(|example| format!("\ndropped {example}")).collect();
    Error::settings(format!("no document of {} is left to train on; {reasons}{examples}", preparation.corpus.name()))
}
