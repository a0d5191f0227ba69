//! `retune features` in every format, from every kind of data, and after interruptions.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Workplace, fit, model};
use retune::features::{self, FeatureTable};

const FORMATS: [&str; 3] = ["npz", "safetensors", "parquet"];

fn read(here: &Workplace, file: &str) -> FeatureTable {
    features::read(&here.path(file)).unwrap()
}

#[test]
fn every_format_holds_the_same() {
    let here = Workplace::new();
    for format in FORMATS {
        let line = format!("features --model {} --data data --layer layer2 --out f.{format} --json", model());
        let written = here.json(&line);
        assert_eq!((written["images"].as_u64(), written["width"].as_u64()), (Some(48), Some(8 * 5 * 5)));
    }
    let table = read(&here, "f.npz");
    assert_eq!((table.len(), table.width), (48, 200));
    assert_eq!(table.classes, ["green", "red"]);
    assert_eq!((table.paths[0].as_str(), table.labels[0]), ("green/00.png", Some(0)));
    assert_eq!((table.paths[47].as_str(), table.labels[47]), ("red/23.png", Some(1)));
    for format in FORMATS {
        assert_eq!(read(&here, &format!("f.{format}")), table, "{format}");
    }
    let files = |name: &str| here.listing().iter().filter(|path| path.to_string_lossy().contains(name)).count();
    assert_eq!((files("/f."), files(".partial")), (3, 0));
}

/// A manifest that lists the images again and again, so that there is time to interrupt.
fn long_manifest(here: &Workplace, images: usize) {
    let image = |at: usize| format!("data/{class}/{:02}.png,{class}", at % 24, class = ["green", "red"][at % 2]);
    let lines: Vec<String> = (0..images).map(image).collect();
    fs::write(here.path("long.csv"), format!("path,label\n{}\n", lines.join("\n"))).unwrap();
}

/// Starts an extraction and waits until `rows` has more than `bytes` and is not done.
fn started(here: &Workplace, line: &str, rows: &Path, bytes: u64) -> Child {
    let mut running = here.command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(rows).map_or(0, |rows| rows.len()) <= bytes {
        assert!(Instant::now() < deadline, "no row was written");
        assert!(running.try_wait().unwrap().is_none(), "ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    running
}

#[cfg(unix)]
#[test]
fn an_interrupted_or_killed_extraction_ends_with_the_same_bytes() {
    let here = Workplace::new();
    long_manifest(&here, 3000);
    for format in FORMATS {
        let line =
            |out: &str| format!("features --model {} --data long.csv --batch-size 3 --out {out}.{format}", model());
        here.succeeds(&line("whole"));
        let rows = here.path(&format!(".broken.{format}.partial/rows"));

        let mut running = started(&here, &line("broken"), &rows, 1000);
        running.kill().unwrap();
        running.wait().unwrap();
        let killed_at = fs::metadata(&rows).unwrap().len();

        let running = started(&here, &line("broken"), &rows, killed_at);
        here.interrupt(&running);
        let output = running.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{message}");
        assert!(message.contains("going on after"), "{message}");
        assert!(message.contains("run the same command again"), "{message}");
        assert!(!here.path(&format!("broken.{format}")).exists());

        here.succeeds(&line("broken"));
        assert_eq!(here.file(&format!("broken.{format}")), here.file(&format!("whole.{format}")), "{format}");
        assert!(!rows.exists());
    }
}

/// A job array: shards of different formats, one of them killed and started again, put together.
#[cfg(unix)]
#[test]
fn shards_of_a_job_array_make_the_bytes_of_one_extraction() {
    let here = Workplace::new();
    long_manifest(&here, 3001);
    let line = |out: &str| format!("features --model {} --data long.csv --batch-size 3 --out {out}", model());
    for format in FORMATS {
        here.succeeds(&line(&format!("whole.{format}")));
    }
    here.succeeds(&format!("{} --shard 1/3", line("part-1.npz")));
    let second = format!("{} --shard 2/3", line("part-2.parquet"));
    let rows = here.path(".part-2.parquet.partial/rows");
    let mut running = started(&here, &second, &rows, 1000);
    running.kill().unwrap();
    running.wait().unwrap();
    let refusal = here.refuses("merge-features part-1.npz --out all.npz");
    assert!(refusal.contains("2 shards are missing: 2/3, 3/3"), "{refusal}");
    here.succeeds(&second);
    let written = here.json(&format!("{} --shard 3/3 --json", line("part-3.safetensors")));
    // 1,001 batches: 333, 334, and 334, the last of one image.
    assert_eq!((written["shard"].as_str(), written["images"].as_u64()), (Some("3/3"), Some(1000)));
    for format in FORMATS {
        let line = format!("merge-features part-3.safetensors part-1.npz part-2.parquet --out all.{format} --json");
        let merged = here.json(&line);
        assert_eq!((merged["shards"].as_u64(), merged["images"].as_u64()), (Some(3), Some(3001)));
        assert_eq!(here.file(&format!("all.{format}")), here.file(&format!("whole.{format}")), "{format}");
    }
    let shards = "part-3.safetensors ./part-1.npz part-2.parquet";
    let refusal = here.refuses(&format!("merge-features {shards} --out part-1.npz"));
    assert!(refusal.contains("part-1.npz is one of the shards"), "{refusal}");
    let refusal = here.refuses(&format!("{} --shard 4/3", line("part-4.npz")));
    assert!(refusal.contains("must be the number of a shard and how many there are"), "{refusal}");
    // Files of another length belong to other data.
    here.succeeds(&format!("{} --shard 2/3", line("part-2.npz").replace("--batch-size 3", "--batch-size 4")));
    let refusal = here.refuses("merge-features part-1.npz part-2.npz part-3.safetensors --out other.npz");
    assert!(refusal.contains("do not belong together: one is of another batch size"), "{refusal}");
}

/// A limit on the size of files stands in for a full disk: large enough for a few rows, too small for all.
#[cfg(unix)]
#[test]
fn without_room_an_extraction_says_so_and_goes_on_with_room() {
    let here = Workplace::new();
    for format in FORMATS {
        let line = |out: &str| format!("features --model {} --data data --layer layer2 --out {out}.{format}", model());
        here.succeeds(&line("whole"));
        let script = format!("trap '' XFSZ; ulimit -f 16; exec {} {}", env!("CARGO_BIN_EXE_retune"), line("short"));
        let limited = Command::new("sh").args(["-c", &script]).current_dir(here.folder.path()).output().unwrap();
        let message = String::from_utf8_lossy(&limited.stderr).into_owned();
        assert_eq!(limited.status.code(), Some(2), "{message}");
        let told = "the file is larger than the system allows";
        assert!(message.contains(&format!("short.{format}")) && message.contains(told), "{message}");
        assert!(!here.path(&format!("short.{format}")).exists());
        here.succeeds(&line("short"));
        assert_eq!(here.file(&format!("short.{format}")), here.file(&format!("whole.{format}")), "{format}");
    }
}

#[cfg(unix)]
#[test]
fn rows_of_another_model_are_not_mixed_in() {
    let here = Workplace::new();
    long_manifest(&here, 3000);
    let line = |model: &str| format!("features --model {model} --data long.csv --batch-size 3 --out f.npz");
    let mut running = started(&here, &line(&model()), &here.path(".f.npz.partial/rows"), 1000);
    running.kill().unwrap();
    running.wait().unwrap();
    let other = model().replace("resnet_basic", "resnet_bottleneck");
    let output = here.run(&line(&other));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("starting anew") && message.contains("another model"), "{message}");
    here.succeeds(&line(&other).replace("f.npz", "g.npz"));
    assert_eq!(here.file("f.npz"), here.file("g.npz"));
}

/// Parquet files as Arrow writes them for the hub: two train files, a validation and a test file.
fn hub() -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune/tests/fixtures/parquet");
    fixtures.join("hub").display().to_string()
}

#[test]
fn parquet_files_are_a_data_source_for_every_command() {
    let here = Workplace::new();
    let written = here.json(&format!("features --model {} --data {} --out f.parquet --json", model(), hub()));
    assert_eq!(written["images"], 11);
    let table = read(&here, "f.parquet");
    assert_eq!(table.classes, ["zebra", "ant"]);
    assert_eq!(table.paths[0], "data/train-00000-of-00002/000000");
    assert_eq!(table.labels[..3], [Some(0), Some(1), Some(0)]);
    // The test split's labels are held back.
    assert_eq!(table.labels[9..], [None, None]);

    // The classes differ by a color, and the images of a class by another.
    here.succeeds(&fit("--method lp --out run").replace("--data data", &format!("--data {}", hub())));
    let summary: serde_json::Value = serde_json::from_slice(&here.file("run/summary.json")).unwrap();
    assert_eq!(summary["classes"], serde_json::json!(["zebra", "ant"]));
    assert_eq!(summary["splits"]["val"]["n"], 2);
    assert_eq!(summary["splits"].as_object().unwrap().len(), 1, "the test split has no labels");
    let evaluated = here.json(&format!("eval --model run --data {} --split train --json", hub()));
    assert_eq!(evaluated["splits"]["train"]["n"], 7);
}

#[test]
fn mistakes_with_parquet_files_name_the_file_and_the_column() {
    let here = Workplace::new();
    here.succeeds(&format!("features --model {} --data data --out f.parquet", model()));
    let refusal = |data: &str| here.refuses(&format!("features --model {} --data {data} --out g.npz", model()));
    let features = refusal("f.parquet");
    assert!(features.contains("f.parquet: no column holds images") && features.contains("features"), "{features}");
    let fixtures = hub();
    let fixtures = fixtures.trim_end_matches("/hub");
    let spoiled = refusal(&format!("{fixtures}/spoiled.parquet"));
    assert!(spoiled.contains("spoiled.parquet: row 1, column `image`"), "{spoiled}");
    fs::write(here.path("cut.parquet"), &here.file("f.parquet")[..100]).unwrap();
    assert!(refusal("cut.parquet").contains("cut.parquet: not a Parquet file, or a damaged one"));
}
