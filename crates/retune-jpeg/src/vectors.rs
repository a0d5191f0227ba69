//! The inner loops in the widest vector instructions of the machine: where AVX2 is there, the inverse transform and
//! the conversion to RGB are written in it; everything else is left to the compiler.

#[cfg(target_arch = "x86_64")]
mod avx2;

use crate::color;
use crate::frame::{Block, SIDE};
use crate::transform;

/// The loops that are written more than once, to the same results.
pub(crate) trait Vectors: Copy {
    /// The samples of a block, as [`transform::transformed`] gives them.
    fn transform(self, block: &Block) -> [[u8; SIDE]; SIDE];
    /// Luma and chroma of pixels to RGB, as [`color::from_luma_and_chroma`] gives it.
    fn convert(self, luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]);
}

/// The loops as plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Vectors for Portable {
    #[inline(always)]
    fn transform(self, block: &Block) -> [[u8; SIDE]; SIDE] {
        transform::transformed(block)
    }

    #[inline(always)]
    fn convert(self, luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
        color::convert(luma, cb, cr, out);
    }
}

/// A part of the work. Not a closure, because that would not be compiled into the function that has the
/// instructions.
pub(crate) trait Work {
    type Output;

    /// Must be inlined always.
    fn run<V: Vectors>(self, vectors: V) -> Self::Output;
}

/// Does a part of the work with the instructions of this machine.
pub(crate) fn dispatch<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(v4) = pulp::x86::V4::try_new() {
            return v4.vectorize(Dispatched(work, avx2::Avx2(*v4)));
        }
        if let Some(v3) = pulp::x86::V3::try_new() {
            return v3.vectorize(Dispatched(work, avx2::Avx2(v3)));
        }
    }
    pulp::Arch::new().dispatch(Dispatched(work, Portable))
}

struct Dispatched<W, V>(W, V);

impl<W: Work, V: Vectors> pulp::NullaryFnOnce for Dispatched<W, V> {
    type Output = W::Output;

    #[inline(always)]
    fn call(self) -> W::Output {
        self.0.run(self.1)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The transform with AVX2, where the machine has it.
    fn with_avx2() -> Option<avx2::Avx2> {
        pulp::x86::V3::try_new().map(avx2::Avx2)
    }

    proptest! {
        /// Any values: those of whole files are small, those of damaged ones are not.
        #[test]
        fn both_transforms_agree(block in prop::collection::vec(any::<i16>(), 64), shift in 0..12_u32) {
            let Some(avx2) = with_avx2() else { return Ok(()) };
            let block: Block = std::array::from_fn(|k| block[k] >> shift);
            prop_assert_eq!(avx2.transform(&block), Portable.transform(&block));
        }
    }

    #[test]
    fn both_conversions_agree_on_every_color() {
        let Some(avx2) = with_avx2() else { return };
        let values: Vec<u8> = (0..=255).collect();
        for cb in 0..=255 {
            for cr in 0..=255 {
                let (mut one, mut other) = ([[0; 3]; 256], [[0; 3]; 256]);
                avx2.convert(&values, &[cb; 256], &[cr; 256], &mut one);
                Portable.convert(&values, &[cb; 256], &[cr; 256], &mut other);
                assert_eq!(one, other, "{cb} {cr}");
            }
        }
        let (mut one, mut other) = ([[0; 3]; 77], [[0; 3]; 77]);
        avx2.convert(&values[..77], &values[50..127], &values[150..227], &mut one);
        Portable.convert(&values[..77], &values[50..127], &values[150..227], &mut other);
        assert_eq!(one, other);
    }
}
