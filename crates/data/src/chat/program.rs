//! A template made into a program in which everything costs fuel.
//!
//! The engine counts what it does, with three exceptions, which are closed here. Sums, products and slices of lists are only
//! noted down, and 33 such notes within each other are worked off uncounted: doubled 33 times, a list of one fills the memory.
//! So additions call [`add`], and what products and slices give is copied at once. Products and sums of literals are computed
//! while the program is made, where nothing is counted: so the left side of a product is passed through a filter, of which the
//! engine does not know what it does. And whatever visits all that a value holds counts the outermost items alone: so the
//! operands of such instructions are paid for before ([`cost`]).

use super::cost;
use minijinja::machinery::ast::Stmt;
use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, Tokenizer, eval, make_string_output, parse,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use std::collections::HashSet;

/// Most tokens between two braces: making the program takes the square of it. Published templates have some hundred.
const MAX_TOKENS: usize = 4096;
/// Most `elif`s: each is read, translated and freed inside the one before. Published templates have a dozen.
const MAX_ELIFS: usize = 1024;
/// The function that adds. No template can have another of that name.
const ADD: &str = "+";
/// The functions of [`cost`]; no template can call or replace them.
const ALL: &str = "pay for all";
const AFTER_FIRST: &str = "pay after the first";
const CONTAINED: &str = "pay for what is searched";
const EACH: &str = "pay for each";
const ASSIGNED: &str = "pay for what is assigned";
const SETTLED: &str = "settled";
/// The filter that gives what it gets.
const AS_IS: &str = "__as_is";

/// Adds what [`source`] and [`render`] need.
pub(super) fn prepare(environment: &mut Environment<'_>) {
    environment.add_function(ADD, add);
    environment.add_function(ALL, cost::all);
    environment.add_function(AFTER_FIRST, cost::after_first);
    environment.add_function(CONTAINED, cost::contained);
    environment.add_function(EACH, cost::each);
    environment.add_function(ASSIGNED, cost::assigned);
    environment.add_function(SETTLED, cost::settled);
    environment.add_filter(AS_IS, |value: Value| value);
}

/// The source with the filter before every `*`.
///
/// # Errors
/// When it is not a template, or has an expression that is too long.
pub(super) fn source(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    let mut tokenizer = Tokenizer::new(source, "chat", false, syntax.clone());
    let (mut text, mut n_copied, mut n_tokens) = (String::with_capacity(source.len()), 0, 0);
    let mut n_elifs = 0;
    // Where an operand ends, if the token before was the end of one.
    let mut operand = None;
    while let Some((token, span)) = tokenizer.next_token()? {
        n_tokens = if matches!(token, Token::TemplateData(_)) { 0 } else { n_tokens + 1 };
        if n_tokens > MAX_TOKENS {
            let message = format!("an expression has more than {MAX_TOKENS} parts");
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
        n_elifs += usize::from(matches!(token, Token::Ident("elif")));
        if n_elifs > MAX_ELIFS {
            return Err(Error::new(ErrorKind::SyntaxError, format!("it has more than {MAX_ELIFS} elifs")));
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
    [&mut main].into_iter().chain(blocks.values_mut()).for_each(|instructions| {
        count_additions(instructions);
        count_visits(instructions);
    });
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

/// Has operands paid for, and lazy results copied: such an instruction becomes a jump behind the program's end, where it stands
/// between those that pay, and from where a jump leads back.
fn count_visits(instructions: &mut Instructions<'_>) {
    let targets = targets(instructions);
    let n_instructions = (0..).take_while(|&i| instructions.get(i).is_some()).count() as u32;
    let _ = instructions.add(Instruction::Return);
    for i in 0..n_instructions {
        let Some(original) = instructions.get(i).cloned() else { return };
        let is_constant = |before: u32| matches!(instructions.get(before), Some(Instruction::LoadConst(_)));
        let has_constant_key = !targets.contains(&i) && i.checked_sub(1).is_some_and(is_constant);
        let payment = payment(&original).filter(|_| !(matches!(original, Instruction::GetItem) && has_constant_key));
        let is_lazy = matches!(original, Instruction::Mul | Instruction::Slice);
        if payment.is_none() && !is_lazy {
            continue;
        }
        let mut detour = Vec::new();
        if let Some((function, n_operands)) = payment {
            detour.extend([
                Instruction::BuildList(n_operands),
                Instruction::CallFunction(function, Some(1)),
                Instruction::UnpackLists(1),
            ]);
            // Their number is on the stack before the instruction only where it was there at first.
            detour.extend(n_operands.map(|_| Instruction::DiscardTop));
        }
        detour.push(original);
        detour.extend(is_lazy.then_some(Instruction::CallFunction(SETTLED, Some(1))));
        detour.push(Instruction::Jump(i + 1));
        let line = instructions.get_line(i).and_then(|line| u16::try_from(line).ok());
        let mut start = None;
        for instruction in detour {
            let at = match line {
                Some(line) => instructions.add_with_line(instruction, line),
                None => instructions.add(instruction),
            };
            start = start.or(Some(at));
        }
        if let (Some(place), Some(start)) = (instructions.get_mut(i), start) {
            *place = Instruction::Jump(start);
        }
    }
}

/// Where jumps lead.
fn targets(instructions: &Instructions<'_>) -> HashSet<u32> {
    let target = |instruction: &Instruction<'_>| match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target) => Some(*target),
        _ => None,
    };
    (0..).map_while(|i| instructions.get(i)).filter_map(target).collect()
}

/// The function that pays for an instruction's operands, and how many there are if that is known.
///
/// What is not known to look at the outermost alone is paid for in full.
fn payment(instruction: &Instruction<'_>) -> Option<(&'static str, Option<usize>)> {
    match instruction {
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::CompareAndPreserve(_)
        | Instruction::StringConcat => Some((ALL, Some(2))),
        Instruction::In => Some((CONTAINED, Some(2))),
        Instruction::GetItem => Some((AFTER_FIRST, Some(2))),
        Instruction::SetAttr(_) => Some((ASSIGNED, Some(2))),
        // Keys are hashed.
        Instruction::BuildMap(n_pairs) if *n_pairs > 0 => Some((ALL, Some(2 * n_pairs))),
        Instruction::ApplyFilter(name, n, _) => Some((of_filter(name)?, n.map(usize::from))),
        Instruction::PerformTest(name, n, _) => Some((of_test(name)?, n.map(usize::from))),
        Instruction::CallMethod(name, n) => Some((of_method(name)?, n.map(usize::from))),
        _ => None,
    }
}

fn of_filter(name: &str) -> Option<&'static str> {
    match name {
        AS_IS | "length" | "count" | "first" | "last" | "list" | "items" | "reverse" | "default" | "d" | "int"
        | "float" | "abs" | "round" | "bool" => None,
        "attr" => Some(AFTER_FIRST),
        "map" | "select" | "reject" | "selectattr" | "rejectattr" | "trim" => Some(EACH),
        _ => Some(ALL),
    }
}

fn of_test(name: &str) -> Option<&'static str> {
    match name {
        "defined" | "undefined" | "none" | "string" | "mapping" | "iterable" | "sequence" | "number" | "integer"
        | "int" | "float" | "boolean" | "true" | "false" | "odd" | "even" => None,
        "in" => Some(CONTAINED),
        _ => Some(ALL),
    }
}

fn of_method(name: &str) -> Option<&'static str> {
    match name {
        "keys" | "values" | "items" => None,
        "get" => Some(AFTER_FIRST),
        "strip" | "lstrip" | "rstrip" => Some(EACH),
        _ => Some(ALL),
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
