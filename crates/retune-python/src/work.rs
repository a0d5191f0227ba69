//! Work on a thread of its own, while the thread that called from Python shows progress and watches for interrupts.
//!
//! Python sees signals only on its own thread, and only while that thread runs Python. So the caller's thread lets go of the
//! interpreter, looks up twenty times a second, calls what shows progress, and tells the work to stop if Python was
//! interrupted. The work itself never waits for the interpreter, unless what shows progress asks for that: it then sees each
//! task before the work does any of it.

use std::ffi::OsString;
use std::iter;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use retune::monitor::{MetricsRow, Monitor};
use retune_cli::Failure;
use retune_cli::embedded::Program;

use crate::failure;

/// How often Python looks up from waiting.
const LOOK: Duration = Duration::from_millis(50);
/// The attribute of what shows progress for which the work waits.
const IN_STEP: &str = "in_step";
/// As much as the main thread of a program has.
const STACK_BYTES: usize = 8 << 20;

/// The process that worked first. Threads do not come along into a process that is forked from it.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// The arguments of a command after the name of the program.
pub fn with_name(typed: Vec<OsString>) -> Vec<OsString> {
    iter::once("retune".into()).chain(typed).collect()
}

/// What the work tells the thread that waits for it.
enum Event {
    Start {
        task: String,
        total: usize,
        done: Arc<AtomicUsize>,
    },
    Finish,
    Message(String),
    /// A row of metrics, as JSON.
    Measured(String),
    /// Everything before has been handed on once this is dropped.
    Reached(Sender<()>),
}

/// The work's side.
struct Watched {
    events: Mutex<Sender<Event>>,
    /// What is done of the current task.
    done: Mutex<Arc<AtomicUsize>>,
    canceled: Arc<AtomicBool>,
    /// Whether a task begins only when Python knows of it.
    in_step: bool,
}

impl Watched {
    fn send(&self, event: Event) {
        // Nobody listens any more only if the waiting thread has panicked.
        let _ = locked(&self.events).send(event);
    }

    /// Waits until Python has seen all that was sent.
    fn wait_for_python(&self) {
        let (reached, seen) = mpsc::channel();
        self.send(Event::Reached(reached));
        // Nothing ever comes: the other end is dropped.
        let _ = seen.recv();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor for Watched {
    fn start(&self, task: &str, total: usize) {
        let done = Arc::new(AtomicUsize::new(0));
        *locked(&self.done) = Arc::clone(&done);
        self.send(Event::Start { task: task.to_owned(), total, done });
        if self.in_step {
            self.wait_for_python();
        }
    }

    fn advance(&self, units: usize) {
        locked(&self.done).fetch_add(units, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.send(Event::Finish);
    }

    fn message(&self, text: &str) {
        self.send(Event::Message(text.to_owned()));
    }

    fn measured(&self, row: &MetricsRow) {
        // Numbers and texts can always be written as JSON.
        if let Ok(row) = serde_json::to_string(row) {
            self.send(Event::Measured(row));
        }
    }

    fn canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }
}

/// The waiting thread's side: hands events on to a Python object with `start(task, total)`, `advance(units)`, `finish()`,
/// `message(text)` and `measured(row)`, a row as JSON. If it has the attribute `in_step`, a task waits for its `start` to return.
struct Display<'py> {
    progress: Option<Bound<'py, PyAny>>,
    done: Arc<AtomicUsize>,
    shown: usize,
}

impl Display<'_> {
    fn handle(&mut self, event: Event) -> PyResult<()> {
        self.catch_up()?;
        let Some(progress) = &self.progress else { return Ok(()) };
        match event {
            Event::Start { task, total, done } => {
                (self.done, self.shown) = (done, 0);
                progress.call_method1("start", (task, total))?;
            }
            Event::Finish => {
                progress.call_method0("finish")?;
            }
            Event::Message(text) => {
                progress.call_method1("message", (text,))?;
            }
            Event::Measured(row) => {
                progress.call_method1("measured", (row,))?;
            }
            Event::Reached(seen) => drop(seen),
        }
        Ok(())
    }

    /// Shows what was done since the last look.
    fn catch_up(&mut self) -> PyResult<()> {
        let done = self.done.load(Ordering::Relaxed);
        let Some(progress) = self.progress.as_ref().filter(|_| done > self.shown) else { return Ok(()) };
        progress.call_method1("advance", (done - self.shown,))?;
        self.shown = done;
        Ok(())
    }
}

/// Does work on a thread of its own and returns its result.
///
/// # Errors
/// The work's failure as Python's exception; `KeyboardInterrupt` once an interrupted work has come to a safe point; what
/// showing progress raised; `RuntimeError` in a forked process, or for a defect.
pub fn run<T: Send>(
    py: Python<'_>,
    progress: Option<Bound<'_, PyAny>>,
    work: impl FnOnce(Program) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let process = process::id();
    if *PROCESS.get_or_init(|| process) != process {
        return Err(PyRuntimeError::new_err(
            "retune was used before this process was forked, and its threads did not come along; start processes with \
             multiprocessing's \"spawn\" or \"forkserver\"",
        ));
    }
    let (events, received) = mpsc::channel();
    let canceled = Arc::new(AtomicBool::new(false));
    let nothing = Arc::new(AtomicUsize::new(0));
    let done = Mutex::new(Arc::clone(&nothing));
    let in_step = progress.as_ref().is_some_and(|progress| progress.hasattr(IN_STEP).unwrap_or(false));
    let watched = Watched { events: Mutex::new(events), done, canceled: Arc::clone(&canceled), in_step };
    let mut display = Display { progress, done: nothing, shown: 0 };
    thread::scope(|scope| {
        let builder = Builder::new().name("retune".to_owned()).stack_size(STACK_BYTES);
        let worker = builder.spawn_scoped(scope, move || work(Arc::new(watched)))?;
        let stopped_by = wait(py, &Mutex::new(received), &mut display, &canceled);
        match (py.detach(|| worker.join()), stopped_by) {
            (Err(_), _) => Err(PyRuntimeError::new_err("a defect of retune; please report what is said above")),
            (Ok(result), Some(raised)) => Err(interrupted(py, raised, result.err())),
            (Ok(result), None) => result.map_err(|failure| failure::exception(py, failure)),
        }
    })
}

/// Shows progress until the work is done. What Python raised meanwhile tells the work to stop.
fn wait(
    py: Python<'_>,
    received: &Mutex<Receiver<Event>>,
    display: &mut Display<'_>,
    canceled: &AtomicBool,
) -> Option<PyErr> {
    let mut raised = None;
    loop {
        let looked = match py.detach(|| locked(received).recv_timeout(LOOK)) {
            Ok(event) => display.handle(event),
            Err(RecvTimeoutError::Timeout) => display.catch_up(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(error) = looked.and_then(|()| py.check_signals()) {
            canceled.store(true, Ordering::Relaxed);
            // A second interrupt cannot stop a thread any sooner.
            raised.get_or_insert(error);
        }
    }
    if let Err(error) = display.catch_up() {
        raised.get_or_insert(error);
    }
    raised
}

/// What Python raised, with advice on how to go on if it was an interrupt.
fn interrupted(py: Python<'_>, raised: PyErr, failure: Option<Failure>) -> PyErr {
    match failure {
        Some(Failure::Interrupted(Some(advice))) if raised.is_instance_of::<PyKeyboardInterrupt>(py) => {
            failure::interruption(py, &advice)
        }
        _ => raised,
    }
}
