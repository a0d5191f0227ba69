//! JPEG files straight into the decoder, and abbreviated ones whose tables stand before them, as in TIFF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune_jpeg::{Jpeg, JpegError};

fn decode(jpeg: Result<Jpeg, JpegError>) {
    let Ok(jpeg) = jpeg else { return };
    let (width, height) = (jpeg.width(), jpeg.height());
    // A small limit, so that time is not spent on filling large images.
    if width * height > 1 << 16 {
        return;
    }
    if let Ok(decoded) = jpeg.decode() {
        assert_eq!(decoded.pixels.len(), width * height * 3);
    }
}

fuzz_target!(|bytes: &[u8]| {
    decode(Jpeg::parse(bytes));
    if let Some(end) = bytes.windows(2).position(|pair| pair == [0xFF, 0xD9]) {
        decode(Jpeg::parse_with_tables(&bytes[..end + 2], &bytes[end + 2..]));
    }
});
