//! Schemas, grammars and regular expressions as constraints on tokens, by the `llguidance` crate.

use crate::limits::{SCHEMA_BYTES, SCHEMA_DEPTH};
use crate::problem::Problem;
use genera_engine::generate::{Constraint, Fault, TokenMask};
use genera_modality::Codebook;
use genera_tokens::TokenId;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use regex_syntax::hir::{Hir, HirKind};
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

/// Time of a processor that compiling may take.
const COMPILE_TIME: Duration = Duration::from_millis(50);
/// Time after which nobody waits for it any more, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_millis(1000);
/// Forms that are compiled at once: what takes longer than its caller waits goes on until the compiler's own limits end it.
const N_COMPILING: usize = 8;
/// Parts of a regular expression whose repetitions are written out, at most.
const REGEX_SIZE: u64 = 20_000;
/// Stack of the thread that compiles: schemas nest.
const STACK_BYTES: usize = 32 << 20;

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// JSON of this schema.
    Schema(Value),
    /// A text that a regular expression matches whole.
    Regex(String),
    /// A text of a grammar in llguidance's variant of Lark.
    Lark(String),
}

/// Compiles forms for the tokens of one model.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    vocab_size: usize,
    /// A place for each form that is compiled.
    places: Arc<Semaphore>,
}

/// A compiled form, of which each answer takes a copy.
pub struct Compiled {
    /// As it is before the first token.
    matcher: Arc<Mutex<Matcher>>,
    vocab_size: usize,
}

impl Grammars {
    /// For a tokenizer, and the ids that end an answer.
    ///
    /// # Errors
    /// When nothing ends an answer.
    pub fn new(codebook: &Codebook, stop: &[TokenId], vocab_size: usize) -> Result<Self, String> {
        let &[first, ..] = stop else {
            return Err(
                "this model has no token that ends an answer, so answers in a given form are not possible".into()
            );
        };
        let info = TokRxInfo::new(vocab_size as u32, first);
        let trie = TokTrie::from(&info, &words(codebook, vocab_size)).with_eos_tokens(stop);
        let environment: TokEnv = Arc::new(Environment { codebook: codebook.clone(), trie });
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|error| format!("answers in a given form are not possible with this tokenizer: {error}"))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory: Arc::new(factory), vocab_size, places: Arc::new(Semaphore::new(N_COMPILING)) })
    }

    /// Compiles a form.
    ///
    /// # Errors
    /// 400 with what is wrong with it, at the field `param`; also when it needs more time or memory than is allowed. 429 when
    /// many others are being compiled.
    pub fn compile(&self, form: &Form, param: &str) -> Result<Compiled, Problem> {
        let grammar = grammar(form).map_err(|message| Problem::invalid(param, format!("`{param}` {message}")))?;
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Problem::overloaded(format!("{N_COMPILING} schemas and grammars are being compiled; ask again in a moment"))
        })?;
        let (factory, (sender, receiver)) = (self.factory.clone(), mpsc::channel());
        let compile = move || {
            let _place = place;
            let (start, spent) = (Instant::now(), thread_time());
            let mut matcher = Matcher::new(factory.create_parser(grammar));
            // The first mask shows whether it is usable, and costs most.
            let tried = matcher.compute_mask().map(|_| matcher).map_err(|error| first_line(&error.to_string()));
            // Where the system does not tell, the time that passed has to do.
            let time = thread_time().zip(spent).map_or(start.elapsed(), |(now, before)| now.saturating_sub(before));
            let tried = tried.map(|matcher| (matcher, time));
            // Nobody listens any more when the deadline has passed.
            let _ = sender.send(tried);
        };
        let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(compile).map_err(|_| Problem::internal("there is no thread to compile the schema with"))?;
        match receiver.recv_timeout(DEADLINE) {
            Ok(Ok((_, time))) if time > COMPILE_TIME => Err(Problem::invalid(
                param,
                format!(
                    "`{param}` takes {} ms to compile, and {} are allowed; make it simpler",
                    time.as_millis(),
                    COMPILE_TIME.as_millis()
                ),
            )),
            Ok(Ok((matcher, _))) => {
                Ok(Compiled { matcher: Arc::new(Mutex::new(matcher)), vocab_size: self.vocab_size })
            }
            Ok(Err(message)) => Err(Problem::invalid(param, format!("`{param}` cannot be kept to: {message}"))),
            Err(_) => Err(Problem::invalid(param, format!("`{param}` takes too long to compile; make it simpler"))),
        }
    }
}

/// Time that this thread has had of a processor; `None` where the system does not tell.
fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

impl Compiled {
    /// The constraint on one answer. It takes its copy of the form when the answer begins: many may wait.
    pub fn constraint(&self) -> Box<dyn Constraint> {
        let (first, vocab_size) = (self.matcher.clone(), self.vocab_size);
        Box::new(Matched { first, matcher: None, vocab_size, is_lost: false })
    }
}

/// Well below the crate's own limits: 50 ms and 16 MiB for each form, some milliseconds for each token.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 1000,
        initial_lexer_fuel: 400_000,
        step_lexer_fuel: 100_000,
        step_max_items: 20_000,
        max_lexer_states: 10_000,
        max_grammar_size: 50_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

fn grammar(form: &Form) -> Result<TopLevelGrammar, String> {
    match form {
        Form::Schema(schema) => {
            check_depth(schema)?;
            check_bytes(schema.to_string().len())?;
            check_patterns(schema)?;
            Ok(TopLevelGrammar::from_json_schema(with_tight_spaces(schema)))
        }
        Form::Regex(regex) => {
            check_bytes(regex.len())?;
            check_regex(regex)?;
            Ok(TopLevelGrammar::from_regex(regex))
        }
        Form::Lark(lark) => {
            check_bytes(lark.len())?;
            check_lark(lark)?;
            Ok(TopLevelGrammar::from_lark(lark.clone()))
        }
    }
}

fn check_bytes(n: usize) -> Result<(), String> {
    if n <= SCHEMA_BYTES { Ok(()) } else { Err(format!("has {n} bytes; at most {SCHEMA_BYTES} are taken")) }
}

/// Refuses a regular expression whose counted repetitions, written out, would fill the memory.
fn check_regex(regex: &str) -> Result<(), String> {
    // What is no regular expression the compiler refuses, in its own words.
    let size = regex_syntax::parse(regex).map_or(0, |regex| written_out(&regex));
    if size <= REGEX_SIZE {
        return Ok(());
    }
    Err(format!(
        "has a regular expression with {size} parts when its repetitions are written out; at most {REGEX_SIZE} are taken"
    ))
}

/// Parts of a regular expression, those that are repeated a number of times counted as often.
fn written_out(regex: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(written_out).fold(0, u64::saturating_add);
    match regex.kind() {
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Repetition(repetition) => {
            let n = repetition.max.unwrap_or(repetition.min).max(1);
            written_out(&repetition.sub).saturating_mul(n.into())
        }
        HirKind::Capture(capture) => written_out(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// [`check_regex`] for all patterns of a schema, whose depth has been checked.
fn check_patterns(schema: &Value) -> Result<(), String> {
    if let Value::Object(map) = schema {
        map.get("pattern").and_then(Value::as_str).map_or(Ok(()), check_regex)?;
        let names = map.get("patternProperties").and_then(Value::as_object);
        names.into_iter().flat_map(Map::keys).try_for_each(|name| check_regex(name))?;
    }
    children(schema).into_iter().try_for_each(check_patterns)
}

/// [`check_regex`] for the regular expressions of a grammar, and the checks of schemas for those in it.
fn check_lark(lark: &str) -> Result<(), String> {
    let mut rest = lark;
    while let Some(first) = rest.chars().next() {
        rest = if let Some(schema) = rest.strip_prefix("%json") {
            let mut values = serde_json::Deserializer::from_str(schema).into_iter::<Value>();
            // What is no JSON the compiler refuses.
            if let Some(Ok(schema)) = values.next() {
                check_depth(&schema)?;
                check_patterns(&schema)?;
            }
            schema.get(values.byte_offset()..).unwrap_or_default()
        } else if rest.starts_with("//") || first == '#' {
            rest.split_once('\n').map_or("", |(_, next)| next)
        } else if first == '/' || first == '"' {
            let (inside, next) = until(&rest[1..], first);
            if first == '/' {
                check_regex(inside)?;
            }
            next
        } else {
            &rest[first.len_utf8()..]
        };
    }
    Ok(())
}

/// What stands before a mark that no backslash precedes, and what follows it.
fn until(text: &str, mark: char) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        if character == mark && !is_escaped {
            return (&text[..at], &text[at + mark.len_utf8()..]);
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    (text, "")
}

fn check_depth(schema: &Value) -> Result<(), String> {
    let mut level = vec![schema];
    for _ in 0..SCHEMA_DEPTH {
        level = level.into_iter().flat_map(children).collect();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(format!("is nested more than {SCHEMA_DEPTH} levels deep"))
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// A small model that may write any amount of white space sometimes writes nothing else; it gets one space, where JSON is
/// usually written with one, or none.
fn with_tight_spaces(schema: &Value) -> Value {
    let mut schema = if schema == &Value::Bool(true) { json!({}) } else { schema.clone() };
    if let Some(map) = schema.as_object_mut() {
        map.insert("x-guidance".to_owned(), json!({ "whitespace_flexible": true, "whitespace_pattern": " ?" }));
    }
    schema
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// The bytes of every token; of special ones their names behind the mark that keeps them out of texts.
fn words(codebook: &Codebook, vocab_size: usize) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = (0..vocab_size as TokenId).map(|id| codebook.token_content(id)).collect();
    for (id, name) in codebook.special_names() {
        if let Some(word) = words.get_mut(id as usize) {
            *word = [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat();
        }
    }
    words
}

struct Environment {
    codebook: Codebook,
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.codebook.encode(text).unwrap_or_default())
    }
}

/// Follows an answer and says what may come next.
struct Matched {
    first: Arc<Mutex<Matcher>>,
    matcher: Option<Matcher>,
    vocab_size: usize,
    /// Whether the answer has become too complex to follow.
    is_lost: bool,
}

impl Matched {
    fn matcher(&mut self) -> &mut Matcher {
        let first = &self.first;
        self.matcher.get_or_insert_with(|| first.lock().unwrap_or_else(PoisonError::into_inner).deep_clone())
    }
}

impl Constraint for Matched {
    fn restrict(&mut self, mask: &mut TokenMask) {
        match self.matcher().compute_mask_or_eos() {
            Ok(allowed) => mask.intersect_words(allowed.as_slice()),
            // The answer ends instead of leaving its form.
            Err(_) => {
                self.is_lost = true;
                *mask = TokenMask::none(self.vocab_size);
            }
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.is_lost.then_some(Fault::TooComplex)
    }

    fn advance(&mut self, token: TokenId) {
        // An error shows at the next mask.
        let _ = self.matcher().consume_token(token);
    }
}

/// A constraint whose panic concerns its own answer alone: nothing is allowed any more, which ends it.
pub struct Guarded {
    inner: Option<Box<dyn Constraint>>,
}

impl Guarded {
    /// Guards a constraint.
    pub fn new(inner: Box<dyn Constraint>) -> Self {
        Self { inner: Some(inner) }
    }

    /// What it does; `None` once it has panicked.
    fn with<T>(&mut self, act: impl FnOnce(&mut dyn Constraint) -> T) -> Option<T> {
        let inner = self.inner.as_mut()?;
        let done = catch_unwind(AssertUnwindSafe(|| act(inner.as_mut()))).ok();
        if done.is_none() {
            self.inner = None;
        }
        done
    }
}

impl Constraint for Guarded {
    fn restrict(&mut self, mask: &mut TokenMask) {
        if self.with(|inner| inner.restrict(mask)).is_none() {
            *mask = TokenMask::none(mask.len());
        }
    }

    fn confirms(&mut self, token: TokenId) -> bool {
        // After a panic the next mask ends the answer.
        self.with(|inner| inner.confirms(token)).unwrap_or(true)
    }

    fn fault(&self) -> Option<Fault> {
        self.inner.as_ref().map_or(Some(Fault::Failed), |inner| inner.fault())
    }

    fn advance(&mut self, token: TokenId) {
        let _ = self.with(|inner| inner.advance(token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{Format, Toolbox};
    use crate::wire::message::ToolChoice;
    use genera_data::SpecialTokens;
    use genera_data::tokenize::Bytes;

    const END: TokenId = 258;

    fn grammars() -> Grammars {
        let codebook: Codebook = Arc::new(Bytes::new(&SpecialTokens::standard()));
        assert_eq!(codebook.vocab().special.end, Some(END));
        Grammars::new(&codebook, &[END], 259).unwrap()
    }

    fn accepts(form: &Form, text: &str) -> bool {
        let grammars = grammars();
        let mut constraint = grammars.compile(form, "form").unwrap().constraint();
        let mut ids: Vec<TokenId> = text.bytes().map(TokenId::from).collect();
        ids.push(END);
        ids.into_iter().all(|id| {
            let mut mask = TokenMask::all(259);
            constraint.restrict(&mut mask);
            let is_allowed = mask.allows(id);
            if is_allowed && id != END {
                constraint.advance(id);
            }
            is_allowed
        })
    }

    #[test]
    fn answers_keep_to_their_form() {
        let schema = Form::Schema(json!({
            "type": "object", "properties": { "n": { "type": "integer" }, "s": { "enum": ["a", "b"] } },
            "required": ["n", "s"], "additionalProperties": false,
        }));
        assert!(accepts(&schema, r#"{"n": 12, "s": "b"}"#));
        assert!(accepts(&schema, r#"{"n":12,"s":"b"}"#));
        assert!(!accepts(&schema, r#"{"n": 12}"#));
        assert!(!accepts(&schema, r#"{"n": 1.5, "s": "b"}"#));
        assert!(!accepts(&schema, r#"{"n": 12, "s": "c"}"#));
        assert!(!accepts(&schema, r#"{"n":    12, "s": "b"}"#), "white space is bounded");
        assert!(accepts(&Form::Schema(json!({ "type": "object" })), r#"{"ü": [1, {}, null]}"#));
        assert!(accepts(&Form::Regex("[ab]{2}".into()), "ab"));
        assert!(!accepts(&Form::Regex("[ab]{2}".into()), "abc"));
        assert!(accepts(&Form::Lark("start: \"x\" | \"y\" start".into()), "yyx"));
    }

    #[test]
    fn a_tool_may_refer_to_parts_of_its_own_schema() {
        let place = json!({ "type": "object", "properties": { "city": { "const": "Rome" } }, "required": ["city"], "additionalProperties": false });
        let parameters = json!({
            "type": "object", "properties": { "at": { "$ref": "#/$defs/Place" } }, "required": ["at"],
            "additionalProperties": false, "$defs": { "Place": place },
        });
        let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
        let tools = serde_json::from_value(json!([tool("weather"), tool("news")])).unwrap();
        let toolbox = Toolbox::new(Some(tools), Some(ToolChoice::Required), None, Format::Bare).unwrap().unwrap();
        assert!(accepts(&toolbox.form(), r#"{"name": "news", "parameters": {"at": {"city": "Rome"}}}"#));
        assert!(!accepts(&toolbox.form(), r#"{"name": "news", "parameters": {"at": {"city": "Oslo"}}}"#));
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused_in_time() {
        let nested = (0..100).fold(json!({}), |inner, _| json!({ "properties": { "a": inner } }));
        let many: Vec<Value> = (0..20_000).map(|i| json!(format!("value {i}"))).collect();
        let hostile = [
            Form::Schema(json!({ "type": "nonsense" })),
            Form::Schema(json!({ "$ref": "#/nowhere" })),
            Form::Schema(json!({ "$ref": "http://example.com/schema" })),
            Form::Schema(json!(false)),
            Form::Schema(json!(17)),
            Form::Schema(json!({ "type": "string", "pattern": "(" })),
            Form::Schema(json!({ "enum": many })),
            Form::Schema(nested),
            Form::Regex("(".into()),
            Form::Regex("(?=a)".into()),
            Form::Regex("((a{100}){100}){100}".into()),
            Form::Lark("start: \"a/b\" /((a{100}){100}){100}/ // \"".into()),
            Form::Lark(r#"start: %json {"type": "string", "pattern": "((a{100}){100}){100}"}"#.into()),
            Form::Lark("start: start start start".into()),
            Form::Lark("nothing".into()),
            Form::Lark("x".repeat(SCHEMA_BYTES + 1)),
            Form::Lark(format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000))),
        ];
        let grammars = grammars();
        for form in hostile {
            assert!(compiled_in_time(&grammars, &form).is_err(), "{:.100}", format!("{form:?}"));
        }
        // Large, but not without an end: lazily compiled, and bounded at every token.
        for pattern in ["(a{1000}){1000}", "((((.*a.{99}){99}){99}){99})"] {
            let _ = compiled_in_time(&grammars, &Form::Schema(json!({ "type": "string", "pattern": pattern })));
        }
    }

    /// In a process of its own, since only a process knows its peak: the test names itself and looks.
    #[test]
    #[cfg(target_os = "linux")]
    fn forms_take_little_memory() {
        let Ok(form) = std::env::var("GENERA_TEST_FORM") else {
            return FORMS.iter().for_each(|form| {
                let mut command = std::process::Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", "constraint::tests::forms_take_little_memory", "--nocapture"]);
                let output = command.env("GENERA_TEST_FORM", form).output().unwrap();
                assert!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
            });
        };
        let grammars = grammars();
        let _ = grammars.compile(&Form::Regex("a".into()), "form");
        let before = kib("VmRSS:");
        let _ = grammars.compile(&form_of(&form), "form");
        let grown = kib("VmHWM:") - before;
        assert!(grown <= 16 << 10, "{grown} KiB");
    }

    const FORMS: [&str; 4] = ["regex", "deep regex", "enum", "pattern"];

    #[cfg(target_os = "linux")]
    fn form_of(name: &str) -> Form {
        let many: Vec<Value> = (0..5000).map(|i| json!(format!("value {i}"))).collect();
        match name {
            "regex" => Form::Regex("((a{100}){100}){100}".into()),
            "deep regex" => Form::Regex(format!("{}a{}", "(".repeat(2000), "b*)".repeat(2000))),
            "enum" => Form::Schema(json!({ "enum": many })),
            _ => Form::Schema(json!({ "type": "string", "pattern": "((((.*a.{99}){99}){99}){99})" })),
        }
    }

    #[cfg(target_os = "linux")]
    fn kib(field: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn compiled_in_time(grammars: &Grammars, form: &Form) -> Result<Compiled, Problem> {
        let start = Instant::now();
        let compiled = grammars.compile(form, "form");
        assert!(start.elapsed() < 2 * DEADLINE, "{:?} for {:.100}", start.elapsed(), format!("{form:?}"));
        compiled
    }
}
