//! What values cost a template.
//!
//! The engine counts a list as its items, whatever these hold. A list that holds another twice, which holds another twice, …
//! is small, and comparing, hashing or writing it has no end. So who does such a thing pays for the whole value first, with
//! all that it holds as often as it holds it.

use minijinja::value::ObjectRepr;
use minijinja::{Error, ErrorKind, State, Value};

/// Values within each other: those who visit them do so recursively.
const MAX_NESTING: usize = 256;
/// Bytes of text for one unit of fuel, as the engine counts them.
const BYTES_PER_FUEL: u64 = 64;
/// Bytes of text inside a list or map for one unit: as text they are written with marks of escape.
const INNER_BYTES_PER_FUEL: u64 = 32;
/// Bytes of an argument for one unit when it is looked at for every item.
const REPEATED_BYTES_PER_FUEL: u64 = 8;
/// Items that are copied for one unit.
const COPIES_PER_FUEL: u64 = 4;
/// Parts of a text that become values for one unit.
const PARTS_PER_FUEL: u64 = 2;

/// Pays for each of the operands: those of comparisons, filters, tests and methods that may visit everything.
pub(super) fn all(state: &State<'_, '_>, operands: Value) -> Result<Value, Error> {
    operands.try_iter()?.try_for_each(|operand| pay(state, &operand).map(drop))?;
    Ok(operands)
}

/// Pays for all but the first, in which something is looked up.
pub(super) fn after_first(state: &State<'_, '_>, operands: Value) -> Result<Value, Error> {
    operands.try_iter()?.skip(1).try_for_each(|operand| pay(state, &operand).map(drop))?;
    Ok(operands)
}

/// Pays for a value and for what is searched for it; in a map it is looked up.
pub(super) fn contained(state: &State<'_, '_>, operands: Value) -> Result<Value, Error> {
    for (i, operand) in operands.try_iter()?.enumerate() {
        let is_map = operand.as_object().is_some_and(|object| object.repr() == ObjectRepr::Map);
        if i == 0 || !is_map {
            pay(state, &operand)?;
        }
    }
    Ok(operands)
}

/// Pays for the first operand, and for the others once for every part of it.
pub(super) fn each(state: &State<'_, '_>, operands: Value) -> Result<Value, Error> {
    let (mut first, mut others) = (0, 0_u64);
    for (i, operand) in operands.try_iter()?.enumerate() {
        let cost = pay(state, &operand)?;
        let repeated = operand.as_str().map_or(cost, |text| text.len() as u64 / REPEATED_BYTES_PER_FUEL);
        *(if i == 0 { &mut first } else { &mut others }) += if i == 0 { cost } else { repeated };
    }
    state.consume_fuel(first.saturating_mul(others))?;
    Ok(operands)
}

/// Pays for a value that a namespace shall hold. It must not hold a namespace: one that holds itself is never freed.
pub(super) fn assigned(state: &State<'_, '_>, operands: Value) -> Result<Value, Error> {
    if let Some(value) = operands.try_iter()?.next() {
        Payer { state, allows_namespaces: false }.pay(&value, 0)?;
    }
    Ok(operands)
}

/// Items that the engine would make again and again, as a list.
pub(super) fn settled(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let is_lazy = value.as_object().is_some_and(|object| object.repr() == ObjectRepr::Iterable);
    if is_lazy { copied(state, &value).map(Value::from) } else { Ok(value) }
}

/// The items of a value, paid for.
pub(super) fn copied(state: &State<'_, '_>, value: &Value) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for item in value.try_iter()? {
        if (items.len() as u64).is_multiple_of(COPIES_PER_FUEL) {
            state.consume_fuel(1)?;
        }
        items.push(item);
    }
    Ok(items)
}

/// Pays for the parts into which a text is split: by a separator, or by white space.
pub(super) fn parts(state: &State<'_, '_>, text: &str, separator: Option<&str>) -> Result<(), Error> {
    let n_parts = match separator {
        Some(separator) => text.matches(separator).count(),
        None => text.split_whitespace().count(),
    };
    state.consume_fuel(n_parts as u64 / PARTS_PER_FUEL)
}

/// Pays for what Python's `str.format` writes: all widths, and all arguments in every place.
pub(super) fn format(state: &State<'_, '_>, text: &str, arguments: &[Value]) -> Result<(), Error> {
    let mut cost = 0_u64;
    for argument in arguments {
        cost = cost.saturating_add(pay(state, argument)?);
    }
    // The engine panics on letters beyond ASCII in a key; what may be one lies between these brackets.
    let behind = text.split_once('{').and_then(|(_, fields)| fields.split_once('['));
    if behind.and_then(|(_, keys)| keys.rsplit_once(']')).is_some_and(|(keys, _)| !keys.is_ascii()) {
        let problem = "letters beyond ASCII between '[' and ']' behind a '{' of a text for format() are not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    let fields = text.split('{').skip(1).map(|field| field.split('}').next().unwrap_or_default());
    for field in fields {
        let numbers = field.split(|character: char| !character.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let widths = numbers.map(|digits| digits.parse().unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
        state.consume_fuel(cost.saturating_add(widths / BYTES_PER_FUEL))?;
    }
    Ok(())
}

/// Pays for a value and all that it holds, and says how much.
///
/// # Errors
/// When the fuel does not suffice, or values are nested too deeply.
pub(super) fn pay(state: &State<'_, '_>, value: &Value) -> Result<u64, Error> {
    if let Some(text) = value.as_str() {
        let cost = text.len() as u64 / BYTES_PER_FUEL;
        return state.consume_fuel(cost).map(|()| cost);
    }
    Payer { state, allows_namespaces: true }.pay(value, 0)
}

struct Payer<'p, 'a, 'e> {
    state: &'p State<'a, 'e>,
    allows_namespaces: bool,
}

impl Payer<'_, '_, '_> {
    fn pay(&self, value: &Value, n_around: usize) -> Result<u64, Error> {
        if let Some(text) = value.as_str() {
            return self.consume(text.len() as u64 / INNER_BYTES_PER_FUEL);
        }
        let Some(object) = value.as_object() else { return Ok(0) };
        if n_around == MAX_NESTING {
            let message = format!("values hold each other more than {MAX_NESTING} deep");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        if !self.allows_namespaces && object.type_name().ends_with("::Namespace") {
            let message = "a namespace cannot hold a namespace; expected texts, numbers, lists and maps";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        let mut cost = self.consume(1)?;
        if object.repr() == ObjectRepr::Map {
            for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                cost += self.consume(1)? + self.pay(&key, n_around + 1)? + self.pay(&item, n_around + 1)?;
            }
        } else {
            for item in object.try_iter().into_iter().flatten() {
                cost += self.consume(1)? + self.pay(&item, n_around + 1)?;
            }
        }
        Ok(cost)
    }

    fn consume(&self, cost: u64) -> Result<u64, Error> {
        self.state.consume_fuel(cost).map(|()| cost)
    }
}
