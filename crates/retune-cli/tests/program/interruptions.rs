//! Runs that are killed, interrupted, or have no room, and what is left of them.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Workplace, fit, model, model_of, spawn, wait_for};

/// Numbers that look random and are the same in every run of the test.
struct Sequence(u64);

impl Sequence {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// A run that goes on until it is stopped, with checkpoints in every step.
fn endless(out: &str) -> String {
    let options = "--method ft --epochs 100000 --lr 1e-4 --checkpoint-every 1 --save last";
    format!("fit --model {} --data data {options} --out {out}", model())
}

#[test]
fn killed_at_any_moment_and_resumed_a_run_ends_with_the_same_bytes() {
    let here = Workplace::new();
    let vit = model_of("vit");
    let mut moments = Sequence(7);
    for (number, options) in [
        "--method auto-rgn --augment standard --mixup 0.2 --ema 0.9 --bn train --lr 1e-3,1e-4 --epochs 3",
        "--method lp-ft --augment flip --label-smoothing 0.1 --bn recalibrate --lr 1e-3 --epochs 4",
        &format!("--model {vit} --method lora --optimizer sgd --lr 1e-2,1e-3 --epochs 3"),
        "--method greedy-soup --lr 1e-3,1e-4 --epochs 2 --swa-from 1",
        "--method ft --lr 1e-3,3e-4,1e-4 --search halving --patience 2 --select loss --epochs 4",
    ]
    .into_iter()
    .enumerate()
    {
        let model = if options.contains("--model") { String::new() } else { format!("--model {}", model()) };
        let line = |out: &str| format!("fit {model} --data data {options} --checkpoint-every 1 -q --out {out}");
        let (whole, broken) = (format!("whole{number}"), format!("broken{number}"));
        let started = Instant::now();
        here.succeeds(&line(&whole));
        let duration = started.elapsed();
        let (mut kills, mut starts) = (0, 0);
        while !here.path(&format!("{broken}/summary.json")).exists() {
            starts += 1;
            assert!(starts < 100, "no progress is made");
            // Killed before it wrote its options, it begins anew under the same name.
            let began = here.path(&format!("{broken}/run.toml")).exists();
            let command = if began { format!("fit -q --resume {broken}") } else { line(&broken) };
            let mut running = spawn(here.command(&command));
            if kills < 6 {
                std::thread::sleep(duration.mul_f64(0.7 * moments.next()));
                // SIGKILL; the run may have ended before.
                running.kill().unwrap();
                kills += 1;
            }
            let output = running.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_none_or(|code| code == 0), "{command}: {message}");
        }
        here.succeeds(&format!("fit -q --resume {broken}"));
        here.assert_same(&whole, &broken);
        let listing = here.listing();
        let left = |path: &&std::path::PathBuf| {
            path.starts_with(here.path(&broken)) && path.to_string_lossy().contains(".partial")
        };
        assert_eq!(listing.iter().find(left), None);
        assert!(!here.path(&format!("{broken}/checkpoint")).exists());
    }
}

#[test]
fn pictures_of_a_killed_process_are_drawn_anew() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out run -q"));
    let drawn = || here.listing().into_iter().filter(|path| path.starts_with(here.path("run"))).collect::<Vec<_>>();
    let whole = drawn();
    fs::rename(here.path("run/plots"), here.path("run/plots.partial")).unwrap();
    for name in ["half.png.partial-1-0", "of_another_version.png"] {
        fs::write(here.path(&format!("run/plots.partial/{name}")), "half").unwrap();
    }
    here.succeeds("fit --resume run -q");
    assert_eq!(drawn(), whole);
}

#[test]
fn sigterm_writes_a_checkpoint_and_says_how_to_go_on() {
    let here = Workplace::new();
    let mut running = spawn(here.command(&endless("run")));
    wait_for(&here.path("run/checkpoint"), &mut running);
    here.signal(&running, "TERM");
    let output = running.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("retune fit --resume run"), "{message}");
    assert!(here.path("run/checkpoint/progress.json").is_file());
}

/// Commands that take long, each stopped by one Ctrl-C while it is at work.
#[test]
fn every_long_command_heeds_the_first_interruption() {
    let here = Workplace::new();
    here.succeeds(&fit("--method lp --out run -q"));
    // A list of the same images many times over.
    let mut list = "path,label\n".to_owned();
    for _ in 0..3000 {
        for class in ["green", "red"] {
            (0..24).for_each(|image| list.push_str(&format!("data/{class}/{image:02}.png,{class}\n")));
        }
    }
    fs::write(here.path("many.csv"), list).unwrap();
    let model = model();
    for line in [
        format!("fit --model {model} --data many.csv --method lp --out probe"),
        format!("lr-find --model {model} --data data --steps 1000000 --from 1e-12 --to 1e-11"),
        "eval --model run --data many.csv".to_owned(),
        format!("features --model {model} --data many.csv --out many.npz"),
        format!("compare --model {model} --data many.csv --methods ft --epochs 1000 --lr 1e-4 --out comparison"),
        "eval --model run --data many.csv --skip-bad".to_owned(),
        format!("fit --model {model} --data data --eval many=many.csv --method lp --out unread"),
        "predict --model run many.csv".to_owned(),
    ] {
        let mut running = spawn(here.command(&line));
        std::thread::sleep(Duration::from_millis(700));
        assert!(running.try_wait().unwrap().is_none(), "{line}: ended by itself");
        here.interrupt(&running);
        let asked = Instant::now();
        let output = running.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{line}: {message}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{line}");
        assert!(!here.path("many.npz").exists());
        // While a fit reads images, there is no run yet.
        assert!(!message.contains("--resume unread"), "{message}");
    }
}

#[test]
fn the_second_interruption_ends_at_once() {
    let here = Workplace::new();
    let mut running = spawn(here.command(&endless("run")));
    wait_for(&here.path("run/checkpoint"), &mut running);
    // Twice before any step can end: stopped, the process gets both when it goes on.
    here.signal(&running, "STOP");
    here.signal(&running, "INT");
    here.signal(&running, "TERM");
    here.signal(&running, "CONT");
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
}

#[test]
fn a_second_run_in_one_directory_is_refused_with_the_first_ones_process() {
    let here = Workplace::new();
    let mut running = spawn(here.command(&endless("run")));
    wait_for(&here.path("run/checkpoint"), &mut running);
    let holder = format!("process {}", running.id());
    for line in [endless("run"), "fit --resume run".to_owned()] {
        let output = here.run(&line);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&holder), "{message}");
    }
    // A crash releases it.
    running.kill().unwrap();
    running.wait().unwrap();
    let mut running = spawn(here.command("fit --resume run"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.try_wait().unwrap().is_none(), "the lock of a killed run still holds");
    running.kill().unwrap();
    running.wait().unwrap();

    let compare = |out: &str| {
        let options = "--methods ft --epochs 100000 --lr 1e-4 --checkpoint-every 1";
        format!("compare --model {} --data data {options} --out {out}", model())
    };
    let mut running = spawn(here.command(&compare("both")));
    wait_for(&here.path("both/runs/ft/seed-0/checkpoint"), &mut running);
    let holder = format!("process {}", running.id());
    for line in [compare("both"), "compare --resume both".to_owned(), "fit --resume both/runs/ft/seed-0".to_owned()] {
        let output = here.run(&line);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}: {message}");
        assert!(message.contains(&holder), "{line}: {message}");
    }
    running.kill().unwrap();
    running.wait().unwrap();
}

/// Long enough to be stopped early on, with checkpoints in every step.
const LONG: &str = "--method ft --epochs 30 --lr 1e-3 --checkpoint-every 1 -q";

fn long(out: &str) -> String {
    format!("fit --model {} --data data {LONG} --out {out}", model())
}

#[test]
fn a_run_without_a_report_goes_on_without_one() {
    let here = Workplace::new();
    let mut running = spawn(here.command(&format!("{} --no-report", long("run"))));
    wait_for(&here.path("run/checkpoint"), &mut running);
    here.interrupt(&running);
    assert_eq!(running.wait_with_output().unwrap().status.code(), Some(130));
    here.succeeds("fit -q --resume run");
    assert!(here.path("run/summary.json").exists());
    assert!(!here.path("run/report.html").exists() && !here.path("run/plots").exists());
}

/// A comparison that is killed between the two renames of a checkpoint still has the one before.
#[test]
fn a_comparison_goes_on_from_a_checkpoint_under_its_old_name() {
    let here = Workplace::new();
    let line = |out: &str| {
        let options = LONG.replace("--method ", "--methods ");
        format!("compare --model {} --data data {options} --out {out}", model())
    };
    here.succeeds(&line("whole"));
    let mut running = spawn(here.command(&line("broken")));
    let run = here.path("broken/runs/ft/seed-0");
    wait_for(&run.join("checkpoint"), &mut running);
    running.kill().unwrap();
    running.wait().unwrap();
    if run.join("checkpoint").exists() {
        let _ = fs::remove_dir_all(run.join("checkpoint.before"));
        fs::rename(run.join("checkpoint"), run.join("checkpoint.before")).unwrap();
    }
    let began = fs::metadata(run.join("run.toml")).unwrap().modified().unwrap();
    here.succeeds("compare -q --resume broken");
    // A run that is begun anew writes its options anew.
    assert_eq!(fs::metadata(run.join("run.toml")).unwrap().modified().unwrap(), began);
    here.assert_same("whole/runs/ft/seed-0", "broken/runs/ft/seed-0");
}

/// A limit on the size of files stands in for a full disk where a small one cannot be made.
#[test]
fn without_room_for_a_checkpoint_the_last_one_stays_and_is_named() {
    let here = Workplace::new();
    here.succeeds(&long("whole"));
    let mut running = spawn(here.command(&long("run")));
    wait_for(&here.path("run/checkpoint"), &mut running);
    here.interrupt(&running);
    assert_eq!(running.wait_with_output().unwrap().status.code(), Some(130));
    let progress = here.file("run/checkpoint/progress.json");
    let program = env!("CARGO_BIN_EXE_retune");
    // In blocks of 512 or 1024 bytes, so no tensor file fits.
    let script = format!("ulimit -f 1; exec {program} fit -q --resume run");
    let limited = Command::new("sh").args(["-c", &script]).current_dir(here.folder.path()).output().unwrap();
    let message = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(2), "{message}");
    assert!(message.contains("the last checkpoint is intact") && message.contains("--resume run"), "{message}");
    assert_eq!(here.file("run/checkpoint/progress.json"), progress);
    here.succeeds("fit -q --resume run");
    here.assert_same("whole", "run");
}

#[test]
fn a_disk_that_is_really_full_leaves_the_last_checkpoint() {
    let here = Workplace::new();
    let program = env!("CARGO_BIN_EXE_retune");
    here.succeeds(&long("whole"));
    // A file system of its own in a namespace of its own, in which every bit of room is taken as it comes.
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=3m none disk || exit 77
         {program} {line} & pid=$!
         while [ ! -e disk/run/checkpoint ]; do sleep 0.01; done
         (while :; do n=$((n + 1)); dd if=/dev/zero of=disk/filler$n bs=1k 2>/dev/null; done) & filler=$!
         wait $pid; echo status $?
         kill $filler; wait $filler
         ls disk/run/checkpoint*/progress.json || exit 79
         rm -f disk/filler*
         {program} fit -q --resume disk/run || exit 80
         cp -r disk/run copied",
        line = long("disk/run")
    );
    let namespace = Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(here.folder.path()).output();
    let Ok(output) = namespace else { return eprintln!("not tested: there is no unshare") };
    let (told, said) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    if !here.path("disk").exists() || output.status.code() == Some(77) {
        return eprintln!("not tested: no file system can be mounted here: {told}");
    }
    assert!(output.status.success(), "{:?} {said}{told}", output.status);
    assert!(said.contains("status 2") && told.contains("no space left on the disk"), "{said}{told}");
    assert!(told.contains("the last checkpoint is intact"), "{told}");
    here.assert_same("whole", "copied");
}

/// A log on a full disk loses what is said, and neither the run nor its report.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_told_ends_nothing() {
    let here = Workplace::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let status = here.command(&fit("--method ft --out run")).stdout(Stdio::null()).stderr(full()).status().unwrap();
    assert!(status.success(), "{status}");
    assert!(here.path("run/summary.json").is_file());
    let status = here.command(&fit("--method lp -q --out mute")).stdout(full()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(here.path("mute/report.html").is_file() && here.path("mute/plots").is_dir());
    let status = here.command("report none").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

/// Starts an endless run and kills it as soon as it has made a file or folder.
fn kill_once_there(here: &Workplace, made: &str) {
    let mut running = spawn(here.command(&endless("run")));
    wait_for(&here.path(made), &mut running);
    running.kill().unwrap();
    running.wait().unwrap();
}

/// So that a report can show it though the first process never ended by itself.
#[test]
fn the_command_is_kept_from_the_start() {
    let here = Workplace::new();
    kill_once_there(&here, "run/run.toml");
    let command = String::from_utf8(here.file("run/command.txt")).unwrap();
    assert_eq!(command, format!("retune {}\n", endless("run")));
}

#[test]
fn a_run_whose_images_changed_is_not_gone_on_with() {
    let here = Workplace::new();
    kill_once_there(&here, "run/checkpoint");
    fs::remove_file(here.path("data/red/03.png")).unwrap();
    assert!(here.refuses("fit --resume run").contains("images are no longer those that the run began with"));
}

/// With other rates or epochs, what the checkpoint has tried would stand in the report as what the new plan tried.
#[test]
fn a_run_whose_plan_changed_is_not_gone_on_with() {
    let here = Workplace::new();
    kill_once_there(&here, "run/checkpoint");
    let changed = "has changed since the run began";
    for (file, before, after, reason) in [
        ("plan.toml", "epochs = ", "epochs = 1", changed),
        ("run.toml", "batch_size = ", "batch_size = 1", changed),
        ("run.toml", "[preprocessing]", "[preprocessing]\nsize = 40", changed),
        ("checkpoint/progress.json", "\"candidate\": 0", "\"candidate\": 99", "it is damaged"),
        ("checkpoint/progress.json", "\"format\": 2", "\"format\": 1", "another version of retune wrote it"),
    ] {
        let path = here.path(&format!("run/{file}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(before));
        fs::write(&path, text.replace(before, after)).unwrap();
        let message = here.refuses("fit --resume run");
        assert!(message.contains(reason), "{file}: {message}");
        fs::write(&path, text).unwrap();
    }
}
