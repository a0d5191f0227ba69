//! Progress and interruptions of work that several processes share.

use std::time::Duration;

use crate::collective::Processes;
use crate::monitor::{MetricsRow, Monitor};
use crate::sources::DataNote;

/// Stops all processes at the same place when one is asked to stop. All must ask equally often.
pub(crate) struct Together<'a> {
    pub processes: &'a Processes,
    pub monitor: &'a dyn Monitor,
}

/// Does not stop, where only one of several processes works: the others could not stop at the same place.
pub(crate) struct ByItself<'a> {
    pub processes: &'a Processes,
    pub monitor: &'a dyn Monitor,
}

/// Hands everything on to the field `monitor` but the question whether to stop.
macro_rules! hand_on {
    ($monitor:ident, $canceled:expr) => {
        impl Monitor for $monitor<'_> {
            fn start(&self, task: &str, total: usize) {
                self.monitor.start(task, total);
            }
            fn start_counting(&self, task: &str, total: usize, unit: &str) {
                self.monitor.start_counting(task, total, unit);
            }
            fn advance(&self, units: usize) {
                self.monitor.advance(units);
            }
            fn time_left(&self, left: Duration) {
                self.monitor.time_left(left);
            }
            fn finish(&self) {
                self.monitor.finish();
            }
            fn message(&self, text: &str) {
                self.monitor.message(text);
            }
            fn detail(&self, text: &str) {
                self.monitor.detail(text);
            }
            fn note(&self, note: &DataNote) {
                self.monitor.note(note);
            }
            fn measured(&self, row: &MetricsRow) {
                self.monitor.measured(row);
            }
            fn canceled(&self) -> bool {
                let canceled: fn(&Self) -> bool = $canceled;
                canceled(self)
            }
        }
    };
}

hand_on!(Together, |this| this.processes.any(this.monitor.canceled()));
hand_on!(ByItself, |this| !this.processes.are_several() && this.monitor.canceled());
