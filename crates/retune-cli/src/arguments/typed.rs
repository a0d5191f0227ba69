//! Options that were typed and that what they were typed with has no use for: an experiment that is silently another one
//! than was asked for is worse than none. What belongs to other methods is refused; what all methods of gradient descent
//! share, and loops over methods pass along, gets a note.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command};
use retune::methods::{self, DeclaredOption, Method};
use retune::train::optimizer::OptimizerKind;
use retune::train::options::Keep;
use retune::wording::listed;

use super::given::GivenOptions;
use super::method::{MethodChoice, MethodOptionArguments};

/// What may be typed beside `--resume`: all else is as it was when the run or comparison began.
const BESIDE_RESUME: [&str; 10] =
    ["resume", "no_report", "log_to", "shard", "jobs", "json", "quiet", "verbose", "threads", "kernels"];

/// Options of gradient descent, for which a method without any has no use.
const OF_DESCENT: [&str; 28] = [
    "budget",
    "epochs",
    "lr",
    "search",
    "patience",
    "schedule",
    "warmup_epochs",
    "warmup",
    "ema",
    "swa_from",
    "no_shuffle",
    "accumulate",
    "sampling",
    "drop_path",
    "label_smoothing",
    "augment",
    "mixup",
    "cutmix",
    "optimizer",
    "momentum",
    "weight_decay",
    "clip_norm",
    "bn",
    "save",
    "checkpoint_every",
    "precision",
    "half_activations",
    "views",
];

/// Refuses options of methods that would change nothing; what is to be said of other options that change nothing.
///
/// # Errors
/// The first such option, and why it has no use.
pub fn check(command: &Command, matches: &ArgMatches, given: &GivenOptions) -> Result<Vec<String>, clap::Error> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let Some(command) = command.find_subcommand(name) else { return Ok(Vec::new()) };
    let typed = |id: &str| given.is_typed(id);
    let of_command = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
    let ids = || command.get_arguments().map(|argument| argument.get_id().as_str()).filter(|id| typed(id));
    let long = |id: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == id);
        argument.and_then(|argument| argument.get_long()).unwrap_or(id).to_owned()
    };
    let refuse = |reason: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, reason));
    let resumes = of_command("resume") && typed("resume");
    if resumes && let Some(other) = ids().find(|id| !BESIDE_RESUME.contains(id)) {
        return refuse(format!("--{} cannot change what --resume goes on with; leave it out", long(other)));
    }
    let of_plan = |is_given: bool| of_command("plan") && is_given;
    let of_methods = MethodOptionArguments::augment_args(Command::new("methods"));
    let of_method = |id: &str| id == "method" || of_methods.get_arguments().any(|own| own.get_id() == id);
    if of_plan(typed("plan"))
        && let Some(other) = ids().find(|id| of_method(id))
    {
        return refuse(format!(
            "--{} has no use beside --plan, whose file says all of that; leave it out",
            long(other)
        ));
    }
    let methods = methods(matches);
    let goes_on = of_command("from") && command.get_name() == "fit" && typed("from");
    if methods.is_empty() || of_plan(given.has("plan")) || goes_on {
        return Ok(Vec::new());
    }
    let declared = methods::declared_options();
    let option = if methods.len() == 1 && command.get_name() != "compare" { "--method" } else { "--methods" };
    let asked = || format!("{option} {}", methods::names(&methods, ","));
    let without_use = |option: &&DeclaredOption| {
        typed(option.declaration.name) && !option.methods.iter().any(|(method, _)| methods.contains(method))
    };
    if let Some(option) = declared.iter().filter(|option| of_command(option.declaration.name)).find(without_use) {
        let takers = methods::names(option.methods.iter().map(|(method, _)| method), " and ");
        let flag = long(option.declaration.name);
        return refuse(format!("--{flag} has no use with {}, it is for {takers}; leave it out", asked()));
    }
    let mut notes = Vec::new();
    let none_descends = methods.iter().all(|method| !method.descends);
    if none_descends {
        let useless: Vec<String> = OF_DESCENT
            .iter()
            .filter(|id| ids().any(|typed| typed == **id))
            .map(|id| format!("--{}", long(id)))
            .collect();
        notes.extend(has_no_use(&useless, &format!("{}, which solves for the head alone", asked())));
    }
    let optimizer = matches.try_get_one::<OptimizerKind>("optimizer").ok().flatten();
    if !none_descends && typed("momentum") && optimizer != Some(&OptimizerKind::Sgd) {
        notes.extend(has_no_use(&["--momentum".to_owned()], "an optimizer other than sgd"));
    }
    let save = matches.try_get_one::<Keep>("save").ok().flatten();
    if !none_descends && typed("patience") && save == Some(&Keep::Last) {
        notes.extend(has_no_use(&["--patience".to_owned()], "--save last"));
    }
    let rates = matches.try_get_many::<f64>("lr").ok().flatten().map(Iterator::count);
    let soups = methods.iter().all(|method| method.averages_rates);
    if soups && rates == Some(1) {
        notes.push("a soup of one learning rate is no average; name several with --lr A,B,C".to_owned());
    }
    Ok(notes)
}

/// The methods that a command is to try; none of a command that trains by no method.
fn methods(matches: &ArgMatches) -> Vec<Method> {
    if let Ok(Some(method)) = matches.try_get_one::<Method>("method") {
        return vec![*method];
    }
    let Ok(Some(choices)) = matches.try_get_many::<MethodChoice>("methods") else { return Vec::new() };
    choices.flat_map(MethodChoice::methods).collect()
}

/// That options have no use with something, if there are any.
fn has_no_use(options: &[String], with: &str) -> Option<String> {
    let has = match options {
        [] => return None,
        [_] => "has",
        _ => "have",
    };
    Some(format!("{} {has} no use with {with}", listed(options)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use crate::arguments::config::completed;
    use clap::CommandFactory;

    /// What is said, or why the line is refused.
    fn checked(line: &str) -> Result<Vec<String>, String> {
        let mut command = Arguments::command();
        let words: Vec<_> = std::iter::once("retune").chain(line.split_whitespace()).map(Into::into).collect();
        let matches = command.try_get_matches_from_mut(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let (matches, typed) = completed(&mut command, matches, words).unwrap();
        check(&command, &matches, &typed).map_err(|error| error.to_string())
    }

    #[test]
    fn options_that_descent_shares_get_a_note_with_a_linear_probe() {
        let notes = checked("fit --model M --data D --out R --method lp --epochs 3 --lr 0.1 --bn train").unwrap();
        let expected = "--epochs, --lr, and --bn have no use with --method lp, which solves for the head alone";
        assert_eq!(notes, [expected]);
        assert_eq!(checked("fit --model M --data D --out R --method lp --seed 3").unwrap(), [""; 0]);
        assert_eq!(checked("fit --model M --data D --out R --method lp-ft --epochs 3").unwrap(), [""; 0]);
        assert_eq!(checked("compare --model M --data D --out R --methods lp,ft --epochs 3").unwrap(), [""; 0]);
        let notes = checked("compare --model M --data D --out R --methods lp --clip-norm 1").unwrap();
        assert_eq!(notes, ["--clip-norm has no use with --methods lp, which solves for the head alone"]);
    }

    #[test]
    fn no_option_of_methods_goes_beside_a_plan() {
        for option in ["--lr 1", "--epochs 2", "--decay 0.5"] {
            let error = checked(&format!("fit --model M --data D --out R --plan P {option}")).unwrap_err();
            assert!(error.contains("has no use beside --plan"), "{option}: {error}");
        }
    }

    #[test]
    fn options_of_other_methods_are_refused() {
        for line in [
            "fit --model M --data D --out R --method ft --granularity stage",
            "plan --model M --method surgical --first stem --decay 0.5",
            "compare --model M --data D --out R --methods lp,surgical:stem..layer1 --granularity tensor",
        ] {
            let error = checked(line).unwrap_err();
            assert!(
                error.contains("has no use with") && error.contains("discriminative and ulmfit"),
                "{line}: {error}"
            );
        }
        for methods in ["all", "lp,ulmfit", "discriminative:layer1..layer2"] {
            let line = format!("compare --model M --data D --out R --methods {methods} --granularity tensor");
            assert_eq!(checked(&line).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn momentum_without_sgd_and_a_soup_of_one_are_told() {
        let notes = checked("fit --model M --data D --out R --method ft --momentum 0.5").unwrap();
        assert_eq!(notes, ["--momentum has no use with an optimizer other than sgd"]);
        assert_eq!(checked("fit --model M --data D --out R --optimizer sgd --momentum 0.5").unwrap(), [""; 0]);
        let notes = checked("fit --model M --data D --out R --method uniform-soup --lr 0.1").unwrap();
        assert!(notes[0].contains("a soup of one learning rate"), "{notes:?}");
        assert_eq!(checked("fit --model M --data D --out R --method uniform-soup --lr 0.1,0.2").unwrap(), [""; 0]);
    }
}
