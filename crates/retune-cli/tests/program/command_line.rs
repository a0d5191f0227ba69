//! The whole program, driven as users drive it, on tiny images of two colors.

use std::fs::{self, File};
use std::io::Read;

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Workplace, fit, model};

use serde_json::Value;

#[test]
fn lp_ft_end_to_end_and_what_can_be_done_with_its_run() {
    let here = Workplace::new();
    let text = here.succeeds(&fit("--method lp-ft --eval shifted=shifted --out run"));
    for expected in ["lp-ft on resnet18", "accuracy", "val", "shifted", "run/model"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for file in
        ["run.toml", "plan.toml", "metrics.jsonl", "summary.json", "model/config.json", "model/model.safetensors"]
    {
        assert!(here.path("run").join(file).is_file(), "{file}");
    }
    assert!(!here.path("run/checkpoint").exists());

    let summary: Value = serde_json::from_slice(&here.file("run/summary.json")).unwrap();
    // The colors are all that tells the classes apart, and any features of a network hold them.
    assert_eq!(summary["splits"]["val"]["accuracy"], 1.0);
    assert_eq!(summary["splits"]["shifted"]["n"], 12);
    assert_eq!(summary["classes"], serde_json::json!(["green", "red"]));

    let again = here.json("fit --resume run --json");
    assert_eq!(again, summary);
    let evaluated = here.json("eval --model run --data shifted --eval own=data --per-class --json");
    let classes = evaluated["classes"]["all"].as_array().unwrap();
    let right: f64 = classes.iter().map(|class| class["n"].as_f64().unwrap() * class["recall"].as_f64().unwrap()).sum();
    let all = &evaluated["splits"]["all"];
    assert!((right / all["n"].as_f64().unwrap() - all["accuracy"].as_f64().unwrap()).abs() < 1e-9);
    assert!(here.succeeds("eval --model run --data shifted --per-class").contains("class of all"));
    // The same images in batches of another size, so equal to rounding.
    let loss = |value: &Value| value["loss"].as_f64().unwrap();
    assert!((loss(&evaluated["splits"]["all"]) - loss(&summary["splits"]["shifted"])).abs() < 1e-5);
    assert_eq!(evaluated["splits"]["own"]["n"], 48);

    let predictions = here.json("predict --model run data/red/00.png data/green --top 1 --json");
    assert_eq!(predictions.as_array().unwrap().len(), 25);
    assert_eq!(predictions[0]["path"], "data/red/00.png");
    assert_eq!(predictions[0]["classes"][0]["class"], "red");
    assert_eq!(predictions[1]["path"], "data/green/00.png");
    assert_eq!(predictions[1]["classes"][0]["class"], "green");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_resumes_to_the_same_bytes() {
    let here = Workplace::new();
    let options = "--method ft --epochs 200 --lr 1e-3 --augment flip --checkpoint-every 1 --save last";
    let line = |out| format!("fit --model {} --data data {options} --out {out}", model());
    here.succeeds(&line("whole"));

    let mut running = here.command(&line("broken")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(here.path("broken/metrics.jsonl")).map_or(0, |data| data.len()) == 0 {
        assert!(Instant::now() < deadline, "no epoch ended");
        assert!(running.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    here.interrupt(&running);
    let output = running.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("retune fit --resume broken"), "{message}");
    assert!(!here.path("broken/summary.json").exists());
    let unfinished = here.refuses("eval --model broken --data data");
    assert!(unfinished.contains("unfinished run") && unfinished.contains("retune fit --resume broken"), "{unfinished}");

    here.succeeds("fit --resume broken");
    assert!(here.file("broken/model/model.safetensors") == here.file("whole/model/model.safetensors"));
    let rows = |run: &str| String::from_utf8(here.file(&format!("{run}/metrics.jsonl"))).unwrap().lines().count();
    assert_eq!(rows("broken"), rows("whole"));
}

#[test]
fn sets_are_what_their_names_say() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --eval shifted=shifted --out run"));
    // A set that the run has may be named again; another one under its name may not.
    here.succeeds("wise-ft run --alphas 0,1 --eval shifted=shifted");
    assert!(here.refuses("wise-ft run --alphas 0,1 --eval shifted=data").contains("two different evaluation sets"));
    // 24 images of each of two classes, a fifth of which was held out.
    let said = here.succeeds("eval --model run --data data --eval new=shifted -q");
    assert!(said.contains("\n38 of the 48 images of 'all' are also training images"), "{said}");
    assert!(!said.contains("'new'"), "{said}");

    for (folder, count) in [("train", 5), ("val", 3), ("test", 2), ("test_dark", 1)] {
        for class in ["green", "red"] {
            here.images(&format!("whole/{folder}/{class}"), class, count, 200);
            if !folder.starts_with("test") {
                here.images(&format!("untested/{folder}/{class}"), class, count, 200);
            }
        }
    }
    let sizes = here.json("eval --model run --data shifted --eval whole=whole --eval untested=untested --json");
    let images = |set: &str| sizes["splits"][set]["n"].as_u64().unwrap();
    assert_eq!((images("whole"), images("untested")), (6, 6));

    fs::write(here.path("list.csv"), "path\ndata/red/00.png\nshifted/red/01.png\n").unwrap();
    here.succeeds("predict --model run list.csv --out p.csv");
    let table = String::from_utf8(here.file("p.csv")).unwrap();
    let first = table.lines().nth(1).unwrap();
    assert!(first.starts_with("data/red/00.png,1,red,1,0.9") && table.lines().count() == 1 + 2 * 2, "{table}");
    let predicted = here.json("predict --model run list.csv data/red/03.png shifted --json");
    let paths: Vec<&str> = predicted.as_array().unwrap().iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths[..3], ["data/red/00.png", "shifted/red/01.png", "data/red/03.png"]);
    assert!(paths[3].starts_with("shifted/green/"), "{paths:?}");
}

/// timm knows Pillow's filters only; what it is not told must still be known here.
#[test]
fn resizing_that_timm_does_not_know_is_written_as_what_it_knows() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --interpolation opencv-area --out run"));
    let config: Value = serde_json::from_slice(&here.file("run/model/config.json")).unwrap();
    assert_eq!(config["pretrained_cfg"]["interpolation"], "box");
    assert_eq!(config["retune"]["interpolation"], "opencv-area");
    let own = here.json("eval --model run --data shifted --json");
    assert_eq!(own, here.json("eval --model run --data shifted --interpolation opencv-area --json"));
    here.succeeds("verify run");
    here.succeeds("fit --model run --data data --interpolation bicubic --method lp --out next");
    let config: Value = serde_json::from_slice(&here.file("next/model/config.json")).unwrap();
    assert_eq!((&config["pretrained_cfg"]["interpolation"], &config["retune"]), (&"bicubic".into(), &Value::Null));
}

#[test]
fn newcomers_mistakes_get_one_sentence_and_leave_nothing() {
    let here = Workplace::new();
    here.images("single/red", "red", 4, 200);
    for (folder, class) in [("train/red", "red"), ("train/green", "green"), ("val/red", "red"), ("val/blue", "green")] {
        here.images(&format!("unknown_class/{folder}"), class, 3, 200);
    }
    fs::create_dir(here.path("spoiled")).unwrap();
    for class in ["green", "red"] {
        here.images(&format!("spoiled/{class}"), class, 4, 200);
    }
    fs::write(here.path("spoiled/red/notes.png"), "not an image").unwrap();
    fs::write(here.path("notes.txt"), "not an image").unwrap();
    let headless = "method = \"mine\"\n[[phase]]\nname = \"middle\"\nsolver = \"gradient\"\nepochs = 1\n\
                    learning_rates = [1e-3]\nrates = { \"layer2.0\" = 1.0 }\n";
    fs::write(here.path("headless.toml"), headless).unwrap();
    fs::write(here.path("plan.toml"), "method = \"mine\"\n[[phase]]\nname = 3\n").unwrap();

    let model = model();
    let base = format!("fit --model {model} --epochs 1 --lr 1e-3 --out new/run");
    for (line, expected) in [
        (format!("{base} --data absent"), "absent"),
        (format!("{base} --data notes.txt"), "notes.txt"),
        (format!("{base} --data spoiled"), "notes.png"),
        (format!("{base} --data single"), "at least two classes"),
        (format!("{base} --data unknown_class"), "`blue`"),
        (format!("{base} --data data --eval other=unknown_class"), "`blue`"),
        (format!("{base} --data data --eval unnamed"), "NAME=PATH"),
        (format!("{base} --data data --method magic"), "unknown method 'magic'"),
        (format!("{base} --data data --lr -1e-3"), "above 0"),
        (format!("{base} --data data --lr nan"), "above 0"),
        (format!("{base} --data data --batch-size 0"), "--batch-size"),
        (format!("{base} --data data --warmup-epochs 2"), "--warmup-epochs"),
        (format!("{base} --data data --device abacus"), "'abacus'"),
        (format!("{base} --data data --size 4"), "8×8"),
        (format!("{base} --data data --head-init keep"), "--head-init"),
        (format!("fit --model {model} --data data --epochs 0 --out new"), "--epochs"),
        (format!("fit --model {model} --data data --plan plan.toml --out new"), "plan.toml"),
        (format!("fit --model {model} --data data --plan headless.toml --out new"), "--head-init keep"),
        (format!("fit --model {model} --data data --plan absent.toml --out new"), "absent.toml"),
        (format!("fit --model {model} --data data --out shifted"), "shifted"),
        (format!("fit --model {model} --data data"), "--out"),
        (format!("fit --model {model} --out new"), "--data"),
        ("fit --data data --out new".to_owned(), "--model"),
        ("fit --model ./absent --data data --out new".to_owned(), "./absent"),
        ("fit --model owner/absent --data data --out new".to_owned(), "owner/absent"),
        ("fit --model data --data data --out new".to_owned(), "config.json"),
        ("fit --resume data".to_owned(), "not a run directory"),
        ("fit --resume data --seed 5".to_owned(), "--seed cannot change what --resume goes on with"),
        ("compare --resume data --methods lp".to_owned(), "--methods cannot change what --resume goes on with"),
        (format!("fit --model {model} --data data --decay 0.5 --out new"), "--decay has no use with --method ft"),
        (format!("plan --model {model} --method ulmfit --alpha 0.5"), "it is for wise-ft"),
        (format!("fit --model {model} --data data --plan plan.toml --lr 1 --out new"), "--lr has no use beside --plan"),
        (format!("predict --model {model} data --out p.txt"), ".csv or .json"),
        ("report nowhere".to_owned(), "cannot read nowhere: no such file or folder"),
        ("compare --resume nowhere".to_owned(), "cannot read nowhere: no such file or folder"),
        ("fit --resume data --lr 1".to_owned(), "--resume"),
        (format!("features --model {model} --data data --layer layer9 --out f.npz"), "layer9"),
        (format!("features --model {model} --data data --out f.txt"), ".npz, .parquet, or .safetensors"),
        (format!("features --model {model} --data data --out .npz"), ".npz"),
        (format!("features --model {model} --data spoiled --out f.npz"), "notes.png"),
        (format!("features --model {model} --data data --out absent/f.npz"), "absent/f.npz"),
        (format!("predict --model {model} notes.txt"), "notes.txt"),
        (format!("eval --model {model} --data data"), "classes"),
        (format!("eval --model {model} --data data --split test"), "`test`"),
        ("models nothing-like-it".to_owned(), "nothing-like-it"),
        ("models resnet18x".to_owned(), "did you mean 'resnet18'?"),
        (format!("{base} --data dta"), "no data at dta; did you mean data?"),
        (format!("{base} --data owner/name"), "hf:owner/name"),
        (format!("{base} --data data --method lp-tf"), "did you mean 'lp-ft'?"),
        (format!("{base} --data data --optimizer adamv"), "did you mean 'adam"),
        (format!("{base} --data data --config plan.toml"), "plan.toml: "),
        ("layers --arch resnet81 --from-scratch".to_owned(), "did you mean"),
        ("fit --epoch 3".to_owned(), "'--epochs'"),
        ("train".to_owned(), "'train'"),
    ] {
        let message = here.refuses(&line);
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn a_plan_printed_as_toml_can_be_trained() {
    let here = Workplace::new();
    let toml = here.succeeds(&format!("plan --model {} --method ft --epochs 1 --lr 1e-3 --toml", model()));
    fs::write(here.path("plan.toml"), toml).unwrap();
    here.succeeds(&format!("fit --model {} --data data --plan plan.toml --out run", model()));
    assert_eq!(here.file("run/plan.toml"), here.file("plan.toml"));

    let table = here.succeeds(&format!("plan --model {} --method lp", model()));
    let treatment = |block: &str| table.lines().find(|line| line.starts_with(block)).unwrap().to_owned();
    assert!(treatment("stem").ends_with("frozen") && treatment("head").ends_with("to the optimum"), "{table}");
    let plan = here.json(&format!("plan --model {} --json", model()));
    assert_eq!(plan["method"], "ft");
    assert_eq!(plan["blocks"][0]["name"], "stem");
}

#[test]
fn a_run_can_be_made_again_from_its_options() {
    let here = Workplace::new();
    here.succeeds(&fit("--eval shifted=shifted --method ft --batch-size 8 --seed 3 --out run"));
    here.succeeds("fit --config run/run.toml --out again");
    here.assert_same("run", "again");
    assert_eq!(here.file("run/run.toml"), here.file("again/run.toml"));
    let summary = here.json("fit --config run/run.toml --method lp --out other --json");
    assert_eq!((&summary["method"], &summary["seed"]), (&"lp".into(), &3.into()));
    fs::write(here.path("wrong.toml"), "[train]\nbatch_sise = 3\n").unwrap();
    assert!(here.refuses("fit --config wrong.toml --out new").contains("did you mean `train.batch_size`?"));
}

#[test]
fn a_plan_says_how_long_it_would_take() {
    let here = Workplace::new();
    let text = here.succeeds(&format!("plan --model {} --data data --method lp-ft --epochs 2 --lr 1e-3", model()));
    for part in ["phase 1, linear probe", "phase 2, fine-tuning", "About ", "38 training, 10 validation", "an estimate"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let estimate = here.json(&format!("{} --dry-run --json --out run", fit("--method lp-ft")));
    assert_eq!(estimate["estimate"]["phases"][1]["epochs"], 2);
    assert!(!here.path("run").exists());
    let message = here.refuses(&format!("{} --dry-run --out data", fit("--method lp-ft")));
    assert!(message.contains("data already exists"), "{message}");
    assert!(here.succeeds(&format!("plan --model {}", model())).contains("add --data"));
}

#[test]
fn layers_and_models_are_listed() {
    let here = Workplace::new();
    let layers = here.json(&format!("layers --model {} --json", model()));
    let names: Vec<&str> =
        layers["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["stem", "layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer4.0", "head"]);
    assert_eq!(layers["layers"][6]["output"], serde_json::json!([5]));
    assert_eq!(layers["layers"][6]["parameters"], 5 * 12 + 5);

    let models = here.json("models resnet18* --json");
    assert_eq!(models[0]["name"], "resnet18");
    assert_eq!(models[0]["repositories"][0], "timm/resnet18.a1_in1k");
    assert!(
        here.succeeds("models vit_small")
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .all(|line| line.contains("vit_small"))
    );
}

#[test]
fn features_are_readable_arrays() {
    let here = Workplace::new();
    let written = here.json(&format!("features --model {} --data data --layer layer2 --out f.npz --json", model()));
    assert_eq!((written["images"].as_u64(), written["width"].as_u64()), (Some(48), Some(8 * 5 * 5)));
    let mut archive = zip::ZipArchive::new(File::open(here.path("f.npz")).unwrap()).unwrap();
    for (name, header) in [
        ("features", "{'descr': '<f4', 'fortran_order': False, 'shape': (48, 200), }"),
        ("labels", "{'descr': '<i8', 'fortran_order': False, 'shape': (48,), }"),
        ("paths", "{'descr': '<U12', 'fortran_order': False, 'shape': (48,), }"),
        ("classes", "{'descr': '<U5', 'fortran_order': False, 'shape': (2,), }"),
    ] {
        let mut bytes = Vec::new();
        archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"), "{name}");
        let text = String::from_utf8_lossy(&bytes[10..128]).into_owned();
        assert!(text.starts_with(header), "{name}: {text}");
    }
    assert_eq!(archive.len(), 4);

    here.succeeds(&format!("features --model {} --data data --out f.safetensors", model()));
    let bytes = here.file("f.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("features").unwrap().shape(), [48, 12]);
}

#[test]
fn nothing_but_results_is_on_standard_output_and_quiet_is_quiet() {
    let here = Workplace::new();
    let output = here.run(&fit("--method lp --out run --json --quiet --threads 1"));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["method"], "lp");
    let output = here.run("eval --model run --data data");
    assert!(String::from_utf8_lossy(&output.stderr).contains("evaluating all: 48 images in "));
}

#[test]
fn help_version_and_completions() {
    let here = Workplace::new();
    assert!(here.succeeds("").contains("Usage: retune"));
    assert!(here.succeeds("--version").starts_with("retune "));
    assert!(here.succeeds("fit --help").contains("--checkpoint-every"));
    // -h fits on a screen, and has no colors where nobody sees them.
    let brief = here.succeeds("fit -h");
    assert!(
        brief.lines().count() <= 24 && brief.contains("Examples:") && !brief.contains("--checkpoint-every"),
        "{brief}"
    );
    assert!(!brief.contains('\u{1b}') && here.succeeds("fit -h --color always").contains('\u{1b}'));
    assert!(here.succeeds("help fit").contains("--checkpoint-every"));
    assert!(here.succeeds("man").contains(".SH SYNOPSIS"));
    here.succeeds("man --out pages");
    assert!(here.path("pages/retune-fit.1").is_file() && here.path("pages/retune.1").is_file());
    for (shell, expected) in [("bash", "complete -F"), ("zsh", "#compdef retune"), ("fish", "complete -c retune")] {
        let script = here.succeeds(&format!("completions {shell}"));
        assert!(script.contains(expected) && script.contains("label-smoothing"), "{shell}");
    }
}
