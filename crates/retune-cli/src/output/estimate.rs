//! What a plan would take, as text.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use retune::compare::dry_run::{ComparisonEstimate, MethodEstimate};
use retune::train::estimate::{Estimate, ImageCounts, PhaseEstimate};
use retune::wording::counted;

use super::color::bold;
use super::table::{Align, Table};

/// The estimate as a table, or how to get one.
pub fn describe(estimate: Option<&Estimate>) -> String {
    let Some(estimate) = estimate else {
        return "For an estimate of time and memory, add --data PATH.\n".to_owned();
    };
    let mut table = Table::new([
        ("estimate", Align::Left),
        ("passes", Align::Right),
        ("images/s", Align::Right),
        ("time", Align::Right),
    ]);
    let name = |(number, phase): (usize, &PhaseEstimate)| format!("phase {}, {}", number + 1, phase.phase);
    for (number, phase) in estimate.phases.iter().enumerate() {
        let passes = if phase.epochs == 0 { "–".to_owned() } else { phase.epochs.to_string() };
        let rate = format!("{:.*}", usize::from(phase.images_per_second < 10.0), phase.images_per_second);
        table.row([name((number, phase)), passes, rate, duration(phase.seconds)]);
    }
    table.row(["evaluation".to_owned(), "1".into(), String::new(), duration(estimate.evaluation_seconds)]);
    let memory = estimate.memory_bytes.map(|bytes| format!(" and {} of memory", HumanBytes(bytes))).unwrap_or_default();
    let total = bold(&format!("About {}{memory}", duration(estimate.seconds)));
    format!(
        "{table}\n{total}, for {}.\nThis is an estimate: one step of each phase on random images, multiplied. Decoding images \
         comes on top, and other programs slow it down.\n",
        counts(estimate.images),
    )
}

/// The estimate of a comparison as a table. So many runs are in memory at once.
pub fn describe_comparison(estimate: &ComparisonEstimate, jobs: usize) -> String {
    let mut table = Table::new([
        ("method", Align::Left),
        ("runs", Align::Right),
        ("passes", Align::Right),
        ("time of a run", Align::Right),
        ("time", Align::Right),
    ]);
    for MethodEstimate { label, runs, run } in &estimate.methods {
        let passes: usize = run.phases.iter().map(|phase| phase.epochs).sum();
        let (one, all) = (duration(run.seconds), duration(*runs as f64 * run.seconds));
        table.row([label.clone(), runs.to_string(), passes.to_string(), one, all]);
    }
    let memory = estimate.memory_bytes.map(|bytes| bytes * jobs.min(estimate.runs()) as u64);
    let memory = memory.map(|bytes| format!(" and {} of memory", HumanBytes(bytes))).unwrap_or_default();
    let total = bold(&format!("About {}{memory}", duration(estimate.seconds)));
    let images = estimate.methods.first().map(|method| counts(method.run.images)).unwrap_or_default();
    format!(
        "{table}\n{total}, for {} with {images}.\nThis is an estimate: one step of each phase on random images, multiplied. Decoding \
         images comes on top, and other programs slow it down. Runs share decoded images and features, which saves time.\n",
        counted(estimate.runs(), "run"),
    )
}

/// The images of a run.
fn counts(images: ImageCounts) -> String {
    format!(
        "{} training, {} validation, and {} evaluation images",
        HumanCount(images.train as u64),
        HumanCount(images.validation as u64),
        HumanCount(images.evaluation as u64),
    )
}

/// Seconds in words.
fn duration(seconds: f64) -> String {
    match seconds {
        ..1.0 => "1 second".to_owned(),
        _ => HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let phase = PhaseEstimate { phase: "fine-tuning".into(), epochs: 18, images_per_second: 25.4, seconds: 720.0 };
        let estimate = Estimate {
            images: ImageCounts { train: 1000, validation: 250, evaluation: 10 },
            phases: vec![phase],
            evaluation_seconds: 4.2,
            seconds: 724.2,
            memory_bytes: Some(3 << 29),
        };
        let text = anstream::adapter::strip_str(&describe(Some(&estimate))).to_string();
        assert!(text.contains("phase 1, fine-tuning      18        25  12 minutes"), "{text}");
        assert!(text.contains("About 12 minutes and 1.50 GiB of memory, for 1,000 training"), "{text}");
        assert!(text.contains("This is an estimate") && describe(None).contains("--data"));
    }
}
