use clap::{Args, CommandFactory};
use retune::methods::MethodOptions;
use retune::run::command::Command;
use retune::run::{self, FitOptions};

use super::*;
use crate::arguments::Arguments;
use crate::arguments::model::PreprocessingArguments;
use crate::arguments::training::TrainingArguments;
use crate::help;

/// The options of the library for a command line, as its `run.toml` would have them, and its method.
fn recorded(line: &[String]) -> Result<String, String> {
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    let mut command = help::with_examples(Arguments::command());
    let matches = command.try_get_matches_from_mut(&line).map_err(|error| error.to_string())?;
    let (matches, _) = completed(&mut command, matches, line).map_err(|error| error.to_string())?;
    let arguments =
        <Arguments as clap::FromArgMatches>::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let crate::commands::Command::Fit(fit) = arguments.command else { panic!("not a fit") };
    fit.recorded().map_err(|failure| format!("{failure:?}"))
}

fn words(line: &str) -> Vec<String> {
    ["retune", "fit", "--arch", "test_resnet", "--from-scratch"]
        .into_iter()
        .chain(line.split_whitespace())
        .map(str::to_owned)
        .collect()
}

/// A line of options without `--config`, and the same options from a file.
fn from_file(line: &str, beside: &str) -> Result<[String; 2], String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let expected = recorded(&words(line))?;
    std::fs::write(&path, &expected).unwrap();
    let fed_back = format!("retune fit --config {} {beside}", path.display());
    let found = recorded(&fed_back.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?;
    Ok([expected, found])
}

#[test]
fn every_option_of_a_run_can_be_fed_back() {
    for line in [
        "--data D",
        "--data D --eval a=A --eval b=B@fog:3 --val-fraction 0.3 --split-by group --skip-bad --device cpu",
        "--data D --in-chans 1 --size 64x256 --interpolation lanczos --crop-mode border --crop-pct 0.9 --mean 0.5 --std 0.2 --white 4095",
        "--data D --seed 3 --batch-size 7 --accumulate 2 --drop-path 0.1 --no-shuffle --clip-norm 1 --bn train --save last",
        "--data D --select loss --label-smoothing 0.1 --class-weights balanced --checkpoint-every 9 --cache-mb 3 --sampling balanced",
        "--data D --optimizer sgd --momentum 0.8 --weight-decay 0.01 --augment randaugment --mixup 0.2 --cutmix 1",
        "--data D --augment flip --activation-mb 5 --half-activations --views 2 --head-init normal --frozen-precision bfloat16",
        "--data D --method surgical --first layer1 --last layer2 --lr 1e-3,3e-4 --search full --patience 2 --epochs 4",
        "--data D --method surgical --layers stem,head --schedule linear --warmup-epochs 0.5 --warmup exponential --ema 0.9",
        "--data D --method auto-rgn --rgn-batches 3 --swa-from 2 --head-init probe",
        "--data D --method discriminative --lr-range 1e-5..1e-3",
        "--data D --method wise-ft --alpha 0.25,0.5",
        "--data D --multi-label --select map --budget 10m",
    ] {
        let [expected, found] = from_file(line, "").unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(found, expected, "{line}");
    }
}

/// The options of a run and its method, as a report reads them.
fn read(text: &str) -> (FitOptions, Option<(Method, MethodOptions)>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), text).unwrap();
    (FitOptions::from_toml(text).unwrap(), run::read_method(folder.path()).unwrap())
}

/// What is suggested for a run has all of its options, and parses as they did.
#[test]
fn the_command_of_a_run_makes_it_again() {
    for line in [
        "--data D",
        "--data D --eval a=A --eval 'b=B c@fog:3' --val-fraction 0.3 --split-by group --skip-bad",
        "--data D --in-chans 1 --size 64x256 --interpolation lanczos --crop-mode border --crop-pct 0.9 --mean 0.5 --std 0.2 --white 4095",
        "--data D --seed 3 --batch-size 7 --accumulate 2 --drop-path 0.1 --no-shuffle --clip-norm 1 --bn train --save last",
        "--data D --select loss --label-smoothing 0.1 --class-weights balanced --checkpoint-every 9 --cache-mb 3 --sampling balanced",
        "--data D --optimizer sgd --momentum 0.8 --weight-decay 0.01 --augment randaugment --mixup 0.2 --cutmix 1",
        "--data D --optimizer adam --augment flip --activation-mb 5 --half-activations --views 2 --head-init normal --precision bfloat16 --frozen-precision bfloat16",
        "--data D --multi-label",
        "--data D --multi-label --select accuracy",
        "--data D --method surgical --first layer1 --last layer2 --lr 1e-3,3e-4 --search full --patience 2 --epochs 4",
        "--data D --method surgical --layers stem,head --schedule linear --warmup-epochs 0.5 --warmup exponential --ema 0.9",
        "--data D --method auto-rgn --rgn-batches 3 --swa-from 2 --head-init probe",
        "--data D --method discriminative --lr-range 1e-5..1e-3",
        "--data D --method wise-ft --alpha 0.25,0.5",
    ] {
        let line = shlex::split(&format!("retune fit --arch test_resnet --from-scratch {line}")).unwrap();
        let expected = recorded(&line).unwrap();
        let (options, method) = read(&expected);
        let (method, method_options) = method.unwrap();
        let command =
            Command::of_run("fit", &options, None).with_head(options.head_initialization, Some(method_options.probe));
        let command = command.with("method", method.name).with_method_options(&method_options, &[method]).to_string();
        assert_eq!(recorded(&shlex::split(&command).unwrap()).unwrap(), expected, "{command}");
    }
}

#[test]
fn a_comparison_has_the_options_of_a_run_that_its_methods_take() {
    let line = "retune fit --arch test_resnet --from-scratch --data D --eval s=S --size 96 --epochs 2 --lr 3e-4 --head-init normal \
                --method surgical --layers stem";
    let (options, method) = read(&recorded(&shlex::split(line).unwrap()).unwrap());
    let (_, method) = method.unwrap();
    let command =
        Command::of_run("compare", &options, Some(line)).with_head(options.head_initialization, Some(method.probe));
    let command =
        command.with_method_options(&method, &[Method::LP, Method::FT]).with("methods", "lp,ft").with("out", "runs");
    let text = command.to_string();
    assert!(
        text.starts_with("retune compare --arch test_resnet --from-scratch --data D --eval s=S --size 96 "),
        "{text}"
    );
    assert!(text.ends_with(" --head-init normal --epochs 2 --lr 3e-4 --methods lp,ft --out runs"), "{text}");
    let words: Vec<OsString> = shlex::split(&text).unwrap().into_iter().map(OsString::from).collect();
    Arguments::parse(&words).unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[test]
fn what_is_typed_wins() {
    let [_, found] =
        from_file("--data D --method auto-rgn --rgn-batches 3 --epochs 4 --seed 5", "--method ft --seed 6").unwrap();
    assert_eq!(found, recorded(&words("--data D --method ft --epochs 4 --seed 6")).unwrap());
    let [_, found] =
        from_file("--data D --method surgical --first layer1 --ema 0.9", "--layers head --swa-from 2").unwrap();
    assert_eq!(found, recorded(&words("--data D --method surgical --layers head --swa-from 2")).unwrap());
    // What excludes an option of the file takes its place, as what is of the same name does.
    let [_, found] = from_file("--data D --sampling balanced", "--no-shuffle").unwrap();
    assert_eq!(found, recorded(&words("--data D --no-shuffle")).unwrap());
    // Another model is not of the architecture that the file's was, nor from scratch.
    let [_, found] = from_file("--data D", "--model ../retune/tests/fixtures/models/resnet_basic").unwrap();
    assert!(!found.contains("architecture") && found.contains("from_scratch = false"), "{found}");
}

/// The names are in the file, whatever has become of the one that they were read from.
#[test]
fn the_names_of_the_models_classes_come_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (names, options) = (folder.path().join("names.txt"), folder.path().join("run.toml"));
    std::fs::write(&names, "my \"cat\"\ndog").unwrap();
    let line = format!("--data D --head-init keep --classes {}", names.display());
    let expected = recorded(&words(&line)).unwrap();
    assert!(expected.contains("my \"cat\""), "{expected}");
    std::fs::write(&options, &expected).unwrap();
    std::fs::remove_file(names).unwrap();
    let again = |beside: &str| {
        let line = format!("retune fit --config {} {beside}", options.display());
        recorded(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(again(""), expected);
    // Another model has names of its own.
    let other = again("--model ../retune/tests/fixtures/models/resnet_basic");
    assert!(!other.contains("names.txt"), "{other}");
}

/// Runs of a written plan have it beside their options. What is typed changes it; only another method takes its place.
#[test]
fn the_plan_beside_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "data = \"D\"").unwrap();
    std::fs::write(folder.path().join("plan.toml"), "").unwrap();
    let keeps_plan = |beside: &str| {
        let line = format!("retune fit --arch test_resnet --from-scratch --config {} {beside}", path.display());
        let line: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let mut command = Arguments::command();
        let matches = command.try_get_matches_from_mut(&line).unwrap();
        let (_, given) = completed(&mut command, matches, line).unwrap();
        given.has("plan") && !given.is_typed("plan")
    };
    assert!(["", "--lr 1e-2", "--epochs 3", "--first stem", "--ema 0.9"].into_iter().all(keeps_plan));
    assert!(!keeps_plan("--method ft"));
}

/// An option of training without a key would make a run.toml that has it no file of options.
#[test]
fn every_option_of_training_has_a_key() {
    let command = TrainingArguments::augment_args(clap::Command::new("fit"));
    let command = PreprocessingArguments::augment_args(command);
    let ids: Vec<&str> = command.get_arguments().map(|argument| argument.get_id().as_str()).chain(["budget"]).collect();
    assert!(ids.len() > 30, "{ids:?}");
    for id in ids.into_iter().filter(|id| *id != "head_init") {
        let is_of_it = |meaning: &Meaning| match *meaning {
            Meaning::Option(known) | Meaning::Balanced(known) | Meaning::Bytes(known) | Meaning::Sets(known) => {
                known == id
            }
            Meaning::Switch { id: known, .. } => known == id,
            Meaning::Elsewhere | Meaning::Fixed(_) | Meaning::Within(_) => false,
        };
        assert!(KEYS.iter().any(|(_, meaning)| is_of_it(meaning)), "{id}");
    }
}

#[test]
fn keys_that_no_run_has_are_refused_with_the_closest_one() {
    let refused = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let line = format!("retune fit --config {}", path.display());
        recorded(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap_err()
    };
    for (text, expected) in [
        ("[train]\nbatchsize = 3", "unknown key `train.batchsize`; did you mean `train.batch_size`?"),
        ("[method]\nname = \"ft\"\nepoch = 3", "unknown key `epoch`; did you mean `epochs`?"),
        ("[method]\nname = \"fft\"", "did you mean 'ft'?"),
        ("[train]\nbatch_size = -3", "--batch-size"),
        ("[train.optimizer]\nepsilon = 1.0", "`train.optimizer.epsilon` is always"),
        ("x = ", "run.toml: TOML parse error at line 1, column 5: "),
        ("[train]\nseed = \"x\"", "run.toml: invalid value 'x' for '--seed <N>': must be a whole number from 0 to"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
