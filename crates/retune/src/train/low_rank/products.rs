//! Products of a weight, seen as a matrix `outputs × inputs`, with its factors.

use burn::tensor::Tensor;

use super::Factors;
use crate::device;
use crate::device::transfers::InPlace;

/// What a change multiplies `B A` by, and the rank of both.
#[derive(Clone, Copy)]
pub(super) struct Scaling {
    pub scale: f32,
    pub rank: usize,
}

impl Scaling {
    /// `A` as `[rank, inputs]` and `B` as `[outputs, rank]`.
    fn matrices(self, factors: &Factors) -> (Tensor<2>, Tensor<2>) {
        let [inputs, outputs] = [&factors.a, &factors.b].map(|factor| factor.dims()[0] / self.rank);
        (factors.a.clone().reshape([self.rank, inputs]), factors.b.clone().reshape([outputs, self.rank]))
    }

    /// The gradients of `A` and `B` by that of the weight: `scale · Bᵀ dW` and `scale · dW Aᵀ`.
    pub fn gradients(self, factors: &Factors, weight: &Tensor<1>) -> Factors {
        let on_host = [&factors.a, &factors.b, weight].map(InPlace::of);
        if let [Some(a), Some(b), Some(weight)] = &on_host {
            let (a, b) = self.gradients_of_values(a.values(), b.values(), weight.values());
            let tensor = |values: Vec<f32>| {
                let length = values.len();
                device::tensor(values, [length], &factors.a.device())
            };
            return Factors { a: tensor(a), b: tensor(b) };
        }
        let (a, b) = self.matrices(factors);
        let weight = weight.clone().reshape([b.dims()[0], a.dims()[1]]).mul_scalar(self.scale);
        Factors { a: b.transpose().matmul(weight.clone()).flatten(0, 1), b: weight.matmul(a.transpose()).flatten(0, 1) }
    }

    /// `base + scale · B A`.
    pub fn merged(self, factors: &Factors, base: &Tensor<1>) -> Tensor<1> {
        let on_host = [&factors.a, &factors.b, base].map(InPlace::of);
        if let [Some(a), Some(b), Some(base)] = &on_host {
            let merged = self.merged_values(a.values(), b.values(), base.values());
            let length = merged.len();
            return device::tensor(merged, [length], &factors.a.device());
        }
        let (a, b) = self.matrices(factors);
        base.clone() + b.matmul(a).mul_scalar(self.scale).flatten(0, 1)
    }

    fn gradients_of_values(self, a: &[f32], b: &[f32], weight: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let Self { scale, rank } = self;
        let inputs = a.len() / rank;
        let (mut gradient_of_a, mut gradient_of_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        let rows = weight.chunks_exact(inputs).zip(b.chunks_exact(rank));
        for ((row, b), gradient_of_b) in rows.zip(gradient_of_b.chunks_exact_mut(rank)) {
            for (r, gradient_of_b) in gradient_of_b.iter_mut().enumerate() {
                let a = &a[r * inputs..(r + 1) * inputs];
                *gradient_of_b = scale * row.iter().zip(a).map(|(weight, a)| weight * a).sum::<f32>();
                let gradient_of_a = &mut gradient_of_a[r * inputs..(r + 1) * inputs];
                gradient_of_a.iter_mut().zip(row).for_each(|(gradient, weight)| *gradient += scale * b[r] * weight);
            }
        }
        (gradient_of_a, gradient_of_b)
    }

    fn merged_values(self, a: &[f32], b: &[f32], base: &[f32]) -> Vec<f32> {
        let Self { scale, rank } = self;
        let inputs = a.len() / rank;
        let mut merged = base.to_vec();
        for (row, b) in merged.chunks_exact_mut(inputs).zip(b.chunks_exact(rank)) {
            for (a, b) in a.chunks_exact(inputs).zip(b) {
                row.iter_mut().zip(a).for_each(|(weight, a)| *weight += scale * b * a);
            }
        }
        merged
    }
}
