//! How sure the choice of a learning rate is.

use super::points;
use crate::train::RunnerUp;
use crate::wording::counted;

/// How the best of the other rates did beside the chosen one, as a clause without a period.
pub fn certainty(runner_up: &RunnerUp) -> String {
    let RunnerUp { learning_rate, epochs, lead, standard_error, score } = *runner_up;
    let apart = if runner_up.is_told_apart() { "more than" } else { "within" };
    let by = match (lead, score) {
        (0.0, "accuracy") => "as accurate".to_owned(),
        (0.0.., "accuracy") => format!("{} points less accurate", points(lead)),
        (_, "accuracy") => format!("{} points more accurate", points(-lead)),
        (0.0, _) => format!("as good in {score}"),
        (0.0.., _) => format!("{} points worse in {score}", points(lead)),
        _ => format!("{} points better in {score}", points(-lead)),
    };
    let (after, error) = (counted(epochs, "epoch"), points(standard_error));
    format!("the rate {learning_rate:e} was {by} after {after}, {apart} one standard error ({error} points)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_sure_a_rate_is_is_told_in_points() {
        let runner_up =
            RunnerUp { learning_rate: 3e-4, epochs: 2, lead: 0.01, standard_error: 0.03, score: "accuracy" };
        let expected =
            "the rate 3e-4 was 1.0 points less accurate after 2 epochs, within one standard error (3.0 points)";
        assert_eq!(certainty(&runner_up), expected);
        let ahead = certainty(&RunnerUp { lead: -0.04, epochs: 1, ..runner_up });
        assert_eq!(
            ahead,
            "the rate 3e-4 was 4.0 points more accurate after 1 epoch, more than one standard error (3.0 points)"
        );
        assert!(certainty(&RunnerUp { lead: 0.0, ..runner_up }).contains("was as accurate after"));
        let of_labels = certainty(&RunnerUp { score: "mean average precision", ..runner_up });
        assert!(of_labels.contains("was 1.0 points worse in mean average precision after 2 epochs"), "{of_labels}");
    }
}
