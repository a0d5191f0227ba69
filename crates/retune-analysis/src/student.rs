//! Student's t distribution, for any positive degrees of freedom.

/// The probability of a value at least as far from 0 as `t`, on either side.
pub fn two_sided(t: f64, degrees: f64) -> f64 {
    if !t.is_finite() {
        return 0.0;
    }
    incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The value that is exceeded on either side with this probability, between 0 and 1.
pub fn critical(probability: f64, degrees: f64) -> f64 {
    largest(|t| two_sided(t, degrees) > probability)
}

/// The largest t ≥ 0 for which a condition holds that holds below it and fails above it, by bisection.
pub(crate) fn largest(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while holds(high) && high < 1e12 {
        (low, high) = (high, 2.0 * high);
    }
    // Each step halves the gap; 60 reach the precision of f64.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if holds(middle) { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The regularized incomplete beta function (DLMF 8.17).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp();
    // The fraction converges fast on this side; on the other, the symmetry of DLMF 8.17.4 helps.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of DLMF 8.17.22, evaluated forward by Lentz's method as Thompson and Barnett changed it (1986).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let nonzero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / nonzero(1.0 + coefficient * d);
            c = nonzero(1.0 + coefficient / c);
            change = c * d;
            value *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function of a positive number: Stirling's series (DLMF 5.11.1), after the recurrence has
/// raised the argument to where the terms kept suffice.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_scipys() {
        // 2 * scipy.stats.t.sf(t, degrees)
        let expected = [
            (0.0, 3.0, 1.0),
            (0.5, 1.0, 0.7048327646991335),
            (12.7, 1.0, 0.050024327689344165),
            (2.5, 2.0, 0.12961172022151082),
            (2.5, 4.7, 0.05759215934686732),
            (1.96, 49_999.0, 0.05000133622435039),
            (6.0, 19.0, 8.979235472490839e-06),
        ];
        for (t, degrees, probability) in expected {
            let found = two_sided(t, degrees);
            // 1e-9 relative: the difference of large logarithms of gamma costs digits at many degrees.
            assert!((found - probability).abs() <= 1e-9 * probability, "{t} {degrees}: {found} {probability}");
        }
    }

    #[test]
    fn critical_values_are_scipys() {
        // scipy.stats.t.ppf(0.975, degrees)
        let expected = [
            (1.0, 12.706204736174694),
            (2.0, 4.302652729749462),
            (9.0, 2.262157162798205),
            (1_570.0, 1.9614761310607076),
        ];
        for (degrees, value) in expected {
            assert!((critical(0.05, degrees) - value).abs() < 1e-8 * value, "{degrees}");
        }
    }
}
