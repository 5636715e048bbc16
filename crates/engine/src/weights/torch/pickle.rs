//! A machine for pickles that builds plain data and runs nothing.
//!
//! A pickle is a program: its instructions push values on a stack, gather those above a mark into containers, and call
//! functions by name. Here the only functions are those of [`Global`], and each has a fixed meaning. Values are numbers
//! or places in one list of objects, so that no value contains another and nothing recurs, however deep a file nests.
//!
//! # Source
//! Python, `Lib/pickletools.py`, protocol 2.

use super::Sound;
use super::bytes::Bytes;
use super::global::Global;
use super::state_dict::{StorageRef, TensorRef};
use std::rc::Rc;

/// Longest pickle that is read. A tensor takes about 150 bytes.
pub(super) const MAX_PICKLE_BYTES: u64 = 8 << 20;
/// Most instructions that are followed. A tensor takes about 40.
const MAX_STEPS: usize = 1 << 20;
/// Most objects: a tensor takes about 10.
const MAX_OBJECTS: usize = 1 << 19;
/// Most containers that are open at once.
const MAX_MARKS: usize = 256;
/// Highest place of the memo.
const MAX_MEMO: usize = 1 << 19;
/// Longest name: of a module and what is in it, of a storage, and of a tensor.
pub(super) const MAX_NAME_BYTES: usize = 256;

/// A value of the machine: small, and without an end of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// Python's None.
    Nothing,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A place in the list of objects.
    Object(usize),
}

/// What takes more room than a number.
#[derive(Debug)]
pub(super) enum Object {
    /// Many names may share one.
    Text(Rc<str>),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    /// In the order of insertion; a key may come twice.
    Table(Vec<(Value, Value)>),
    Global(Global),
    Storage(StorageRef),
    Tensor(Box<TensorRef>),
    /// Something without a meaning here, such as the name of a device.
    Other,
}

impl Object {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Object::Text(_) => "a text",
            Object::Tuple(_) => "a tuple",
            Object::List(_) => "a list",
            Object::Table(_) => "a table",
            Object::Global(_) => "a name",
            Object::Storage(_) => "a storage",
            Object::Tensor(_) => "a tensor",
            Object::Other => "something else",
        }
    }
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    /// What was left at the end.
    pub(super) root: Value,
}

impl Pickle {
    /// Follows the instructions up to the first that ends a pickle; also gives how many bytes they took.
    ///
    /// # Errors
    /// When the bytes end before, when an instruction or a name is not known, when an instruction does not find what it
    /// works on, and when a limit is passed.
    pub(super) fn load(bytes: &[u8]) -> Sound<(Self, usize)> {
        let mut machine = Machine::new(bytes);
        for _ in 0..MAX_STEPS {
            let at = machine.bytes.position();
            let step = machine.step().map_err(|message| format!("its pickle, at byte {at}: {message}"))?;
            if let Some(root) = step {
                let n_bytes = machine.bytes.position();
                return Ok((Self { objects: machine.objects, root }, n_bytes));
            }
        }
        Err(format!("its pickle has more than {MAX_STEPS} instructions"))
    }

    /// The object that a value stands for.
    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        object(&self.objects, value)
    }

    /// The text that a value stands for.
    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.object(value) {
            Some(Object::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The storages that tensors were made of, in the order in which they were named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }
}

fn object(objects: &[Object], value: Value) -> Option<&Object> {
    match value {
        Value::Object(i) => objects.get(i),
        _ => None,
    }
}

struct Machine<'b> {
    bytes: Bytes<'b>,
    stack: Vec<Value>,
    /// Heights of the stack at which containers were begun.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    objects: Vec<Object>,
}

/// The instructions of protocol 2 that are known.
mod opcode {
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const NONE: u8 = b'N';
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BINSTRING: u8 = b'T';
    pub(super) const SHORT_BINSTRING: u8 = b'U';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const LONG1: u8 = 0x8a;
}

impl<'b> Machine<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        let (stack, marks, memo, objects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { bytes: Bytes::new(bytes), stack, marks, memo, objects }
    }

    /// Follows one instruction; gives the result at the last.
    fn step(&mut self) -> Sound<Option<Value>> {
        match self.bytes.u8("an instruction")? {
            opcode::PROTO => self.protocol()?,
            opcode::STOP => return self.pop().map(Some),
            opcode::MARK => self.mark()?,
            opcode::BINPUT => self.remember_at(1)?,
            opcode::LONG_BINPUT => self.remember_at(4)?,
            opcode::APPEND => self.append(1)?,
            opcode::APPENDS => self.append_marked()?,
            opcode::SETITEM => self.set_one()?,
            opcode::SETITEMS => self.set_marked()?,
            opcode::BUILD => self.build()?,
            code => {
                let value = self.value(code)?;
                self.stack.push(value);
            }
        }
        Ok(None)
    }

    /// The value that an instruction pushes.
    fn value(&mut self, code: u8) -> Sound<Value> {
        match code {
            opcode::NONE => Ok(Value::Nothing),
            opcode::NEWTRUE => Ok(Value::Flag(true)),
            opcode::NEWFALSE => Ok(Value::Flag(false)),
            opcode::BININT1 => self.bytes.u8("a number").map(|n| Value::Integer(n.into())),
            opcode::BININT2 => self.bytes.u16("a number").map(|n| Value::Integer(n.into())),
            opcode::BININT => self.bytes.u32("a number").map(|n| Value::Integer(i64::from(n.cast_signed()))),
            opcode::LONG1 => self.long(),
            opcode::BINFLOAT => self.bytes.array("a number").map(|bytes| Value::Real(f64::from_be_bytes(bytes))),
            opcode::SHORT_BINSTRING => self.text(1),
            opcode::BINSTRING | opcode::BINUNICODE => self.text(4),
            opcode::EMPTY_TUPLE => self.tuple(0),
            opcode::TUPLE1 => self.tuple(1),
            opcode::TUPLE2 => self.tuple(2),
            opcode::TUPLE3 => self.tuple(3),
            opcode::TUPLE => {
                let values = self.pop_marked()?;
                self.new_object(Object::Tuple(values))
            }
            opcode::EMPTY_LIST => self.new_object(Object::List(Vec::new())),
            opcode::EMPTY_DICT => self.new_object(Object::Table(Vec::new())),
            opcode::BINGET => self.recall(1),
            opcode::LONG_BINGET => self.recall(4),
            opcode::GLOBAL => self.global(),
            opcode::BINPERSID => self.storage(),
            opcode::REDUCE => self.call(),
            code => Err(format!("the instruction {code:#04x}, which no table of tensors needs, is not followed")),
        }
    }

    fn protocol(&mut self) -> Sound<()> {
        match self.bytes.u8("the protocol")? {
            2 => Ok(()),
            n => Err(format!("it is written in protocol {n}; torch.save writes 2 unless told otherwise")),
        }
    }

    fn pop(&mut self) -> Sound<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an instruction finds nothing on the stack".to_owned());
        }
        Ok(self.stack.pop().expect("the stack is higher than its floor"))
    }

    fn pop_n(&mut self, n: usize) -> Sound<Vec<Value>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(n).filter(|&at| at >= floor);
        at.map(|at| self.stack.split_off(at)).ok_or_else(|| format!("an instruction finds no {n} values on the stack"))
    }

    fn mark(&mut self) -> Sound<()> {
        if self.marks.len() == MAX_MARKS {
            return Err(format!("more than {MAX_MARKS} containers are begun inside of each other"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// What lies above the newest mark, which goes away.
    fn pop_marked(&mut self) -> Sound<Vec<Value>> {
        let mark = self.marks.pop().ok_or("a container ends that was not begun")?;
        Ok(self.stack.split_off(mark))
    }

    fn new_object(&mut self, object: Object) -> Sound<Value> {
        if self.objects.len() == MAX_OBJECTS {
            return Err(format!("it makes more than {MAX_OBJECTS} objects"));
        }
        self.objects.push(object);
        Ok(Value::Object(self.objects.len() - 1))
    }

    /// A length or a number of `n_bytes`, 1 or 4.
    fn short_or_long(&mut self, n_bytes: usize, what: &str) -> Sound<usize> {
        if n_bytes == 1 { self.bytes.u8(what).map(usize::from) } else { self.bytes.u32(what).map(|n| n as usize) }
    }

    fn remember_at(&mut self, n_bytes: usize) -> Sound<()> {
        let at = self.short_or_long(n_bytes, "a place of the memo")?;
        let value = *self.stack.last().ok_or("nothing is on the stack to be remembered")?;
        if at >= MAX_MEMO {
            return Err(format!("it remembers something at place {at}; there are {MAX_MEMO}"));
        }
        if at >= self.memo.len() {
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(value);
        Ok(())
    }

    fn recall(&mut self, n_bytes: usize) -> Sound<Value> {
        let at = self.short_or_long(n_bytes, "a place of the memo")?;
        self.memo.get(at).copied().flatten().ok_or_else(|| format!("nothing was remembered at place {at}"))
    }

    fn long(&mut self) -> Sound<Value> {
        let n_bytes = self.bytes.u8("the length of a number")?;
        let bytes = self.bytes.take(n_bytes.into(), "a number")?;
        if bytes.len() > 8 {
            return Err(format!("a number of {n_bytes} bytes is larger than any size"));
        }
        let is_negative = bytes.last().is_some_and(|byte| byte >> 7 == 1);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Integer(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, n_length_bytes: usize) -> Sound<Value> {
        let n_bytes = self.short_or_long(n_length_bytes, "the length of a text")?;
        let bytes = self.bytes.take(n_bytes, "a text")?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        self.new_object(Object::Text(text.into()))
    }

    fn tuple(&mut self, n: usize) -> Sound<Value> {
        let values = self.pop_n(n)?;
        self.new_object(Object::Tuple(values))
    }

    fn append(&mut self, n: usize) -> Sound<()> {
        let values = self.pop_n(n)?;
        self.extend_list(values)
    }

    fn append_marked(&mut self) -> Sound<()> {
        let values = self.pop_marked()?;
        self.extend_list(values)
    }

    fn extend_list(&mut self, values: Vec<Value>) -> Sound<()> {
        match self.top_mut()? {
            Object::List(list) => list.extend(values),
            other => return Err(format!("values are appended to {}, expected a list", other.kind())),
        }
        Ok(())
    }

    fn set_one(&mut self) -> Sound<()> {
        let pair = self.pop_n(2)?;
        self.extend_table(&pair)
    }

    fn set_marked(&mut self) -> Sound<()> {
        let pairs = self.pop_marked()?;
        self.extend_table(&pairs)
    }

    fn extend_table(&mut self, pairs: &[Value]) -> Sound<()> {
        let (pairs, rest) = pairs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a table gets a key without a value".to_owned());
        }
        match self.top_mut()? {
            Object::Table(table) => table.extend(pairs.iter().map(|&[key, value]| (key, value))),
            other => return Err(format!("keys are set in {}, expected a table", other.kind())),
        }
        Ok(())
    }

    /// Gives attributes to an object. Tables carry notes about versions, which mean nothing here; nothing else may.
    fn build(&mut self) -> Sound<()> {
        self.pop()?;
        match self.top_mut()? {
            Object::Table(_) => Ok(()),
            other => Err(format!("attributes are given to {}, expected a table", other.kind())),
        }
    }

    fn top_mut(&mut self) -> Sound<&mut Object> {
        match self.stack.last() {
            Some(&Value::Object(i)) => Ok(&mut self.objects[i]),
            Some(_) => Err("a number is used as a container".to_owned()),
            None => Err("an instruction finds nothing on the stack".to_owned()),
        }
    }

    fn global(&mut self) -> Sound<Value> {
        let mut part = |what| -> Sound<&str> {
            let line = self.bytes.line(MAX_NAME_BYTES, what)?;
            std::str::from_utf8(line).map_err(|_| format!("{what} is not UTF-8"))
        };
        let (module, name) = (part("a module")?, part("a name")?);
        let global = Global::of_name(module, name).ok_or_else(|| {
            format!(
                "it asks for '{module}.{name}', which a table of tensors does not need and which is not run; save \
                 model.state_dict() alone"
            )
        })?;
        self.new_object(Object::Global(global))
    }

    /// A storage by its name in the file: ('storage', kind, key, device, number of elements), and None in old files.
    fn storage(&mut self) -> Sound<Value> {
        let value = self.pop()?;
        let storage = StorageRef::of_tuple(&self.fields(value)?)?;
        self.new_object(Object::Storage(storage))
    }

    /// Calls a function of a tuple of arguments.
    fn call(&mut self) -> Sound<Value> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Some(&Object::Global(function)) = object(&self.objects, function) else {
            return Err("something is called that is no function".to_owned());
        };
        let arguments = self.fields(arguments)?;
        match function {
            Global::OrderedDict if arguments.0.is_empty() => self.new_object(Object::Table(Vec::new())),
            Global::RebuildTensor => {
                let tensor = TensorRef::of_arguments(&arguments, false)?;
                self.new_object(Object::Tensor(Box::new(tensor)))
            }
            Global::RebuildTypedTensor => {
                let tensor = TensorRef::of_arguments(&arguments, true)?;
                self.new_object(Object::Tensor(Box::new(tensor)))
            }
            Global::RebuildParameter | Global::Size if !arguments.0.is_empty() => Ok(arguments.0[0]),
            Global::Device => self.new_object(Object::Other),
            _ => Err(format!("{function:?} is called with {} arguments", arguments.0.len())),
        }
    }

    /// The values of a tuple.
    fn fields(&self, value: Value) -> Sound<Fields<'_>> {
        match object(&self.objects, value) {
            Some(Object::Tuple(values)) => Ok(Fields(values, &self.objects)),
            _ => Err("expected a tuple".to_owned()),
        }
    }
}

/// The values of a tuple, read by place; `what` is for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'m>(&'m [Value], &'m [Object]);

impl<'m> Fields<'m> {
    pub(super) fn value(&self, i: usize, what: &str) -> Sound<Value> {
        self.0.get(i).copied().ok_or_else(|| format!("{what} is missing from a tuple of {} values", self.0.len()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn object(&self, i: usize, what: &str) -> Sound<&'m Object> {
        object(self.1, self.value(i, what)?).ok_or_else(|| format!("{what} is a number"))
    }

    pub(super) fn text(&self, i: usize, what: &str) -> Sound<&'m Rc<str>> {
        match self.object(i, what)? {
            Object::Text(text) => Ok(text),
            other => Err(format!("{what} is {}, expected a text", other.kind())),
        }
    }

    pub(super) fn global(&self, i: usize, what: &str) -> Sound<Global> {
        match self.object(i, what)? {
            Object::Global(global) => Ok(*global),
            other => Err(format!("{what} is {}, expected a name", other.kind())),
        }
    }

    pub(super) fn storage(&self, i: usize, what: &str) -> Sound<&'m StorageRef> {
        match self.object(i, what)? {
            Object::Storage(storage) => Ok(storage),
            other => Err(format!("{what} is {}, expected a storage", other.kind())),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn size(&self, i: usize, what: &str) -> Sound<u64> {
        size(self.value(i, what)?, what)
    }

    /// A tuple of whole numbers that are not negative.
    pub(super) fn sizes(&self, i: usize, what: &str) -> Sound<Vec<u64>> {
        match self.object(i, what)? {
            Object::Tuple(values) => values.iter().map(|&value| size(value, what)).collect(),
            other => Err(format!("{what} is {}, expected a tuple of numbers", other.kind())),
        }
    }
}

fn size(value: Value, what: &str) -> Sound<u64> {
    match value {
        Value::Integer(n) if n >= 0 => Ok(n as u64),
        value => Err(format!("{what} is {value:?}, expected a whole number of at least 0")),
    }
}
