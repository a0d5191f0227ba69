//! `retune report`: writes an HTML page on one or more runs.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use clap::Args;
use retune::compare::page::{self, RunOf};
use retune::compare::runner;
use retune::monitor::Monitor;
use retune::report::findings::Command;
use retune::report::page::Page;
use retune::report::pictures;
use retune::report::run_page::RunRecord;
use retune::run::command::has_switch;
use retune::run::map;
use retune::run::{self, Summary};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Console;

/// Name of the page in a run's or comparison's directory.
pub const REPORT_FILE: &str = "report.html";

/// Options of `retune report`.
#[derive(Args)]
pub struct ReportArguments {
    /// Finished runs, or the directory of a comparison
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Page to write [default: report.html in the run's or comparison's directory, or in the current directory for
    /// several runs]
    #[arg(short, long, value_name = "PAGE.html")]
    out: Option<PathBuf>,
    /// Add a heat map of the result of `retune cka --out FILE.json`; repeatable
    #[arg(long = "cka", value_name = "FILE.json")]
    similarities: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Written<'a> {
    report: &'a Path,
}

/// Writes the page and prints its path. For a single run without `--out`, also draws the run's pictures.
pub fn run(arguments: &ReportArguments, console: &Console) -> Result<(), Failure> {
    let (mut page, default) = match arguments.runs.as_slice() {
        [only] if runner::is_comparison(only) => (of_comparison(only, console)?, only.join(REPORT_FILE)),
        [only] => (of_run(only, console)?, only.join(REPORT_FILE)),
        several => (of_runs(several, console)?, PathBuf::from(REPORT_FILE)),
    };
    for file in &arguments.similarities {
        page.sections.push(retune::report::similarity::section(file)?);
    }
    let out = arguments.out.as_ref().unwrap_or(&default);
    page.save(out)?;
    if let ([run], None) = (arguments.runs.as_slice(), &arguments.out)
        && !runner::is_comparison(run)
        && let Some(summary) = run::finished(run)?
        && let Some(missing) = pictures::draw(run, &summary).first()
    {
        return Err(Failure::Mistake(missing.to_string()));
    }
    console.print(&Written { report: out }, || format!("report: {}", out.display()))
}

/// The page of a finished run, with a map of its images.
fn of_run(run: &Path, console: &Console) -> Result<Page, Failure> {
    map::draw(run, &console.progress)?;
    Ok(RunRecord::read(run)?.page())
}

/// Whether what goes on began with `--no-report`, which nobody has to say again.
pub fn began_without_report(resumed: Option<&Path>) -> bool {
    let command = resumed.and_then(|directory| run::read_command(directory).ok().flatten());
    command.is_some_and(|command| has_switch(&command, "no-report"))
}

/// Says where the page is, after results that stand above it. Pictures take seconds, so the results go first; where they could not be
/// printed, the page is there all the same.
///
/// # Errors
/// An interruption of the page; what printing failed in.
pub fn after_results(
    printed: Result<(), Failure>,
    page: Result<Option<PathBuf>, Failure>,
    console: &Console,
) -> Result<(), Failure> {
    let page = page?;
    printed?;
    page.map_or(Ok(()), |page| console.add_line(&format!("report: {}", page.display())))
}

/// Writes the page and the pictures of a run that has just finished, and returns the page's path. A failure is reported
/// and does not fail the run.
///
/// # Errors
/// An interruption.
pub fn after_run(run: &Path, summary: &Summary, console: &Console) -> Result<Option<PathBuf>, Failure> {
    let again = written_again(run);
    let page = run.join(REPORT_FILE);
    let written = made_or_told(&page, &again, console, || Ok(of_run(run, console)?.save(&page)?))?;
    let missing = pictures::draw(run, summary);
    if let Some(first) = missing.first() {
        let others =
            if missing.len() > 1 { format!(" ({} more are also missing)", missing.len() - 1) } else { String::new() };
        console.warn(&format!("note: {first}{others}; {again}"));
    }
    Ok(written.then_some(page))
}

/// Writes the page of a comparison that has just finished, as [`after_run`] does.
///
/// # Errors
/// As [`after_run`].
pub fn after_comparison(directory: &Path, console: &Console) -> Result<Option<PathBuf>, Failure> {
    let again = written_again(directory);
    let page = directory.join(REPORT_FILE);
    let written = made_or_told(&page, &again, console, || Ok(of_comparison(directory, console)?.save(&page)?))?;
    Ok(written.then_some(page))
}

/// After results that get no page: says that an earlier page in the directory lacks some of `runs`.
pub fn tell_of_earlier_page<'a>(directory: &Path, mut runs: impl Iterator<Item = &'a Path>, console: &Console) {
    let page = directory.join(REPORT_FILE);
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let Some(of_page) = written(&page) else { return };
    if runs.any(|run| written(&run.join(run::SUMMARY_FILE)).is_some_and(|of_run| of_run > of_page)) {
        console.warn(&format!("note: {} shows earlier results; {}", page.display(), written_again(directory)));
    }
}

/// Stops where the user asks for it, between the parts of a report.
fn stop_if_asked(again: &str, console: &Console) -> Result<(), Failure> {
    let advice = || Failure::Interrupted(Some(format!("the results are complete, and {again}")));
    if console.progress.canceled() { Err(advice()) } else { Ok(()) }
}

/// How to write what is missing.
fn written_again(directory: &Path) -> String {
    format!("`{}` writes the report", Command::new("report").operand(&directory.display().to_string()))
}

/// Whether `make` made the page at `path`. Failures are reported, even defects; only an interruption is passed on.
fn made_or_told(
    path: &Path,
    again: &str,
    console: &Console,
    make: impl FnOnce() -> Result<(), Failure>,
) -> Result<bool, Failure> {
    stop_if_asked(again, console)?;
    // Nothing that `make` has touched is used after a panic, and the panic hook has said what it was.
    let made = panic::catch_unwind(AssertUnwindSafe(make));
    stop_if_asked(again, console)?;
    let reason = match made {
        Ok(Ok(())) => return Ok(true),
        Ok(Err(failure)) => failure.into_reason()?,
        Err(_) => "a defect of retune".to_owned(),
    };
    console.warn(&format!("note: {} is not written: {reason}; {again}", path.display()));
    Ok(false)
}

fn of_comparison(directory: &Path, console: &Console) -> Result<Page, Failure> {
    runner::check_finished(directory)?;
    let (comparison, runs) = runner::read(directory)?;
    let (mut seen, mut mapped) = (HashSet::new(), 0);
    let read = |(label, run): (String, PathBuf)| {
        let record = RunRecord::read(&run)?;
        // A page shows the map of each method's first run, as far as there is room for them.
        if !seen.insert(label.clone()) {
            return Ok(RunOf { label, record });
        }
        let images = record.sampled_images();
        if !page::has_room_for_map(mapped, images) {
            return Ok(RunOf { label, record });
        }
        if console.progress.canceled() {
            return Err(Failure::Interrupted(None));
        }
        mapped += images;
        map::draw(&run, &console.progress)?;
        Ok(RunOf { label, record: RunRecord::read(&run)? })
    };
    let runs = runs.into_iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let command = run::read_command(directory)?;
    Ok(page::page(&comparison, &runs, command.as_deref()))
}

fn of_runs(paths: &[PathBuf], console: &Console) -> Result<Page, Failure> {
    let read = |run: &PathBuf| {
        map::draw(run, &console.progress)?;
        Ok(RunRecord::read(run)?)
    };
    let records = paths.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let key = |record: &RunRecord| (record.summary.method.clone(), record.summary.seed);
    // Two runs of one method and seed differ in something else, and only their names can tell them apart.
    let twice =
        records.iter().enumerate().any(|(index, one)| records[..index].iter().any(|other| key(one) == key(other)));
    let label = |(record, path): (RunRecord, &PathBuf)| RunOf {
        label: if twice { path.display().to_string() } else { record.summary.method.clone() },
        record,
    };
    let runs: Vec<RunOf> = records.into_iter().zip(paths).map(label).collect();
    if let Some(note) = page::different_images(&runs) {
        console.progress.message(&format!("note: {note}"));
    }
    Ok(page::page(&page::comparison_of(&runs), &runs, None))
}
