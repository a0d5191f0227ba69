//! Learning rates that follow the gradients: relative gradient norm and signal-to-noise ratio of each layer
//! (Lee et al. 2023, arXiv 2210.11466, section 4).

use std::ops::Range;

use indexmap::IndexMap;

use super::gradient::{Differentiation, Gradients};
use super::learning_rates::LearningRates;
use super::loaders::Loaders;
use super::loss::TrainingLoss;
use super::shared_gradients::shared_gradients;
use super::{TrainError, Trainer};
use crate::collective::Processes;
use crate::device::{DeviceError, values, with_values};
use crate::loading::{Batch, Order};
use crate::models::{Model, ParameterSpec};
use crate::monitor::Monitor;
use crate::plan::{Adaptive, Criterion, Gradient, HeadMeasure, LayerKind, Phase, Selection, Solver};

/// PyTorch users' usual guard against division by zero; the authors' code has it in both ratios.
const EPSILON: f64 = 1e-8;

/// A measure of every layer's gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMeasures {
    /// Name of each layer and its measure, from input to output, as the criterion defines it and
    /// before any normalization; `None` where it is not defined (a relative norm of zero weights).
    pub layers: IndexMap<String, Option<f64>>,
    /// Names of those layers that the classifier is made of.
    pub head: Vec<String>,
}

/// Measures the gradients of the parameters that `what` differentiates, over `batches`.
///
/// # Errors
/// What a batch could not be loaded for, and what the device failed in.
pub fn measure_layers<E>(
    model: &Model,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    what: &Differentiation,
    criterion: Criterion,
    layer: LayerKind,
) -> Result<LayerMeasures, TrainError>
where
    TrainError: From<E>,
{
    let alone = Processes::default();
    measure_named(model, batches, (what, &alone), criterion, |spec| layer_name(model, spec, layer))
}

/// The same by several processes that share each batch.
pub(super) fn measure_shared_layers<E>(
    model: &Model,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    what: &Differentiation,
    adaptive: &Adaptive,
    processes: &Processes,
) -> Result<LayerMeasures, TrainError>
where
    TrainError: From<E>,
{
    let name = |spec: &ParameterSpec| layer_name(model, spec, adaptive.layer);
    measure_named(model, batches, (what, processes), adaptive.criterion, name)
}

/// The same for layers that `name` puts together.
fn measure_named<E>(
    model: &Model,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    (what, processes): (&Differentiation, &Processes),
    criterion: Criterion,
    name: impl Fn(&ParameterSpec) -> String,
) -> Result<LayerMeasures, TrainError>
where
    TrainError: From<E>,
{
    let specs = &model.network().specs;
    let mut layers = IndexMap::new();
    let layer_of: Vec<Option<usize>> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| what.trained[index].then(|| layers.insert_full(name(spec), None).0))
        .collect();
    let mut gatherer = Gatherer::new(criterion, specs.len());
    for batch in batches {
        let found = shared_gradients(model, &batch?, None, what, processes)?;
        gatherer.observe(&found.gradients, specs)?;
        gatherer.close_batch(&layer_of, layers.len(), model)?;
    }
    for (position, value) in gatherer.finish(&layer_of, layers.len()).into_iter().enumerate() {
        layers[position] = value;
    }
    Ok(LayerMeasures { head: layers_of_head(model, &layer_of, &layers), layers })
}

/// Names of the layers that hold a parameter of the classifier.
fn layers_of_head(model: &Model, layer_of: &[Option<usize>], layers: &IndexMap<String, Option<f64>>) -> Vec<String> {
    let specs = model.network().specs.iter().zip(layer_of).filter(|(spec, _)| spec.block == model.head());
    let mut names: Vec<String> = specs.filter_map(|(_, layer)| Some(layers.get_index((*layer)?)?.0.clone())).collect();
    names.dedup();
    names
}

/// The squared norm of each parameter's gradient, where it has one.
///
/// # Errors
/// What the device failed in.
pub(super) fn squared_norms(gradients: &Gradients) -> Result<Vec<Option<f64>>, DeviceError> {
    let mut squares = values::squared_norms(gradients.iter().flatten())?.into_iter();
    Ok(gradients.iter().map(|gradient| gradient.as_ref().and_then(|_| squares.next())).collect())
}

/// The squared norm of the weights of the marked parameters, 0 of the others.
fn squared_norms_of_weights(model: &Model, marked: impl Fn(usize) -> bool) -> Result<Vec<f64>, DeviceError> {
    let tensors = model.parameters.tensors();
    let of_marked = (0..tensors.len()).filter(|&index| marked(index)).map(|index| &tensors[index]);
    let mut squares = values::squared_norms(of_marked)?.into_iter();
    let square = |index: usize| if marked(index) { squares.next().unwrap_or_default() } else { 0.0 };
    Ok((0..tensors.len()).map(square).collect())
}

impl Trainer {
    /// The relative gradient norm of each of `groups` of blocks over the first training batches: ‖gradient‖ / ‖weights‖,
    /// averaged over batches, normalization layers left out, as Auto-RGN's authors do. `None` where all weights are 0,
    /// where there are none, and where gradients are not finite.
    ///
    /// # Errors
    /// Images that cannot be loaded; an interruption.
    pub fn relative_gradient_norms(
        &self,
        model: &Model,
        groups: &[Range<usize>],
        batches: usize,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Option<f64>>, TrainError> {
        let rate_factors = model.blocks().iter().map(|block| (block.name.clone(), 1.0)).collect();
        let settings = Gradient { rate_factors, parameters: Selection::NotNorms, ..Gradient::default() };
        let phase = Phase { name: "gradients".to_owned(), solver: Solver::Gradient(settings.clone()) };
        let loader = Loaders::new(self, model, &self.shared())?.training.loader;
        let learning_rates = LearningRates::new(model, &phase, &settings, 1.0, loader.batches_per_epoch());
        let rate_factors = learning_rates.rate_factors(0, None);
        let group_of = |block: usize| groups.iter().position(|group| group.contains(&block));
        let name = |spec: &ParameterSpec| group_of(spec.block).map_or_else(String::new, |group| group.to_string());

        monitor.start_counting("measuring gradients", batches.min(loader.batches_per_epoch()), "batches");
        let order = Order::Shuffled { seed: self.options.seed };
        let watched = loader.epoch(0, order, 0).take(batches).map(|batch| {
            monitor.advance(1);
            if monitor.canceled() { Err(TrainError::Interrupted) } else { Ok(batch?) }
        });
        let loss = TrainingLoss::of(self, model)?;
        let what = Differentiation::of(&rate_factors, &self.options, loss.loss());
        let measured =
            measure_named(model, watched, (&what, &Processes::default()), Criterion::RelativeGradientNorm, name)?;
        monitor.finish();
        let norm = |group: usize| measured.layers.get(&group.to_string()).copied().flatten();
        Ok((0..groups.len()).map(|group| norm(group).filter(|norm| norm.is_finite())).collect())
    }
}

fn layer_name(model: &Model, spec: &ParameterSpec, layer: LayerKind) -> String {
    let block = &model.blocks()[spec.block];
    match layer {
        LayerKind::Tensor => spec.name.clone(),
        LayerKind::Block => block.name.clone(),
        LayerKind::Stage => block.stage.clone(),
    }
}

impl LayerMeasures {
    /// Relative gradient norms of gradients with these squared norms, by the model's present weights.
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn of_norms(model: &Model, squares: &[Option<f64>], layer: LayerKind) -> Result<Self, DeviceError> {
        let mut sums: IndexMap<String, (f64, f64)> = IndexMap::new();
        let mut head = Vec::new();
        let weights = squared_norms_of_weights(model, |index| squares[index].is_some())?;
        for (index, spec) in model.network().specs.iter().enumerate() {
            let Some(square) = squares[index] else { continue };
            let name = layer_name(model, spec, layer);
            if spec.block == model.head() && !head.contains(&name) {
                head.push(name.clone());
            }
            let (gradient, weight) = sums.entry(name).or_default();
            *gradient += square;
            *weight += weights[index];
        }
        let ratio = |(gradient, weight): (f64, f64)| (weight > 0.0).then(|| (gradient / weight).sqrt());
        Ok(Self { layers: sums.into_iter().map(|(name, sums)| (name, ratio(sums))).collect(), head })
    }

    /// The factors of the next epoch after those of this one: each times its layer's measure, mapped linearly so that
    /// the smallest becomes [`Criterion::MIN_SHARE`] and the largest 1. A layer without a measure, and all where the
    /// measures are equal, keep their factors.
    pub(super) fn falling_from(&self, before: Option<&IndexMap<String, f64>>) -> IndexMap<String, f64> {
        let measures = || self.layers.values().flatten().copied();
        let (least, most) = (measures().fold(f64::INFINITY, f64::min), measures().fold(0.0, f64::max));
        let share = |measure: f64| {
            let above = (measure - least) / (most - least);
            Criterion::MIN_SHARE + (1.0 - Criterion::MIN_SHARE) * above
        };
        let next = |(name, measure): (&String, &Option<f64>)| {
            let factor = before.and_then(|before| before.get(name)).copied().unwrap_or(1.0);
            let share = measure.filter(|_| most > least).map_or(1.0, share);
            (name.clone(), factor * share)
        };
        self.layers.iter().map(next).collect()
    }

    /// Factor on the learning rate of each layer: its measure divided by the largest, or, with a threshold,
    /// 1 from there on and 0 below. A layer without a measure trains at the full rate, and so does the classifier where
    /// it is judged apart.
    pub fn rate_factors(&self, adaptive: &Adaptive) -> IndexMap<String, f64> {
        // The authors' ratio is compared with nothing but its threshold.
        let apart = adaptive.head == HeadMeasure::Apart && adaptive.criterion != Criterion::SignalToNoiseOfficial;
        let is_apart = |name: &String| apart && self.head.contains(name);
        let compared = self.layers.iter().filter(|(name, _)| !is_apart(name));
        let largest = compared.filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let normalized = |value: f64| if largest > 0.0 { value / largest } else { 0.0 };
        let rate_factor = |value: f64| {
            let value = if adaptive.criterion == Criterion::SignalToNoiseOfficial { value } else { normalized(value) };
            match adaptive.threshold {
                Some(threshold) => f64::from(u8::from(value >= threshold)),
                None => value,
            }
        };
        let factor = |(name, value): (&String, &Option<f64>)| {
            let value = value.filter(|_| !is_apart(name));
            (name.clone(), value.map_or(1.0, rate_factor))
        };
        self.layers.iter().map(factor).collect()
    }
}

/// The factors of layers for each parameter of a model; 1 where its layer was not measured.
pub(super) fn of_parameters(model: &Model, layer: LayerKind, of_layers: &IndexMap<String, f64>) -> Vec<f64> {
    let specs = model.network().specs.iter();
    specs.map(|spec| of_layers.get(&layer_name(model, spec, layer)).copied().unwrap_or(1.0)).collect()
}

/// Sums over batches that a criterion needs.
enum Gatherer {
    /// Squared norms of this batch's gradients by parameter, and sums of ratios by layer.
    RelativeNorm { squares: Vec<f64>, ratios: Vec<f64>, weightless: Vec<bool>, batches: usize },
    /// Running mean and sum of squared deviations of every scalar, by parameter.
    SignalToNoise { moments: Vec<Option<(Vec<f64>, Vec<f64>)>>, batches: usize },
    /// Sum over batches and scalars of the ratio, and the number of scalars, by parameter.
    Official { sums: Vec<(f64, usize)> },
}

impl Gatherer {
    fn new(criterion: Criterion, parameters: usize) -> Self {
        match criterion {
            Criterion::RelativeGradientNorm | Criterion::CumulativeGradientNorm => Self::RelativeNorm {
                squares: vec![0.0; parameters],
                ratios: Vec::new(),
                weightless: Vec::new(),
                batches: 0,
            },
            Criterion::SignalToNoise => Self::SignalToNoise { moments: vec![None; parameters], batches: 0 },
            Criterion::SignalToNoiseOfficial => Self::Official { sums: vec![(0.0, 0); parameters] },
        }
    }

    fn observe(&mut self, gradients: &Gradients, specs: &[ParameterSpec]) -> Result<(), DeviceError> {
        if let Self::RelativeNorm { squares, .. } = self {
            for (square, observed) in squares.iter_mut().zip(squared_norms(gradients)?) {
                *square = observed.unwrap_or(*square);
            }
            return Ok(());
        }
        // Sums of these are in double precision, which not every device has.
        for (index, gradient) in gradients.iter().enumerate() {
            if let Some(gradient) = gradient {
                with_values(gradient, |gradient| self.observe_values(index, gradient, &specs[index]))?;
            }
        }
        Ok(())
    }

    fn observe_values(&mut self, index: usize, gradient: &[f32], spec: &ParameterSpec) {
        match self {
            Self::RelativeNorm { .. } => {}
            Self::SignalToNoise { moments, batches } => {
                let zeros = || (vec![0.0; gradient.len()], vec![0.0; gradient.len()]);
                let (mean, deviation) = moments[index].get_or_insert_with(zeros);
                welford(mean, deviation, gradient, *batches + 1);
            }
            Self::Official { sums } => {
                let (sum, count) = &mut sums[index];
                *sum += ratio_along_first_axis(gradient, spec.shape.first().copied().unwrap_or(1));
                *count += gradient.len();
            }
        }
    }

    fn close_batch(&mut self, layer_of: &[Option<usize>], layers: usize, model: &Model) -> Result<(), DeviceError> {
        match self {
            Self::RelativeNorm { squares, ratios, weightless, batches } => {
                ratios.resize(layers, 0.0);
                if *batches == 0 {
                    *weightless = vec![false; layers];
                }
                let gradients = by_layer(layer_of, layers, |index| squares[index]);
                let of_weights = squared_norms_of_weights(model, |index| layer_of[index].is_some())?;
                let weights = by_layer(layer_of, layers, |index| of_weights[index]);
                for layer in 0..layers {
                    weightless[layer] |= weights[layer] == 0.0;
                    ratios[layer] += (gradients[layer] / weights[layer]).sqrt();
                }
                *batches += 1;
            }
            Self::SignalToNoise { batches, .. } => *batches += 1,
            Self::Official { .. } => {}
        }
        Ok(())
    }

    fn finish(self, layer_of: &[Option<usize>], layers: usize) -> Vec<Option<f64>> {
        match self {
            Self::RelativeNorm { ratios, weightless, batches, .. } => {
                let mean = |(ratio, weightless): (f64, bool)| (!weightless).then(|| ratio / batches.max(1) as f64);
                ratios.into_iter().zip(weightless).map(mean).collect()
            }
            Self::SignalToNoise { moments, batches } => {
                let degrees = batches.saturating_sub(1).max(1) as f64;
                let ratio = |(mean, deviation): (&f64, &f64)| mean * mean / (deviation / degrees + EPSILON);
                let sum = |index: usize| -> f64 {
                    moments[index].iter().flat_map(|(mean, deviation)| mean.iter().zip(deviation)).map(ratio).sum()
                };
                let count = |index: usize| moments[index].as_ref().map_or(0.0, |(mean, _)| mean.len() as f64);
                mean_by_layer(layer_of, layers, sum, count)
            }
            Self::Official { sums } => {
                mean_by_layer(layer_of, layers, |index| sums[index].0, |index| sums[index].1 as f64)
            }
        }
    }
}

/// Sums `of` over the parameters of each layer.
fn by_layer(layer_of: &[Option<usize>], layers: usize, of: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; layers];
    for (index, layer) in layer_of.iter().enumerate() {
        if let Some(layer) = layer {
            sums[*layer] += of(index);
        }
    }
    sums
}

fn mean_by_layer(
    layer_of: &[Option<usize>],
    layers: usize,
    sum: impl Fn(usize) -> f64,
    count: impl Fn(usize) -> f64,
) -> Vec<Option<f64>> {
    let sums = by_layer(layer_of, layers, sum);
    let counts = by_layer(layer_of, layers, count);
    sums.into_iter().zip(counts).map(|(sum, count)| Some(sum / count.max(1.0))).collect()
}

/// Welford's update of means and sums of squared deviations by the `count`-th observation.
fn welford(mean: &mut [f64], deviation: &mut [f64], gradient: &[f32], count: usize) {
    for ((mean, deviation), &value) in mean.iter_mut().zip(deviation).zip(gradient) {
        let difference = f64::from(value) - *mean;
        *mean += difference / count as f64;
        *deviation += difference * (f64::from(value) - *mean);
    }
}

/// Sum over a tensor's scalars of g² / (variance of g along the first axis of length `outputs`).
/// A first axis of length 1 has no variance and gives 0.
fn ratio_along_first_axis(gradient: &[f32], outputs: usize) -> f64 {
    if outputs < 2 {
        return 0.0;
    }
    let columns = gradient.len() / outputs;
    let column = |at: usize| gradient.iter().skip(at).step_by(columns).map(|&value| f64::from(value));
    let ratio = |at: usize| {
        let mean = column(at).sum::<f64>() / outputs as f64;
        let variance = column(at).map(|value| (value - mean).powi(2)).sum::<f64>() / (outputs - 1) as f64;
        column(at).map(|value| value * value).sum::<f64>() / (variance + EPSILON)
    };
    (0..columns).map(ratio).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(values: &[(&str, Option<f64>)]) -> LayerMeasures {
        let layers = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        LayerMeasures { layers, head: vec!["head".to_owned()] }
    }

    fn adaptive(criterion: Criterion, threshold: Option<f64>) -> Adaptive {
        let (layer, head) = (LayerKind::Tensor, HeadMeasure::WithBody);
        Adaptive { criterion, layer, batches: 5, threshold, restart_optimizer: true, head }
    }

    #[test]
    fn a_head_that_is_judged_apart_trains_fully_and_leaves_the_others_their_scale() {
        let measures = measures(&[("a", Some(0.2)), ("b", Some(0.8)), ("head", Some(400.0))]);
        let apart = |criterion, threshold| {
            let adaptive = Adaptive { head: HeadMeasure::Apart, ..adaptive(criterion, threshold) };
            measures.rate_factors(&adaptive).values().copied().collect::<Vec<_>>()
        };
        assert_eq!(apart(Criterion::RelativeGradientNorm, None), [0.25, 1.0, 1.0]);
        assert_eq!(apart(Criterion::SignalToNoise, Some(0.5)), [0.0, 1.0, 1.0]);
        // Not normalized, so that nothing is to be kept apart.
        assert_eq!(apart(Criterion::SignalToNoiseOfficial, Some(500.0)), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn cumulative_factors_fall_between_055_and_1_and_multiply() {
        let of = |values: &[(&str, Option<f64>)], before: Option<&IndexMap<String, f64>>| -> IndexMap<String, f64> {
            measures(values).falling_from(before)
        };
        let first = of(&[("a", Some(1.0)), ("b", Some(3.0)), ("c", Some(5.0)), ("d", None)], None);
        assert_eq!(first.values().copied().collect::<Vec<_>>(), [0.55, 0.775, 1.0, 1.0]);
        let second = of(&[("a", Some(2.0)), ("b", Some(1.0)), ("c", Some(2.0))], Some(&first));
        assert_eq!(second.values().copied().collect::<Vec<_>>(), [0.55, 0.775 * 0.55, 1.0]);
        let equal = of(&[("a", Some(2.0)), ("b", Some(2.0))], None);
        assert_eq!(equal.values().copied().collect::<Vec<_>>(), [1.0, 1.0]);
    }

    #[test]
    fn factors_are_shares_of_the_largest_and_zero_weights_train_fully() {
        let measures = measures(&[("a", Some(0.2)), ("b", Some(0.8)), ("head", None)]);
        let rate_factors = measures.rate_factors(&adaptive(Criterion::RelativeGradientNorm, None));
        assert_eq!(rate_factors.values().copied().collect::<Vec<_>>(), [0.25, 1.0, 1.0]);
    }

    #[test]
    fn parameters_have_the_factor_of_their_layer_and_1_without_one() {
        let cpu = burn::tensor::Device::flex();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        let of_layers = IndexMap::from([("head".to_owned(), 0.25)]);
        let found = of_parameters(&model, LayerKind::Block, &of_layers);
        for (spec, found) in model.network().specs.iter().zip(found) {
            assert_eq!(found, if spec.block == model.head() { 0.25 } else { 1.0 }, "{}", spec.name);
        }
        let of_layers = IndexMap::from([("fc.bias".to_owned(), 0.5)]);
        let halved = of_parameters(&model, LayerKind::Tensor, &of_layers).into_iter().filter(|factor| *factor == 0.5);
        assert_eq!(halved.count(), 1);
    }

    #[test]
    fn a_threshold_freezes_what_is_under_it() {
        let measures = measures(&[("a", Some(1.0)), ("b", Some(2.0)), ("c", Some(0.5))]);
        let of = |criterion, threshold| {
            measures.rate_factors(&adaptive(criterion, Some(threshold))).values().copied().collect::<Vec<_>>()
        };
        assert_eq!(of(Criterion::SignalToNoise, 0.5), [1.0, 1.0, 0.0]);
        // The authors' ratio is not divided by the largest.
        assert_eq!(of(Criterion::SignalToNoiseOfficial, 0.95), [1.0, 1.0, 0.0]);
        assert_eq!(of(Criterion::SignalToNoiseOfficial, 1.5), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_official_ratio_by_hand() {
        // Columns (1, 3) and (2, 2): variances 2 and 0, squares 10 and 8.
        let expected = 10.0 / (2.0 + EPSILON) + 8.0 / EPSILON;
        let found = ratio_along_first_axis(&[1.0, 2.0, 3.0, 2.0], 2);
        assert!((found / expected - 1.0).abs() < 1e-12, "{found}");
        assert_eq!(ratio_along_first_axis(&[1.0, 2.0], 1), 0.0);
    }

    #[test]
    fn welford_gives_mean_and_deviation() {
        let (mut mean, mut deviation) = (vec![0.0], vec![0.0]);
        for (index, value) in [1.0, 2.0, 6.0].into_iter().enumerate() {
            welford(&mut mean, &mut deviation, &[value], index + 1);
        }
        // Mean 3, squared deviations 4 + 1 + 9.
        assert!((mean[0] - 3.0).abs() < 1e-12 && (deviation[0] - 14.0).abs() < 1e-12);
    }
}
