//! `--precision` of the commands that only run a model, and `--frozen-precision` of those that train one.

use std::fs;

use crate::common::{Workplace, fit, model};
use retune::features;

/// Whether a file holds some bytes anywhere.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn told(here: &Workplace, line: &str) -> String {
    let output = here.run(line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}

#[test]
fn feature_files_say_their_precision_and_those_of_float32_stay_as_they_are() {
    let here = Workplace::new();
    for format in ["npz", "safetensors", "parquet"] {
        let line = |out: &str| format!("features --model {} --data data --out {out}.{format}", model());
        here.succeeds(&line("default"));
        let said = told(&here, &format!("{} --precision float32", line("float32")));
        assert!(!said.contains("bfloat16"), "{said}");
        assert_eq!(here.file(&format!("float32.{format}")), here.file(&format!("default.{format}")), "{format}");
        assert!(!holds(&here.file(&format!("default.{format}")), "precision"), "{format}");

        let said = told(&here, &format!("{} --precision bfloat16", line("bfloat16")));
        let loss = "bfloat16: cosine similarity of features with float32 in 48 images: at least 0.99";
        assert!(said.contains(loss), "{said}");
        let file = here.file(&format!("bfloat16.{format}"));
        assert!(holds(&file, "precision"), "{format}");
        let [exact, rounded] =
            ["default", "bfloat16"].map(|name| features::read(&here.path(&format!("{name}.{format}"))).unwrap());
        assert_eq!((&exact.labels, &exact.paths), (&rounded.labels, &rounded.paths));
        assert_ne!(exact.features, rounded.features);
        let largest = exact.features.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let pairs = exact.features.iter().zip(&rounded.features);
        // Eight significant bits in each factor of a handful of layers.
        assert!(pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max) < 0.05 * largest);
    }
}

#[test]
fn shards_of_another_precision_do_not_belong_together() {
    let here = Workplace::new();
    let line = |shard: &str, out: &str| {
        format!("features --model {} --data data --batch-size 6 --shard {shard}/2 --out {out}", model())
    };
    here.succeeds(&line("1", "one.npz"));
    here.succeeds(&format!("{} --precision bfloat16", line("1", "rounded-one.npz")));
    here.succeeds(&format!("{} --precision bfloat16", line("2", "rounded-two.npz")));
    let refusal = here.refuses("merge-features one.npz rounded-two.npz --out all.npz");
    assert!(refusal.contains("do not belong together: one is of another precision"), "{refusal}");
    here.succeeds("merge-features rounded-two.npz rounded-one.npz --out all.npz");
    let whole = format!("features --model {} --data data --batch-size 6 --precision bfloat16 --out whole.npz", model());
    here.succeeds(&whole);
    assert_eq!(here.file("all.npz"), here.file("whole.npz"));
}

#[test]
fn eval_says_what_the_precision_changes() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out run"));
    let exact = here.json("eval --model run --data data --json");
    assert!(exact.get("precision").is_none(), "{exact}");
    assert_eq!(here.json("eval --model run --data data --precision float32 --json"), exact);

    let line = "eval --model run --data data --eval shifted=shifted --precision bfloat16";
    let rounded = here.json(&format!("{line} --json"));
    let loss = &rounded["precision"];
    // 48 images of the set, and 12 of the other.
    assert_eq!((loss["name"].as_str(), loss["images"].as_u64()), (Some("bfloat16"), Some(60)));
    let (difference, range) = (loss["largest_logit_difference"].as_f64(), loss["logit_range"].as_f64());
    assert!(difference.unwrap() > 0.0 && difference.unwrap() < 0.1 * range.unwrap(), "{loss}");
    let (one, other) = (exact["splits"]["all"]["loss"].as_f64(), rounded["splits"]["all"]["loss"].as_f64());
    assert!(one != other && (one.unwrap() - other.unwrap()).abs() < 0.05, "{one:?} {other:?}");
    let text = here.succeeds(line);
    let changed = loss["changed_predictions"].as_u64().unwrap();
    let sentence = format!("bfloat16: {changed} of 60 predictions differ from float32, logits by at most ");
    assert!(text.contains(&sentence) && text.contains("% of their range)"), "{text}");
    // What is suggested computes alike.
    let next = text.lines().find(|line| line.contains("retune eval")).unwrap_or(&text);
    assert!(next.contains("--precision bfloat16"), "{text}");
}

#[test]
fn every_command_that_runs_a_model_forward_takes_a_precision() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out run"));
    for line in [
        "predict --model run data/green/00.png",
        "umap --model run --data data --neighbors 5 --out map.json",
        "cka --model run --data data --interpolations nearest --bootstrap 0",
        "audit --model run --data data --interpolations nearest --bootstrap 0",
    ] {
        let exact = here.json(&format!("{line} --json"));
        assert_eq!(here.json(&format!("{line} --precision float32 --json")), exact, "{line}");
        assert_ne!(here.json(&format!("{line} --precision bfloat16 --json")), exact, "{line}");
        let refusal = here.refuses(&format!("{line} --precision float16"));
        assert!(refusal.contains("expected float32, bfloat16, or auto"), "{refusal}");
    }
    // Whichever is faster, it is said where there is a choice.
    let said = told(&here, "predict --model run data/green/00.png --precision auto");
    assert_eq!(
        said.contains("of the time of float32 with this model"),
        retune_kernels::multiplies_bfloat16(),
        "{said}"
    );
    let refusal = here.refuses("predict --model run data/green/00.png --precision bfloat16 --kernels plain");
    let expected = "bfloat16 needs the CPU and its fused operators, or a device that multiplies in it; leave out --device and --kernels, or compute in float32";
    assert!(refusal.contains(expected), "{refusal}");
}

/// What is kept of frozen blocks and what is computed in every step are the same, and validation is that of the model as
/// it is used: the run's numbers hold when they are measured again.
#[test]
fn frozen_blocks_compute_in_a_precision_of_their_own() {
    let here = Workplace::new();
    let surgical = "--method surgical --layers layer4,head";
    here.succeeds(&fit(&format!("{surgical} --out exact")));
    let said = told(&here, &fit(&format!("{surgical} --frozen-precision bfloat16 --out kept")));
    assert!(said.contains("bfloat16") && !said.contains("no frozen block"), "{said}");
    here.succeeds(&fit(&format!("{surgical} --frozen-precision bfloat16 --activation-mb 0 --out computed")));
    let weights = |run: &str| here.file(&format!("{run}/model/model.safetensors"));
    assert_eq!(weights("kept"), weights("computed"));
    assert_ne!(weights("kept"), weights("exact"));
    here.succeeds("verify kept");
    let recorded = |run: &str| fs::read_to_string(here.path(&format!("{run}/run.toml"))).unwrap();
    assert!(recorded("kept").contains("frozen_precision = \"bfloat16\""), "{}", recorded("kept"));
    assert!(!recorded("exact").contains("frozen_precision"), "{}", recorded("exact"));

    here.succeeds(&fit("--method lp --out probe"));
    here.succeeds(&fit("--method lp --frozen-precision bfloat16 --out rounded-probe"));
    assert_ne!(weights("probe"), weights("rounded-probe"));
    here.succeeds("verify rounded-probe");

    let said = told(&here, &fit("--method ft --frozen-precision bfloat16 --out all"));
    assert!(said.contains("every phase trains the first block"), "{said}");
    here.succeeds(&fit("--method ft --out plain"));
    assert_eq!(weights("all"), weights("plain"));
}

/// A comparison shares features of the pretrained body: those of two precisions are not mixed up.
#[test]
fn runs_of_a_comparison_compute_as_runs_by_themselves_do() {
    let here = Workplace::new();
    let options = "--epochs 2 --lr 1e-3 --frozen-precision bfloat16";
    here.succeeds(&format!("compare --model {} --data data --methods lp,lp-ft {options} --out both", model()));
    for method in ["lp", "lp-ft"] {
        here.succeeds(&fit(&format!("--method {method} --frozen-precision bfloat16 --out {method}-alone")));
        here.assert_same(&format!("both/runs/{method}/seed-0"), &format!("{method}-alone"));
    }
    let other = format!("compare --model {} --data data --methods lp,lp-ft --epochs 2 --lr 1e-3 --out both", model());
    assert!(here.refuses(&other).contains("frozen_precision"));
}
