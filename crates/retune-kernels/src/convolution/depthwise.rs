//! Depthwise convolution: every channel is convolved with a window of its own. There is no matrix
//! product in it; channels are the vectors.
//!
//! Lines of the source are copied with their padding, so that no window crosses a border. The copy is divided into strips of
//! channels: neighboring pixels of a strip lie side by side, at distances that the compiler knows. It keeps no more lines than
//! a window has.
//!
//! The gradient of the input is a convolution too, of the output's gradient with the window turned around. Where windows move by
//! several places, only some taps of a window see a place of that gradient, and those of its neighbors at that distance.

mod layout;
mod lines;
mod tap_sums;
mod window_sums;

use rayon::prelude::*;

use self::layout::Layout;
use self::lines::Lines;
use self::tap_sums::TapSums;
use self::window_sums::WindowSums;
use super::{After, ConvolutionShape};
use crate::instructions::dispatch;
use crate::shared::SharedSlice;

/// Channels of a strip: a cache line, and whole vectors of any instruction set.
const STRIP: usize = 16;

pub(super) fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, y: &SharedSlice) {
    let weight = by_strip(shape, weight, after.scale, |tap| tap);
    WindowSums { layout: Layout::forward(shape), source: x, weight, after }.run(y);
}

pub(super) fn input_gradient(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    dx: &SharedSlice,
) {
    let turned = |tap: usize| shape.window() - 1 - tap;
    let weight = by_strip(shape, weight, scale, turned);
    WindowSums { layout: Layout::backward(shape), source: gradient, weight, after: After::default() }.run(dx);
}

/// `[channels, window]` to `[strips, window, STRIP]`, times the scale; tap `t` goes to `to(t)`. Channels past the last are zeros.
fn by_strip(shape: &ConvolutionShape, weight: &[f32], scale: Option<&[f32]>, to: impl Fn(usize) -> usize) -> Vec<f32> {
    let window = shape.window();
    let mut arranged = vec![0.0; shape.inputs.next_multiple_of(STRIP) * window];
    for (channel, taps) in weight.chunks_exact(window).enumerate() {
        let factor = scale.map_or(1.0, |scale| scale[channel]);
        let strip = channel / STRIP * window * STRIP + channel % STRIP;
        for (tap, value) in taps.iter().enumerate() {
            arranged[strip + to(tap) * STRIP] = value * factor;
        }
    }
    arranged
}

/// Adds to `dw` the gradient of a depthwise weight: for each tap and channel, the sum over all pixels of source times gradient;
/// image by image, so that the order of the sums does not depend on the threads. Returns the sums of the gradient itself, one for
/// each channel.
pub(super) fn weight_gradient(shape: &ConvolutionShape, x: &[f32], gradient: &[f32], dw: &mut [f32]) -> Vec<f32> {
    let layout = Layout::forward(shape);
    let mut of_channels = vec![0.0; layout.channels];
    if shape.output_len() == 0 {
        return of_channels;
    }
    let window = layout.window();
    let of_strip = (window + 1) * STRIP;
    let of_image = layout.strips() * of_strip;
    let mut of_images = vec![0.0; layout.batch * of_image];
    let shared = SharedSlice::new(&mut of_images);
    layout.tasks(1).for_each(|(image, _, strips)| {
        let (height, width) = (layout.vertical.destination, layout.horizontal.destination);
        let columns = 0..width as isize;
        let of_output = layout.image(gradient, image, (height, width));
        let gradient = Lines::new(of_output, (height, width), layout.channels, strips.clone(), columns, 1);
        // SAFETY: every task has strips of its own.
        let sums = unsafe { shared.part(image * of_image + strips.start * of_strip, strips.len() * of_strip) };
        dispatch(TapSums { layout, source: layout.source_lines(x, image, strips), gradient, sums });
    });
    for sums in of_images.chunks_exact(of_image) {
        for (channel, (dw, total)) in dw.chunks_exact_mut(window).zip(&mut of_channels).enumerate() {
            let sum = |tap: usize| sums[channel / STRIP * of_strip + channel % STRIP + tap * STRIP];
            dw.iter_mut().enumerate().for_each(|(tap, dw)| *dw += sum(tap));
            *total += sum(window);
        }
    }
    of_channels
}
