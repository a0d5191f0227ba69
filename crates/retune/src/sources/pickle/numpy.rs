//! How NumPy writes an array into a pickle.

use super::machine::Machine;
use super::{Node, Value};

/// A Python function that a file of a data set may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `numpy.core.multiarray._reconstruct`: an array without elements, which are given afterwards.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array over bytes.
    FromBuffer,
    /// `numpy.core.multiarray.scalar`: one number.
    Scalar,
    /// `numpy.ndarray`, only ever an argument.
    ArrayClass,
    /// `numpy.dtype`: a type of elements.
    ElementType,
    /// `_codecs.encode`: bytes as protocols before 3 hold them.
    Encode,
    /// `bytes` and `bytearray`.
    Bytes,
}

impl Function {
    pub fn of(module: &[u8], name: &[u8]) -> Option<Self> {
        Some(match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Self::Reconstruct,
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Self::Scalar,
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Self::FromBuffer,
            (b"numpy", b"ndarray") => Self::ArrayClass,
            (b"numpy", b"dtype") => Self::ElementType,
            (b"_codecs", b"encode") => Self::Encode,
            (b"builtins" | b"__builtin__", b"bytes" | b"bytearray") => Self::Bytes,
            _ => return None,
        })
    }
}

/// A type of elements: integers of one of four sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElementType {
    /// Bytes of an element.
    pub size: usize,
    pub signed: bool,
    pub big_endian: bool,
}

impl ElementType {
    /// The type of a name such as `u1` or `<i8`.
    fn named(name: &[u8]) -> Option<Self> {
        let (big_endian, name) = match name {
            [b'>', name @ ..] => (true, name),
            [b'<' | b'|' | b'=', name @ ..] => (false, name),
            name => (false, name),
        };
        let &[kind @ (b'u' | b'i'), size @ (b'1' | b'2' | b'4' | b'8')] = name else { return None };
        Some(Self { size: usize::from(size - b'0'), signed: kind == b'i', big_endian })
    }

    fn integer(self, bytes: &[u8]) -> i64 {
        let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        let number = if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        let unused = 64 - 8 * self.size as u32;
        if self.signed { ((number << unused) as i64) >> unused } else { number as i64 }
    }
}

/// An array of integers.
#[derive(Clone, Debug)]
pub(in crate::sources) struct Array {
    /// Its dimensions, the one that varies fastest last.
    pub shape: Vec<usize>,
    element_type: ElementType,
    elements: Value,
}

impl Array {
    fn new(machine: &Machine, shape: &Value, element_type: &Value, elements: &Value) -> Result<Self, String> {
        let wrong = || "it describes an array in an unknown way".to_owned();
        // NumPy has no more dimensions than 64 either.
        let Some(Node::Tuple(shape)) =
            machine.node(shape).filter(|node| matches!(node, Node::Tuple(sides) if sides.len() <= 64))
        else {
            return Err(wrong());
        };
        let side = |value: &Value| if let Value::Integer(side) = value { usize::try_from(*side).ok() } else { None };
        let shape: Vec<usize> = shape.iter().map(side).collect::<Option<_>>().ok_or_else(wrong)?;
        let Some(&Node::ElementType(element_type)) = machine.node(element_type) else { return Err(wrong()) };
        let length = machine.bytes(elements).ok_or_else(wrong)?.len();
        let expected = shape.iter().try_fold(element_type.size, |product, &side| product.checked_mul(side));
        if expected != Some(length) {
            return Err(format!("an array of the shape {shape:?} has {length} bytes"));
        }
        Ok(Self { shape, element_type, elements: elements.clone() })
    }

    /// Whether the elements are unsigned bytes.
    pub fn has_bytes(&self) -> bool {
        self.element_type.size == 1 && !self.element_type.signed
    }

    pub(super) fn elements(&self) -> &Value {
        &self.elements
    }

    pub(super) fn integers(&self, machine: &Machine) -> Option<Vec<i64>> {
        let elements = machine.bytes(&self.elements)?.chunks_exact(self.element_type.size);
        Some(elements.map(|bytes| self.element_type.integer(bytes)).collect())
    }
}

/// What a function makes of its arguments.
pub(super) fn call(machine: &mut Machine, function: &Value, arguments: &Value) -> Result<Value, String> {
    let Some(Node::Tuple(arguments)) = machine.node(arguments) else {
        return Err("it calls a function without arguments".to_owned());
    };
    // The longest list of arguments that any of the functions has is short.
    let arguments: Vec<Value> = arguments.iter().take(4).cloned().collect();
    let is_text = |machine: &Machine, value: &Value, texts: [&[u8]; 2]| {
        machine.bytes(value).is_some_and(|bytes| texts.contains(&bytes))
    };
    match (function, &arguments[..]) {
        (Value::Function(Function::Reconstruct), _) => Ok(machine.make(Node::Array(None))),
        (Value::Function(Function::ElementType), [name, ..]) => {
            let name = machine.bytes(name).unwrap_or_default();
            let known = ElementType::named(name).ok_or_else(|| {
                format!(
                    "it holds elements of the type {}, and only integers can be read",
                    String::from_utf8_lossy(name)
                )
            })?;
            Ok(machine.make(Node::ElementType(known)))
        }
        (Value::Function(Function::FromBuffer), [buffer, element_type, shape, order]) => {
            if !is_text(machine, order, [b"C", b"C"]) {
                return Err("it holds an array whose first dimension varies fastest, which is not read".to_owned());
            }
            let array = Array::new(machine, shape, element_type, buffer)?;
            Ok(machine.make(Node::Array(Some(array))))
        }
        (Value::Function(Function::Scalar), [element_type, bytes]) => {
            let number = match (machine.node(element_type), machine.bytes(bytes)) {
                (Some(Node::ElementType(known)), Some(bytes)) if bytes.len() == known.size => known.integer(bytes),
                _ => return Err("it describes a number in an unknown way".to_owned()),
            };
            Ok(Value::Integer(number))
        }
        (Value::Function(Function::Encode | Function::Bytes), [text, encoding])
            if is_text(machine, encoding, [b"latin1", b"latin-1"]) =>
        {
            machine.decode_latin1(text)
        }
        (Value::Function(Function::Bytes), [bytes]) if machine.bytes(bytes).is_some() => Ok(bytes.clone()),
        (Value::Function(Function::Bytes), []) => Ok(Value::Text(0..0)),
        _ => Err("it calls a function in an unknown way".to_owned()),
    }
}

/// Gives an object its state.
pub(super) fn build(machine: &mut Machine, object: &Value, state: &Value) -> Result<(), String> {
    let wrong = || "it describes an array in an unknown way".to_owned();
    let Some(Node::Tuple(state)) = machine.node(state) else { return Err(wrong()) };
    let made = match (machine.node(object), &state[..]) {
        (Some(Node::Array(None)), [_, shape, element_type, Value::Bool(false), elements]) => {
            Node::Array(Some(Array::new(machine, shape, element_type, elements)?))
        }
        (Some(Node::Array(None)), [_, _, _, Value::Bool(true), _]) => {
            return Err("it holds an array whose first dimension varies fastest, which is not read".to_owned());
        }
        (Some(Node::ElementType(known)), [_, order, ..]) => {
            let big_endian = machine.bytes(order).is_some_and(|order| order == b">");
            Node::ElementType(ElementType { big_endian, ..*known })
        }
        _ => return Err(wrong()),
    };
    machine.replace(object, made);
    Ok(())
}
