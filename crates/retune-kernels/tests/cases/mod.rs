//! The tests of the operators, and values, tensors and distances for them.

mod convolution;
mod operators;
mod shared_batch_norm;

use burn::tensor::{Device, Tensor, TensorData};
use retune_kernels::{Instructions, keep_to};

/// Every test begins with this, most by asking for values: always the same instructions in one program of tests.
fn choose_instructions() {
    if module_path!().starts_with("avx2") {
        keep_to(Instructions::Avx2);
    } else if module_path!().starts_with("avx512") {
        keep_to(Instructions::Avx512);
    }
}

/// Values between -1 and 1 that depend on the seed alone.
fn values(count: usize, seed: u64) -> Vec<f32> {
    choose_instructions();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A tensor whose gradient is asked for.
fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    Tensor::<D>::from_data(TensorData::new(values.to_vec(), shape), &device).require_grad()
}

/// A tensor's values.
fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_into_vec().expect("32-bit floats")
}

/// The largest difference, relative to the largest magnitude (at least 1).
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    let differences = found.iter().zip(expected).map(|(&a, &b)| (f64::from(a) - b).abs());
    differences.fold(0.0, f64::max) / largest
}
