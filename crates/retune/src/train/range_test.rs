//! The learning-rate range test (Smith 2017, arXiv 1506.01186): the rate climbs from step to step
//! while the loss is watched. Stopping rule, smoothing and suggestions are those of fastai's
//! `lr_find`, by whose names they go.

use serde::{Deserialize, Serialize};

use super::gradient::{Differentiation, loss_gradients};
use super::learning_rates::LearningRates;
use super::loaders::Loaders;
use super::loss::TrainingLoss;
use super::low_rank::TrainedAdapters;
use super::optimizer::Optimizer;
use super::options::{Sampling, TrainOptions};
use super::update::Update;
use super::{Divergence, NotFinite, TrainError, Trainer};
use crate::loading::Order;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::plan::{Gradient, Phase, Plan, Solver};

/// How the rate climbs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeTestOptions {
    /// The first rate.
    pub lowest: f64,
    /// The last rate.
    pub highest: f64,
    /// Steps, evenly spaced in logarithm.
    pub steps: usize,
}

impl Default for RangeTestOptions {
    fn default() -> Self {
        Self { lowest: 1e-7, highest: 10.0, steps: 100 }
    }
}

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangePoint {
    /// The learning rate.
    pub rate: f64,
    /// The batch's loss before the step.
    pub loss: f64,
    /// Exponential average of the losses so far (weight 0.98 on the past, corrected for its start).
    pub smoothed: f64,
}

/// Loss against learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeCurve {
    /// The steps; fewer than asked for where the loss exploded.
    pub points: Vec<RangePoint>,
    /// The rate at which the loss exploded or was no longer finite, which is too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_large: Option<f64>,
}

/// Rates that a curve suggests; `None` where it is too short or never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suggestions {
    /// Halfway down the longest fall of the smoothed loss, as fastai finds it.
    pub valley: Option<f64>,
    /// Where the smoothed loss falls fastest, against the rate's logarithm.
    pub steep: Option<f64>,
    /// A tenth of the rate at which the smoothed loss is lowest.
    pub minimum: Option<f64>,
    /// Whether the smoothed loss falls by no more than what noise of the batches' losses does to it, so that the curve
    /// does not single out a rate.
    #[serde(default)]
    pub within_noise: bool,
}

impl Suggestions {
    /// The rate to begin with: the steepest, as Smith's test is read; `None` where the curve cannot tell one. The valley,
    /// which fastai suggests, lies an order of magnitude below the best rates where the loss falls a little from the first
    /// step on: that stretch counts toward the fall of which it is the middle.
    pub fn recommended(&self) -> Option<f64> {
        self.steep.filter(|_| !self.within_noise)
    }
}

/// Weight of the past in smoothed losses, as in fastai.
const PAST: f64 = 0.98;

impl RangeCurve {
    /// The rate from which on the smoothed loss stays above that at the start; `None` where it never does.
    pub fn above_start(&self) -> Option<f64> {
        let start = self.points.first()?.smoothed;
        let below = self.points.iter().rposition(|point| point.smoothed <= start)?;
        self.points.get(below + 1).map(|point| point.rate)
    }

    /// The rates that the curve suggests. The first tenth of the steps asked for and the last five
    /// are left out, as fastai does: at first the average knows too little, at last the loss explodes.
    pub fn suggestions(&self, options: &RangeTestOptions) -> Suggestions {
        let from = options.steps / 10;
        let early = (options.steps / 3).min(self.points.len());
        let to = self.points.len().saturating_sub(5);
        let Some(points) = self.points.get(from..to).filter(|points| points.len() > 1) else {
            return Suggestions::default();
        };
        let lowest = points.iter().min_by(|one, other| one.smoothed.total_cmp(&other.smoothed));
        Suggestions {
            valley: valley(points),
            steep: steep(points),
            minimum: lowest.map(|point| point.rate / 10.0),
            within_noise: falls_within_noise(points) || falls_within_scatter(points, &self.points[..early]),
        }
    }
}

fn steep(points: &[RangePoint]) -> Option<f64> {
    let slope = |pair: &[RangePoint]| (pair[1].smoothed - pair[0].smoothed) / (pair[1].rate / pair[0].rate).ln();
    let steepest = points.windows(2).min_by(|one, other| slope(one).total_cmp(&slope(other)))?;
    (slope(steepest) < 0.0).then_some(steepest[0].rate)
}

/// Whether the smoothed loss falls by less than two of its standard errors. A batch's loss differs from the smoothed loss
/// by a standard deviation; an exponential average of independent values has √((1 − p) / (1 + p)) of theirs.
fn falls_within_noise(points: &[RangePoint]) -> bool {
    let lowest = (0..points.len()).min_by(|&one, &other| points[one].smoothed.total_cmp(&points[other].smoothed));
    let falling = &points[..lowest.map_or(0, |lowest| lowest + 1)];
    let Some((first, last)) = falling.first().zip(falling.last()) else { return true };
    let squares = points.iter().map(|point| (point.loss - point.smoothed).powi(2)).sum::<f64>();
    let deviation = (squares / points.len() as f64).sqrt();
    first.smoothed - last.smoothed <= 2.0 * deviation * ((1.0 - PAST) / (1.0 + PAST)).sqrt()
}

/// Whether the smoothed loss falls by no more than losses scatter from batch to batch, as with a head that fits already. The
/// steepest step is then that to an easy batch. The scatter is taken from `early` losses, where the rate hardly matters yet,
/// and from their differences in a row, which a trend does not change (von Neumann 1941, *Annals of Mathematical
/// Statistics* 12, 367–395).
fn falls_within_scatter(points: &[RangePoint], early: &[RangePoint]) -> bool {
    // Measured, the losses of new heads fall by 50 to 140 standard deviations, and those of a linear probe's head by 1 to 6,
    // but for one: measurements/lr_find.md.
    const FEW_DEVIATIONS: f64 = 20.0;
    let squares = early.windows(2).map(|pair| (pair[1].loss - pair[0].loss).powi(2)).sum::<f64>();
    let deviation = (squares / (2.0 * early.len().saturating_sub(1).max(1) as f64)).sqrt();
    let lowest = points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
    points.first().is_some_and(|first| first.smoothed - lowest <= FEW_DEVIATIONS * deviation)
}

/// fastai's valley: of the longest falling subsequence, the first of equally long ones, the point after one and a half of
/// its thirds, counted from the point before it.
fn valley(points: &[RangePoint]) -> Option<f64> {
    let mut lengths = vec![1usize; points.len()];
    for end in 1..points.len() {
        let before = (0..end).filter(|&start| points[end].smoothed < points[start].smoothed);
        lengths[end] = 1 + before.map(|start| lengths[start]).max().unwrap_or(0);
    }
    let longest = *lengths.iter().max()?;
    // The first of equally long ones.
    let end = lengths.iter().position(|&length| length == longest)?;
    // Below that there are no thirds.
    if longest < 3 {
        return None;
    }
    let at = (end + longest / 3 + longest / 6).checked_sub(longest)?;
    points.get(at).map(|point| point.rate)
}

impl Trainer {
    /// Shuffled in any case: in the order of a list, batches may hold one class.
    fn range_order(&self) -> Order {
        let seed = self.options.seed;
        match self.options.sampling {
            Sampling::All => Order::Shuffled { seed },
            Sampling::Balanced => Order::Balanced { seed },
        }
    }

    /// Runs the range test on a copy of `model`, which stays as it is: what `settings` trains trains,
    /// at its factors of the climbing rate; its epochs, rates and schedule play no part. It ends early
    /// where the smoothed loss is above four times its lowest value, or not finite.
    ///
    /// # Errors
    /// Settings that do not fit the model; an image that cannot be loaded; an interruption.
    pub fn range_test(
        &self,
        model: &Model,
        settings: &Gradient,
        options: &RangeTestOptions,
        task: &str,
        monitor: &dyn Monitor,
    ) -> Result<RangeCurve, TrainError> {
        const EXPLOSION: f64 = 4.0;
        let settings = Gradient { learning_rates: vec![1.0], adaptive: None, average: None, ..settings.clone() };
        let phase = Phase { name: task.to_owned(), solver: Solver::Gradient(settings.clone()) };
        Plan { method: task.to_owned(), phases: vec![phase.clone()] }.check(model.blocks())?;
        self.options.check_device(&model.parameters.tensors()[0].device())?;

        let mut model = model.clone();
        let start = model.parameters.clone();
        let loader = Loaders::new(self, &model, &self.shared())?.training.loader;
        let learning_rates = LearningRates::new(&model, &phase, &settings, 1.0, loader.batches_per_epoch());
        // Blocks that join in later are tested as they will be in the end.
        let rate_factors = learning_rates.rate_factors(settings.epochs, None);
        let loss = TrainingLoss::of(self, &model)?;
        let what = Differentiation::of(&rate_factors, &self.options, loss.loss());
        let TrainOptions { optimizer, seed, .. } = self.options;
        let mut adapters = TrainedAdapters::of_phase(&model, &settings, seed, optimizer);
        let mut optimizer = Optimizer::new(optimizer.in_phase(&settings), model.network().specs.len());
        let growth = (options.highest / options.lowest).ln() / (options.steps.max(2) - 1) as f64;

        let (mut points, mut average, mut lowest) = (Vec::new(), 0.0, f64::INFINITY);
        let mut too_large = None;
        monitor.start_counting(task, options.steps, "steps");
        'test: for epoch in 0u64.. {
            for batch in loader.epoch(epoch, self.range_order(), 0) {
                let batch = batch?;
                if monitor.canceled() {
                    return Err(TrainError::Interrupted);
                }
                let step = points.len();
                if step == options.steps {
                    break 'test;
                }
                let learning_rate = options.lowest * (growth * step as f64).exp();
                let dropping = self.dropping(&model, epoch, batch.number);
                let found = loss_gradients(&model, &batch, &Differentiation { dropping, ..what });
                let [loss, _] = found.known()?;
                average = PAST * average + (1.0 - PAST) * loss;
                let smoothed = average / (1.0 - PAST.powi(step as i32 + 1));
                if !loss.is_finite() && step == 0 {
                    let first =
                        Box::new(Divergence::in_step(NotFinite::Loss, 0, batch.number, &batch.indices, &self.train));
                    let learning_rates = format!("{learning_rate:e}");
                    return Err(TrainError::Diverged { phase: task.to_owned(), learning_rates, first });
                }
                if !smoothed.is_finite() || (smoothed > EXPLOSION * lowest && step > 0) {
                    // The loss is that of the weights after the step before.
                    too_large = points.last().map(|point: &RangePoint| point.rate);
                    break 'test;
                }
                lowest = lowest.min(smoothed);
                points.push(RangePoint { rate: learning_rate, loss, smoothed });
                let update = Update {
                    learning_rates: &rate_factors.scaling(learning_rate),
                    clip_norm: self.options.clip_norm,
                    anchor: settings.anchor,
                    pretrained: &start,
                    phase_start: &start,
                };
                update.apply(found, &mut model, &mut optimizer, adapters.as_mut());
                monitor.advance(1);
            }
        }
        monitor.finish();
        Ok(RangeCurve { points, too_large })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: impl IntoIterator<Item = f64>) -> RangeCurve {
        let points = losses.into_iter().enumerate().map(|(step, smoothed)| RangePoint {
            rate: 10f64.powf(step as f64 / 10.0 - 7.0),
            loss: smoothed,
            smoothed,
        });
        RangeCurve { points: points.collect(), too_large: None }
    }

    fn all(steps: usize) -> RangeTestOptions {
        RangeTestOptions { steps, ..RangeTestOptions::default() }
    }

    #[test]
    fn a_loss_that_stays_above_its_start_is_told_from_one_that_comes_back() {
        let found = curve([2.0, 2.1, 1.5, 1.0, 1.9, 2.2, 3.0]).above_start().unwrap();
        assert!((found.log10() + 6.5).abs() < 1e-9, "{found}");
        assert_eq!(curve([2.0, 1.5, 1.9]).above_start(), None);
    }

    #[test]
    fn suggestions_on_a_curve_with_known_answers() {
        // Flat to step 29, down by one each step to 50, up again; twice as steep from 40 to 41.
        let loss = |step: usize| match step {
            0..30 => 30.0,
            30..41 => 30.0 - (step - 29) as f64,
            41..51 => 29.0 - (step - 29) as f64,
            _ => 8.0 + (step - 50) as f64 * 3.0,
        };
        let found = curve((0..65).map(loss)).suggestions(&all(65));
        let rate = |step: f64| 10f64.powf(step / 10.0 - 7.0);
        let close = |found: Option<f64>, step: f64| (found.unwrap() / rate(step) - 1.0).abs() < 1e-9;
        assert!(close(found.minimum, 50.0 - 10.0), "{found:?}");
        assert!(close(found.steep, 40.0), "{found:?}");
        // The fall has 22 points, from one of the flat ones on: thirds of 7, so 28 + 7 + 3.
        assert!(close(found.valley, 38.0), "{found:?}");
    }

    /// As curves of pretrained models look: the longest fall begins long before the loss falls notably.
    #[test]
    fn the_steepest_rate_is_recommended_where_the_loss_falls_a_little_from_the_start() {
        let loss = |step: usize| match step {
            0..40 => 20.0 - 0.001 * step as f64,
            40..50 => 19.96 - (step - 39) as f64,
            _ => 9.96 + 3.0 * (step - 49) as f64,
        };
        let found = curve((0..65).map(loss)).suggestions(&all(65));
        let (valley, steep) = (found.valley.unwrap(), found.steep.unwrap());
        assert!(valley < steep / 10.0 && steep >= 10f64.powf(39.0 / 10.0 - 7.0) * 0.999, "{found:?}");
        assert_eq!(found.recommended(), Some(steep));
        assert_eq!(Suggestions { within_noise: true, ..found }.recommended(), None);
    }

    /// The losses of a head that fits already scatter by a half from batch to batch, and fall by one.
    #[test]
    fn a_fall_no_larger_than_the_scatter_of_batches_tells_no_rate() {
        let falling = |scatter: f64| {
            let mut found = curve((0..60).map(|step| 2.0 - (f64::from(step) - 30.0).max(0.0) / 30.0));
            for (step, point) in found.points.iter_mut().enumerate() {
                point.loss += if step % 2 == 0 { scatter } else { -scatter };
            }
            found.suggestions(&all(60))
        };
        assert_eq!((falling(0.5).within_noise, falling(0.5).recommended()), (true, None));
        assert!(!falling(0.01).within_noise && falling(0.01).recommended().is_some());
    }

    #[test]
    fn a_curve_that_is_short_or_only_climbs_suggests_nothing_wrong() {
        assert_eq!(curve([1.0, 0.5]).suggestions(&all(100)), Suggestions::default());
        let climbing = curve((0..40).map(|step| 1.0 + f64::from(step))).suggestions(&all(40));
        assert_eq!((climbing.valley, climbing.steep, climbing.within_noise), (None, None, true));
    }

    #[derive(Deserialize)]
    struct Case {
        losses: Vec<f64>,
        valley: Option<usize>,
    }

    /// The fixture, and the program that wrote it from fastai's definition, are in `tests/fixtures/range_test`.
    #[test]
    fn the_valley_is_fastais() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/range_test/valley.json")).unwrap();
        assert!(cases.len() > 10 && cases.iter().any(|case| case.valley.is_none()));
        for (number, Case { losses, valley }) in cases.into_iter().enumerate() {
            let (steps, curve) = (losses.len(), curve(losses));
            let expected = valley.map(|step| curve.points[step].rate);
            assert_eq!(curve.suggestions(&all(steps)).valley, expected, "curve {number}");
        }
    }

    #[test]
    fn a_fall_smaller_than_the_noise_is_told() {
        // Alternately 0.1 above and below the smoothed loss, whose standard error is 0.1 · √(0.02 / 1.98) = 0.01.
        let within_noise = |fall: f64| {
            let mut curve = curve((0..60).map(|step| 1.0 - fall * f64::from(step.min(40)) / 40.0));
            for (step, point) in curve.points.iter_mut().enumerate() {
                point.loss = point.smoothed + if step % 2 == 0 { 0.1 } else { -0.1 };
            }
            falls_within_noise(&curve.points[6..55])
        };
        // Of the fall, six of forty steps are left out at the start.
        assert!(within_noise(0.02) && !within_noise(0.03));
    }
}
