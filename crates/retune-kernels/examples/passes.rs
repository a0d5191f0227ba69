//! One pass of one operator for each line on standard input, so that another program can take turns with it:
//!
//!     yes forward | head -5 | cargo run --release -p retune-kernels --example passes -- linear 1576 192 768
//!
//! The operator is one of
//!
//! - `linear ROWS INPUTS OUTPUTS`
//! - `convolution IMAGES SIDE INPUTS OUTPUTS KERNEL STRIDE GROUPS`
//! - `attention IMAGES TOKENS HEADS`, with heads of 64 values
//!
//! and then, to compare, `avx2` or `avx512` to keep the kernels to it, or `bfloat16` to multiply in it. A line is `forward`,
//! `input` (the gradient of the input), or `weight` (that of the weight). Prints the milliseconds of each pass.
//! `benches/against_pytorch.py operators` does the same with PyTorch in turn.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use retune_kernels::operators::{Following, Window, attention, convolution, gradient_seed, linear};
use retune_kernels::{Instructions, Precision, keep_to, with_precision};

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

/// Values of an attention's head.
const WIDTH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    for (name, instructions) in [("avx2", Instructions::Avx2), ("avx512", Instructions::Avx512)] {
        if has(name) && !keep_to(instructions) {
            return Err(format!("this processor has no {name}").into());
        }
    }
    let precision = if has("bfloat16") { Precision::Bfloat16 } else { Precision::Float32 };
    let operator = arguments.first().ok_or("name an operator")?;
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    match (operator.as_str(), sizes.as_slice()) {
        ("linear", &[rows, inputs, outputs]) => {
            let operator = |x, weight| linear(x, weight, Following::default());
            answer(precision, random([rows, inputs]), random([outputs, inputs]), operator)
        }
        ("convolution", &[images, side, inputs, outputs, kernel, stride, groups]) => {
            let padding = (kernel / 2, kernel / 2);
            let window = Window { stride, vertical_padding: padding, horizontal_padding: padding, groups };
            let operator = |x, weight| convolution(x, weight, window, Following::default());
            let weight = random([outputs, inputs / groups, kernel, kernel]);
            answer(precision, random([images, side, side, inputs]), weight, operator)
        }
        ("attention", &[images, tokens, heads]) => {
            let operator = |parts, _: Tensor<1>| attention(parts);
            answer(precision, random([images, tokens, 3, heads, WIDTH]), random([1]), operator)
        }
        _ => Err("give linear, convolution, or attention, and its sizes".into()),
    }
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-0.5, 0.5), &Device::flex().autodiff())
}

/// Runs the pass that each line names, and prints its milliseconds.
fn answer<const X: usize, const W: usize, const Y: usize>(
    precision: Precision,
    x: Tensor<X>,
    weight: Tensor<W>,
    operator: impl Fn(Tensor<X>, Tensor<W>) -> Tensor<Y>,
) -> Result<(), Box<dyn Error>> {
    let operator = |x, weight| with_precision(precision, || operator(x, weight));
    let shape = operator(x.clone(), weight.clone()).dims();
    let gradient = random(shape).inner();
    for line in std::io::stdin().lock().lines() {
        let (x, weight) = (x.clone(), weight.clone());
        let milliseconds = match line?.as_str() {
            "forward" => milliseconds(|| operator(x, weight)),
            "input" => milliseconds_of_backward(operator(x.require_grad(), weight), gradient.clone()),
            "weight" if W > 1 => milliseconds_of_backward(operator(x, weight.require_grad()), gradient.clone()),
            other => {
                return Err(
                    format!("expected forward, input, or, of an operator with weights, weight, not {other}").into()
                );
            }
        };
        println!("{milliseconds:.4}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn milliseconds_of_backward<const D: usize>(output: Tensor<D>, gradient: Tensor<D>) -> f64 {
    let seed = gradient_seed(output, gradient);
    milliseconds(|| seed.backward())
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let started = Instant::now();
    black_box(work());
    started.elapsed().as_secs_f64() * 1e3
}
