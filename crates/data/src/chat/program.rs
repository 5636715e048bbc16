//! A template made into a program in which everything costs fuel.
//!
//! The engine counts what it does, with two exceptions, which are closed here. A sum of lists is only noted down, and 33 such
//! notes within each other are worked off uncounted: doubled 33 times, a list of one fills the memory. So additions call
//! [`add`]. And products and sums of literals are computed while the program is made, where nothing is counted: so the left
//! side of a product is passed through a filter, of which the engine does not know what it does.

use minijinja::machinery::ast::Stmt;
use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, Tokenizer, eval, make_string_output, parse,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

/// Most tokens between two braces: making the program takes the square of it. Published templates have some hundred.
const MAX_TOKENS: usize = 4096;
/// The function that adds. No template can have another of that name.
const ADD: &str = "+";
/// The filter that gives what it gets.
const AS_IS: &str = "__as_is";

/// Adds what [`source`] and [`render`] need.
pub(super) fn prepare(environment: &mut Environment<'_>) {
    environment.add_function(ADD, add);
    environment.add_filter(AS_IS, |value: Value| value);
}

/// The source with the filter before every `*`.
///
/// # Errors
/// When it is not a template, or has an expression that is too long.
pub(super) fn source(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    let mut tokenizer = Tokenizer::new(source, "chat", false, syntax.clone());
    let (mut text, mut n_copied, mut n_tokens) = (String::with_capacity(source.len()), 0, 0);
    // Where an operand ends, if the token before was the end of one.
    let mut operand = None;
    while let Some((token, span)) = tokenizer.next_token()? {
        n_tokens = if matches!(token, Token::TemplateData(_)) { 0 } else { n_tokens + 1 };
        if n_tokens > MAX_TOKENS {
            let message = format!("an expression has more than {MAX_TOKENS} parts");
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        if let (Token::Mul, Some(end)) = (&token, operand) {
            text += &source[n_copied..end];
            text += &format!("|{AS_IS} ");
            n_copied = end;
        }
        let ends_operand = matches!(
            token,
            Token::Ident(_)
                | Token::Str(_)
                | Token::String(_)
                | Token::Int(_)
                | Token::Int128(_)
                | Token::Float(_)
                | Token::ParenClose
                | Token::BracketClose
                | Token::BraceClose
        );
        operand = ends_operand.then_some(span.end_offset as usize);
    }
    Ok(text + &source[n_copied..])
}

/// Runs the program of a source.
///
/// # Errors
/// What the engine says.
pub(super) fn render(
    environment: &Environment<'_>,
    source: &str,
    syntax: &SyntaxConfig,
    context: Value,
) -> Result<String, Error> {
    let tree: Stmt<'_> = parse(source, "chat", syntax.clone())?;
    let mut generator = CodeGenerator::new("chat", source);
    generator.compile_stmt(&tree);
    let (mut main, mut blocks) = generator.finish();
    [&mut main].into_iter().chain(blocks.values_mut()).for_each(count_additions);
    let mut text = String::new();
    eval(environment, &main, context, &blocks, &mut make_string_output(&mut text), AutoEscape::None)?;
    Ok(text)
}

fn count_additions(instructions: &mut Instructions<'_>) {
    for i in 0.. {
        match instructions.get_mut(i) {
            Some(instruction @ Instruction::Add) => *instruction = Instruction::CallFunction(ADD, Some(2)),
            Some(_) => {}
            None => return,
        }
    }
}

/// Texts and lists one behind the other, or the sum of numbers.
fn add(state: &State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok([left, right].concat().into());
    }
    let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list(&left) && is_list(&right) {
        let mut items = Vec::new();
        for item in left.try_iter()?.chain(right.try_iter()?) {
            state.consume_fuel(1)?;
            items.push(item);
        }
        return Ok(items.into());
    }
    sum(&left, &right).ok_or_else(|| {
        let message = format!("{} and {} cannot be added", left.kind(), right.kind());
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

fn sum(left: &Value, right: &Value) -> Option<Value> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !(is_number(left) && is_number(right)) {
        return None;
    }
    let whole = |value: &Value| i128::try_from(value.clone()).ok().filter(|_| !is_fraction(value));
    match whole(left).zip(whole(right)) {
        Some((left, right)) => left.checked_add(right).map(Value::from),
        None => Some(Value::from(f64::try_from(left.clone()).ok()? + f64::try_from(right.clone()).ok()?)),
    }
}

/// Whether a number is kept as a fraction: 2.0 + 1 is 3.0.
fn is_fraction(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}
