//! File systems that have no locks, played by a library whose `flock` fails.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::{Workplace, fit, model};

/// Fails as `FLOCK_ERRNO` says.
const FAILING_FLOCK: &str = "
#include <errno.h>
#include <stdlib.h>
int flock(int file, int operation) {
    (void)file, (void)operation;
    errno = atoi(getenv(\"FLOCK_ERRNO\"));
    return -1;
}
";

/// ENOLCK (NFS), EBADF, EINVAL, ENOSYS (Lustre, FUSE) and EOPNOTSUPP, as Linux numbers them on all its platforms.
const NO_LOCKS: [i32; 5] = [37, 9, 22, 38, 95];
const EWOULDBLOCK: i32 = 11;

/// The library, or `None` where there is no C compiler.
fn failing_flock(here: &Workplace) -> Option<PathBuf> {
    let (source, library) = (here.path("flock.c"), here.path("flock.so"));
    fs::write(&source, FAILING_FLOCK).unwrap();
    let mut compiler = Command::new("cc");
    let compiled = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().ok()?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(library)
}

#[test]
fn without_locks_commands_go_on_and_say_so_once() {
    let here = Workplace::new();
    let Some(library) = failing_flock(&here) else {
        eprintln!("no C compiler: nothing is tested");
        return;
    };
    let run = |line: &str, errno: i32| {
        let mut command = here.command(line);
        command.env("LD_PRELOAD", &library).env("FLOCK_ERRNO", errno.to_string()).output().unwrap()
    };
    let (data, model) = ("--data data --epochs 1 --lr 1e-3", model());
    for errno in NO_LOCKS {
        let output = run(&fit(&format!("--method lp --no-report --out run{errno}")), errno);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errno}: {told}");
        let lines = told.lines().filter(|line| line.contains("nothing keeps a second process out"));
        assert_eq!(lines.count(), 1, "{errno}: {told}");
    }
    for line in [
        // Locks the comparison's directory and each run's.
        format!("compare --model {model} {data} --methods lp,ft --seeds 1 --no-report --out compared"),
        format!("features --model {model} --data data --out f.npz"),
    ] {
        let output = run(&line, NO_LOCKS[0]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {told}");
        let lines = told.lines().filter(|line| line.contains("nothing keeps a second process out"));
        assert_eq!(lines.count(), 1, "{line}: {told}");
    }
    let held = run(&fit("--method lp --out held"), EWOULDBLOCK);
    let told = String::from_utf8_lossy(&held.stderr);
    assert_eq!(held.status.code(), Some(2), "{told}");
    assert!(told.contains("is in use by"), "{told}");
}
