//! Nonlinearities that are a gate times their input: SiLU and the kinds of GELU.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

use super::run_on;
use crate::exponential::exp;
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::shared::{SharedSlice, filled};
use crate::vectors::vectorized;

/// Values that one task handles.
const CHUNK: usize = 1 << 13;
/// OpenAI's CLIP approximates GELU by a sigmoid of this times the input.
const QUICK: f32 = 1.702;

/// A smooth nonlinearity `x · gate(x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gated {
    /// `x · sigmoid(x)` (Elfwing et al. 2018, arXiv 1702.03118).
    Silu,
    /// `x · Φ(x)`, Φ being the normal distribution's (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    Gelu,
    /// GELU with Φ approximated by a hyperbolic tangent.
    GeluTanh,
    /// GELU with Φ approximated by a sigmoid.
    QuickGelu,
}

/// The nonlinearity of every value.
pub fn gated<const D: usize>(x: Tensor<D>, kind: Gated) -> Tensor<D> {
    if run_on(&x.device()) {
        let shape = x.dims().to_vec();
        return run(vec![x.into_dispatch()], Gate { kind, shape });
    }
    match kind {
        Gated::Silu => activation::silu(x),
        // Burn's own differentiates the approximation by a hyperbolic tangent.
        Gated::Gelu => x.clone() * (x.mul_scalar(FRAC_1_SQRT_2).erf() + 1.0).mul_scalar(0.5),
        Gated::GeluTanh => activation::gelu_approximate(x),
        Gated::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(QUICK)),
    }
}

#[derive(Debug)]
struct Gate {
    kind: Gated,
    shape: Vec<usize>,
}

impl Gate {
    /// `f(x[i], y[i])` for every `i`, `f` being chosen once for all of them.
    fn map(&self, x: &[f32], y: &[f32], of: impl Fn(Gated, &[f32], &[f32], &mut [f32]) + Sync) -> Array {
        let fill = |out: &SharedSlice| {
            x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK)).enumerate().for_each(|(index, (x, y))| {
                // SAFETY: every task has a chunk of its own.
                let out = unsafe { out.part(index * CHUNK, x.len()) };
                vectorized(
                    #[inline(always)]
                    || of(self.kind, x, y, out),
                );
            });
        };
        // SAFETY: every chunk is written whole.
        Array::new(unsafe { filled(x.len(), fill) }, &self.shape)
    }
}

#[expect(
    clippy::redundant_closure,
    reason = "a function passed by its name is called through a pointer's shim, not inlined"
)]
impl Operator for Gate {
    fn forward(&self, inputs: &[Array]) -> Array {
        let x = inputs[0].values();
        self.map(
            x,
            x,
            #[inline(always)]
            |kind, x, y, out| values(kind, x, y, out),
        )
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true], output: false }
    }

    fn backward(&self, kept: Kept, gradient: Array, _: &[bool]) -> Vec<Option<Array>> {
        vec![Some(self.map(
            kept.input(0).values(),
            gradient.values(),
            #[inline(always)]
            |kind, x, y, out| gradients(kind, x, y, out),
        ))]
    }
}

#[inline(always)]
fn each(x: &[f32], y: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = f(x, y);
    }
}

#[inline(always)]
fn values(kind: Gated, x: &[f32], _: &[f32], out: &mut [f32]) {
    match kind {
        Gated::Silu => each(
            x,
            x,
            out,
            #[inline(always)]
            |x, _| x * sigmoid(x),
        ),
        Gated::Gelu => each(
            x,
            x,
            out,
            #[inline(always)]
            |x, _| x * normal(x).0,
        ),
        Gated::GeluTanh => each(
            x,
            x,
            out,
            #[inline(always)]
            |x, _| x * sigmoid(tanh_argument(x).0),
        ),
        Gated::QuickGelu => each(
            x,
            x,
            out,
            #[inline(always)]
            |x, _| x * sigmoid(QUICK * x),
        ),
    }
}

#[inline(always)]
fn gradients(kind: Gated, x: &[f32], gradient: &[f32], out: &mut [f32]) {
    match kind {
        Gated::Silu => each(
            x,
            gradient,
            out,
            #[inline(always)]
            |x, g| g * slope(x, sigmoid(x), 1.0),
        ),
        Gated::Gelu => each(
            x,
            gradient,
            out,
            #[inline(always)]
            |x, g| {
                let (distribution, density) = normal(x);
                g * (distribution + x * density)
            },
        ),
        Gated::GeluTanh => each(
            x,
            gradient,
            out,
            #[inline(always)]
            |x, g| {
                let (argument, inner) = tanh_argument(x);
                g * slope(x, sigmoid(argument), inner)
            },
        ),
        Gated::QuickGelu => each(
            x,
            gradient,
            out,
            #[inline(always)]
            |x, g| g * slope(x, sigmoid(QUICK * x), QUICK),
        ),
    }
}

/// The slope of `x · sigmoid(u)`, given the sigmoid and the slope of `u`: a sigmoid's own is `s · (1 − s)`.
#[inline(always)]
fn slope(x: f32, s: f32, inner: f32) -> f32 {
    s + x * s * (1.0 - s) * inner
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The normal distribution's function and density.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let e = exp(-0.5 * x * x);
    // Abramowitz & Stegun 7.1.26: the error function of |x| / √2 to 1.5e-7.
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let series = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152 + t * 1.061_405_4))));
    let tail = 0.5 * series * e;
    let distribution = if x < 0.0 { tail } else { 1.0 - tail };
    const INVERSE_ROOT_OF_2_PI: f32 = 0.398_942_3;
    (distribution, e * INVERSE_ROOT_OF_2_PI)
}

/// Twice the argument of GELU's hyperbolic tangent (`(1 + tanh u) / 2 = sigmoid(2 u)`) and its slope.
#[inline(always)]
fn tanh_argument(x: f32) -> (f32, f32) {
    const TWICE_ROOT: f32 = 1.595_769_2;
    let square = x * x;
    (TWICE_ROOT * x * (1.0 + 0.044_715 * square), TWICE_ROOT * (1.0 + 3.0 * 0.044_715 * square))
}
