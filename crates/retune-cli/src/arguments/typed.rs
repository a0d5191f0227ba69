//! Options that were typed and that what they were typed with has no use for: an experiment that is silently another one
//! than was asked for is worse than none.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use retune::methods::Method;

/// What may be typed beside `--resume`: all else is as it was when the run or comparison began.
const BESIDE_RESUME: [&str; 8] = ["resume", "no_report", "jobs", "json", "quiet", "verbose", "threads", "kernels"];

/// Options of methods, and the methods that they are for.
const OF_METHODS: [(&str, &[Method]); 15] = [
    ("granularity", &[Method::Discriminative, Method::Ulmfit]),
    ("decay", &[Method::Discriminative, Method::Ulmfit]),
    ("decay_min", &[Method::Discriminative]),
    ("lr_range", &[Method::Discriminative]),
    ("reinit", &[Method::Discriminative]),
    ("unfreeze", &[Method::Ulmfit]),
    ("rgn_batches", &[Method::AutoRgn, Method::AutoSnr]),
    ("rgn_granularity", &[Method::AutoRgn, Method::AutoSnr]),
    ("snr_mode", &[Method::AutoSnr]),
    ("snr_threshold", &[Method::AutoSnr]),
    ("anchor", &[Method::L2Sp]),
    ("anchor_head", &[Method::L2Sp]),
    ("lora_rank", &[Method::Lora]),
    ("lora_alpha", &[Method::Lora]),
    ("alpha", &[Method::WiseFt]),
];

/// Refuses options that would change nothing.
///
/// # Errors
/// The first such option, and why it has no use.
pub fn check(command: &Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let Some(command) = command.find_subcommand(name) else { return Ok(()) };
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let ids = || command.get_arguments().map(|argument| argument.get_id().as_str()).filter(|id| typed(id));
    let long = |id: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == id);
        argument.and_then(|argument| argument.get_long()).unwrap_or(id).to_owned()
    };
    let refuse = |reason: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, reason));
    let resumes = command.get_arguments().any(|argument| argument.get_id() == "resume") && typed("resume");
    if resumes && let Some(other) = ids().find(|id| !BESIDE_RESUME.contains(id)) {
        return refuse(format!("--{} cannot change what --resume goes on with; leave it out", long(other)));
    }
    let plan = command.get_arguments().any(|argument| argument.get_id() == "plan") && typed("plan");
    let options = command.get_groups().find(|group| group.get_id() == "MethodOptionArguments");
    let of_method = |id: &str| id == "method" || options.is_some_and(|group| group.get_args().any(|own| own == id));
    if plan && let Some(other) = ids().find(|id| of_method(id)) {
        return refuse(format!(
            "--{} has no use beside --plan, whose file says all of that; leave it out",
            long(other)
        ));
    }
    if let Ok(Some(method)) = matches.try_get_one::<Method>("method") {
        let useless =
            OF_METHODS.iter().find(|(id, methods)| ids().any(|typed| typed == *id) && !methods.contains(method));
        if let Some((id, methods)) = useless {
            let methods = methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(" and ");
            let id = long(id);
            return refuse(format!("--{id} has no use with --method {method}, it is for {methods}; leave it out"));
        }
    }
    Ok(())
}
