//! The second pass: documents become tokens on several threads, and are written in the order they were read.

use super::{Preparation, Report, Stage, Summary, n_bytes_total};
use crate::curate::Curation;
use crate::split::Rule;
use crate::write::clear_unfinished;
use crate::{Content, Corpus, Document, Encode, Error, Piece, Result, ShardInfo, ShardWriter, Tokenizer};
use genera_tokens::TokenSeq;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

pub(super) const TRAIN_FILE: &str = "train.shard";
pub(super) const VALIDATION_FILE: &str = "validation.shard";

/// Text given to a thread at a time.
const JOB_BYTES: usize = 1 << 18;

/// A document (or piece) on its way into a shard.
struct Item {
    document: Document,
    for_validation: bool,
    /// Whether the document ends here in its shard; it may go on in the other one.
    ends: bool,
}

/// What becomes of an [`Item`].
struct Encoded {
    tokens: TokenSeq,
    for_validation: bool,
    ends: bool,
    n_bytes: u64,
}

/// What was written.
pub(super) struct Shards {
    train: ShardInfo,
    validation: ShardInfo,
}

impl Shards {
    /// Clears away what a killed process left.
    pub(super) fn clear_unfinished(directory: &Path) {
        [TRAIN_FILE, VALIDATION_FILE].iter().for_each(|name| clear_unfinished(&directory.join(name)));
    }

    pub(super) fn write(
        preparation: &Preparation,
        directory: &Path,
        encoder: &dyn Encode,
        tokenizer: &dyn Tokenizer,
        rule: Rule,
        report: &mut Report,
    ) -> Result<Self> {
        let create = |name| ShardWriter::create(&directory.join(name), tokenizer.vocab(), tokenizer.fingerprint());
        let mut pair = Pair { train: create(TRAIN_FILE)?, validation: create(VALIDATION_FILE)? };
        report.begin(Stage::Encode, n_bytes_total(preparation));
        let items = Items::new(&*preparation.corpus, preparation, Part::Split(rule), report)?;
        encode_all(items, encoder, preparation.n_threads, &mut pair, report)?;
        if let Some(validation) = &preparation.validation {
            let items = Items::new(&**validation, preparation, Part::Validation, report)?;
            encode_all(items, encoder, preparation.n_threads, &mut pair, report)?;
        }
        let (train, validation) = (pair.train.finish()?, pair.validation.finish()?);
        if train.n_tokens == 0 {
            return Err(Error::settings(
                "all documents went to the validation data; give more data, or set data.validation_fraction to 0, which keeps \
                 none aside",
            ));
        }
        Ok(Self { train, validation })
    }

    /// The numbers of the shards, the rest left open.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            n_documents: self.train.n_documents,
            n_validation_documents: self.validation.n_documents,
            n_tokens: self.train.n_tokens,
            n_validation_tokens: self.validation.n_tokens,
            n_bytes: self.train.n_bytes,
            n_validation_bytes: self.validation.n_bytes,
            ..Summary::default()
        }
    }
}

struct Pair {
    train: ShardWriter,
    validation: ShardWriter,
}

impl Pair {
    fn push(&mut self, encoded: &Encoded) -> Result<()> {
        let shard = if encoded.for_validation { &mut self.validation } else { &mut self.train };
        shard.push(&encoded.tokens, Piece::new(true, encoded.ends), encoded.n_bytes)
    }
}

/// What part of a corpus goes where.
enum Part {
    Split(Rule),
    Validation,
}

/// The documents of a corpus with where they go.
struct Items {
    documents: crate::Documents,
    curation: Curation,
    part: Part,
    n_documents: u64,
    n_characters: u64,
    /// The second half of a document that was cut.
    cut_off: Option<Item>,
    /// Whether the last document that is no variant is learned whole, and its variants with it.
    takes_variants: bool,
}

impl Items {
    fn new(corpus: &dyn Corpus, preparation: &Preparation, part: Part, report: &Report) -> Result<Self> {
        let documents = corpus.documents(&report.counter)?;
        let curation = Curation::new(preparation.steps());
        Ok(Self { documents, curation, part, n_documents: 0, n_characters: 0, cut_off: None, takes_variants: false })
    }

    /// Where a document goes; `None` when it goes nowhere.
    fn place(&mut self, document: Document) -> Option<Item> {
        if document.is_variant {
            let document = self.curation.apply(document).filter(|_| self.takes_variants)?;
            return Some(Item { ends: document.piece.ends(), document, for_validation: false });
        }
        let item = self.curation.apply(document).map(|document| self.assign(document));
        self.takes_variants = item.as_ref().is_some_and(|item| !item.for_validation) && self.cut_off.is_none();
        item
    }

    fn assign(&mut self, document: Document) -> Item {
        let number = self.n_documents;
        let ends = document.piece.ends();
        self.n_documents += u64::from(ends);
        match self.part {
            Part::Validation => Item { document, for_validation: true, ends },
            Part::Split(Rule::Cut { n_characters }) => self.cut(document, n_characters),
            Part::Split(rule) => Item { for_validation: rule.takes(number), document, ends },
        }
    }

    /// Sends what comes after the first `n_training` characters to the validation data.
    fn cut(&mut self, mut document: Document, n_training: u64) -> Item {
        let n_before = self.n_characters;
        let text = document.as_text().unwrap_or_default();
        self.n_characters += text.chars().count() as u64;
        let ends = document.piece.ends();
        if self.n_characters <= n_training || n_before >= n_training {
            let ends = ends || self.n_characters == n_training;
            return Item { document, for_validation: n_before >= n_training, ends };
        }
        let place = text.char_indices().nth((n_training - n_before) as usize).map_or(text.len(), |(place, _)| place);
        let rest = Content::Text(text[place..].to_owned());
        let piece = document.piece;
        let rest = Document { piece: Piece::new(false, ends), content: rest, ..document.clone() };
        self.cut_off = Some(Item { document: rest, for_validation: true, ends });
        if let Content::Text(text) | Content::Block { text, .. } = &mut document.content {
            text.truncate(place);
        }
        document.piece = Piece::new(piece.begins(), false);
        Item { document, for_validation: false, ends: true }
    }
}

impl Iterator for Items {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(item) = self.cut_off.take() {
            return Some(Ok(item));
        }
        loop {
            match self.documents.next()? {
                Err(error) => return Some(Err(error)),
                Ok(document) => {
                    if let Some(item) = self.place(document) {
                        return Some(Ok(item));
                    }
                }
            }
        }
    }
}

type Job = (u64, Vec<Item>);
type Done = (u64, Result<Vec<Encoded>>);

/// Encodes `items` on threads. The calling thread reads and writes, and never has more than a few jobs under way.
fn encode_all(
    items: Items,
    encoder: &dyn Encode,
    n_threads: usize,
    shards: &mut Pair,
    report: &mut Report,
) -> Result<()> {
    let n_threads = match n_threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let (mut items, max_under_way) = (items, 2 * n_threads as u64);
    let (job_sender, jobs) = sync_channel::<Job>(2 * n_threads);
    let (done_sender, done) = sync_channel::<Done>(2 * n_threads);
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            let (jobs, done_sender) = (&jobs, done_sender.clone());
            scope.spawn(move || work(jobs, &done_sender, encoder));
        }
        drop(done_sender);
        let mut waiting = BTreeMap::new();
        let (mut n_sent, mut n_written) = (0, 0);
        let mut is_read = false;
        while !is_read || n_written < n_sent {
            if !is_read && n_sent - n_written < max_under_way {
                let job = next_job(&mut items)?;
                is_read = job.is_empty();
                if !is_read {
                    job_sender.send((n_sent, job)).expect("the threads live as long as the sender");
                    n_sent += 1;
                }
                continue;
            }
            let (number, encoded) = done.recv().expect("a thread answers every job");
            waiting.insert(number, encoded?);
            while let Some(encoded) = waiting.remove(&n_written) {
                write(&encoded, shards, report)?;
                n_written += 1;
            }
        }
        drop(job_sender);
        Ok(())
    })
}

fn next_job(items: &mut Items) -> Result<Vec<Item>> {
    let mut job = Vec::new();
    let mut n_bytes = 0;
    while n_bytes < JOB_BYTES {
        let Some(item) = items.next().transpose()? else { break };
        n_bytes += item.document.n_bytes();
        job.push(item);
    }
    Ok(job)
}

fn work(jobs: &Mutex<Receiver<Job>>, done: &SyncSender<Done>, encoder: &dyn Encode) {
    loop {
        let next = jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
        let Ok((number, items)) = next else { return };
        let encode = |item: Item| {
            Ok(Encoded {
                tokens: encoder.encode(&item.document).map_err(|error| name_document(error, &item.document))?,
                for_validation: item.for_validation,
                ends: item.ends,
                n_bytes: encoder.n_target_bytes(&item.document),
            })
        };
        // Nobody listens any more when another job has failed.
        if done.send((number, items.into_iter().map(encode).collect())).is_err() {
            return;
        }
    }
}

/// Says in which document of which file an unknown character is.
fn name_document(error: Error, document: &Document) -> Error {
    match error {
        Error::UnknownCharacter { .. } => {
            Error::bad_record(Path::new(&*document.origin.file), document.origin.number(), error.to_string())
        }
        other => other,
    }
}

fn write(encoded: &[Encoded], shards: &mut Pair, report: &mut Report) -> Result<()> {
    for document in encoded {
        shards.push(document)?;
        report.advance(u64::from(document.ends), document.tokens.len() as u64);
    }
    Ok(())
}
