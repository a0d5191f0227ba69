//! Data as people keep it, through the program: runs inside their data, published sets, archives, groups.

use std::fs;
use std::path::Path;

use crate::common::{Workplace, fit, model};
use serde_json::Value;

fn fixtures() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune/tests/fixtures/datasets").display().to_string()
}

/// What a command says on standard error.
fn told(here: &Workplace, line: &str) -> String {
    let output = here.run(line);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    told
}

fn images_of(here: &Workplace, run: &str, set: &str) -> u64 {
    let summary: Value = serde_json::from_slice(&here.file(&format!("{run}/summary.json"))).unwrap();
    summary["splits"][set]["n"].as_u64().unwrap()
}

#[test]
fn runs_written_into_the_data_are_no_classes() {
    let here = Workplace::new();
    let line = |out: &str| fit(&format!("--method ft --out {out}"));
    told(&here, &line("outside"));
    told(&here, &line("data/run1"));
    fs::create_dir(here.path("data/begun")).unwrap();
    fs::write(here.path("data/begun/.lock"), "").unwrap();
    let second = told(&here, &line("data/run2"));
    assert!(second.contains("note: begun and run1 in "), "{second}");
    here.succeeds("verify data/run1 data/run2 -q");
    // The same images, so the same weights.
    assert_eq!(here.file("outside/model/model.safetensors"), here.file("data/run2/model/model.safetensors"));
    here.succeeds(&format!("compare --model {} --data data --methods lp --out data/both -q", model()));
    here.succeeds("eval --model data/run1 --data data");
}

#[test]
fn published_sets_are_trained_on_and_evaluated() {
    let here = Workplace::new();
    let at = fixtures();
    told(
        &here,
        &fit("--method ft --val-fraction 0.4 --out run")
            .replace("--data data", &format!("--data {at}/cifar-10-batches-py")),
    );
    assert_eq!((images_of(&here, "run", "test"), images_of(&here, "run", "val")), (1, 2));
    let evaluated = here.json(&format!("eval --model run --data {at}/cifar-100-python --json"));
    let sets = evaluated["splits"].as_object().unwrap();
    assert_eq!(sets.values().map(|set| set["n"].as_u64().unwrap()).sum::<u64>(), 3, "{evaluated}");
    told(&here, &fit("--method ft --out shards").replace("--data data", &format!("--data {at}/webdataset")));
    assert_eq!(images_of(&here, "shards", "val"), 2);
    told(&here, &format!("features --model {} --data {at}/webdataset/train-000000.tar --out f.npz", model()));
    told(&here, &format!("features --model {} --data {at}/cifar-100-python --out g.npz", model()));
}

/// Four patients for each class and six images of each, in one list.
#[test]
fn groups_are_held_out_whole_or_a_note_says_that_they_are_not() {
    let here = Workplace::new();
    let row = |at: usize| {
        let (class, image) = (["green", "red"][at % 2], at / 2);
        format!("data/{class}/{image:02}.png,{class},{class}{}\n", image / 6)
    };
    let rows: String = (0..48).map(row).collect();
    fs::write(here.path("list.csv"), format!("path,label,group\n{rows}")).unwrap();
    let line =
        |more: &str| fit(&format!("--method ft --val-fraction 0.25 {more}")).replace("--data data", "--data list.csv");
    let by_image = told(&here, &line("--out by-image"));
    assert!(
        by_image.contains("groups in val are in train too") && by_image.contains("splitting by group"),
        "{by_image}"
    );
    let by_group = told(&here, &line("--split-by group --out by-group"));
    assert!(!by_group.contains("groups in val"), "{by_group}");
    assert_eq!(images_of(&here, "by-group", "val"), 12);
    assert!(String::from_utf8(here.file("by-group/run.toml")).unwrap().contains("split_by = \"group\""));
    here.succeeds("verify by-group -q");
    let refused = here.refuses(&fit("--method ft --split-by group --out new"));
    assert!(refused.contains("names no groups"), "{refused}");
}
