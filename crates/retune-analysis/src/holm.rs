//! Holm's correction for the number of comparisons.

/// The p-values of several comparisons, corrected so that the probability of any false claim among them stays below the
/// level that they are compared with (Holm 1979, *Scandinavian Journal of Statistics* 6, 65–70), in the order given.
pub fn corrected(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&one, &other| p_values[one].total_cmp(&p_values[other]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        largest = largest.max((remaining * p_values[index]).min(1.0));
        corrected[index] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_corrected_as_by_hand() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") gives 0.03 0.06 0.06 0.02: 4 · 0.005, 3 · 0.01, 2 · 0.03, and
        // 0.04, which may not be below the one before.
        let found = corrected(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
        assert_eq!(corrected(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(corrected(&[]).is_empty());
    }
}
