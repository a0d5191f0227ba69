//! `mpirun -n N retune fit`: the same results by any number of processes, and what happens if one of them ends.
//!
//! Needs the feature `mpi` and Open MPI's `mpirun`; `scripts/mpi_trial.sh` builds and runs it.
#![cfg(feature = "mpi")]

use std::fs;
use std::process::{Child, Command, Output};

use crate::common::{Workplace, fit, model, spawn, wait_for};
use retune::models::weights::read_tensors;

/// The program on several processes of this machine, however few processors it has.
fn mpirun(here: &Workplace, processes: usize, line: &str) -> Command {
    let alone = here.command(line);
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", &processes.to_string()]);
    command.arg(alone.get_program()).args(alone.get_args()).current_dir(here.folder.path());
    command.envs(alone.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // Containers often forbid what shared memory between processes is faster with, and no other machine is asked.
    command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none").env("OMPI_MCA_plm", "isolated");
    command
}

fn together(here: &Workplace, processes: usize, line: &str) -> Output {
    mpirun(here, processes, line).output().unwrap()
}

fn succeeds(here: &Workplace, processes: usize, line: &str) -> String {
    let output = together(here, processes, line);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    told
}

/// More images of one class than of the other, so that class weights count.
fn workplace() -> Workplace {
    let here = Workplace::new();
    here.images("data/red", "red", 33, 200);
    here
}

/// Every update has three batches of five images, and the last one of an epoch fewer.
const UPDATES: &str = "--batch-size 5 --accumulate 3 --class-weights balanced --clip-norm 1 --threads 1 --no-report";

#[test]
fn results_do_not_depend_on_the_number_of_processes() {
    let here = workplace();
    for method in ["ft", "lp", "lp-ft", "surgical --layers layer2", "auto-rgn", "discriminative", "lora"] {
        let line =
            |out: &str| format!("{} {UPDATES} --eval other=shifted --out {out}", fit(&format!("--method {method}")));
        let method = method.split(' ').next().unwrap();
        let alone = format!("{method}-1");
        here.succeeds(&line(&alone));
        for processes in [1, 2, 3] {
            let run = format!("{method}-by-{processes}");
            succeeds(&here, processes, &line(&run));
            here.assert_same(&alone, &run);
            let predictions = |run: &str| here.file(&format!("{run}/predictions.csv"));
            assert!(predictions(&alone) == predictions(&run), "{run}");
            here.succeeds(&format!("verify {run}"));
        }
    }
}

/// A head of 10,000 values, and so more sums than every process adds up alone.
#[test]
fn a_probe_with_many_weights_does_not_depend_on_the_number_of_processes() {
    let here = workplace();
    for class in 0..20 {
        here.images(&format!("many/{class:02}"), "red", 8, 100 + 7 * class);
    }
    let line = |out: &str| {
        let options = "--arch resnet18 --from-scratch --data many --size 32 --method lp --batch-size 12 --threads 1";
        format!("fit {options} --no-report --out {out}")
    };
    here.succeeds(&line("alone"));
    for processes in [2, 3] {
        let run = format!("by-{processes}");
        succeeds(&here, processes, &line(&run));
        here.assert_same("alone", &run);
    }
}

#[test]
fn what_a_batch_is_augmented_and_normalized_by_does_not_depend_on_it_either() {
    let here = workplace();
    for (name, options) in [
        ("augmented", "--augment randaugment"),
        ("mixed", "--mixup 0.4 --label-smoothing 0.1"),
        ("followed", "--bn train"),
        ("recalibrated", "--bn recalibrate --ema 0.9"),
        ("dropped", "--drop-path 0.2"),
    ] {
        let line = |out: &str| format!("{} {UPDATES} {options} --out {out}", fit("--method ft"));
        here.succeeds(&line(name));
        let run = format!("{name}-by-2");
        succeeds(&here, 2, &line(&run));
        here.assert_same(name, &run);
    }
}

/// The terminal shows each thing once.
#[test]
fn only_the_first_process_talks() {
    let here = workplace();
    let line = format!("{} --batch-size 16 --threads 1 --no-report --json --out run", fit("--method ft"));
    let output = together(&here, 3, &line);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["method"], "ft");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.matches("epoch 1/2: accuracy").count(), 1, "{told}");

    let again = together(&here, 3, &line);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(2), "{told}");
    assert_eq!(told.matches("error: run already holds a run").count(), 1, "{told}");

    let method = fit("--method surgical --layers layer2");
    let refused = together(&here, 2, &format!("{method} --half-activations --no-report --out other"));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot be kept in 16 bits") && told.contains("--half-activations"), "{told}");
}

/// Updates of one batch of 20 images, which the processes cut up. With a head of zeros, hardly a weight would move.
const CUT: &str = "--batch-size 20 --bn train --head-init normal --optimizer sgd --save last --threads 1 --no-report";

/// Norm of the difference of two runs to norm of the movement of the second: of the weights, and of the statistics.
fn distances(here: &Workplace, one: &str, other: &str) -> [f64; 2] {
    let of_kind = |folder: std::path::PathBuf, are_statistics: bool| -> Vec<f64> {
        let tensors = read_tensors(&folder.join("model.safetensors")).unwrap();
        // The head is another one than the pretrained model's.
        let body = tensors.into_iter().filter(|(name, _)| !name.starts_with("fc."));
        let kind = body.filter(|(name, _)| name.contains(".running_") == are_statistics);
        kind.flat_map(|(_, tensor)| tensor.values.into_iter().map(f64::from)).collect()
    };
    let norm = |apart: &[f64], from: &[f64]| -> f64 {
        assert_eq!(apart.len(), from.len());
        apart.iter().zip(from).map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt()
    };
    [false, true].map(|are_statistics| {
        let of_run = |run: &str| of_kind(here.path(&format!("{run}/model")), are_statistics);
        let (one, other, start) = (of_run(one), of_run(other), of_kind(model().into(), are_statistics));
        norm(&one, &other) / norm(&other, &start)
    })
}

/// How far apart weights and statistics may be. Of another order of sums in single precision, 6e-8, a dozen layers and steps
/// make a few 1e-7 of the movement of statistics. Weights can differ more: where two values of a window, or a value and
/// zero, are almost equal, rounding decides which way a gradient goes. A step that is lost or made twice would be 3e-2.
const TOLERANCES: [f64; 2] = [1e-2, 1e-5];

fn are_close(distances: [f64; 2]) -> bool {
    distances.iter().zip(TOLERANCES).all(|(distance, tolerance)| *distance < tolerance)
}

#[test]
fn batch_norm_sees_batches_whole_that_are_cut_up() {
    let here = workplace();
    let line = |out: &str| format!("{} {CUT} --out {out}", fit("--method ft").replace("1e-3", "1e-4"));
    here.succeeds(&line("alone"));
    for processes in [2, 3] {
        let (once, again) = (format!("{processes}"), format!("{processes}-again"));
        succeeds(&here, processes, &line(&once));
        succeeds(&here, processes, &line(&again));
        here.assert_same(&once, &again);
        let distances = distances(&here, &once, "alone");
        assert!(are_close(distances), "{processes} processes: {distances:?}");
        here.succeeds(&format!("verify {once}"));
    }
}

/// The process of a job that has this rank.
fn process_of_rank(rank: usize, job: &Child) -> String {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_wanted = |folder: &std::path::Path| -> Option<bool> {
        let status = fs::read_to_string(folder.join("stat")).ok()?;
        let parent = status.rsplit(')').next()?.split_whitespace().nth(1)?;
        let environment = fs::read(folder.join("environ")).ok()?;
        let is_of_rank = environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes());
        Some(parent == job.id().to_string() && is_of_rank)
    };
    let mut folders = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = folders.find(|folder| is_wanted(folder) == Some(true)).expect("the job runs");
    found.file_name().unwrap().to_string_lossy().into_owned()
}

/// A long training that writes a checkpoint after every step, and one of its processes once there is a checkpoint.
fn under_way(here: &Workplace, rank: usize, out: &str) -> (Child, String) {
    let mut job = spawn(mpirun(here, 2, &long(out)));
    wait_for(&here.path(&format!("{out}/checkpoint")), &mut job);
    let process = process_of_rank(rank, &job);
    (job, process)
}

fn long(out: &str) -> String {
    let line = fit("--method lp-ft").replace("--epochs 2", "--epochs 12");
    format!("{line} {UPDATES} --checkpoint-every 1 --out {out}")
}

fn signal(process: &str, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), process]).status().unwrap().success());
}

#[test]
fn after_a_process_was_killed_any_number_goes_on() {
    let here = workplace();
    here.succeeds(&long("whole"));
    for (rank, out, goes_on_with) in [(1, "second", 3), (0, "first", 1)] {
        let (job, process) = under_way(&here, rank, out);
        signal(&process, "KILL");
        let output = job.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(!here.path(&format!("{out}/summary.json")).exists());
        succeeds(&here, goes_on_with, &format!("fit --resume {out} --no-report --threads 1"));
        here.assert_same("whole", out);
    }
}

/// Killed between two of the meetings of a step; the same number of processes makes the same bytes of it, and another one
/// nearly the same.
#[test]
fn after_a_process_that_shared_a_batch_was_killed_any_number_goes_on() {
    let here = workplace();
    let line = |out: &str| {
        let line = fit("--method ft").replace("--epochs 2", "--epochs 12").replace("1e-3", "1e-4");
        format!("{line} {CUT} --checkpoint-every 1 --out {out}")
    };
    succeeds(&here, 2, &line("whole"));
    for (rank, goes_on_with) in [(1, 2), (0, 2), (1, 3), (0, 1)] {
        let out = format!("{rank}-{goes_on_with}");
        let mut job = spawn(mpirun(&here, 2, &line(&out)));
        wait_for(&here.path(&format!("{out}/checkpoint")), &mut job);
        signal(&process_of_rank(rank, &job), "KILL");
        assert!(!job.wait_with_output().unwrap().status.success());
        succeeds(&here, goes_on_with, &format!("fit --resume {out} --no-report --threads 1"));
        let epochs = |run: &str| here.rows(run).into_iter().map(|row| (row["epoch"].clone(), row["split"].clone()));
        assert!(epochs(&out).eq(epochs("whole")));
        if goes_on_with == 2 {
            here.assert_same("whole", &out);
        } else {
            let distances = distances(&here, &out, "whole");
            assert!(are_close(distances), "{goes_on_with} processes: {distances:?}");
        }
    }
}

#[test]
fn an_interruption_of_any_process_ends_all_at_a_checkpoint() {
    let here = workplace();
    here.succeeds(&long("whole"));
    for (rank, name, out) in [(1, "TERM", "second"), (0, "INT", "first")] {
        let (job, process) = under_way(&here, rank, out);
        signal(&process, name);
        let output = job.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert_eq!(told.matches("interrupted; to continue, run `retune fit --resume").count(), 1, "{told}");
        succeeds(&here, 2, &format!("fit --resume {out} --no-report --threads 1"));
        here.assert_same("whole", out);
    }
}
