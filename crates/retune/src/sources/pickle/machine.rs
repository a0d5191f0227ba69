//! The stack machine that a pickle is a program for.

use std::collections::HashMap;
use std::ops::Range;

use super::numpy::{self, Function};
use super::{Bytes, Node, Value};

/// The most values that a file may make: a published data set has some tens of thousands.
const MAX_VALUES: usize = 1 << 22;

/// The state of the machine.
pub(super) struct Machine<'a> {
    file: &'a [u8],
    /// Where the next instruction begins.
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    decoded: Vec<Vec<u8>>,
    /// Values that may still be made.
    values_left: usize,
    /// Bytes that may still be decoded.
    bytes_left: usize,
}

impl<'a> Machine<'a> {
    pub fn new(file: &'a [u8]) -> Self {
        Self {
            file,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
            decoded: Vec::new(),
            values_left: MAX_VALUES,
            bytes_left: file.len(),
        }
    }

    /// Runs the program to its end: the value that it leaves.
    pub fn run(&mut self) -> Result<Value, String> {
        if self.file.first() != Some(&b'\x80') {
            return Err("it does not begin as a pickle of protocol 2 or later does".to_owned());
        }
        loop {
            let instruction = self.byte()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction)?;
        }
    }

    /// The container that a value names.
    pub fn node(&self, value: &Value) -> Option<&Node> {
        if let Value::Node(number) = value { self.nodes.get(*number) } else { None }
    }

    /// The bytes of a text.
    pub fn bytes(&self, value: &Value) -> Option<&[u8]> {
        match value {
            Value::Text(range) => self.file.get(range.clone()),
            Value::Decoded(number) => self.decoded.get(*number).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The bytes of a text, to keep.
    pub fn taken(&self, value: &Value) -> Bytes {
        match value {
            Value::Text(range) => Bytes::InFile(range.clone()),
            other => Bytes::Decoded(self.bytes(other).unwrap_or_default().to_vec()),
        }
    }

    /// Bytes whose values are the characters of a text.
    pub fn decode_latin1(&mut self, text: &Value) -> Result<Value, String> {
        let bytes = self.bytes(text).ok_or("something other than text is decoded")?;
        if bytes.is_ascii() {
            return Ok(text.clone());
        }
        let wrong = "a text holds what is no byte";
        let characters = str::from_utf8(bytes).map_err(|_| wrong)?.chars();
        let decoded: Vec<u8> =
            characters.map(|character| u8::try_from(character).map_err(|_| wrong)).collect::<Result<_, _>>()?;
        self.bytes_left = self.bytes_left.checked_sub(decoded.len()).ok_or("it decodes one text many times")?;
        self.decoded.push(decoded);
        Ok(Value::Decoded(self.decoded.len() - 1))
    }

    fn step(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            // PROTO, FRAME
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.stack.last().cloned().ok_or("its stack is empty")?;
                self.push(top)
            }
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(instruction == 0x88)),
            // BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'J' => self.integer(4, true),
            b'K' => self.integer(1, false),
            b'M' => self.integer(2, false),
            0x8a => {
                let length = self.byte()?;
                self.integer(usize::from(length), true)
            }
            b'G' => self.skip(8).and_then(|()| self.push(Value::Other)),
            // BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8, BINUNICODE, SHORT_BINUNICODE,
            // BINUNICODE8
            b'T' | b'B' | b'X' => self.text(4),
            b'U' | b'C' | 0x8c => self.text(1),
            0x8e | 0x96 | 0x8d => self.text(8),
            // EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE
            b']' => self.push_node(Node::List(Vec::new())),
            b'}' => self.push_node(Node::Dictionary(Vec::new())),
            b')' => self.push_node(Node::Tuple(Vec::new())),
            // TUPLE1, TUPLE2, TUPLE3, TUPLE, LIST, DICT
            0x85..=0x87 => {
                let height = self.stack.len().checked_sub(usize::from(instruction - 0x84));
                let values = self.stack.split_off(height.ok_or("its stack is empty")?);
                self.push_node(Node::Tuple(values))
            }
            b't' => self.pop_to_mark().and_then(|values| self.push_node(Node::Tuple(values))),
            b'l' => self.pop_to_mark().and_then(|values| self.push_node(Node::List(values))),
            b'd' => self.pop_to_mark().and_then(|values| self.push_node(Node::Dictionary(pairs(values)))),
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => self.pop().and_then(|value| self.append(vec![value])),
            b'e' => self.pop_to_mark().and_then(|values| self.append(values)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])
            }
            b'u' => self.pop_to_mark().and_then(|values| self.set_items(values)),
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.number(1).and_then(|place| self.memoize(place)),
            b'r' => self.number(4).and_then(|place| self.memoize(place)),
            0x94 => self.memoize(self.memo.len() as u64),
            b'h' => self.number(1).and_then(|place| self.recall(place)),
            b'j' => self.number(4).and_then(|place| self.recall(place)),
            // GLOBAL, STACK_GLOBAL, REDUCE, BUILD
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.function(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let range = |value| if let Value::Text(range) = value { Some(range) } else { None };
                let names = range(module).zip(range(name)).ok_or("it names a function by something other than text")?;
                self.function(names.0, names.1)
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = numpy::call(self, &function, &arguments)?;
                self.push(made)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.stack.last().cloned().ok_or("its stack is empty")?;
                numpy::build(self, &object, &state)
            }
            other => Err(format!("it has the instruction {other:#04x}, which no file of such a data set has")),
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.file.get(self.at).copied().ok_or_else(ends_early)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `length` bytes.
    fn take(&mut self, length: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.file.len()).ok_or_else(ends_early)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length).map(drop)
    }

    /// An unsigned number of `size` bytes, the lowest first.
    fn number(&mut self, size: usize) -> Result<u64, String> {
        let range = self.take(size)?;
        Ok(self.file[range].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<Range<usize>, String> {
        let length = self.file[self.at..].iter().position(|&byte| byte == b'\n').ok_or_else(ends_early)?;
        let range = self.take(length)?;
        self.skip(1)?;
        Ok(range)
    }

    fn integer(&mut self, size: usize, signed: bool) -> Result<(), String> {
        if size > 8 {
            self.skip(size)?;
            return self.push(Value::Other);
        }
        let number = self.number(size)?;
        let unused = 64 - 8 * size as u32;
        // A number of no bytes is zero; shifting by all 64 bits is none.
        let extended = number.checked_shl(unused).map_or(0, |shifted| shifted as i64 >> unused);
        self.push(Value::Integer(if signed { extended } else { number as i64 }))
    }

    fn text(&mut self, length_bytes: usize) -> Result<(), String> {
        let length = self.number(length_bytes)?;
        let range = self.take(usize::try_from(length).map_err(|_| ends_early())?)?;
        self.push(Value::Text(range))
    }

    pub fn push(&mut self, value: Value) -> Result<(), String> {
        self.values_left = self.values_left.checked_sub(1).ok_or("it holds more values than any such data set")?;
        self.stack.push(value);
        Ok(())
    }

    /// Makes a container; the value that names it.
    pub fn make(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value::Node(self.nodes.len() - 1)
    }

    /// Puts another container in the place of one.
    pub fn replace(&mut self, value: &Value, node: Node) {
        if let Value::Node(number) = value
            && let Some(place) = self.nodes.get_mut(*number)
        {
            *place = node;
        }
    }

    fn push_node(&mut self, node: Node) -> Result<(), String> {
        let value = self.make(node);
        self.push(value)
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("its stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "its stack is empty".to_owned())
    }

    fn mark(&mut self) -> Result<(), String> {
        self.values_left = self.values_left.checked_sub(1).ok_or("it holds more values than any such data set")?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let height = self.marks.pop().ok_or("it lacks a mark")?;
        if height > self.stack.len() {
            return Err("its stack is empty".to_owned());
        }
        Ok(self.stack.split_off(height))
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.top_node()? {
            Node::List(list) => list.extend(values),
            _ => return Err("it appends to something other than a list".to_owned()),
        }
        Ok(())
    }

    fn set_items(&mut self, values: Vec<Value>) -> Result<(), String> {
        match self.top_node()? {
            Node::Dictionary(dictionary) => dictionary.extend(pairs(values)),
            _ => return Err("it puts keys into something other than a dictionary".to_owned()),
        }
        Ok(())
    }

    fn top_node(&mut self) -> Result<&mut Node, String> {
        let Some(Value::Node(number)) = self.stack.last() else { return Err("its stack is empty".to_owned()) };
        self.nodes.get_mut(*number).ok_or_else(|| "its stack is empty".to_owned())
    }

    fn memoize(&mut self, place: u64) -> Result<(), String> {
        let top = self.stack.last().cloned().ok_or("its stack is empty")?;
        self.memo.insert(place as u32, top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let value = self.memo.get(&(place as u32)).cloned().ok_or("it recalls what it has not kept")?;
        self.push(value)
    }

    fn function(&mut self, module: Range<usize>, name: Range<usize>) -> Result<(), String> {
        let function = Function::of(&self.file[module.clone()], &self.file[name.clone()]);
        let unknown = || {
            let [module, name] = [module, name].map(|range| String::from_utf8_lossy(&self.file[range]).into_owned());
            format!("it names the Python function {module}.{name}, which no such data set needs; nothing of it was run")
        };
        let function = function.ok_or_else(unknown)?;
        self.push(Value::Function(function))
    }
}

fn ends_early() -> String {
    "it ends early".to_owned()
}

/// Keys and values in turn as pairs; a last key without a value is dropped.
fn pairs(values: Vec<Value>) -> Vec<(Value, Value)> {
    let mut values = values.into_iter();
    std::iter::from_fn(|| values.next().zip(values.next())).collect()
}
