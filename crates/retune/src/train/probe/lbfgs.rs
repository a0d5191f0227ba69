//! Limited-memory BFGS with a line search for the strong Wolfe conditions.
//!
//! Nocedal & Wright, *Numerical Optimization* (2nd edition): the two-loop recursion is algorithm 7.4, the line search
//! algorithms 3.5 and 3.6. Near the optimum the loss, a sum of single-precision terms, no longer resolves the decrease
//! that the first Wolfe condition asks for; there the approximate condition of Hager & Zhang (SIAM J. Optim. 16, 2005,
//! §2.1), which looks at slopes instead, takes its place.
//!
//! The recursion starts from the objective's own approximation of its inverse Hessian instead of a multiple of the
//! identity.

use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Correction pairs kept, as in scipy's `L-BFGS-B`, the solver behind scikit-learn's `lbfgs`.
const MEMORY: usize = 10;
/// Share of the decrease predicted by the slope that a step must achieve.
const SUFFICIENT_DECREASE: f64 = 1e-4;
/// Share of the starting slope that may remain at the end of a step.
const CURVATURE: f64 = 0.9;
/// Relative rounding noise of a loss summed from single-precision terms.
const LOSS_NOISE: f64 = 1e-7;
/// Evaluations one line search may spend; a well-scaled direction needs one or two.
const LINE_SEARCH_EVALUATIONS: usize = 30;

/// A differentiable function to minimize.
pub(super) trait Objective {
    /// Why it could not be computed.
    type Error;

    /// The value at `point`; writes the gradient there into `gradient`.
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, Self::Error>;

    /// Multiplies `vector` by a positive definite approximation of the inverse Hessian near the last point evaluated.
    fn precondition(&self, vector: &mut [f64]);
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub max_iterations: usize,
    /// Euclidean norm of the gradient that counts as zero.
    pub gradient_norm: f64,
}

/// Why the minimizer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Converged,
    IterationLimit,
    /// No step along the steepest descent lowers the value any more: the limit of the arithmetic.
    Stalled,
    /// The observer asked to stop.
    Interrupted,
    /// The value or the gradient at the start is not finite.
    NotFinite,
}

/// Where the minimizer stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub stop: Stop,
    pub value: f64,
    pub gradient_norm: f64,
    pub iterations: usize,
}

/// Minimizes `objective` from `point`, in place. `observe` is called after every iteration with their number so far.
///
/// # Errors
/// Those of the objective.
pub(super) fn minimize<O: Objective>(
    objective: &mut O,
    point: &mut [f64],
    limits: Limits,
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Outcome, O::Error> {
    let mut gradient = vec![0.0; point.len()];
    let mut value = objective.evaluate(point, &mut gradient)?;
    let mut history = History::default();
    let mut iterations = 0;
    let stop = loop {
        let gradient_norm = norm(&gradient);
        if !value.is_finite() || !gradient_norm.is_finite() {
            break Stop::NotFinite;
        }
        if gradient_norm <= limits.gradient_norm {
            break Stop::Converged;
        }
        if iterations >= limits.max_iterations {
            break Stop::IterationLimit;
        }
        let direction = history.descent_direction(objective, &gradient);
        let origin = Sample::at_origin(value, dot(&gradient, &direction));
        let mut ray = Ray { objective, start: point, direction: &direction };
        match search_line(&mut ray, origin)? {
            Some(accepted) => {
                let step: Vec<f64> = direction.iter().map(|d| accepted.step * d).collect();
                let change = difference(&accepted.gradient, &gradient);
                for (coordinate, step) in point.iter_mut().zip(&step) {
                    *coordinate += step;
                }
                value = accepted.value;
                gradient = accepted.gradient;
                history.push(step, change);
                iterations += 1;
            }
            None if history.is_empty() => break Stop::Stalled,
            // Stale curvature can point nowhere useful; steepest descent gets one try before giving up.
            None => history = History::default(),
        }
        if observe(iterations).is_break() {
            break Stop::Interrupted;
        }
    };
    Ok(Outcome { stop, value, gradient_norm: norm(&gradient), iterations })
}

/// The latest steps and the changes of the gradient over them.
#[derive(Default)]
struct History {
    pairs: VecDeque<CorrectionPair>,
}

struct CorrectionPair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1 / (step · change)
    reciprocal: f64,
}

impl History {
    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn push(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let curvature = dot(&step, &change);
        // A pair without positive curvature (rounding at the optimum) would make the approximation indefinite.
        if curvature <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back(CorrectionPair { step, change, reciprocal: 1.0 / curvature });
    }

    /// −H·gradient for the limited-memory approximation H of the inverse Hessian.
    fn descent_direction(&self, objective: &impl Objective, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut projections = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let projection = pair.reciprocal * dot(&pair.step, &direction);
            add_scaled(&mut direction, -projection, &pair.change);
            projections.push(projection);
        }
        objective.precondition(&mut direction);
        if let Some(latest) = self.pairs.back() {
            // How much larger the curvature over the latest step was than the objective takes it to be.
            let mut change = latest.change.clone();
            objective.precondition(&mut change);
            let scale = 1.0 / (latest.reciprocal * dot(&latest.change, &change));
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (pair, projection) in self.pairs.iter().zip(projections.into_iter().rev()) {
            let correction = pair.reciprocal * dot(&pair.change, &direction);
            add_scaled(&mut direction, projection - correction, &pair.step);
        }
        direction
    }
}

/// The objective along a direction.
struct Ray<'a, O> {
    objective: &'a mut O,
    start: &'a [f64],
    direction: &'a [f64],
}

impl<O: Objective> Ray<'_, O> {
    fn sample(&mut self, step: f64) -> Result<Sample, O::Error> {
        let point: Vec<f64> = self.start.iter().zip(self.direction).map(|(start, d)| start + step * d).collect();
        let mut gradient = vec![0.0; point.len()];
        let value = self.objective.evaluate(&point, &mut gradient)?;
        let slope = dot(&gradient, self.direction);
        // An overflow is a step too far: an infinite value sends the search back.
        let value = if value.is_finite() && slope.is_finite() { value } else { f64::INFINITY };
        Ok(Sample { step, value, slope, gradient })
    }
}

/// The objective, its slope and its gradient at one step along a ray.
#[derive(Clone, Debug)]
struct Sample {
    step: f64,
    value: f64,
    slope: f64,
    gradient: Vec<f64>,
}

impl Sample {
    fn at_origin(value: f64, slope: f64) -> Self {
        Self { step: 0.0, value, slope, gradient: Vec::new() }
    }

    fn is_acceptable(&self, origin: &Sample) -> bool {
        self.decreases_enough(origin) && self.slope.abs() <= CURVATURE * origin.slope.abs()
    }

    fn decreases_enough(&self, origin: &Sample) -> bool {
        let predicted = SUFFICIENT_DECREASE * self.step * origin.slope;
        let within_noise = self.value <= origin.value + LOSS_NOISE * origin.value.abs()
            && self.slope <= (2.0 * SUFFICIENT_DECREASE - 1.0) * origin.slope;
        self.value <= origin.value + predicted || within_noise
    }
}

/// A step that satisfies the strong Wolfe conditions, or `None` when the arithmetic resolves none.
fn search_line<O: Objective>(ray: &mut Ray<'_, O>, origin: Sample) -> Result<Option<Sample>, O::Error> {
    if origin.slope >= 0.0 {
        return Ok(None);
    }
    let mut previous = origin.clone();
    // The whole step is right wherever the approximation of the Hessian is.
    let mut step = 1.0;
    for evaluation in 0..LINE_SEARCH_EVALUATIONS {
        let current = ray.sample(step)?;
        if current.is_acceptable(&origin) {
            return Ok(Some(current));
        }
        let overshot = !current.decreases_enough(&origin) || (evaluation > 0 && current.value >= previous.value);
        if overshot {
            return narrow(ray, &origin, previous, current, evaluation + 1);
        }
        if current.slope >= 0.0 {
            return narrow(ray, &origin, current, previous, evaluation + 1);
        }
        previous = current;
        step *= 2.0;
    }
    Ok(None)
}

/// Narrows the bracket between `low`, the better end, and `high` until a step is acceptable.
fn narrow<O: Objective>(
    ray: &mut Ray<'_, O>,
    origin: &Sample,
    mut low: Sample,
    mut high: Sample,
    spent: usize,
) -> Result<Option<Sample>, O::Error> {
    for _ in spent..LINE_SEARCH_EVALUATIONS {
        let current = ray.sample(step_between(&low, &high))?;
        if current.is_acceptable(origin) {
            return Ok(Some(current));
        }
        if !current.decreases_enough(origin) || current.value >= low.value {
            high = current;
        } else {
            if current.slope * (high.step - low.step) >= 0.0 {
                high = low;
            }
            low = current;
        }
    }
    // A plain decrease is still progress; only a step of zero is none.
    Ok((low.step > 0.0 && low.value < origin.value).then_some(low))
}

/// The minimizer of the cubic through both ends (equation 3.59), kept off the ends of the bracket.
fn step_between(low: &Sample, high: &Sample) -> f64 {
    let width = high.step - low.step;
    let middle = low.step + 0.5 * width;
    if !high.value.is_finite() {
        return low.step + 0.1 * width;
    }
    let first = low.slope + high.slope - 3.0 * (low.value - high.value) / (low.step - high.step);
    let discriminant = first * first - low.slope * high.slope;
    if discriminant < 0.0 {
        return middle;
    }
    let second = width.signum() * discriminant.sqrt();
    let cubic = high.step - width * (high.slope + second - first) / (high.slope - low.slope + 2.0 * second);
    let (nearest, furthest) = (low.step + 0.1 * width, low.step + 0.9 * width);
    let inside = (nearest.min(furthest)..=nearest.max(furthest)).contains(&cubic);
    if inside { cubic } else { middle }
}

/// The inner product.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    // Eight independent sums let the compiler use vector instructions; the order is fixed, so the result is too.
    const LANES: usize = 8;
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum();
    sums.iter().sum::<f64>() + rest
}

/// The Euclidean norm.
pub(super) fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(l, r)| l - r).collect()
}

/// `target += scale · values`
pub(super) fn add_scaled(target: &mut [f64], scale: f64, values: &[f64]) {
    for (target, value) in target.iter_mut().zip(values) {
        *target += scale * value;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn minimize(
        objective: &mut impl Objective<Error = Infallible>,
        point: &mut [f64],
        limits: Limits,
        observe: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Outcome {
        let Ok(outcome) = super::minimize(objective, point, limits, observe);
        outcome
    }

    /// Rosenbrock's valley: minimum 0 at (1, 1).
    struct Rosenbrock;

    impl Objective for Rosenbrock {
        type Error = Infallible;

        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, Infallible> {
            let (x, y) = (point[0], point[1]);
            let valley = y - x * x;
            gradient[0] = -2.0 * (1.0 - x) - 400.0 * x * valley;
            gradient[1] = 200.0 * valley;
            Ok((1.0 - x).powi(2) + 100.0 * valley * valley)
        }

        fn precondition(&self, _: &mut [f64]) {}
    }

    const LIMITS: Limits = Limits { max_iterations: 200, gradient_norm: 1e-9 };

    #[test]
    fn finds_the_floor_of_rosenbrocks_valley() {
        let mut point = [-1.2, 1.0];
        let outcome = minimize(&mut Rosenbrock, &mut point, LIMITS, |_| ControlFlow::Continue(()));
        assert_eq!(outcome.stop, Stop::Converged);
        assert!(outcome.iterations < 60, "{} iterations", outcome.iterations);
        assert!((point[0] - 1.0).abs() < 1e-8 && (point[1] - 1.0).abs() < 1e-8);
    }

    #[test]
    fn stops_at_the_iteration_limit_and_when_asked() {
        let limits = Limits { max_iterations: 3, ..LIMITS };
        let mut point = [-1.2, 1.0];
        let outcome = minimize(&mut Rosenbrock, &mut point, limits, |_| ControlFlow::Continue(()));
        assert_eq!((outcome.stop, outcome.iterations), (Stop::IterationLimit, 3));

        let mut point = [-1.2, 1.0];
        let outcome = minimize(&mut Rosenbrock, &mut point, LIMITS, |_| ControlFlow::Break(()));
        assert_eq!((outcome.stop, outcome.iterations), (Stop::Interrupted, 1));
    }

    /// Infinite left of zero, so that a step that is too long overflows.
    struct Barrier;

    impl Objective for Barrier {
        type Error = Infallible;

        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, Infallible> {
            gradient[0] = 1.0 - 1e-3 / point[0];
            Ok(if point[0] <= 0.0 { f64::NAN } else { point[0] - 1e-3 * point[0].ln() })
        }

        fn precondition(&self, _: &mut [f64]) {}
    }

    #[test]
    fn comes_back_from_a_step_that_overflows() {
        let mut point = [0.5];
        let outcome = minimize(&mut Barrier, &mut point, LIMITS, |_| ControlFlow::Continue(()));
        assert_eq!(outcome.stop, Stop::Converged);
        assert!((point[0] - 1e-3).abs() < 1e-8);
    }
}
