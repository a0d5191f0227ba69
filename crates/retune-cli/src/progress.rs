//! Progress on standard error: bars on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use retune::monitor::{MetricsRow, Monitor};
use retune::sources::DataNote;
use retune::wording::printable;

use crate::interrupt;
use crate::output::tell;

/// Less time than this is not worth a word.
const MIN_TOLD: Duration = Duration::from_secs(5);

/// Minimum interval between plain lines of one task.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

const COUNT_BAR: &str = "{prefix} {wide_bar:.cyan/dim} {human_pos}/{human_len} {unit} {rate} {eta} left{whole}";
const BYTES_BAR: &str = "{prefix} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";

/// Shows one task after another.
pub struct Progress {
    display: Display,
    /// Who sees progress in place of standard error, and says when to stop.
    program: Option<Arc<dyn Monitor + Send + Sync>>,
    verbose: bool,
    task: Mutex<Option<Task>>,
    whole: Arc<Mutex<Option<Whole>>>,
    /// Notes on data that have been shown.
    told: Mutex<BTreeSet<String>>,
}

/// How long everything that is planned will take, and when that was judged.
#[derive(Clone, Copy)]
struct Whole {
    judged: Instant,
    left: Duration,
    /// When it was last printed as a line.
    told: Option<Instant>,
}

impl Whole {
    /// What is left now.
    fn left(&self) -> Duration {
        self.left.saturating_sub(self.judged.elapsed())
    }

    /// In words behind what a task says of itself.
    fn in_words(&self) -> String {
        match self.left() {
            left if left < MIN_TOLD => String::new(),
            left => format!(", about {} left in all", HumanDuration(left)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Display {
    Nothing,
    Lines,
    /// By the program that runs the command.
    Program,
    Bars {
        /// Whether a finished bar stays on the screen.
        stay: bool,
    },
}

/// The unit that a task counts.
#[derive(Clone, PartialEq, Eq)]
enum Unit {
    /// Things with a name.
    Count(String),
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads are counted in bytes"))]
    Bytes,
}

struct Task {
    name: String,
    unit: Unit,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// The display that suits standard error and the user's options.
    pub fn on_standard_error(quiet: bool, verbose: bool) -> Self {
        let display = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Display::Nothing,
            (false, true) => Display::Bars { stay: verbose },
            (false, false) => Display::Lines,
        };
        Self { display, program: None, verbose, task: Mutex::new(None), whole: Arc::default(), told: Mutex::default() }
    }

    /// Progress that another program shows.
    pub fn seen_by(program: Arc<dyn Monitor + Send + Sync>, quiet: bool, verbose: bool) -> Self {
        let display = if quiet { Display::Nothing } else { Display::Program };
        Self {
            display,
            program: Some(program),
            verbose,
            task: Mutex::new(None),
            whole: Arc::default(),
            told: Mutex::default(),
        }
    }

    /// Who shows progress, unless that is standard error or nobody.
    fn shown_by(&self) -> Option<&Arc<dyn Monitor + Send + Sync>> {
        self.program.as_ref().filter(|_| self.display == Display::Program)
    }

    /// Reports how much of a file has arrived.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only downloads are counted in bytes"))]
    pub fn bytes(&self, file: &str, received: u64, total: u64) {
        let under_way = self.task().as_ref().is_some_and(|task| task.name == file);
        if !under_way {
            self.begin(file, Unit::Bytes, total);
        }
        self.update(|task| task.done = received);
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        // A poisoned lock must not hide the panic that poisoned it.
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self) -> MutexGuard<'_, Option<Whole>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &str, unit: Unit, total: u64) {
        if self.display == Display::Nothing {
            return;
        }
        self.finish();
        if let Some(program) = self.shown_by() {
            program.start(name, total as usize);
        }
        let whole = Arc::clone(&self.whole);
        let bar = matches!(self.display, Display::Bars { .. }).then(|| new_bar(name, &unit, total, whole));
        let now = Instant::now();
        *self.task() = Some(Task { name: name.to_owned(), unit, total, done: 0, started: now, last_line: now, bar });
    }

    fn update(&self, change: impl FnOnce(&mut Task)) {
        let mut task = self.task();
        let Some(task) = task.as_mut() else { return };
        let before = task.done;
        change(task);
        match &task.bar {
            _ if self.display == Display::Program => {
                let units = task.done.saturating_sub(before) as usize;
                self.shown_by().into_iter().for_each(|program| program.advance(units));
            }
            Some(bar) => bar.set_position(task.done),
            None if task.last_line.elapsed() >= LINE_INTERVAL => {
                task.last_line = Instant::now();
                let whole = self.whole().as_ref().map(Whole::in_words).unwrap_or_default();
                tell(&format!("{}{whole}", task.under_way()));
            }
            None => {}
        }
    }
}

fn new_bar(name: &str, unit: &Unit, total: u64, whole: Arc<Mutex<Option<Whole>>>) -> ProgressBar {
    let template = match unit {
        Unit::Count(_) => COUNT_BAR,
        Unit::Bytes => BYTES_BAR,
    };
    // A unit test parses both templates.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A bar that cannot be drawn must not stop the work.
        let _ = out.write_str(&rate_in_words(state.per_sec()));
    });
    let unit = match unit {
        Unit::Count(unit) => unit.clone(),
        Unit::Bytes => String::new(),
    };
    let style = style.with_key("unit", move |_: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = out.write_str(&unit);
    });
    let style = style.with_key("whole", move |_: &ProgressState, out: &mut dyn fmt::Write| {
        let whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_str(&whole.as_ref().map(Whole::in_words).unwrap_or_default());
    });
    ProgressBar::new(total).with_style(style).with_prefix(name.to_owned())
}

/// Units per second, with a decimal if they are few, or per minute if they are fewer.
fn rate_in_words(rate: f64) -> String {
    match rate {
        0.0..0.5 => format!("{:.1}/min", 60.0 * rate),
        0.5..10.0 => format!("{rate:.1}/s"),
        _ => format!("{}/s", HumanCount(rate as u64)),
    }
}

impl Task {
    fn amount(&self, amount: u64) -> String {
        match self.unit {
            Unit::Count(_) => HumanCount(amount).to_string(),
            Unit::Bytes => HumanBytes(amount).to_string(),
        }
    }

    /// Units per second so far.
    fn rate(&self) -> f64 {
        self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn under_way(&self) -> String {
        let (done, total) = (self.amount(self.done), self.amount(self.total));
        // The rate is unknown until something is done.
        if self.done == 0 {
            return format!("{}: {done} of {total}{}", self.name, self.unit());
        }
        let left = (self.total.saturating_sub(self.done)) as f64 / self.rate().max(1e-9);
        let left =
            Duration::try_from_secs_f64(left).map_or_else(|_| "unknown".to_owned(), |left| Rounded(left).to_string());
        format!("{}: {done} of {total}{}, {}, {left} left", self.name, self.unit(), self.per_second())
    }

    fn finished(&self) -> String {
        let elapsed = Rounded(self.started.elapsed());
        format!("{}: {}{} in {elapsed}, {}", self.name, self.amount(self.done), self.unit(), self.per_second())
    }

    /// What is counted, behind a number.
    fn unit(&self) -> String {
        match &self.unit {
            Unit::Count(unit) if self.total == 1 => format!(" {}", unit.strip_suffix('s').unwrap_or(unit)),
            Unit::Count(unit) => format!(" {unit}"),
            Unit::Bytes => String::new(),
        }
    }

    fn per_second(&self) -> String {
        match self.unit {
            Unit::Count(_) => rate_in_words(self.rate()),
            Unit::Bytes => format!("{}/s", self.amount(self.rate() as u64)),
        }
    }
}

/// A duration in words, with tenths of seconds if it is short.
pub struct Rounded(pub Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) {
            write!(formatter, "{:.1} seconds", self.0.as_secs_f64())
        } else {
            write!(formatter, "{}", HumanDuration(self.0))
        }
    }
}

impl Monitor for Progress {
    fn start(&self, task: &str, total: usize) {
        self.start_counting(task, total, "images");
    }

    fn start_counting(&self, task: &str, total: usize, unit: &str) {
        self.begin(task, Unit::Count(unit.to_owned()), total as u64);
    }

    fn time_left(&self, left: Duration) {
        let mut whole = self.whole();
        let told = whole.as_ref().and_then(|whole| whole.told);
        let now = Instant::now();
        let is_due = left >= MIN_TOLD && told.is_none_or(|told| now - told >= LINE_INTERVAL);
        let tells = is_due && self.display == Display::Lines;
        *whole = Some(Whole { judged: now, left, told: if tells { Some(now) } else { told } });
        if tells {
            tell(&format!("about {} left in all", HumanDuration(left)));
        }
    }

    fn advance(&self, units: usize) {
        self.update(|task| task.done += units as u64);
    }

    fn finish(&self) {
        let Some(task) = self.task().take() else { return };
        match (&task.bar, self.display) {
            (_, Display::Program) => self.shown_by().into_iter().for_each(|program| program.finish()),
            (Some(bar), Display::Bars { stay: true }) => bar.abandon(),
            (Some(bar), _) => bar.finish_and_clear(),
            (None, _) => tell(&task.finished()),
        }
    }

    fn message(&self, text: &str) {
        if self.display == Display::Nothing {
            return;
        }
        let text = printable(text, true);
        if let Some(program) = self.shown_by() {
            return program.message(&text);
        }
        match self.task().as_ref().and_then(|task| task.bar.as_ref()) {
            Some(bar) => bar.suspend(|| tell(&text)),
            None => tell(&text),
        }
    }

    fn detail(&self, text: &str) {
        if self.verbose {
            self.message(text);
        }
    }

    fn measured(&self, row: &MetricsRow) {
        // A program that wants no messages may still want numbers.
        if let Some(program) = &self.program {
            program.measured(row);
        }
    }

    fn note(&self, note: &DataNote) {
        let hint = note.white_level().map(|white| format!(" (--white {white})")).unwrap_or_default();
        let text = format!("note: {note}{hint}");
        // Several runs on the same images have the same notes.
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone());
        if is_new {
            self.message(&text);
        }
    }

    fn canceled(&self) -> bool {
        self.program.as_ref().map_or_else(interrupt::is_requested, |program| program.canceled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [COUNT_BAR, BYTES_BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn the_time_left_in_all_shrinks_and_ends() {
        let judged = Instant::now() - Duration::from_secs(10);
        let whole = |seconds| Whole { judged, left: Duration::from_secs(seconds), told: None };
        assert_eq!(whole(190).in_words(), ", about 3 minutes left in all");
        assert_eq!(whole(9).in_words(), "");
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let started = Instant::now() - Duration::from_secs(20);
        let name = "epoch 1 of 3".to_owned();
        let unit = Unit::Count("images".to_owned());
        let task = Task { name, unit, total: 4000, done: 1000, started, last_line: started, bar: None };
        // 1000 in 20 s leave a minute for the other 3000 (a little more by the time that the test takes).
        assert_eq!(
            task.under_way(),
            "epoch 1 of 3: 1,000 of 4,000 images, 49/s, 60 seconds left"
                .replace("49", &format!("{}", task.rate() as u64))
        );
        assert_eq!(Task { done: 0, ..task }.under_way(), "epoch 1 of 3: 0 of 4,000 images");
        assert_eq!([0.05, 3.12, 1234.0].map(rate_in_words), ["3.0/min", "3.1/s", "1,234/s"]);
    }
}
