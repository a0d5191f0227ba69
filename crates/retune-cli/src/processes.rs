//! The processes that `mpirun` or Slurm started, where they train together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retune::collective::Processes;

use crate::commands::Command;
use crate::failure::Failure;
use crate::output::tell;

/// Joins the other processes of an MPI job, if the command is one that several can work on.
pub fn join(command: &Command) -> Processes {
    if matches!(command, Command::Fit(_)) { of_job() } else { Processes::default() }
}

#[cfg(feature = "mpi")]
fn of_job() -> Processes {
    retune::collective::mpi::join().unwrap_or_default()
}

#[cfg(not(feature = "mpi"))]
fn of_job() -> Processes {
    Processes::default()
}

/// Tells why a process could not do its part, and returns the exit status. What all processes have found, only the first
/// one tells: it ends the others while they wait.
pub fn report(failure: &Failure, processes: &Processes) -> u8 {
    if processes.is_root() {
        return failure.report();
    }
    if let Failure::Interrupted(_) = failure {
        return Failure::INTERRUPTED;
    }
    std::thread::sleep(PATIENCE);
    tell(&format!("in process {} of {}:", processes.rank() + 1, processes.size()));
    failure.report()
}

/// How long the first process has to tell what is wrong with all of them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the processes work together, so that an interruption ends all of them.
static TOGETHER: AtomicBool = AtomicBool::new(false);

/// Notes that from now on the processes stop together.
pub fn begin_together() {
    TOGETHER.store(true, Ordering::Relaxed);
}

/// Ends the other processes, too, if this one cannot do its part, or is interrupted before they work together.
pub fn end(status: u8, processes: &Processes) -> u8 {
    let all_end = status == 0 || (status == Failure::INTERRUPTED && TOGETHER.load(Ordering::Relaxed));
    if processes.are_several() && !all_end {
        processes.abort(status);
    }
    status
}
