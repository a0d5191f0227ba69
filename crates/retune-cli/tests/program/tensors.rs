//! Layers by the names of tensors, on the command line; and what is said of options that do nothing.

use std::process::Output;

use crate::common::{Workplace, fit, model};
use serde_json::Value;

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn layers_lists_tensors_in_pytorchs_order() {
    let here = Workplace::new();
    let line = format!("layers --model {} --tensors", model());
    let text = here.succeeds(&line);
    let row = text.lines().find(|row| row.contains("layer2.0.downsample.0.weight")).unwrap();
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    // The narrow fixture's stages are 8 channels wide.
    assert_eq!(cells, ["layer2.0.downsample.0.weight", "8 × 8 × 1 × 1", "64", "weight"]);
    let document = here.json(&format!("{line} --json"));
    let tensors = document["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 47);
    let first = serde_json::json!(
        {"name": "conv1.weight", "shape": [64, 3, 7, 7], "parameters": 9408, "block": "stem", "role": "weight"}
    );
    assert_eq!(tensors[0], first);
    assert_eq!(tensors[1]["role"], "norm-weight");
    assert_eq!(tensors[46]["name"], "fc.bias");
    // Not asked for, they are not there.
    assert!(here.json(&format!("layers --model {} --json", model())).get("tensors").is_none());
}

#[test]
fn a_range_of_tensors_trains_and_verifies() {
    let here = Workplace::new();
    let range = "--method surgical --first layer3.0.conv2.weight --last layer4.0.conv1.weight --head-init zeros";
    let plan = here.succeeds(&format!("plan --model {} {range}", model()));
    assert!(plan.contains("of 9 tensors: conv2.weight … downsample.1.bias"), "{plan}");
    assert!(plan.contains("conv1.weight alone"), "{plan}");
    let all = here.succeeds(&format!("plan -v --model {} {range}", model()));
    assert!(all.lines().any(|row| row.starts_with("  layer3.0.conv1.weight") && row.ends_with("frozen")), "{all}");

    here.succeeds(&fit(&format!("{range} -q --out run")));
    let runs = here.json("verify run --json -q");
    let frozen = runs[0]["checks"].as_array().unwrap().iter().find(|check| check["what"] == "frozen tensors").unwrap();
    assert_eq!(frozen["outcome"], "holds", "{frozen}");
    let rates = here.rows("run").into_iter().find_map(|row| row.get("rates").cloned()).unwrap();
    let names: Vec<&String> = rates.as_object().unwrap().keys().collect();
    assert!(names.iter().any(|name| *name == "layer4.0.conv1.weight"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("layer4.0.bn1")), "{names:?}");
    assert!(String::from_utf8(here.file("run/report.html")).unwrap().contains("layer4.0.conv1.weight"));

    // The plan as a file gives the same run.
    let toml = here.succeeds(&format!("plan --model {} {range} --epochs 2 --lr 1e-3 --toml", model()));
    std::fs::write(here.path("plan.toml"), toml).unwrap();
    here.succeeds(&format!("fit --model {} --data data --plan plan.toml -q --out again", model()));
    here.assert_same("run", "again");

    let message = here.refuses(&fit("--method surgical --first layer3.0.conv9.weight --out new"));
    assert!(message.contains("unknown layer 'layer3.0.conv9.weight' (did you mean"), "{message}");
    let message = here.refuses(&fit("--method surgical --first fc.bias --last conv1.weight --out new"));
    assert!(message.contains("'conv1.weight' comes before 'fc.bias'"), "{message}");
}

#[test]
fn rates_fall_by_tensor_and_the_report_folds_them() {
    let here = Workplace::new();
    here.succeeds(&fit("--method discriminative --granularity tensor -q --out run"));
    let rates = here.rows("run").into_iter().find_map(|row| row.get("rates").cloned()).unwrap();
    let rates: Vec<(&String, f64)> =
        rates.as_object().unwrap().iter().map(|(name, rate)| (name, rate.as_f64().unwrap())).collect();
    assert_eq!(rates.len(), 47);
    for pair in rates.windows(2) {
        // A rounding or two of double precision.
        assert!((pair[0].1 / pair[1].1 - 0.9).abs() < 1e-12, "{pair:?}");
    }
    let page = String::from_utf8(here.file("run/report.html")).unwrap();
    assert!(page.contains("30 of 47 different rates"));
    here.succeeds(&fit("--method ulmfit --granularity tensor -q --out unfrozen"));
    here.succeeds(&format!(
        "compare --model {} --data data --epochs 1 --lr 1e-3 --methods surgical:layer3.0.conv1.weight..fc.bias,\
         discriminative:layer4.0.conv1.weight.. --granularity tensor -q --out comparison",
        model()
    ));
    assert!(here.path("comparison/runs/surgical_layer3.0.conv1.weight..fc.bias/seed-0/summary.json").is_file());
}

#[test]
fn what_does_nothing_is_told() {
    let here = Workplace::new();
    let output = here.run(&fit("--method lp --bn train --out probe"));
    assert!(output.status.success());
    let expected = "note: --epochs, --lr, and --bn have no use with --method lp, which solves for the head alone";
    assert!(told(&output).lines().any(|line| line == expected), "{}", told(&output));
    let message = here.refuses(&fit("--method ft --granularity tensor --out new"));
    assert!(message.contains("--granularity has no use with --method ft"), "{message}");
    // Layers of which nothing can train.
    let line = format!("plan --model {} --method auto-rgn --layers bn1.weight,bn1.bias --head-init keep", model());
    let message = here.refuses(&line);
    assert!(message.contains("no tensor that has a rate above 0 is of the kind that the phase trains"), "{message}");
}

#[test]
fn a_loss_far_above_guessing_is_told_at_the_end() {
    let here = Workplace::new();
    let line = format!("fit --model {} --data data --method ft --epochs 2 --lr 10", model());
    let output = here.run(&format!("{line} --no-report --out run"));
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    // ln 2 = 0.69.
    assert!(text.contains("far above that of guessing (0.69); the learning rate 10 is too large"), "{text}");
    assert!(text.contains("--lr 1e0"), "{text}");
    let output = here.run(&format!("{line} --json --no-report --out json"));
    let _: Value = serde_json::from_slice(&output.stdout).unwrap();
}
