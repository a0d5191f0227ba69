//! Progress and interruptions of work that several processes share.

use crate::collective::Processes;
use crate::monitor::Monitor;

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

impl Monitor for Together<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.monitor)
    }

    fn canceled(&self) -> bool {
        self.processes.any(self.monitor.canceled())
    }
}

impl Monitor for ByItself<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.monitor)
    }

    fn canceled(&self) -> bool {
        !self.processes.are_several() && self.monitor.canceled()
    }
}
