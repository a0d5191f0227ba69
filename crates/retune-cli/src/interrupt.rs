//! Ctrl-C: the first asks the work to stop at the next batch, the second stops at once.

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

/// Whether the user asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
