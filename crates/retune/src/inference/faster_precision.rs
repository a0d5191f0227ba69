//! Which precision a model runs faster in on this machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{Tensor, TensorData};

use crate::device;
use crate::models::{Activation, Model, Precision};
use crate::monitor::Monitor;

/// Pixels that are measured with: as many as 4 images at 224 have.
const PIXELS: usize = 4 * 224 * 224;
/// Images, at most.
const MAX_IMAGES: usize = 32;
/// Turns of either precision: the first fills caches, and the fastest counts.
const TURNS: std::ops::RangeInclusive<usize> = 2..=5;
/// After so long, the least number of turns will do.
const ENOUGH: Duration = Duration::from_millis(500);
/// The largest part of the time of float32 at which bfloat16 is worth its loss.
const LARGEST_SHARE: f64 = 0.9;

/// The precision in which the model runs faster on this machine. It takes bfloat16 if that saves a tenth of the time or more, and
/// tells `monitor`. How much it saves depends on the layers of the model.
pub fn faster_precision(model: &Model, monitor: &dyn Monitor) -> Precision {
    let on_device = &model.parameters.tensors()[0].device();
    if !device::has_instructions_for(Precision::Bfloat16, on_device) {
        return Precision::Float32;
    }
    let share = share_of_time(model);
    let (precision, takes) = match share <= LARGEST_SHARE {
        true => (Precision::Bfloat16, "computing in it"),
        false => (Precision::Float32, "computing in float32"),
    };
    monitor.message(&format!(
        "bfloat16 takes {:.0} % of the time of float32 with this model on this device: {takes}",
        100.0 * share
    ));
    precision
}

/// How long images take through the model in bfloat16, as a part of the time in float32.
fn share_of_time(model: &Model) -> f64 {
    let models = [Precision::Float32, Precision::Bfloat16].map(|precision| model.in_precision(precision));
    let images = noise(model);
    let mut fastest = [Duration::MAX; 2];
    let begun = Instant::now();
    for turn in 1..=*TURNS.end() {
        for (model, fastest) in models.iter().zip(&mut fastest) {
            let start = Instant::now();
            black_box(model.forward_range(Activation::Map(images.clone()), 0..model.blocks().len()).pool().into_data());
            *fastest = start.elapsed().min(*fastest);
        }
        if turn >= *TURNS.start() && begun.elapsed() > ENOUGH {
            break;
        }
    }
    fastest[1].as_secs_f64() / fastest[0].as_secs_f64()
}

/// Images of noise, as normalized pixels `[n, height, width, channels]`.
fn noise(model: &Model) -> Tensor<4> {
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let channels = preprocessing.channels.count();
    let n = (PIXELS / (height * width).max(1)).clamp(1, MAX_IMAGES);
    // Any numbers will do that are neither equal nor tiny.
    let value = |index: usize| (retune_random::hash(&index.to_le_bytes()) % 4096) as f32 / 1024.0 - 2.0;
    let values = (0..n * height * width * channels).map(value).collect();
    Tensor::from_data(TensorData::new(values, [n, height, width, channels]), &model.parameters.tensors()[0].device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Messages;

    /// What is chosen is what is said, and a CPU that cannot multiply bfloat16 has no choice.
    #[test]
    fn the_choice_is_that_of_the_time_that_is_told() {
        let cpu = device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        let told = Messages::default();
        let chosen = faster_precision(&model, &told);
        let told = told.into_texts();
        if !retune_kernels::multiplies_bfloat16() {
            return assert_eq!((chosen, told.len()), (Precision::Float32, 0));
        }
        let rest = told[0].strip_prefix("bfloat16 takes ").unwrap();
        let share: f64 = rest.split(' ').next().unwrap().parse().unwrap();
        // The share is told as a whole number of percent.
        match chosen {
            Precision::Bfloat16 => assert!(share <= 90.0 && told[0].ends_with("computing in it"), "{told:?}"),
            Precision::Float32 => assert!(share >= 90.0 && told[0].ends_with("in float32"), "{told:?}"),
        }
    }
}
