//! How tensors lie in a card's memory, and what every launch needs to know of them.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;
use cubecl::{CubeCount, CubeDim, calculate_cube_count_elemwise};

use super::pitch;

/// A tensor as rows of its last dimension, in memory at equal steps.
pub(super) struct Rows {
    pub(super) tensor: CubeTensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// From a row to the next.
    pub(super) pitch: usize,
}

impl Rows {
    /// Copies what does not lie in rows.
    pub(super) fn of(tensor: CubeTensor) -> Self {
        let shape: Vec<usize> = tensor.meta.shape().iter().copied().collect();
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        match pitch(&shape, tensor.meta.strides()) {
            Some(pitch) => Self { tensor, rows, columns, pitch },
            None => Self { tensor: into_contiguous(tensor), rows, columns, pitch: columns },
        }
    }

    /// Numbers that a thread can handle at once.
    pub(super) fn vector(&self) -> usize {
        vector_of(&[self.columns, self.pitch])
    }
}

/// Numbers that a thread can handle at once where rows have these lengths: what divides all of them.
pub(super) fn vector_of(lengths: &[usize]) -> usize {
    let divides_all = |vector: &usize| lengths.iter().all(|length| length.is_multiple_of(*vector));
    [4, 2].into_iter().find(divides_all).unwrap_or(1)
}

/// What a launch needs: how many threads, and how many in a group.
pub(super) fn threads(like: &CubeTensor, count: usize) -> (CubeCount, CubeDim) {
    let group = CubeDim::new(&like.client, count);
    (calculate_cube_count_elemwise(&like.client, count, group), group)
}

/// How wide the indices of these tensors are.
pub(super) fn addresses(tensors: &[&CubeTensor]) -> AddressType {
    tensors.iter().map(|tensor| tensor.required_address_type()).max().unwrap_or_default()
}

/// What a tensor's numbers are.
///
/// # Panics
/// If they are not floats of 16 or 32 bits, which the operators that launch kernels compute with.
pub(super) fn element_type(tensor: &CubeTensor) -> ElemType {
    ElemType::Float(match tensor.dtype {
        DType::F32 => FloatKind::F32,
        DType::BF16 => FloatKind::BF16,
        DType::F16 => FloatKind::F16,
        other => panic!("kernels compute with floats of 16 and 32 bits, not with {other:?}"),
    })
}

/// A tensor of the same numbers on the same device, row-major and not filled yet.
pub(super) fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), like.dtype)
}
