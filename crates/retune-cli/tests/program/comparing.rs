//! Comparisons, shifts and mixed weights, driven as users drive them.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Workplace, fit, model};
use serde_json::Value;

fn compare(options: &str) -> String {
    format!(
        "compare --model {} --data data --eval shifted=shifted --size 32 --epochs 2 --lr 1e-3 -q {options}",
        model()
    )
}

/// When every finished run was finished.
fn finished(workplace: &Workplace, out: &str) -> Vec<(String, SystemTime)> {
    let listing = workplace.listing().into_iter();
    let summaries = listing.filter(|path| path.starts_with(workplace.path(out)) && path.ends_with("summary.json"));
    summaries.map(|path| (path.display().to_string(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
}

#[test]
fn a_comparison_makes_runs_tables_and_pictures_and_repeats_nothing() {
    let workplace = Workplace::new();
    let text = workplace.succeeds(&compare("--methods lp,surgical:layer4 --seeds 2 --out both --jobs 2"));
    for part in ["surgical:layer4", "val, %", "shifted, %", "Mean over 2 seeds", "also chose rates"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    for file in ["comparison.md", "comparison.csv", "comparison.tex", "comparison.json", "id_ood.svg", "id_ood.png"] {
        assert!(!workplace.file(&format!("both/{file}")).is_empty());
    }
    let before = finished(&workplace, "both");
    assert_eq!(before.len(), 4);

    // More methods and seeds: what is there stays.
    let grown = workplace.json(&compare("--methods lp,surgical:layer4,norms --seeds 3 --out both --json"));
    assert_eq!(grown["rows"].as_array().unwrap().len(), 3);
    let after = finished(&workplace, "both");
    assert_eq!(after.len(), 9);
    assert!(before.iter().all(|run| after.contains(run)));
    assert_eq!(grown["rows"][2]["runs"]["2"]["method"], "norms");

    // Several at once or one after the other, a run is the same.
    workplace.succeeds(&compare("--methods lp,surgical:layer4 --seeds 2 --out alone"));
    for run in ["lp/seed-0", "surgical_layer4/seed-1"] {
        let model = |out: &str| workplace.file(&format!("{out}/runs/{run}/model/model.safetensors"));
        assert!(model("both") == model("alone"), "{run}");
    }

    // An earlier page does not show these results.
    let told = |line: &str| String::from_utf8(workplace.run(line).stderr).unwrap();
    let grow = compare("--methods lp,surgical:layer4,norms --seeds 2 --out alone --no-report");
    assert!(told(&grow).contains("report.html shows earlier results; `retune report alone` writes the report"));
    workplace.succeeds("report alone -q");
    assert_eq!(told(&grow), "");

    let message = workplace.refuses(&compare("--methods lp --out both --batch-size 5"));
    assert!(message.contains("batch_size: 32 there, 5 here"), "{message}");
    assert!(workplace.refuses(&compare("--methods lp,surgical --out other")).contains("surgical-each"));
    // A mistake leaves nothing behind that would stand in the way of the corrected command.
    let unknown = workplace.refuses(&compare("--methods lp,surgical:layr1 --out other"));
    assert!(unknown.contains("did you mean 'layer1'"), "{unknown}");
    workplace.refuses(&compare("--methods lp --out other").replace("--data data", "--data absent"));
    assert!(!workplace.path("other").exists());
    assert!(workplace.refuses("compare --resume data").contains("not a comparison"));
}

#[test]
fn a_comparison_says_how_long_it_would_take() {
    let workplace = Workplace::new();
    let text = workplace.succeeds(&compare("--methods lp,lp-ft --seeds 3 --dry-run --out new"));
    for part in ["lp-ft      3       3", "About ", "of memory, for 6 runs", "10 validation", "an estimate"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // With a validation split of its own, the data leaves a linear probe nothing that a seed draws.
    workplace.copy("data", "split/train");
    workplace.copy("data", "split/val");
    let line = compare("--methods lp,ft --seeds 3 --dry-run --json").replace("--data data", "--data split");
    let document = workplace.json(&line);
    let runs: Vec<_> = document["methods"].as_array().unwrap().iter().map(|method| method["runs"].as_u64()).collect();
    assert_eq!(runs, [Some(1), Some(3)], "{document}");
    assert!(!workplace.path("new").exists());
    assert!(workplace.refuses(&format!("{line} --out split")).contains("is not a comparison"));
    assert!(workplace.refuses("compare --resume split --dry-run").contains("cannot be used with"));
}

/// A text with its times, which differ from run to run, left out.
fn without_times(text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    text.lines().filter(|line| !line.contains("seconds")).collect::<Vec<_>>().join("\n")
}

#[test]
fn jobs_that_share_a_comparison_make_the_same_tables() {
    let workplace = Workplace::new();
    let line = compare("--methods lp,ft,norms --seeds 2 --no-report --out parts");
    // More jobs than runs: one has nothing to do.
    for (part, runs) in [("2/7", 1), ("7/7", 0), ("1/7", 1)] {
        let made = workplace.json(&format!("{line} --shard {part} --json"));
        assert_eq!(made["runs"].as_array().unwrap().len(), runs, "{part}");
    }
    assert_eq!(finished(&workplace, "parts").len(), 2);
    assert!(!workplace.path("parts/comparison.json").exists());
    let before = finished(&workplace, "parts");
    let told = workplace.succeeds("compare --resume parts --shard 2/2 --no-report -q");
    assert!(told.contains("part 2/2") && told.contains("has its 3 runs"), "{told}");
    assert!(told.contains("retune compare --resume parts"), "{told}");
    let told = workplace.succeeds("compare --resume parts --shard 7/7 --no-report -q");
    assert!(told.contains("part 7/7 of the comparison has no run;"), "{told}");
    workplace.succeeds("compare --resume parts --shard 1/2 --no-report -q");
    let after = finished(&workplace, "parts");
    assert!(after.len() == 6 && before.iter().all(|run| after.contains(run)), "{after:?}");

    // A process killed while it wrote the tables.
    std::fs::write(workplace.path("parts/comparison.json.partial-1-0"), "{").unwrap();
    let message = workplace.refuses("report parts");
    assert!(message.contains("parts is not finished; resume it with `retune compare --resume parts`"), "{message}");
    workplace.succeeds("compare --resume parts --no-report -q");
    assert!(!workplace.path("parts/comparison.json.partial-1-0").exists());
    workplace.succeeds(&line.replace("--out parts", "--out whole"));
    let tables = |out: &str| without_times(&workplace.file(&format!("{out}/comparison.json")));
    assert_eq!(tables("parts"), tables("whole"));
    assert!(workplace.refuses(&format!("{line} --shard 3/2")).contains("such as 3/16"));
}

/// Names of sets may hold any sign, and names of files may not.
#[test]
fn sets_whose_names_are_alike_have_pictures_of_their_own() {
    let workplace = Workplace::new();
    let line = compare("--eval a/b=shifted --eval a_b=shifted --methods lp --out it");
    workplace.succeeds(&line);
    let pictures = ["id_ood_shifted.svg", "id_ood_a_b.svg", "id_ood_a_b_2.svg"];
    for picture in pictures {
        assert!(!workplace.file(&format!("it/{picture}")).is_empty(), "{picture}");
    }
}

/// One part of several goes on with this part.
#[test]
fn an_interrupted_part_of_a_comparison_says_how_to_go_on() {
    let workplace = Workplace::new();
    let options = "--methods ft --checkpoint-every 1 --shard 1/1 --no-report --out it";
    let line = compare(options).replace("--epochs 2", "--epochs 20000").replace(" -q", "");
    let mut child = workplace.command(&line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    crate::common::wait_for(&workplace.path("it/runs/ft/seed-0/checkpoint"), &mut child);
    workplace.interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("`retune compare --resume it --shard 1/1`"), "{told}");
}

#[test]
fn an_interrupted_comparison_goes_on_where_it_stopped() {
    let workplace = Workplace::new();
    let line = compare("--methods lp,ft --checkpoint-every 1 --out it").replace("--epochs 2", "--epochs 200");
    let mut child = workplace.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !workplace.path("it/runs/ft/seed-0/checkpoint").exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the second run never began");
        assert!(child.try_wait().unwrap().is_none(), "the comparison ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(5));
    }
    workplace.interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let before = finished(&workplace, "it");
    assert_eq!(before.len(), 1, "{before:?}");
    // A folder of pictures is there when all of them are; one of half of them is begun anew.
    let plots = workplace.path("it/runs/lp/seed-0/plots");
    let pictures = || fs::read_dir(&plots).unwrap().count();
    let all = pictures();
    let partial = plots.with_extension("partial");
    fs::rename(&plots, &partial).unwrap();
    let first = fs::read_dir(&partial).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(first).unwrap();
    workplace.succeeds("compare --resume it -q");
    assert_eq!((pictures(), partial.exists()), (all, false));
    let after = finished(&workplace, "it");
    assert!(after.len() == 2 && before.iter().all(|run| after.contains(run)));

    workplace.succeeds(&line.replace("--out it", "--out whole"));
    let model = |out: &str| workplace.file(&format!("{out}/runs/ft/seed-0/model/model.safetensors"));
    assert!(model("it") == model("whole"));
}

#[test]
fn every_method_fits_and_says_what_it_trained() {
    let workplace = Workplace::new();
    let run = |method: &str| -> Value {
        let name = method.split_whitespace().next().unwrap();
        let line = fit(&format!("--method {method} --out {name} -q --json"));
        workplace.json(&line)
    };
    let whole = run("ft")["trained_parameters"].as_u64().unwrap();
    for method in ["auto-rgn", "auto-snr", "discriminative", "ulmfit", "l2-sp"] {
        let trained = run(method)["trained_parameters"].as_u64().unwrap();
        assert!(trained <= whole && trained > whole / 2, "{method}: {trained} of {whole}");
    }
    for method in ["surgical --last stem", "norms", "biases", "lora --lora-rank 2"] {
        assert!(run(method)["trained_parameters"].as_u64().unwrap() < whole / 2, "{method}");
    }
    assert_eq!(run("wise-ft --eval shifted=shifted")["interpolation"].as_array().unwrap().len(), 11);
    assert!(!workplace.file("lora/adapter/adapter_model.safetensors").is_empty());
    assert!(!workplace.file("auto-rgn/plots/rate_multipliers.png").is_empty());
    let metrics = String::from_utf8(workplace.file("auto-rgn/metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"rate_multipliers\":{\"conv1.weight\":"), "{metrics}");

    assert!(workplace.refuses(&fit("--method surgical --out x")).contains("--first and --last"));
    assert!(workplace.refuses(&fit("--method ft --first stem --out x")).contains("takes no layers"));
    let unknown = workplace.refuses(&fit("--method surgical --first layr1 --out x"));
    assert!(unknown.contains("did you mean 'layer1'"), "{unknown}");
    let reversed = workplace.refuses(&fit("--method surgical --first layer3 --last layer1 --out x"));
    assert!(reversed.contains("'layer1' comes before 'layer3'"), "{reversed}");
}

/// Without a location, a shift is of the images that are held out or, in `eval`, of the data's.
#[test]
fn a_shift_alone_is_of_the_held_out_images() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --eval flipped=@label_flip --eval fog=@fog:5@label_flip --out run"));
    let summary: Value = serde_json::from_slice(&here.file("run/summary.json")).unwrap();
    let of = |set: &str, key: &str| summary["splits"][set][key].as_f64().unwrap();
    assert_eq!((of("flipped", "n"), of("fog", "n")), (of("val", "n"), of("val", "n")));
    assert!((of("flipped", "accuracy") - (1.0 - of("val", "accuracy"))).abs() < 1e-9);
    assert_eq!(summary["caveats"], Value::Null, "held-out images are no training images");

    let evaluated = here.json("eval --model run --data shifted --eval flipped=@label_flip --json");
    let accuracy = |set: &str| evaluated["splits"][set]["accuracy"].as_f64().unwrap();
    assert!((accuracy("flipped") - (1.0 - accuracy("all"))).abs() < 1e-9);
    let message = here.refuses(&fit("--method lp --eval fog=@frog:5 --out other"));
    assert!(message.contains("@ is followed by something unknown: 'frog'"), "{message}");
}

/// A comparison repeats what flatters a set of its runs, once.
#[test]
fn a_comparison_says_what_flatters_a_set() {
    let here = Workplace::new();
    let line = "--methods lp,norms --out both --eval same=data@snow:1 --no-report";
    let text = here.succeeds(&compare(line));
    assert_eq!(text.matches("of the 48 images of 'same' are also training images").count(), 1, "{text}");
    let document: Value = serde_json::from_slice(&here.file("both/comparison.json")).unwrap();
    assert_eq!(document["caveats"][0]["set"], "same");
    assert!(String::from_utf8(here.file("both/comparison.md")).unwrap().contains("also training images"));
}

#[test]
fn shifts_are_made_on_the_way_and_shared_images_are_told() {
    let workplace = Workplace::new();
    let line =
        "--method lp --out run --eval fog=shifted@fog:5 --eval flipped=shifted@label_flip --eval same=data@snow:1";
    let output = workplace.run(&fit(line));
    assert!(output.status.success());
    let messages = String::from_utf8(output.stderr).unwrap();
    let warning = messages.lines().find(|line| line.contains("warning")).unwrap();
    assert!(warning.contains("of the 48 images of 'same' are also training images"), "{warning}");
    assert!(!messages.contains("images of 'fog'"), "{messages}");
    // What flatters a set stands beside its numbers, wherever these are.
    let printed = String::from_utf8(output.stdout).unwrap();
    let card = String::from_utf8(workplace.file("run/model/README.md")).unwrap();
    let page = String::from_utf8(workplace.file("run/report.html")).unwrap();
    for text in [&printed, &card, &page] {
        assert!(text.contains("are also training images, such as "), "{text}");
    }
    let summary: Value = serde_json::from_slice(&workplace.file("run/summary.json")).unwrap();
    assert_eq!(summary["caveats"][0]["kind"], "training-images");
    assert_eq!(summary["caveats"][0]["set"], "same");
    let accuracy = |set: &str| summary["splits"][set]["accuracy"].as_f64().unwrap();
    let plain = workplace.json("eval --model run --data shifted --json");
    let expected = 1.0 - plain["splits"]["all"]["accuracy"].as_f64().unwrap();
    assert!((accuracy("flipped") - expected).abs() < 1e-9, "{} {expected}", accuracy("flipped"));
    let message = workplace.refuses(&fit("--method lp --out x --eval a=shifted@frog:2"));
    assert!(message.contains("'frog'") && message.contains("gaussian_noise"), "{message}");
}

#[test]
fn weights_are_interpolated_and_averaged_and_rates_are_found() {
    let workplace = Workplace::new();
    for seed in [0, 1] {
        workplace.succeeds(&fit(&format!("--method ft --seed {seed} --out run{seed} -q")));
    }
    let line = "wise-ft run0 --alphas 0,0.5,1 --eval shifted=shifted --out curve --save-alpha 0.5 -q --json";
    let curve = workplace.json(line);
    let end = workplace.json("eval --model run0 --data shifted --json");
    assert_eq!(curve[2]["splits"]["shifted"]["accuracy"], end["splits"]["all"]["accuracy"]);
    let middle = workplace.json("eval --model curve/model --data shifted --json");
    assert_eq!(curve[1]["splits"]["shifted"]["accuracy"], middle["splits"]["all"]["accuracy"]);
    assert!(!workplace.file("curve/curve.png").is_empty());
    // A run's directory has a model of its own, which must stay.
    let message = workplace.refuses("wise-ft run0 --alphas 0,1 --out run0 --save-alpha best");
    assert!(message.contains("is not empty"), "{message}");

    let soup = workplace.json("soup run0 run1 --out soup --eval shifted=shifted -q --json");
    assert_eq!(soup["chosen"].as_array().unwrap().len(), 2);
    assert!(workplace.refuses("soup run0 run1 ./run0 --out other -q").contains("./run0 is named twice"));
    for (folder, holds) in [("run0", "holds a run"), ("data", "holds the data"), ("run0/run.toml", "is a file")] {
        let line = format!("lr-find --model {} --data data --steps 2 --out {folder}", model());
        assert!(workplace.refuses(&line).contains(&format!("{folder} {holds}; choose another --out")), "{folder}");
    }
    let saved = workplace.json("eval --model soup --data shifted --json");
    assert_eq!(soup["results"]["soup"]["shifted"]["accuracy"], saved["splits"]["all"]["accuracy"]);
    // The seeds differ, so each run has trained on images that the other validates on.
    let message = workplace.refuses("soup run0 run1 --greedy --out other -q");
    assert!(message.contains("different images for validation"), "{message}");
    assert!(workplace.refuses("wise-ft data").contains("not a run directory"));

    let line =
        format!("lr-find --model {} --data data --size 32 --batch-size 8 --steps 40 --groups --out found", model());
    let tests = workplace.json(&format!("{line} -q --json"));
    assert_eq!(tests[0]["group"], "all");
    assert_eq!(tests.as_array().unwrap().len(), 7);
    let valley = tests[0]["suggestions"]["valley"].as_f64().unwrap();
    assert!((1e-6..1.0).contains(&valley), "{valley}");
    assert!(!workplace.file("found/lr_find.svg").is_empty());
}
