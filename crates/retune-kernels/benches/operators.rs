//! Time of each operator, forward and with its backward pass, against the same made of Burn's own:
//!
//!     cargo bench -p retune-kernels -- convolution
//!
//! Sizes are those of ResNet-18 at 64 and 224 pixels, EfficientNet-Lite0, ViT-Tiny and -Small, and ConvNeXt-Atto. A number that
//! is to mean something needs a quiet machine; both sides run one after the other.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor, module};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use retune_kernels::operators::{
    Following, Gated, SharedBatch, Window, are_enabled, attention, channels_first, channels_last, convolution, gated,
    layer_norm, linear, max_pool, set_enabled, shared_batch_norm,
};

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

/// Batch, side, inputs, outputs, kernel, stride, groups.
const CONVOLUTIONS: [[usize; 7]; 14] = [
    [32, 16, 64, 64, 3, 1, 1],
    [32, 8, 128, 128, 3, 1, 1],
    [32, 4, 256, 256, 3, 1, 1],
    [32, 2, 512, 512, 3, 1, 1],
    [8, 56, 64, 64, 3, 1, 1],
    [8, 28, 128, 128, 3, 1, 1],
    [8, 14, 256, 256, 3, 1, 1],
    [8, 7, 512, 512, 3, 1, 1],
    [8, 56, 64, 128, 3, 2, 1],
    [8, 224, 3, 64, 7, 2, 1],
    [8, 28, 128, 512, 1, 1, 1],
    [16, 24, 144, 144, 3, 1, 144],
    [16, 12, 240, 240, 5, 1, 240],
    [16, 48, 96, 96, 3, 2, 96],
];
/// Rows of eight images' tokens or pixels, inputs, outputs.
const LINEARS: [[usize; 3]; 13] = [
    [1576, 192, 192],
    [1576, 192, 576],
    [1576, 192, 768],
    [1576, 768, 192],
    [1576, 384, 1536],
    [1576, 1536, 384],
    [1576, 768, 768],
    [1576, 768, 3072],
    [1576, 3072, 768],
    [6272, 80, 320],
    [25088, 40, 160],
    [25088, 160, 40],
    [1568, 160, 640],
];

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-0.5, 0.5), &Device::flex().autodiff()).require_grad()
}

/// Times `operator` forward, and forward with backward, with this crate's kernels and without.
fn compare<const D: usize>(group: &mut BenchmarkGroup<WallTime>, name: &str, operator: impl Fn() -> Tensor<D>) {
    for (kernels, enabled) in [("fused", true), ("plain", false)] {
        set_enabled(enabled);
        group.bench_function(format!("{name}/forward/{kernels}"), |bencher| {
            bencher.iter(|| black_box(operator().inner()))
        });
        group.bench_function(format!("{name}/with backward/{kernels}"), |bencher| {
            bencher.iter(|| black_box(operator().sum().backward()));
        });
    }
    set_enabled(true);
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = group(criterion, "convolution");
    for [batch, side, inputs, outputs, kernel, stride, groups] in CONVOLUTIONS {
        let x = random([batch, side, side, inputs]);
        let weight = random([outputs, inputs / groups, kernel, kernel]);
        let padding = (kernel / 2, kernel / 2);
        let window = Window { stride, vertical_padding: padding, horizontal_padding: padding, groups };
        let kind = if groups > 1 { " depthwise" } else { "" };
        let name = format!("{inputs} to {outputs} at {side}, {kernel}x{kernel} stride {stride}{kind}, batch {batch}");
        let following = || Following { limits: Some((0.0, f32::INFINITY)), ..Following::default() };
        compare(&mut group, &name, || convolution(x.clone(), weight.clone(), window, following()));
    }
}

fn linears(criterion: &mut Criterion) {
    let mut group = group(criterion, "linear");
    for [rows, inputs, outputs] in LINEARS {
        let (x, weight, bias) = (random([rows, inputs]), random([outputs, inputs]), random([outputs]));
        compare(&mut group, &format!("{rows} rows, {inputs} to {outputs}"), || {
            linear(x.clone(), weight.clone(), Following { shift: Some(bias.clone()), ..Following::default() })
        });
    }
}

fn transformers(criterion: &mut Criterion) {
    let mut group = group(criterion, "transformer");
    for heads in [3, 6] {
        let parts = random([8, 197, 3, heads, 64]);
        compare(&mut group, &format!("attention of 8 x 197 tokens, {heads} heads of 64"), || attention(parts.clone()));
    }
    let (x, weight, bias) = (random([1576, 192]), random([192]), random([192]));
    compare(&mut group, "layer norm of 1576 x 192", || layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-6));
    let x = random([1576, 768]);
    compare(&mut group, "GELU of 1576 x 768", || gated(x.clone(), Gated::Gelu));
}

/// Nobody else computes a part of the batch.
#[derive(Debug)]
struct Alone;

impl SharedBatch for Alone {
    fn add_up(&self, _: &mut [f64]) {}
}

/// Burn's for a whole batch, and this crate's for a part that is the whole.
fn normalizations(criterion: &mut Criterion) {
    let mut group = group(criterion, "normalization by the batch");
    for [batch, side, channels] in [[32, 32, 64], [32, 8, 256], [8, 56, 64]] {
        let (x, weight, bias) = (random([batch, side, side, channels]), random([channels]), random([channels]));
        compare(&mut group, &format!("BatchNorm of {batch} x {side} x {side} x {channels}"), || {
            let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
            if are_enabled() {
                return shared_batch_norm(x, weight, bias, 1e-5, Arc::new(Alone)).output;
            }
            channels_last(module::batch_norm_train(channels_first(x), weight, bias, 1e-5).output)
        });
    }
}

fn poolings(criterion: &mut Criterion) {
    let mut group = group(criterion, "pooling");
    let x = random([8, 112, 112, 64]);
    compare(&mut group, "maximum 3x3 stride 2 of 8 x 112 x 112 x 64", || max_pool(x.clone(), 3, 2, 1));
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    group
}

criterion_group!(benches, convolutions, linears, transformers, normalizations, poolings);
criterion_main!(benches);
