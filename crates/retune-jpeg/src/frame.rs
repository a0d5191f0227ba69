//! What a frame header says of the image, and the sizes that follow from it.

use crate::error::JpegError;

/// Samples along one side of a block.
pub(crate) const SIDE: usize = 8;

/// The coefficients of one block in rows, lowest frequencies first.
pub(crate) type Block = [i16; SIDE * SIDE];

/// How the coefficients of a frame are coded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coding {
    pub progressive: bool,
    pub arithmetic: bool,
}

#[derive(Debug)]
pub(crate) struct Component {
    pub id: u8,
    /// Sampling factors.
    pub horizontal: usize,
    pub vertical: usize,
    /// Which quantization table it uses, and that table once its first scan has begun, in rows.
    pub quantization_slot: usize,
    pub quantization: Option<Block>,
    /// Samples of the component, without padding.
    pub width: usize,
    pub height: usize,
    /// Blocks that hold these samples.
    pub blocks_wide: usize,
    pub blocks_high: usize,
    /// Blocks with the padding to whole MCUs.
    pub padded_wide: usize,
    pub padded_high: usize,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub coding: Coding,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
    /// The largest sampling factors.
    pub horizontal: usize,
    pub vertical: usize,
    /// MCUs of a scan with all components.
    pub mcus_wide: usize,
    pub mcus_high: usize,
}

impl Frame {
    /// Reads the contents of a frame header.
    pub fn parse(segment: &[u8], coding: Coding) -> Result<Frame, JpegError> {
        let damaged = JpegError::Damaged("the frame header is too short or too long");
        let [precision, h1, h0, w1, w0, count, rest @ ..] = segment else { return Err(damaged) };
        if *precision != 8 {
            return Err(JpegError::Unsupported(format!("it has {precision} bits a sample, not 8")));
        }
        let height = usize::from(u16::from_be_bytes([*h1, *h0]));
        let width = usize::from(u16::from_be_bytes([*w1, *w0]));
        if width == 0 {
            return Err(JpegError::Damaged("the image is 0 pixels wide"));
        }
        if height == 0 {
            return Err(JpegError::Unsupported("its height is given after its first scan (DNL), or 0".to_owned()));
        }
        if rest.len() != usize::from(*count) * 3 {
            return Err(damaged);
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Unsupported(format!("it has {count} components, not 1, 3 or 4")));
        }
        let triples = rest.as_chunks::<3>().0;
        let factors = |sampling: u8| (usize::from(sampling >> 4), usize::from(sampling & 15));
        if triples.iter().map(|triple| factors(triple[1])).any(|(h, v)| !(1..=4).contains(&h) || !(1..=4).contains(&v))
        {
            return Err(JpegError::Damaged("a sampling factor is not from 1 to 4"));
        }
        let horizontal = triples.iter().map(|triple| factors(triple[1]).0).max().unwrap_or(1);
        let vertical = triples.iter().map(|triple| factors(triple[1]).1).max().unwrap_or(1);
        let mcus_wide = width.div_ceil(SIDE * horizontal);
        let mcus_high = height.div_ceil(SIDE * vertical);
        let components = triples.iter().map(|&[id, sampling, slot]| {
            let (h, v) = factors(sampling);
            if horizontal % h != 0 || vertical % v != 0 {
                let reason = "a component's sampling is no whole fraction of another's";
                return Err(JpegError::Unsupported(reason.to_owned()));
            }
            Ok(Component {
                id,
                horizontal: h,
                vertical: v,
                quantization_slot: usize::from(slot),
                quantization: None,
                width: (width * h).div_ceil(horizontal),
                height: (height * v).div_ceil(vertical),
                blocks_wide: (width * h).div_ceil(SIDE * horizontal),
                blocks_high: (height * v).div_ceil(SIDE * vertical),
                padded_wide: mcus_wide * h,
                padded_high: mcus_high * v,
            })
        });
        let components = components.collect::<Result<_, _>>()?;
        Ok(Frame { coding, width, height, components, horizontal, vertical, mcus_wide, mcus_high })
    }
}
