//! Every operator but convolution against the same made of Burn's own, values and gradients.

use burn::tensor::activation;
use burn::tensor::module::{self, max_pool2d};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, activation::softmax};
use proptest::prelude::*;
use retune_kernels::operators::{Gated, attention, attention_of, gated, global_average, layer_norm, max_pool};

use super::{distance, host, tensor, values};

/// The largest distance between two outputs, and between the gradients of a weighted sum of either
/// with respect to the inputs that `gradients_of` reads.
fn compare<const D: usize>(
    fused: Tensor<D>,
    plain: Tensor<D>,
    gradients_of: &dyn Fn(&burn::tensor::Gradients) -> Vec<Vec<f32>>,
) -> f64 {
    let doubles = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    assert_eq!(fused.dims(), plain.dims());
    let of_values = distance(&host(fused.clone().inner()), &doubles(host(plain.clone().inner())));
    let factors = tensor(&values(fused.dims().iter().product(), 99), fused.dims());
    let fused = gradients_of(&(fused * factors.clone()).sum().backward());
    let plain = gradients_of(&(plain * factors).sum().backward());
    fused.into_iter().zip(plain).map(|(a, b)| distance(&a, &doubles(b))).fold(of_values, f64::max)
}

fn gradient<const D: usize>(of: &Tensor<D>, gradients: &burn::tensor::Gradients) -> Vec<f32> {
    host(of.grad(gradients).expect("a gradient"))
}

fn plain_attention(parts: &Tensor<5>) -> Tensor<3> {
    let [batch, tokens, _, heads, width] = parts.dims();
    let part = |index: usize| {
        let part = parts.clone().slice([0..batch, 0..tokens, index..index + 1, 0..heads, 0..width]);
        part.reshape([batch, tokens, heads, width]).swap_dims(1, 2)
    };
    let scores = part(0).matmul(part(1).swap_dims(2, 3)).div_scalar((width as f64).sqrt());
    softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    // Sums of a few hundred values of magnitude around 1, in another order: below 1e-5 of the largest.

    #[test]
    fn attention_is_burns(batch in 1usize..3, tokens in 1usize..70, heads in 1usize..4, width in 1usize..40, seed in 0u64..1000) {
        let shape = [batch, tokens, 3, heads, width];
        let scaled: Vec<f32> = values(shape.iter().product(), seed).iter().map(|value| value * 3.0).collect();
        let parts = tensor(&scaled, shape);
        let gradients = |found: &_| vec![gradient(&parts, found)];
        prop_assert!(compare(attention(parts.clone()), plain_attention(&parts), &gradients) < 1e-5);
        let part = |index: usize| {
            let part = parts.clone().slice([0..batch, 0..tokens, index..index + 1, 0..heads, 0..width]);
            part.reshape([batch, tokens, heads, width]).swap_dims(1, 2)
        };
        let apart = attention_of(part(0), part(1), part(2));
        prop_assert!(compare(apart, plain_attention(&parts), &gradients) < 1e-5);
    }

    #[test]
    fn layer_norm_is_burns(rows in 1usize..150, width in 2usize..80, seed in 0u64..1000) {
        let x = tensor(&values(rows * width, seed), [rows, width]);
        let (weight, bias) = (tensor(&values(width, seed + 1), [width]), tensor(&values(width, seed + 2), [width]));
        let fused = layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-3);
        let plain = module::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-3);
        let gradients = |found: &_| vec![gradient(&x, found), gradient(&weight, found), gradient(&bias, found)];
        prop_assert!(compare(fused, plain, &gradients) < 1e-5);
    }

    #[test]
    fn nonlinearities_are_burns(count in 1usize..70, seed in 0u64..1000) {
        let wide: Vec<f32> = values(count, seed).iter().map(|value| value * 9.0).collect();
        let x = tensor(&wide, [count]);
        let gradients = |found: &_| vec![gradient(&x, found)];
        let quick = x.clone() * activation::sigmoid(x.clone().mul_scalar(1.702));
        for (kind, plain) in [
            (Gated::Silu, activation::silu(x.clone())),
            (Gated::Gelu, activation::gelu(x.clone())),
            (Gated::GeluTanh, activation::gelu_approximate(x.clone())),
            (Gated::QuickGelu, quick),
        ] {
            let difference = compare(gated(x.clone(), kind), plain, &gradients);
            // Both approximate the error function to 1.5e-7, and a slope multiplies that by x.
            prop_assert!(difference < 3e-6, "{kind:?}: {difference}");
        }
    }

    #[test]
    fn pooling_is_burns(
        (batch, height, width, channels) in (1usize..3, 4usize..12, 4usize..12, 1usize..40),
        (kernel, stride, padding) in prop_oneof![Just((3, 2, 1)), Just((2, 2, 0)), Just((3, 1, 1)), Just((3, 3, 0))],
        seed in 0u64..1000,
    ) {
        let x = tensor(&values(batch * height * width * channels, seed), [batch, height, width, channels]);
        let gradients = |found: &_| vec![gradient(&x, found)];
        let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
        let plain = max_pool2d(x.clone().permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1]);
        prop_assert!(compare(max_pool(x.clone(), kernel, stride, padding), plain, &gradients) == 0.0);
        let plain = x.clone().reshape([batch, height * width, channels]).mean_dim(1).reshape([batch, channels]);
        prop_assert!(compare(global_average(x.clone()), plain, &gradients) < 1e-6);
    }
}

#[test]
fn attention_of_several_blocks_of_keys_is_burns() {
    for (tokens, width) in [(96, 32), (97, 64), (128, 48), (205, 64), (300, 72), (400, 24)] {
        let shape = [1, tokens, 3, 2, width];
        let parts = tensor(&values(shape.iter().product(), 7), shape);
        let difference =
            compare(attention(parts.clone()), plain_attention(&parts), &|found| vec![gradient(&parts, found)]);
        // Sums of a few hundred values of magnitude around 1, in another order.
        assert!(difference < 1e-5, "{tokens} {width}: {difference}");
    }
}

#[test]
fn ties_of_a_window_pass_the_gradient_to_its_first_place() {
    let x = tensor(&[1.0; 4], [1, 2, 2, 1]);
    let gradients = max_pool(x.clone(), 2, 2, 0).sum().backward();
    assert_eq!(gradient(&x, &gradients), [1.0, 0.0, 0.0, 0.0]);
}
