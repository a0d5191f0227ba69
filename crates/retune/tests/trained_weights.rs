//! What the CPU's operators cost in accuracy on weights that were trained, not drawn: Winograd's transforms are as exact
//! as the sizes of weights let them be, and so is rounding to bfloat16.
//!
//! A test of its own process, because turning operators off concerns all of it.

use burn::tensor::{Tensor, TensorData};
use retune::demo;
use retune::loading::{Batch, Loader, LoaderOptions};
use retune::models::Model;
use retune::train::options::Precision;
use retune::train::{Differentiation, LossGradients, loss_gradients};

/// Sixty-four of the demo's images, at the size that its model takes.
fn batch(model: &Model) -> Batch {
    let task = demo::input_shift().unwrap();
    let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), 64);
    let loader = Loader::new(task.train, options).unwrap();
    loader.epoch(0, retune::loading::Order::Sequential, 0).next().unwrap().unwrap()
}

fn logits(model: &Model, batch: &Batch) -> Vec<f32> {
    let device = retune::device::by_name("cpu").unwrap();
    let images = TensorData::new(batch.images.clone(), [batch.n, batch.height, batch.width, 3]);
    model.logits(Tensor::from_data(images, &device)).into_data().iter().collect()
}

fn gradients(model: &Model, batch: &Batch, precision: Precision) -> LossGradients {
    let trained = vec![true; model.network().specs.len()];
    let what = Differentiation { precision, ..Differentiation::new(&trained) };
    loss_gradients(model, batch, &what)
}

/// Largest difference relative to the largest magnitude.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Cosine of the angle between all gradients together.
fn cosine(found: &LossGradients, expected: &LossGradients) -> f64 {
    let [found, expected] = [found, expected].map(LossGradients::gradient_values);
    let pairs = || found.iter().flatten().flatten().zip(expected.iter().flatten().flatten());
    let sum = |product: fn(f64, f64) -> f64| pairs().map(|(&a, &b)| product(a.into(), b.into())).sum::<f64>();
    sum(|a, b| a * b) / (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt()
}

#[test]
fn the_fused_operators_are_the_plain_ones_on_trained_weights() {
    let model = demo::backbone().unwrap();
    let batch = batch(&model);
    let (fused, of_fused) = (logits(&model, &batch), gradients(&model, &batch, Precision::Float32));
    let of_bfloat16 = gradients(&model, &batch, Precision::Bfloat16);
    retune_kernels::operators::set_enabled(false);
    let (plain, of_plain) = (logits(&model, &batch), gradients(&model, &batch, Precision::Float32));
    retune_kernels::operators::set_enabled(true);

    // What the parity with timm asks for; Winograd's transforms are in six of the eight 3x3 convolutions.
    let of_logits = difference(&fused, &plain);
    assert!(of_logits > 0.0 && of_logits < 1e-4, "logits differ by {of_logits:e}");
    for (fused, plain) in of_fused.gradient_values().iter().zip(&of_plain.gradient_values()) {
        if let Some((fused, plain)) = fused.as_ref().zip(plain.as_ref()) {
            assert!(difference(fused, plain) < 1e-3);
        }
    }
    // Eight significant bits for each factor. The model is near its optimum, where the gradients of images cancel and
    // what is left is small beside what rounds; the direction of descent stays.
    let direction = cosine(&of_bfloat16, &of_plain);
    assert!(direction > 0.99 && direction < 1.0 - 1e-9, "cosine {direction}");
    let losses = (of_bfloat16.loss() - of_plain.loss()).abs() / of_plain.loss();
    assert!(losses < 0.01, "losses differ by {losses}");
    println!("logits {of_logits:e}; bfloat16: 1 - cosine {:e}, loss {losses:e}", 1.0 - direction);
}
