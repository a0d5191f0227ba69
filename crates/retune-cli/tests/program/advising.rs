//! `retune advise`, driven as users drive it.

use crate::common::{Workplace, model, model_of};
use serde_json::Value;

/// Advice from a few seconds of trials, on a run's model that knows the two classes.
const QUICK: &str = "--gradient-batches 2 --trial-epochs 1 --trial-lr 1e-3 --batch-size 8 -q";

#[test]
fn evidence_is_gathered_for_every_stage_and_the_command_is_one_that_runs() {
    let here = Workplace::new();
    here.succeeds(&format!("fit --model {} --data data --method lp --no-report -q --out run", model()));
    here.images("target/red", "red", 24, 120);
    here.images("target/green", "green", 24, 120);
    let line = format!("advise --model run --data target --source data --head-init keep --val-fraction 0.4 {QUICK}");
    let advice = here.json(&format!("{line} --out e.json --json"));
    assert_eq!(serde_json::from_slice::<Value>(&here.file("e.json")).unwrap(), advice);

    let candidates = advice["candidates"].as_array().unwrap();
    let names: Vec<&str> = candidates.iter().filter_map(|candidate| candidate["name"].as_str()).collect();
    assert_eq!(names, ["stem", "layer1", "layer2", "layer3", "layer4", "head"]);
    assert_eq!(advice["pairing"], "same-class");
    for candidate in candidates {
        assert!(candidate["relative_gradient_norm"].as_f64().unwrap() > 0.0, "{candidate}");
        assert!(candidate["similarity"]["cka"].as_f64().unwrap() <= 1.0 + 1e-9, "{candidate}");
        let [low, high] = [0, 1].map(|end| candidate["trial"]["accuracy_interval"][end].as_f64().unwrap());
        let accuracy = candidate["trial"]["accuracy"].as_f64().unwrap();
        assert!(low <= accuracy && accuracy <= high, "{candidate}");
    }
    assert_eq!(advice["verdict"]["standings"].as_array().unwrap().len(), names.len() + 1);
    assert!(advice["untuned"]["accuracy"].as_f64().is_some());
}

#[test]
fn the_advised_command_can_be_run_as_it_is_printed() {
    let here = Workplace::new();
    let line = format!("advise --model {} --data data --trial-images 20 --out=e.json {QUICK}", model_of("vit"));
    let text = here.succeeds(&format!("{line} --candidates 4"));
    let command = text.lines().find_map(|line| line.trim().strip_prefix("retune ")).expect(&text);
    assert!(command.starts_with("fit --model ") && command.ends_with("--out RUN"), "{command}");
    for option in ["--trial", "--gradient", "--candidates", "e.json", "-q"] {
        assert!(!command.split(' ').any(|word| word.starts_with(option)), "{command}");
    }
    here.succeeds(&format!("{command} --epochs 1 --no-report -q"));
    assert!(here.path("RUN/summary.json").is_file());
    let advice: Value = serde_json::from_slice(&here.file("e.json")).unwrap();
    assert_eq!(advice["candidates"].as_array().unwrap().len(), 4);
    // A new head trains along everywhere, so it has no gradients to compare.
    assert_eq!(
        (&advice["new_head"], &advice["candidates"][3]["relative_gradient_norm"]),
        (&Value::Bool(true), &Value::Null)
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let here = Workplace::new();
    let written = [1, 2, 7].map(|threads| {
        let line = format!("advise --model {} --data data --source data@fog:3", model());
        here.succeeds(&format!("{line} --threads {threads} --out e{threads}.json {QUICK}"));
        here.file(&format!("e{threads}.json"))
    });
    assert!(written[0] == written[1] && written[0] == written[2]);
    let advice: Value = serde_json::from_slice(&written[0]).unwrap();
    assert_eq!(advice["pairing"], "same-images");
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let here = Workplace::new();
    let line = format!("advise --model {} --data data {QUICK}", model());
    assert!(here.refuses(&format!("{line} --source nowhere")).contains("nowhere"));
    here.images("other/cat", "red", 20, 200);
    here.images("other/dog", "green", 20, 200);
    assert!(here.refuses(&format!("{line} --source other")).contains("shares no image and no class ('green', …)"));
    here.images("few/red", "red", 3, 200);
    here.images("few/green", "green", 3, 200);
    assert!(here.refuses(&format!("{line} --source few")).contains("2 pairs of images of the same class"));
    for (option, part) in [
        ("--candidates 2", "at least 3"),
        ("--out e.csv", "must end with .json"),
        ("--out nowhere/e.json", "does not exist"),
        ("--head-init keep", "has 2 classes, and the model has 5"),
        ("--trial-lr 1e30", "every trial diverged"),
    ] {
        let line = format!("advise --model {} --data data {QUICK} {option}", model());
        let line = if option.starts_with("--trial-lr") { line.replace("--trial-lr 1e-3 ", "") } else { line };
        let message = here.refuses(&line);
        assert!(message.contains(part), "{option}: {message}");
    }
}
