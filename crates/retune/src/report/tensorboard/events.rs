//! TensorBoard's file format: protocol buffers in TFRecord frames.
//!
//! The messages are those of TensorFlow's `core/util/event.proto` and `core/framework/summary.proto`, with the fields that
//! are used here.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

use crate::files;

const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// What TFRecord adds to a rotated checksum, so that checksums of data with checksums differ.
const MASK_DELTA: u32 = 0xa282_ead8;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Only of a file's first event.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels: 4 for RGBA.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// A picture as a PNG file.
pub(super) struct Picture {
    pub width: u32,
    pub height: u32,
    pub png: Vec<u8>,
}

/// An event file that grows.
pub(super) struct EventFile(File);

impl EventFile {
    /// A new file in a folder, which is made if necessary.
    pub fn create(folder: &Path, seconds: f64) -> io::Result<Self> {
        files::create_folder(folder).map_err(io::Error::other)?;
        // TensorBoard looks for names with "tfevents", and reads those of a folder in alphabetical order.
        let mut file = Self(File::create(folder.join(format!("events.out.tfevents.{seconds:.0}.retune")))?);
        let version = Some("brain.Event:2".to_owned());
        file.append(&Event { wall_time: seconds, file_version: version, ..Event::default() })?;
        Ok(file)
    }

    /// Appends numbers by their tags at a step.
    pub fn numbers(&mut self, seconds: f64, step: usize, numbers: &[(String, f64)]) -> io::Result<()> {
        let value = numbers.iter().map(|(tag, value)| Value {
            tag: tag.clone(),
            simple_value: Some(*value as f32),
            ..Value::default()
        });
        self.summary(seconds, step, value.collect())
    }

    /// Appends a picture at a step.
    pub fn picture(&mut self, seconds: f64, step: usize, tag: &str, picture: Picture) -> io::Result<()> {
        let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let image = Image {
            height: side(picture.height),
            width: side(picture.width),
            colorspace: 4,
            encoded_image_string: picture.png,
        };
        self.summary(seconds, step, vec![Value { tag: tag.to_owned(), image: Some(image), ..Value::default() }])
    }

    fn summary(&mut self, seconds: f64, step: usize, value: Vec<Value>) -> io::Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.append(&Event { wall_time: seconds, step, summary: Some(Summary { value }), ..Event::default() })
    }

    /// Appends an event in one write, so that a reader of the growing file sees few halves.
    fn append(&mut self, event: &Event) -> io::Result<()> {
        self.0.write_all(&framed(&event.encode_to_vec()))
    }
}

/// A record with its length, and checksums of both.
fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    [&length[..], &masked_checksum(&length), record, &masked_checksum(record)].concat()
}

fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    CHECKSUM.checksum(bytes).rotate_right(15).wrapping_add(MASK_DELTA).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_bytes_that_tensorboard_writes() {
        // python -c "from tensorboard.summary.writer.record_writer import RecordWriter; import io; f = io.BytesIO();
        // RecordWriter(f).write(b'abc'); print(f.getvalue().hex())", tensorboard 2.21
        let hex: String = framed(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0300000000000000b099490e6162636e57f121");
    }
}
