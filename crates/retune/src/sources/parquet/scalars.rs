//! Columns of single values, such as labels and groups, whatever type they are written in.

use std::sync::Arc;

use ::parquet::basic::Type as PhysicalType;
use ::parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};

use super::file::{Column, ParquetFile};
use crate::sources::distinct::Distinct;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    /// Text, plain or by a dictionary, and bytes that may be text.
    Text,
    Boolean,
    /// Of at most 32 bits.
    Integer,
    /// Of 64 bits.
    LongInteger,
    UnsignedInteger,
    UnsignedLongInteger,
    Float,
    Double,
}

impl ScalarKind {
    /// `None` for dates, decimals, and whatever else is neither text nor number.
    pub fn of(column: Column<'_>) -> Option<Self> {
        if column.is_text() {
            return Some(Self::Text);
        }
        let is_integer = column.is_plain_integer();
        match column.physical_type() {
            PhysicalType::BYTE_ARRAY if column.is_plain_bytes() => Some(Self::Text),
            PhysicalType::BOOLEAN => Some(Self::Boolean),
            PhysicalType::INT32 if is_integer && column.is_unsigned() => Some(Self::UnsignedInteger),
            PhysicalType::INT64 if is_integer && column.is_unsigned() => Some(Self::UnsignedLongInteger),
            PhysicalType::INT32 if is_integer => Some(Self::Integer),
            PhysicalType::INT64 if is_integer => Some(Self::LongInteger),
            PhysicalType::FLOAT => Some(Self::Float),
            PhysicalType::DOUBLE => Some(Self::Double),
            _ => None,
        }
    }
}

/// All values of a column; `None` where one is missing.
pub(super) enum Scalars {
    Texts(Vec<Option<Arc<str>>>),
    Numbers(Vec<Option<i64>>),
}

impl Scalars {
    /// Reads a column. The empty text and NaN, which pandas writes for it, count as missing; booleans become `false` and
    /// `true`.
    ///
    /// # Errors
    /// Text that is not UTF-8, a number that is not whole or too large; a damaged file.
    pub fn read(file: &ParquetFile, column: usize, kind: ScalarKind) -> Result<Self, String> {
        Ok(match kind {
            ScalarKind::Text => Self::Texts(texts(file, column)?),
            ScalarKind::Boolean => {
                let words = [false, true].map(|value| Arc::from(value.to_string()));
                let word = |value: bool| Ok(Some(Arc::clone(&words[usize::from(value)])));
                Self::Texts(converted::<BoolType, _>(file, column, word)?)
            }
            ScalarKind::Integer => Self::Numbers(converted::<Int32Type, _>(file, column, |n| Ok(Some(n.into())))?),
            ScalarKind::LongInteger => Self::Numbers(converted::<Int64Type, _>(file, column, |n| Ok(Some(n)))?),
            ScalarKind::UnsignedInteger => {
                Self::Numbers(converted::<Int32Type, _>(file, column, |n| Ok(Some(n.cast_unsigned().into())))?)
            }
            ScalarKind::UnsignedLongInteger => {
                let number = |n: i64| match n {
                    0.. => Ok(Some(n)),
                    _ => Err(format!("{} is too large a number", n.cast_unsigned())),
                };
                Self::Numbers(converted::<Int64Type, _>(file, column, number)?)
            }
            ScalarKind::Float => Self::Numbers(converted::<FloatType, _>(file, column, |n| whole(n.into()))?),
            ScalarKind::Double => Self::Numbers(converted::<DoubleType, _>(file, column, whole)?),
        })
    }

    /// As text, numbers by their digits.
    pub fn into_texts(self) -> Vec<Option<Arc<str>>> {
        match self {
            Self::Texts(texts) => texts,
            Self::Numbers(numbers) => {
                let mut distinct = Distinct::default();
                numbers.into_iter().map(|number| number.map(|number| distinct.shared(&number.to_string()))).collect()
            }
        }
    }
}

/// All rows of a column of text, equal ones shared; the empty text counts as missing.
pub(super) fn texts(file: &ParquetFile, column: usize) -> Result<Vec<Option<Arc<str>>>, String> {
    let mut distinct = Distinct::default();
    let mut texts = Vec::new();
    for group in 0..file.groups() {
        for value in file.values::<ByteArrayType>(group, column, 0, file.rows(group))? {
            let text = value.as_ref().map(|value| value.as_utf8()).transpose();
            let text = text.map_err(|_| format!("row {}: text that is not UTF-8", texts.len()))?;
            texts.push(text.filter(|text| !text.is_empty()).map(|text| distinct.shared(text)));
        }
    }
    Ok(texts)
}

fn converted<T: DataType, V>(
    file: &ParquetFile,
    column: usize,
    convert: impl Fn(T::T) -> Result<Option<V>, String>,
) -> Result<Vec<Option<V>>, String> {
    let mut converted = Vec::new();
    for group in 0..file.groups() {
        for value in file.values::<T>(group, column, 0, file.rows(group))? {
            let value = value.map_or(Ok(None), &convert);
            converted.push(value.map_err(|problem| format!("row {}: {problem}", converted.len()))?);
        }
    }
    Ok(converted)
}

/// The whole number that a real one is.
fn whole(number: f64) -> Result<Option<i64>, String> {
    /// Below it every whole number is a real one of 64 bits.
    const LARGEST: f64 = (1_i64 << f64::MANTISSA_DIGITS) as f64;
    if number.is_nan() {
        return Ok(None);
    }
    if number.fract() != 0.0 || number.abs() > LARGEST {
        return Err(format!("{number} is no whole number"));
    }
    Ok(Some(number as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_numbers_are_taken_where_they_are_whole() {
        assert_eq!(whole(3.0), Ok(Some(3)));
        assert_eq!(whole(-1.0), Ok(Some(-1)));
        assert_eq!(whole(f64::NAN), Ok(None));
        assert_eq!(whole(0.5).unwrap_err(), "0.5 is no whole number");
        assert!(whole(f64::INFINITY).is_err() && whole(1e300).is_err());
    }
}
