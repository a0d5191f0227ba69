//! The main findings of a run.

use indexmap::IndexMap;
use retune_analysis::calibration::Calibration;
use retune_analysis::intervals::proportion_difference;

use super::confusion::Confusion;
use super::findings::{Command, Findings, NextStep, listed, points, typed};
use super::run_page::{RunRecord, sentence};
use crate::inference::Evaluation;
use crate::methods::Method;
use crate::plan::Solver;
use crate::run::{FitOptions, Hint, Summary};
use crate::wording::grouped;

/// The difference between confidence and accuracy above which it gets a sentence.
const NOTABLE_GAP: f64 = 0.05;
/// Sets that get a sentence each.
const MAX_SETS: usize = 5;
/// Classes that are named.
const CLASSES: usize = 3;

/// A share in percent with a decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// An interval of shares in percent.
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
}

/// The set that represents data as in training: the first that is not in `shifted`, and `val` only if there is no
/// other.
pub(super) fn in_distribution<'a>(summary: &'a Summary, shifted: &[String]) -> Option<(&'a String, &'a Evaluation)> {
    let own = |(name, _): &(&String, &Evaluation)| !shifted.contains(name);
    let mut sets = summary.splits.iter().filter(own);
    sets.clone().find(|(name, _)| name.as_str() != "val").or_else(|| sets.next())
}

/// The findings of a run.
pub(super) fn of_run(record: &RunRecord) -> Findings {
    let (summary, shifted) = (&record.summary, record.shifted());
    let mut sentences = sentences(summary, &shifted, |set| record.calibration(set));
    sentences.extend(costs(record));
    let hint = summary.hint(&record.plan);
    sentences.extend(hint.as_ref().map(|hint| sentence(&hint.to_string())));
    Findings { sentences, next: next(record, hint.as_ref()) }
}

/// Accuracy on data as in training and on each other set, the worst first, and whether confidence can be trusted.
fn sentences(summary: &Summary, shifted: &[String], calibration: impl Fn(&str) -> Option<Calibration>) -> Vec<String> {
    let Some(own) = in_distribution(summary, shifted) else { return Vec::new() };
    let others = shifted.iter().filter_map(|name| Some((name, summary.splits.get(name)?))).collect();
    of_sets(own, others, calibration)
}

/// The findings of an evaluation: the first set stands for data as in training. `mistakes` are those on the worst set.
pub fn evaluated(
    splits: &IndexMap<String, Evaluation>,
    calibration: impl Fn(&str) -> Option<Calibration>,
    mistakes: impl Fn(&str) -> Option<(Confusion, Vec<String>)>,
) -> Vec<String> {
    let Some(own) = splits.iter().next() else { return Vec::new() };
    let mut sentences = of_sets(own, splits.iter().skip(1).collect(), calibration);
    let worst = splits.iter().min_by(|one, other| one.1.score().total_cmp(&other.1.score()));
    if let Some((name, (found, classes))) = worst.and_then(|(name, _)| Some((name, mistakes(name)?))) {
        sentences.extend(costs_of(&found, &classes, name));
    }
    sentences
}

fn of_sets(
    (own_name, own): (&String, &Evaluation),
    mut others: Vec<(&String, &Evaluation)>,
    calibration: impl Fn(&str) -> Option<Calibration>,
) -> Vec<String> {
    if own.is_of_several_labels() {
        return of_several_labels((own_name, own), others);
    }
    let names: Vec<&String> = std::iter::once(own_name).chain(others.iter().map(|(name, _)| *name)).collect();
    others.sort_by(|one, other| one.1.accuracy.total_cmp(&other.1.accuracy));
    let (accuracy, range) = (percent(own.accuracy), interval(own.accuracy_interval));
    let mut sentences = Vec::new();
    match others.first().filter(|(_, worst)| difference(own, worst)[0] > 0.0) {
        Some((name, worst)) => {
            let [low, high] = difference(own, worst);
            sentences.push(format!(
                "Accuracy falls from {accuracy} on {own_name} to {} on {name}: {} points (95 % interval {}–{}).",
                percent(worst.accuracy),
                points(own.accuracy - worst.accuracy),
                points(low),
                points(high)
            ));
            others.remove(0);
        }
        None => sentences.push(format!("Accuracy on {own_name} is {accuracy} (95 % interval {range}).")),
    }
    sentences.extend(others.iter().take(MAX_SETS).map(|(name, other)| against(name, other, own_name, own)));
    if let Some(more) = others.len().checked_sub(MAX_SETS).filter(|more| *more > 0) {
        let are = if more == 1 { "set is" } else { "sets are" };
        sentences.push(format!("{more} other {are} closer to {own_name}."));
    }
    let gaps = names.into_iter().filter_map(|name| Some((name, calibration(name)?)));
    let worst = gaps.max_by(|one, other| one.1.expected_error.total_cmp(&other.1.expected_error));
    if let Some((name, found)) = worst.filter(|(_, found)| (found.confidence - found.accuracy).abs() > NOTABLE_GAP) {
        let tone = if found.confidence > found.accuracy { "Overconfident" } else { "Underconfident" };
        let (confidence, accuracy) = (percent(found.confidence), percent(found.accuracy));
        sentences.push(format!("{tone} on {name}: mean confidence {confidence}, accuracy {accuracy}."));
    }
    sentences
}

/// The mean average precision on data as in training and on each other set, the worst first.
fn of_several_labels((own_name, own): (&String, &Evaluation), mut others: Vec<(&String, &Evaluation)>) -> Vec<String> {
    others.sort_by(|one, other| one.1.score().total_cmp(&other.1.score()));
    let all = format!("all labels are right of {} of its images", percent(own.accuracy));
    let mut sentences = vec![format!("Mean average precision on {own_name} is {}; {all}.", percent(own.score()))];
    let against = |(name, found): &(&String, &Evaluation)| {
        let lead = found.score() - own.score();
        let side = if lead < 0.0 { "below" } else { "above" };
        let score = percent(found.score());
        format!("Mean average precision on {name} is {score}, {} points {side} {own_name}.", points(lead.abs()))
    };
    sentences.extend(others.iter().take(MAX_SETS).map(against));
    if let Some(more) = others.len().checked_sub(MAX_SETS).filter(|more| *more > 0) {
        let have = if more == 1 { "set has" } else { "sets have" };
        sentences.push(format!("{more} other {have} a higher one."));
    }
    sentences
}

/// The interval of how much higher accuracy is on one set than on another.
fn difference(one: &Evaluation, other: &Evaluation) -> [f64; 2] {
    let counts = |found: &Evaluation| ((found.accuracy * found.n as f64).round() as usize, found.n);
    proportion_difference(counts(one), counts(other))
}

/// Accuracy on a set beside that on data as in training.
fn against(name: &str, found: &Evaluation, own_name: &str, own: &Evaluation) -> String {
    let [low, high] = difference(own, found);
    let accuracy = format!("Accuracy on {name} is {}", percent(found.accuracy));
    let lost = own.accuracy - found.accuracy;
    if low > 0.0 {
        let (lost, low, high) = (points(lost), points(low), points(high));
        format!("{accuracy}, {lost} points below {own_name} (95 % interval {low}–{high}).")
    } else if high < 0.0 {
        let (gain, low, high) = (points(-lost), points(-high), points(-low));
        format!("{accuracy}, {gain} points above {own_name} (95 % interval {low}–{high}).")
    } else {
        let (low, high) = (points(-high), points(-low));
        format!("{accuracy}, not significantly different from {own_name} (95 % interval {low} to {high} points).")
    }
}

/// The set of lowest accuracy or, with several labels, mean average precision.
pub(super) fn worst_set(summary: &Summary) -> Option<&String> {
    let sets = summary.splits.iter();
    Some(sets.min_by(|one, other| one.1.score().total_cmp(&other.1.score()))?.0)
}

/// The classes and the pair of classes that cost most on the worst set.
fn costs(record: &RunRecord) -> Vec<String> {
    let Some((predictions, name)) = record.predictions.as_ref().zip(worst_set(&record.summary)) else {
        return Vec::new();
    };
    let Some(set) = predictions.sets.iter().position(|set| set == name) else { return Vec::new() };
    let classes = &record.summary.classes;
    let found = Confusion::count(predictions.of_set(set).map(|row| (row.label, row.predicted)));
    costs_of(&found, classes, name)
}

fn costs_of(found: &Confusion, classes: &[String], set: &str) -> Vec<String> {
    let mut hard = found.hardest(usize::MAX);
    let errors: usize = hard.iter().map(|class| class.n - class.right).sum();
    if errors == 0 || classes.len() < 3 {
        return Vec::new();
    }
    hard.sort_by_key(|class| std::cmp::Reverse(class.n - class.right));
    let named = hard.iter().take(CLASSES).map(|class| {
        format!("{} ({} of {} wrong)", classes[class.class], grouped(class.n - class.right), grouped(class.n))
    });
    let costliest: Vec<String> = named.collect();
    let mut sentences = vec![format!("Most errors on {set} are in {}.", listed(&costliest))];
    if let Some(&(label, predicted, n)) = found.most_confused(1).first() {
        let of = found.totals(classes.len())[label];
        let (label, predicted) = (&classes[label], &classes[predicted]);
        let (n, of, share) = (grouped(n), grouped(of), percent(n as f64 / of as f64));
        sentences.push(format!(
            "Most frequent confusion on {set}: {label} predicted as {predicted}, {n} of {of} ({share})."
        ));
    }
    sentences
}

/// What to run next: what the outcome asks for, then what would say more about a loss under shift.
fn next(record: &RunRecord, hint: Option<&Hint>) -> Vec<NextStep> {
    let mut steps: Vec<NextStep> = hint.map(|hint| asked_for(record, hint)).into_iter().collect();
    let (shifted, summary) = (record.shifted(), &record.summary);
    let Some((_, own)) = in_distribution(summary, &shifted) else { return steps };
    let loses = |name: &String| {
        summary.splits.get(name).is_some_and(|found| match own.is_of_several_labels() {
            true => found.score() < own.score(),
            false => difference(own, found)[0] > 0.0,
        })
    };
    let worst = worst_set(summary).filter(|name| shifted.contains(name) && loses(name));
    let set = worst.and_then(|name| record.options.evaluations.iter().find(|set| set.name == *name));
    match set {
        Some(set) => {
            let purpose = "see which method loses least under this shift";
            steps.push(NextStep::new(purpose, &comparison(record)));
            // An audit is not for images with several labels.
            if !record.options.multi_label {
                let audit = of_model(record, "audit").with("data", typed(&set.path));
                steps.push(NextStep::new("check whether other preprocessing would do better there", &audit));
            }
        }
        None if shifted.is_empty() => {
            let eval = of_model(record, "eval").with("data", "NEW_IMAGES");
            steps.push(NextStep::new("measure accuracy on labeled images from where the model will be used", &eval));
        }
        None => {}
    }
    steps
}

/// What a run's outcome asks for.
fn asked_for(record: &RunRecord, hint: &Hint) -> NextStep {
    let run = typed(&record.directory);
    // The file has every option of the run.
    let again = Command::new("fit").with("config", format!("{run}/run.toml")).with("out", format!("{run}-2"));
    match hint {
        Hint::AtTheEdge => {
            let epochs = record.plan.phases.iter().rev().find_map(|phase| match &phase.solver {
                Solver::Gradient(settings) => Some(settings.epochs),
                Solver::LogisticRegression(_) | Solver::Interpolation(_) => None,
            });
            NextStep::new("train longer", &again.with("epochs", (2 * epochs.unwrap_or(10)).to_string()))
        }
        Hint::FarAboveGuessing { .. } | Hint::NoGain { .. } => {
            let rate = record.summary.phases.iter().rev().find_map(|phase| phase.learning_rate).unwrap_or(1e-3) / 10.0;
            // A tenth of 3e-4 is 2.9999999999999997e-5 in binary.
            let lr = format!("{rate:.2e}").replace(".00e", "e").replace("0e", "e");
            NextStep::new("train at a smaller learning rate", &again.with("lr", lr))
        }
        Hint::NoBetterThanGuessing { .. } => {
            let options = Command::of_run("lr-find", &record.options, record.command.as_deref());
            let lr_find = with_head(options, record).without(&["eval", "budget"]);
            NextStep::new("find a learning rate", &lr_find)
        }
    }
}

/// Methods that keep more of the pretrained model than others, beside those that keep less.
const COMPARED: [Method; 4] = [Method::LP, Method::FT, Method::LP_FT, Method::WISE_FT];

/// A comparison with the options of a run.
fn comparison(record: &RunRecord) -> Command {
    let options = Command::of_run("compare", &record.options, record.command.as_deref());
    let options = with_head(options, record);
    let options = match &record.method {
        Some((_, method)) => options.with_method_options(method, &COMPARED),
        None => options,
    };
    let methods = COMPARED.map(|method| method.name).join(",");
    let out = format!("{}-compare", typed(&record.directory));
    options.without(&["budget"]).with("methods", methods).with("out", out)
}

fn with_head(command: Command, record: &RunRecord) -> Command {
    command.with_head(record.options.head_initialization, record.method.as_ref().map(|(_, method)| method.probe))
}

/// A command for the model of a run, which has its preprocessing and classes.
fn of_model(record: &RunRecord, subcommand: &str) -> Command {
    let FitOptions { device, skip_bad, .. } = &record.options;
    let command = Command::new(subcommand).with("model", typed(&record.directory));
    let command = if device == "cpu" { command } else { command.with("device", device) };
    if *skip_bad { command.switch("skip-bad") } else { command }
}

#[cfg(test)]
mod tests {
    use retune_analysis::intervals::wilson_interval;

    use super::*;

    fn summary(sets: &[(&str, usize, usize)]) -> Summary {
        let evaluation = |right: usize, n: usize| Evaluation {
            n,
            accuracy: right as f64 / n as f64,
            accuracy_interval: wilson_interval(right, n),
            balanced_accuracy: 0.0,
            loss: 1.0,
            ..Evaluation::default()
        };
        Summary {
            method: "lp-ft".into(),
            architecture: String::new(),
            seed: 0,
            best_epoch: 1,
            seconds: 1.0,
            training_images: 1,
            trained_parameters: 1,
            classes: Vec::new(),
            phases: Vec::new(),
            splits: sets.iter().map(|&(name, right, n)| (name.to_owned(), evaluation(right, n))).collect(),
            interpolation: None,
            temperature: None,
            thresholds: None,
        }
    }

    #[test]
    fn losses_gains_and_ties_are_told_apart_and_the_worst_comes_first() {
        let summary = summary(&[
            ("val", 5, 10),
            ("test", 900, 1000),
            ("easy", 990, 1000),
            ("same", 895, 1000),
            ("rain", 800, 1000),
            ("fog", 700, 1000),
        ]);
        let shifted = ["easy", "same", "rain", "fog"].map(str::to_owned);
        let found = sentences(&summary, &shifted, |_| None);
        // statsmodels 0.15, confint_proportions_2indep(900, 1000, 700, 1000, method="newcomb"): 0.16583 to 0.23377.
        assert_eq!(
            found[0],
            "Accuracy falls from 90.0 % on test to 70.0 % on fog: 20.0 points (95 % interval 16.6–23.4)."
        );
        assert!(found[1].starts_with("Accuracy on rain is 80.0 %, 10.0 points below test"), "{}", found[1]);
        assert!(found[2].contains("not significantly different from test (95 % interval −"), "{}", found[2]);
        assert!(found[3].contains("9.0 points above test"), "{}", found[3]);
        assert_eq!(worst_set(&summary).unwrap(), "val");
    }

    #[test]
    fn without_a_loss_the_accuracy_as_in_training_comes_first() {
        let found = sentences(&summary(&[("test", 900, 1000)]), &[], |_| None);
        assert_eq!(found, ["Accuracy on test is 90.0 % (95 % interval 88.0–91.7 %)."]);
    }

    #[test]
    fn confidence_that_is_wrong_is_told() {
        let calibration = |name: &str| Calibration::measure((0..10).map(|index| (0.9, name == "val" && index < 9)));
        let found = sentences(&summary(&[("val", 9, 10), ("fog", 0, 10)]), &["fog".into()], calibration);
        assert_eq!(found[1], "Overconfident on fog: mean confidence 90.0 %, accuracy 0.0 %.");
    }

    #[test]
    fn the_classes_and_the_pair_that_cost_most_are_named() {
        let classes = ["cat", "dog", "fox"].map(str::to_owned);
        let found = Confusion::count([(0, 0), (0, 1), (0, 1), (1, 1), (1, 0), (2, 2)]);
        let sentences = costs_of(&found, &classes, "test");
        assert_eq!(sentences[0], "Most errors on test are in cat (2 of 3 wrong) and dog (1 of 2 wrong).");
        assert_eq!(sentences[1], "Most frequent confusion on test: cat predicted as dog, 2 of 3 (66.7 %).");
        assert!(costs_of(&Confusion::count([(0, 0)]), &classes, "test").is_empty());
    }
}
