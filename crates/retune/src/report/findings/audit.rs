//! Whether images would better be prepared in another way, from an audit.

use super::{Command, Findings, NextStep, points};
use crate::audit::{Audit, AuditRow};
use crate::report::verdict::{interval, percent};
use crate::wording::{alternatives, capitalized, listed};

/// Other ways that are named beside the best.
const NAMED: usize = 3;

/// The findings of an audit. `command` gives another command with what was typed for this one.
pub fn of(audit: &Audit, command: impl Fn(&str) -> Command) -> Findings {
    let Some((own, others)) = audit.rows.split_first() else { return Findings::default() };
    let mut better: Vec<&AuditRow> = others.iter().filter(|row| gain(row)[0] > 0.0).collect();
    better.sort_by(|one, other| gained(other).total_cmp(&gained(one)));
    let mut sentences = Vec::new();
    if let Some((best, rest)) = better.split_first() {
        sentences.push(format!(
            "{} would be better than the model's own preprocessing: {}.",
            called(best),
            beside(audit, best)
        ));
        if !rest.is_empty() {
            let named = rest.iter().take(NAMED).map(|row| format!("{} (+{})", row.name, points(gained(row))));
            sentences.push(format!("Also better, in points: {}.", listed(&named.collect::<Vec<_>>())));
        }
    } else if own.score().is_some() && !others.is_empty() {
        let tried = alternatives(&kinds(own, others));
        sentences.push(format!("No other {tried} is significantly better than the model's own preprocessing."));
    }
    if let Some(score) = own.score() {
        let (name, value, range) = (capitalized(audit.score_name()), percent(score.value), interval(score.interval));
        sentences.push(format!("{name} with the model's own preprocessing is {value} (95 % interval {range})."));
    }
    sentences.extend(costliest(audit, others));
    Findings { sentences, next: next(audit, better.first().copied(), command).into_iter().collect() }
}

/// How much better the model is than with its own preprocessing, by its score.
fn gained(row: &AuditRow) -> f64 {
    row.score_difference().map_or(0.0, |difference| difference.mean)
}

/// The 95 % interval of that; from 0 to 0 where the score is not known.
fn gain(row: &AuditRow) -> [f64; 2] {
    row.score_difference().map_or([0.0; 2], |difference| difference.interval)
}

/// A row's name at the start of a sentence.
fn called(row: &AuditRow) -> String {
    match row.name.split_once(' ') {
        Some(("size", size)) => format!("Input size {size}"),
        Some(("crop-pct", crop)) => format!("Crop fraction {crop}"),
        _ => format!("Resampling filter {}", row.name),
    }
}

fn beside(audit: &Audit, row: &AuditRow) -> String {
    let (name, score) = (audit.score_name(), row.score().map(|share| percent(share.value)).unwrap_or_default());
    let ([low, high], by) = (gain(row), gained(row));
    let (word, by, low, high) = if by < 0.0 { ("lower", -by, -high, -low) } else { ("higher", by, low, high) };
    format!("{name} {score}, {} points {word} (95 % interval {}–{})", points(by), points(low), points(high))
}

/// What was tried besides the model's own way.
fn kinds(own: &AuditRow, others: &[AuditRow]) -> Vec<String> {
    let differs = |what: fn(&AuditRow, &AuditRow) -> bool| others.iter().any(|row| what(row, own));
    let kinds = [
        (differs(|row, own| row.interpolation != own.interpolation), "resampling filter"),
        (differs(|row, own| row.size != own.size), "input size"),
        (differs(|row, own| row.crop_pct != own.crop_pct), "crop fraction"),
    ];
    kinds.into_iter().filter(|(differs, _)| *differs).map(|(_, kind)| kind.to_owned()).collect()
}

/// What costs most: the score if that falls significantly, else the most changed predictions.
fn costliest(audit: &Audit, others: &[AuditRow]) -> Option<String> {
    let changed = |row: &AuditRow| row.changed_predictions.map_or(0.0, |share| share.value);
    let falls =
        others.iter().filter(|row| gain(row)[1] < 0.0).min_by(|one, other| gained(one).total_cmp(&gained(other)));
    if let Some(row) = falls {
        let (cost, share) = (beside(audit, row), percent(changed(row)));
        let change = match audit.several_labels {
            true => format!("the predicted labels of {share} of the images change"),
            false => format!("{share} of the predictions change"),
        };
        return Some(format!("{} would cost most: {cost}; {change}.", called(row)));
    }
    let row = others.iter().max_by(|one, other| changed(one).total_cmp(&changed(other)))?;
    let (name, share) = (called(row), percent(changed(row)));
    (changed(row) > 0.0).then(|| match audit.several_labels {
        true => format!("{name} changes the most predictions: the labels of {share} of the images."),
        false => format!("{name} changes the most predictions: {share}."),
    })
}

fn next(audit: &Audit, better: Option<&AuditRow>, command: impl Fn(&str) -> Command) -> Option<NextStep> {
    let own = audit.rows.first()?;
    if let Some(row) = better {
        // Other images have splits of their own, if any.
        let eval = command("eval").without(&["split"]).with("data", "OTHER_IMAGES");
        let eval = if row.size != own.size {
            eval.with("size", written(row.size))
        } else if row.crop_pct != own.crop_pct {
            eval.with("crop-pct", row.crop_pct.to_string())
        } else {
            eval.with("interpolation", row.interpolation.to_string())
        };
        return Some(NextStep::new("confirm the gain on images that did not choose it", &eval));
    }
    // Sizes around the model's own, in steps that every architecture takes.
    let [height, width] = own.size;
    let is_tried = audit.rows.iter().any(|row| row.size != own.size);
    if is_tried || height != width {
        // Where preprocessing is not to blame, classes may be.
        let eval = command("eval").switch("per-class");
        let purpose = match audit.several_labels {
            true => "see recall and precision of every label",
            false => "see which classes the errors are in",
        };
        return own.score().map(|_| NextStep::new(purpose, &eval));
    }
    let near = |factor: f64| (((f64::from(height) * factor) / 32.0).round().max(1.0) * 32.0) as u32;
    let mut sizes = [0.75, 1.15, 1.3].map(near).to_vec();
    sizes.retain(|size| *size != height);
    sizes.dedup();
    let (audit, crops) = (command("audit"), "0.9,1");
    // None is near a model of tiny images.
    if sizes.is_empty() {
        return Some(NextStep::new("try other crops", &audit.with("crop-pcts", crops)));
    }
    let sizes = sizes.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    Some(NextStep::new("try other sizes and crops", &audit.with("sizes", sizes).with("crop-pcts", crops)))
}

fn written([height, width]: [u32; 2]) -> String {
    if height == width { height.to_string() } else { format!("{height}x{width}") }
}

#[cfg(test)]
mod tests {
    use retune_analysis::intervals::{Estimate, wilson_interval};
    use retune_pixels::resize::Interpolation;

    use super::*;
    use crate::audit::Share;

    /// What is typed for a run at a crop of its own.
    fn typed(subcommand: &str) -> Command {
        Command::new(subcommand).with("model", "run").with("data", "images").with("crop-pct", "1")
    }

    fn row(name: &str, size: u32, right: usize, difference: [f64; 3]) -> AuditRow {
        let [low, mean, high] = difference;
        AuditRow {
            name: name.into(),
            interpolation: Interpolation::Bicubic,
            size: [size; 2],
            crop_pct: 0.875,
            accuracy: Some(Share { value: right as f64 / 1000.0, interval: wilson_interval(right, 1000) }),
            accuracy_difference: Some(Estimate { mean, interval: [low, high] }),
            mean_average_precision: None,
            mean_average_precision_difference: None,
            changed_predictions: Some(Share { value: 0.1, interval: [0.08, 0.12] }),
            logit_change: None,
            pixel_difference: None,
            cka: None,
            cka_interval: None,
            cka_undefined: None,
        }
    }

    #[test]
    fn a_better_size_is_the_first_thing_said() {
        let rows = vec![
            row("bicubic (own)", 224, 780, [0.0, 0.0, 0.0]),
            row("size 288", 288, 812, [0.018, 0.032, 0.046]),
            row("size 256", 256, 800, [0.008, 0.02, 0.03]),
            row("size 160", 160, 690, [-0.11, -0.09, -0.07]),
        ];
        let found = of(&Audit { n: 1000, minibatches: 1, several_labels: false, rows }, typed);
        assert_eq!(
            found.sentences[0],
            "Input size 288 would be better than the model's own preprocessing: accuracy 81.2 %, 3.2 points higher (95 % \
             interval 1.8–4.6)."
        );
        assert_eq!(found.sentences[1], "Also better, in points: size 256 (+2.0).");
        assert!(found.sentences[2].starts_with("Accuracy with the model's own preprocessing is 78.0 % (95 % interval"));
        assert!(found.sentences[3].contains("Input size 160 would cost most: accuracy 69.0 %, 9.0 points lower"));
        assert_eq!(found.next[0].command, "retune eval --model run --data OTHER_IMAGES --crop-pct 1 --size 288");
    }

    #[test]
    fn where_nothing_is_better_other_sizes_are_proposed() {
        let rows = vec![
            row("bicubic (own)", 224, 780, [0.0, 0.0, 0.0]),
            AuditRow { interpolation: Interpolation::Nearest, ..row("nearest", 224, 770, [-0.02, -0.01, 0.01]) },
        ];
        let found = of(&Audit { n: 1000, minibatches: 1, several_labels: false, rows }, typed);
        assert!(found.sentences[0].starts_with("No other resampling filter is significantly better"));
        assert_eq!(found.sentences[2], "Resampling filter nearest changes the most predictions: 10.0 %.");
        assert!(found.next[0].command.ends_with("--sizes 160,256,288 --crop-pcts 0.9,1"), "{}", found.next[0].command);
        let rows = vec![
            row("bicubic (own)", 224, 780, [0.0, 0.0, 0.0]),
            AuditRow { interpolation: Interpolation::Nearest, ..row("nearest", 224, 770, [-0.02, -0.01, 0.01]) },
            row("size 256", 256, 782, [-0.01, 0.002, 0.01]),
            AuditRow { crop_pct: 1.0, ..row("crop-pct 1", 224, 781, [-0.01, 0.001, 0.01]) },
        ];
        let tried = of(&Audit { n: 1000, minibatches: 1, several_labels: false, rows }, typed);
        assert_eq!(
            tried.sentences[0],
            "No other resampling filter, input size, or crop fraction is significantly better than the model's own \
             preprocessing."
        );
        assert_eq!(tried.next[0].command, "retune eval --model run --data images --crop-pct 1 --per-class");
        let tiny = of(
            &Audit { n: 1000, minibatches: 1, several_labels: false, rows: vec![row("own", 32, 780, [0.0, 0.0, 0.0])] },
            typed,
        );
        assert!(tiny.next[0].command.ends_with("--crop-pct 1 --crop-pcts 0.9,1"), "{}", tiny.next[0].command);
    }

    #[test]
    fn several_labels_are_told_by_mean_average_precision() {
        let of_labels = |row: AuditRow| AuditRow {
            mean_average_precision: row.accuracy,
            mean_average_precision_difference: row.accuracy_difference,
            accuracy: Some(Share { value: 0.1, interval: [0.05, 0.15] }),
            accuracy_difference: Some(Estimate { mean: 0.0, interval: [-0.01, 0.01] }),
            ..row
        };
        let rows = vec![
            of_labels(row("bicubic (own)", 224, 780, [0.0, 0.0, 0.0])),
            of_labels(row("size 288", 288, 812, [0.018, 0.032, 0.046])),
            of_labels(row("size 160", 160, 690, [-0.11, -0.09, -0.07])),
        ];
        let found = of(&Audit { n: 1000, minibatches: 1, several_labels: true, rows }, typed);
        assert_eq!(
            found.sentences[0],
            "Input size 288 would be better than the model's own preprocessing: mean average precision 81.2 %, 3.2 points \
             higher (95 % interval 1.8–4.6)."
        );
        assert!(found.sentences[1].starts_with("Mean average precision with the model's own preprocessing is 78.0 %"));
        assert!(found.sentences[2].ends_with("the predicted labels of 10.0 % of the images change."), "{found:?}");
    }
}
