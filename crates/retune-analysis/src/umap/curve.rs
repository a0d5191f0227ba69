//! The curve that turns distances on the map into similarities.

/// Places at which the curve is fitted, evenly from 0 to three times the spread, as in `umap-learn`.
const PLACES: usize = 300;
const STEPS: usize = 200;

/// The `a` and `b` for which `1 / (1 + a d²ᵇ)` is nearest, in squares, to 1 up to the minimum distance and to
/// `exp(−(d − minimum) / spread)` beyond it (McInnes et al. 2018, section 3.2), by Levenberg and Marquardt's method.
pub(super) fn fit(minimum_distance: f64, spread: f64) -> (f64, f64) {
    let places = (1..PLACES).map(|place| 3.0 * spread * place as f64 / (PLACES - 1) as f64);
    let points: Vec<(f64, f64)> = places
        .map(|x| (x, if x < minimum_distance { 1.0 } else { (-(x - minimum_distance) / spread).exp() }))
        .collect();
    let error = |[a, b]: [f64; 2]| -> f64 {
        points.iter().map(|&(x, y)| (1.0 / (1.0 + a * x.powf(2.0 * b)) - y).powi(2)).sum()
    };
    let (mut parameters, mut damping) = ([1.0, 1.0], 1e-3);
    let mut least = error(parameters);
    for _ in 0..STEPS {
        let [a, b] = parameters;
        let (mut curvature, mut slope) = ([[0.0; 2]; 2], [0.0; 2]);
        for &(x, y) in &points {
            let power = x.powf(2.0 * b);
            let value = 1.0 / (1.0 + a * power);
            let gradient = [-power * value * value, -2.0 * a * power * x.ln() * value * value];
            for row in 0..2 {
                slope[row] += gradient[row] * (value - y);
                (0..2).for_each(|column| curvature[row][column] += gradient[row] * gradient[column]);
            }
        }
        let damped = [curvature[0][0] * (1.0 + damping), curvature[1][1] * (1.0 + damping)];
        let determinant = damped[0] * damped[1] - curvature[0][1] * curvature[1][0];
        let step = [
            (damped[1] * slope[0] - curvature[0][1] * slope[1]) / determinant,
            (damped[0] * slope[1] - curvature[1][0] * slope[0]) / determinant,
        ];
        let next = [a - step[0], b - step[1]];
        let reached = error(next);
        if next[0] > 0.0 && next[1] > 0.0 && reached < least {
            (parameters, least, damping) = (next, reached, damping / 10.0);
        } else {
            damping *= 10.0;
        }
    }
    (parameters[0], parameters[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_umap_learns() {
        // `umap.umap_.find_ab_params(1, d)`, umap-learn 0.5.12, which fits by SciPy's curve_fit to a relative 1.5e-8.
        for (minimum_distance, a, b) in [
            (0.1, 1.576_943_460_269_765, 0.895_060_877_851_573),
            (0.5, 0.583_030_020_341_442, 1.334_166_992_431_491),
            (0.0, 1.932_808_397_343_15, 0.790_494_973_223_383),
            (0.99, 0.119_305_299_924_078, 1.916_390_416_880_251),
        ] {
            let (fitted_a, fitted_b) = fit(minimum_distance, 1.0);
            assert!(
                (fitted_a - a).abs() < 1e-4 && (fitted_b - b).abs() < 1e-4,
                "{minimum_distance}: {fitted_a} {fitted_b}"
            );
        }
    }
}
