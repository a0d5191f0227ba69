//! Where the backward pass goes on in a graph that was cut.

use burn::tensor::Tensor;

use super::{on_card, run_on};
use crate::operator::{Array, Kept, Needs, Operator, run};

/// A scalar whose gradient with respect to `x` is `gradient`: `backward` from it continues a backward pass that ended at `x`.
/// The value of the scalar has no meaning.
///
/// `gradient` has the shape of `x`, and is not tracked.
///
/// # Panics
/// If the shapes differ, or, on the CPU, if the gradient is not of 32-bit floats.
pub fn gradient_seed<const D: usize>(x: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    assert_eq!(x.dims(), gradient.dims(), "a gradient for each value");
    if on_card::is_card(&x.device()) {
        return on_card::gradient_seed(x, Tensor::from_inner(gradient));
    }
    if !run_on(&x.device()) {
        return (x * Tensor::from_inner(gradient)).sum();
    }
    let shape = gradient.dims();
    let values = gradient.into_data().try_into_vec().expect("gradients are 32-bit floats");
    run(vec![x.into_dispatch()], Seed { gradient: Array::new(values, &shape) })
}

#[derive(Debug)]
struct Seed {
    gradient: Array,
}

impl Operator for Seed {
    fn forward(&self, _: &[Array]) -> Array {
        Array::new(vec![0.0], &[1])
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![false], output: false }
    }

    fn backward(&self, _: Kept, _: Array, _: &[bool]) -> Vec<Option<Array>> {
        vec![Some(self.gradient.clone())]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::operators::{Gated, gated};

    /// The gradient of a chain that is cut is that of the whole.
    #[test]
    fn a_cut_graph_has_the_gradients_of_the_whole() {
        let device = Device::flex().autodiff();
        let values = Tensor::<2>::from_data([[0.5_f32, -1.0, 2.0], [-0.25, 3.0, 0.0]], &device);
        let loss = |x: Tensor<2>| (x.clone() * x).sum();

        let x = values.clone().require_grad();
        let whole = x.grad(&loss(gated(x.clone(), Gated::Silu)).backward()).unwrap();

        let x = values.require_grad();
        let output = gated(x.clone(), Gated::Silu);
        let entry = Tensor::from_inner(output.clone().inner()).require_grad();
        let gradient = entry.grad(&loss(entry.clone()).backward()).unwrap();
        let found = gradient_seed(output, gradient).backward();
        assert_eq!(x.grad(&found).unwrap().into_data(), whole.into_data());
    }
}
