//! How exactly matrix products are computed, and who decides it.

use std::cell::Cell;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::convolution::{self, After, ConvolutionShape};
use crate::operators;

/// Sizes of the linear layer that `bfloat16_share_of_time` measures: one of ViT-Small with eight images.
const ROWS_MEASURED: usize = 1576;
const WIDTH_MEASURED: usize = 384;
/// Turns of either precision.
const TURNS: usize = 5;

/// The numbers that a matrix product multiplies. It sums in 32 bits in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Float32,
    /// Both factors rounded to bfloat16: the range of a 32-bit float, eight significant bits.
    Bfloat16,
}

impl Precision {
    /// Its name, which is PyTorch's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::Float32, Self::Bfloat16].into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| "expected float32 or bfloat16".to_owned())
    }
}

thread_local! {
    static PRESENT: Cell<Precision> = const { Cell::new(Precision::Float32) };
}

/// The precision of the products that this thread's new operators make, forward and backward.
pub(crate) fn present() -> Precision {
    PRESENT.get()
}

/// Runs `work` with the products of linear layers and convolutions in `precision`, those of their
/// backward passes too, wherever these run. Depthwise convolutions, attention and everything
/// elementwise stay in 32 bits.
pub fn with_precision<T>(precision: Precision, work: impl FnOnce() -> T) -> T {
    struct Restore(Precision);
    impl Drop for Restore {
        fn drop(&mut self) {
            PRESENT.set(self.0);
        }
    }
    let _restore = Restore(PRESENT.replace(precision));
    work()
}

/// Whether this machine has instructions for products of bfloat16 (AVX-512 BF16). Without them they
/// are computed in 32 bits from rounded factors, which is slower than not rounding.
pub fn multiplies_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return crate::product::Bfloat16Unit::available().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether training in bfloat16 is faster on this machine: it has the instructions, and saves a tenth of the time of products
/// or more. What surrounds them takes the same time in either precision.
pub fn bfloat16_pays() -> bool {
    const LARGEST_SHARE: f64 = 0.9;
    operators::are_enabled() && multiplies_bfloat16() && bfloat16_share_of_time() <= LARGEST_SHARE
}

/// How long products of bfloat16 take on this machine, as a part of the time of products of 32-bit floats: a linear layer of
/// a small transformer, forward and its weight's gradient. Measured once, in about a tenth of a second; the fastest of
/// several turns.
pub fn bfloat16_share_of_time() -> f64 {
    static SHARE: OnceLock<f64> = OnceLock::new();
    *SHARE.get_or_init(|| {
        let shape = ConvolutionShape::linear(ROWS_MEASURED, WIDTH_MEASURED, WIDTH_MEASURED);
        let x = vec![0.5; shape.input_len()];
        let weight = vec![0.25; shape.weight_len()];
        let mut fastest = [Duration::MAX; 2];
        for _ in 0..TURNS {
            for (precision, fastest) in [Precision::Float32, Precision::Bfloat16].into_iter().zip(&mut fastest) {
                let start = Instant::now();
                let y = convolution::forward(&shape, &x, &weight, After::default(), precision);
                black_box(convolution::weight_gradient(&shape, &x, &y, None, None, precision));
                *fastest = start.elapsed().min(*fastest);
            }
        }
        fastest[1].as_secs_f64() / fastest[0].as_secs_f64()
    })
}

/// The nearest bfloat16, ties to even, as a 32-bit float.
pub(crate) fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    if value.is_nan() {
        return value;
    }
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::{Precision, present, rounded, with_precision};

    #[test]
    fn rounds_to_the_nearest_and_ties_to_even() {
        // Eight significant bits: between 1 and 2 the numbers are 1/128 apart.
        assert_eq!(rounded(1.0 + 1.0 / 128.0), 1.0 + 1.0 / 128.0);
        assert_eq!(rounded(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(rounded(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0);
        assert_eq!(rounded(-1.0 - 1.1 / 256.0), -1.0 - 1.0 / 128.0);
        assert_eq!(rounded(f32::MAX), f32::INFINITY);
        assert!(rounded(f32::NAN).is_nan());
    }

    #[test]
    fn a_precision_ends_with_its_work() {
        let inside = with_precision(Precision::Bfloat16, present);
        assert_eq!((inside, present()), (Precision::Bfloat16, Precision::Float32));
        let panicked = std::panic::catch_unwind(|| with_precision(Precision::Bfloat16, || panic!("on purpose")));
        assert!(panicked.is_err() && present() == Precision::Float32);
    }
}
