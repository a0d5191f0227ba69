//! Signals. Ctrl-C: the first asks the work to stop at the next batch, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::output::tell;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening. With `announce`, a request is confirmed on standard error.
pub fn listen(announce: bool) -> Result<(), Failure> {
    let handler = move || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Failure::INTERRUPTED));
        }
        if announce {
            tell("stopping at the next safe point; press Ctrl-C again to stop at once");
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Mistake(format!("cannot listen for Ctrl-C: {error}")))
}

/// Lets a write beyond the largest file that the shell allows (`ulimit -f`) fail as one to a full disk does, with a reason,
/// and not end the program. To be called before the first thread starts.
pub fn refuse_large_files() {
    #[cfg(unix)]
    {
        let mut signals = nix::sys::signal::SigSet::empty();
        signals.add(nix::sys::signal::Signal::SIGXFSZ);
        // Where that is not possible, the program ends as it would have.
        let _ = signals.thread_block();
    }
}

/// Whether the user asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
