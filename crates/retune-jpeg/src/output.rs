//! From blocks of samples to rows of pixels, strip by strip. A strip is one row of MCUs; rows between two
//! strips need samples of both, so three are kept.

use crate::color::{self, ColorSpace};
use crate::frame::{Block, Frame, SIDE};
use crate::transform;
use crate::upsample::{self, Upsampling};
use crate::vectors::{self, Vectors, Work};

/// How many strips are kept.
const STRIPS: usize = 3;

pub(crate) struct Output<'f> {
    frame: &'f Frame,
    color_space: ColorSpace,
    components: Vec<Plane>,
    pixels: Vec<u8>,
    sums: Vec<u16>,
}

/// The last strips of one component.
struct Plane {
    samples: Vec<u8>,
    /// Samples in a row of `samples`, and rows in a strip.
    stride: usize,
    rows: usize,
    /// Samples that count.
    width: usize,
    height: usize,
    upsampling: Upsampling,
    /// One row at the image's size.
    upsampled: Vec<u8>,
}

impl Plane {
    /// A row, or the nearest that there is.
    #[inline(always)]
    fn row(&self, y: usize) -> &[u8] {
        let y = y.min(self.height - 1);
        let kept = y / self.rows % STRIPS * self.rows + y % self.rows;
        &self.samples[kept * self.stride..][..self.width]
    }
}

impl<'f> Output<'f> {
    pub fn new(frame: &'f Frame, color_space: ColorSpace) -> Self {
        let planes = frame.components.iter().map(|component| {
            let (across, down) = (frame.horizontal / component.horizontal, frame.vertical / component.vertical);
            let (stride, rows) = (component.padded_wide * SIDE, component.vertical * SIDE);
            Plane {
                samples: vec![0; STRIPS * rows * stride],
                stride,
                rows,
                width: component.width,
                height: component.height,
                upsampling: Upsampling::new(across, down, component.width),
                upsampled: vec![0; component.width * across],
            }
        });
        let components = planes.collect();
        let pixels = vec![0; frame.width * frame.height * 3];
        Output { frame, color_space, components, pixels, sums: vec![0; frame.width] }
    }

    /// Where the samples of a block go: block `y` from the top of strip `strip` and `x` from the left. Returns
    /// the samples from the block's first on, and how many there are in a row.
    #[inline(always)]
    pub fn block(&mut self, component: usize, strip: usize, y: usize, x: usize) -> (&mut [u8], usize) {
        let plane = &mut self.components[component];
        let stride = plane.stride;
        let start = (strip % STRIPS * plane.rows + y * SIDE) * stride + x * SIDE;
        (&mut plane.samples[start..start + (SIDE - 1) * stride + SIDE], stride)
    }

    /// Makes pixels of the strip before, whose last rows need this one, and of this one if it is the last.
    pub fn finish_strip(&mut self, strip: usize) {
        let strips = strip.saturating_sub(1)..if strip + 1 == self.frame.mcus_high { strip + 1 } else { strip };
        for strip in strips {
            vectors::dispatch(Convert { output: self, strip });
        }
    }

    /// Transforms all coefficients of an image.
    pub fn transform(&mut self, coefficients: &[Vec<Block>]) {
        for strip in 0..self.frame.mcus_high {
            vectors::dispatch(Transform { output: self, coefficients, strip });
            self.finish_strip(strip);
        }
    }

    #[inline(always)]
    fn transform_strip(&mut self, vectors: impl Vectors, coefficients: &[Vec<Block>], strip: usize) {
        let frame = self.frame;
        for (n, (component, blocks)) in frame.components.iter().zip(coefficients).enumerate() {
            let scale = component.quantization.as_ref().unwrap_or(&[1; 64]);
            for y in 0..component.vertical {
                let start = (strip * component.vertical + y) * component.padded_wide;
                for (x, block) in blocks[start..start + component.padded_wide].iter().enumerate() {
                    let mut scaled = [0; 64];
                    let (mut first_row, mut others) = (0, 0);
                    for k in 0..64 {
                        scaled[k] = block[k].wrapping_mul(scale[k]);
                        first_row |= if (1..SIDE).contains(&k) { block[k] } else { 0 };
                        others |= if k >= SIDE { block[k] } else { 0 };
                    }
                    let used = if others != 0 { 63 } else { usize::from(first_row != 0) };
                    let (samples, stride) = self.block(n, strip, y, x);
                    transform::inverse(vectors, &scaled, used, samples, stride);
                }
            }
        }
    }

    #[inline(always)]
    fn convert(&mut self, vectors: impl Vectors, strip: usize) {
        let rows = self.frame.vertical * SIDE;
        let last = self.frame.height.min((strip + 1) * rows);
        for y in strip * rows..last {
            for plane in &mut self.components {
                let mut upsampled = std::mem::take(&mut plane.upsampled);
                let (near, far) = plane.upsampling.rows(y);
                match plane.upsampling {
                    Upsampling::None => {}
                    Upsampling::Wide => upsample::wide(plane.row(near), &mut upsampled),
                    Upsampling::High => upsample::high(plane.row(near), plane.row(far), y % 2 == 0, &mut upsampled),
                    Upsampling::Both => {
                        upsample::both(plane.row(near), plane.row(far), &mut self.sums, &mut upsampled);
                    }
                    Upsampling::Repeat(across, _) => upsample::repeat(plane.row(near), across, &mut upsampled),
                }
                plane.upsampled = upsampled;
            }
            let mut rows: [&[u8]; 4] = [&[]; 4];
            for (row, plane) in rows.iter_mut().zip(&self.components) {
                *row = match plane.upsampling {
                    Upsampling::None => plane.row(y),
                    _ => &plane.upsampled,
                };
            }
            let width = self.frame.width * 3;
            color::to_rgb(vectors, self.color_space, rows, &mut self.pixels[y * width..(y + 1) * width]);
        }
    }

    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

struct Convert<'o, 'f> {
    output: &'o mut Output<'f>,
    strip: usize,
}

impl Work for Convert<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        self.output.convert(vectors, self.strip);
    }
}

struct Transform<'o, 'f> {
    output: &'o mut Output<'f>,
    coefficients: &'o [Vec<Block>],
    strip: usize,
}

impl Work for Transform<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        self.output.transform_strip(vectors, self.coefficients, self.strip);
    }
}
