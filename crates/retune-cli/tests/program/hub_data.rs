//! Data sets of the Hugging Face hub by their names, offline, from a cache as Hugging Face's own tools leave it.
#![cfg(feature = "hub")]

use std::fs;
use std::path::Path;

use crate::common::{Workplace, model};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A place in which `some/pictures` is cached: 7 images for training, 2 for validation.
fn with_cached_data() -> Workplace {
    let here = Workplace::new();
    let repository = here.path("cache/hub/datasets--some--pictures");
    let snapshot = repository.join("snapshots").join(COMMIT).join("data");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune/tests/fixtures/parquet/hub/data");
    for name in ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"] {
        let file = format!("{name}.parquet");
        fs::copy(fixtures.join(&file), snapshot.join(&file)).unwrap();
    }
    here
}

#[test]
fn a_run_on_a_data_set_of_the_hub_keeps_its_commit() {
    let here = with_cached_data();
    let model = model();
    let fit = format!(
        "fit --model {model} --data hf:some/pictures --eval foggy=hf:some/pictures@fog:3 --method lp --no-report --out run"
    );
    here.succeeds(&fit);
    let options = String::from_utf8(here.file("run/run.toml")).unwrap();
    let path = format!("datasets--some--pictures/snapshots/{COMMIT}/data");
    assert!(options.contains(&format!("{path}\"")) && options.contains(&format!("{path}@fog:3\"")), "{options}");
    // The branch has moved on since, and the run has not.
    fs::write(here.path("cache/hub/datasets--some--pictures/refs/main"), "f".repeat(40)).unwrap();
    here.succeeds("verify run");
    let command = String::from_utf8(here.file("run/command.txt")).unwrap();
    assert!(command.contains("hf:some/pictures@fog:3"), "{command}");
}

#[test]
fn every_command_takes_a_data_set_of_the_hub() {
    let here = with_cached_data();
    let model = model();
    for line in [
        format!("features --model {model} --data hf:some/pictures --split train --out f.npz"),
        format!("predict --model {model} hf:some/pictures#{COMMIT}"),
        format!("umap --model {model} --data hf:some/pictures --neighbors 3 --out u.csv"),
    ] {
        here.succeeds(&line);
    }
}

#[test]
fn what_is_not_there_is_told_with_what_to_write() {
    let here = with_cached_data();
    let features = |data: &str| here.refuses(&format!("features --model {} --data {data} --out f.npz", model()));
    let mistyped = features("some/pictures");
    assert!(mistyped.contains("no data at some/pictures: check the path, or write hf:some/pictures"), "{mistyped}");
    let absent = features("hf:some/paintings");
    assert!(absent.contains("hf:some/paintings is not in the cache"), "{absent}");
    let name = features("hf:pictures");
    assert!(name.contains("it needs an owner and a name"), "{name}");
    let shift = features("hf:some/pictures@frog:3");
    assert!(shift.contains("'frog' is neither label_flip nor"), "{shift}");
    fs::remove_file(
        here.path(&format!("cache/hub/datasets--some--pictures/snapshots/{COMMIT}/data/train-00001-of-00002.parquet")),
    )
    .unwrap();
    let shard = features("hf:some/pictures");
    assert!(shard.contains("data/train-00001-of-00002.parquet of hf:some/pictures is not in the cache"), "{shard}");
    let model = here.refuses("features --model hf:timm/none --data data --out f.npz");
    assert!(model.contains("timm/none is not in the cache"), "{model}");
}
