//! Numbers in a file, of whichever type they were written in.

use std::io::{self, Read};

use half::{bf16, f16};

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 | Self::BF16 | Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }
}

/// The order of the bytes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

/// Reads `count` floating-point numbers; `None` for a type of integers. The caller has checked that the file can hold
/// so many.
pub(super) fn floats(
    input: &mut dyn Read,
    element: Element,
    order: ByteOrder,
    count: usize,
) -> io::Result<Option<Vec<f32>>> {
    Ok(Some(match element {
        Element::F16 => each(input, order, count, |bytes| f16::from_le_bytes(bytes).to_f32())?,
        Element::BF16 => each(input, order, count, |bytes| bf16::from_le_bytes(bytes).to_f32())?,
        Element::F32 => each(input, order, count, f32::from_le_bytes)?,
        Element::F64 => each(input, order, count, |bytes| f64::from_le_bytes(bytes) as f32)?,
        _ => return Ok(None),
    }))
}

/// Reads `count` integers; `None` for another type. Unsigned ones past the range of i64 saturate.
pub(super) fn integers(
    input: &mut dyn Read,
    element: Element,
    order: ByteOrder,
    count: usize,
) -> io::Result<Option<Vec<i64>>> {
    Ok(Some(match element {
        Element::U8 => each(input, order, count, |bytes| i64::from(u8::from_le_bytes(bytes)))?,
        Element::I8 => each(input, order, count, |bytes| i64::from(i8::from_le_bytes(bytes)))?,
        Element::U16 => each(input, order, count, |bytes| i64::from(u16::from_le_bytes(bytes)))?,
        Element::I16 => each(input, order, count, |bytes| i64::from(i16::from_le_bytes(bytes)))?,
        Element::U32 => each(input, order, count, |bytes| i64::from(u32::from_le_bytes(bytes)))?,
        Element::I32 => each(input, order, count, |bytes| i64::from(i32::from_le_bytes(bytes)))?,
        Element::U64 => {
            each(input, order, count, |bytes| i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX))?
        }
        Element::I64 => each(input, order, count, i64::from_le_bytes)?,
        _ => return Ok(None),
    }))
}

/// Reads `count` elements of `N` bytes in pieces, so that the bytes are never in memory beside all values.
fn each<const N: usize, T>(
    input: &mut dyn Read,
    order: ByteOrder,
    count: usize,
    value: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    const ELEMENTS_AT_ONCE: usize = 1 << 14;
    let mut values = Vec::new();
    values.try_reserve_exact(count)?;
    let mut buffer = vec![0; N * count.min(ELEMENTS_AT_ONCE)];
    while values.len() < count {
        let bytes = &mut buffer[..N * (count - values.len()).min(ELEMENTS_AT_ONCE)];
        input.read_exact(bytes)?;
        values.extend(bytes.as_chunks::<N>().0.iter().map(|&(mut bytes)| {
            if order == ByteOrder::Big {
                bytes.reverse();
            }
            value(bytes)
        }));
    }
    Ok(values)
}
