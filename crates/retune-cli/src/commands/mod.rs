//! One file for each subcommand: its own options, the library calls it makes, what it prints.

mod advise;
mod audit;
mod cka;
mod compare;
mod completions;
mod demo;
mod eval;
mod features;
mod fit;
mod layers;
mod lr_find;
mod models;
mod plan;
mod predict;
mod reference;
mod report;
mod soup;
mod umap;
mod verify;
mod wise_ft;

use clap::Subcommand;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Console;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Try the methods on shifted data that the program carries: no model, no images needed
    Demo(demo::DemoArguments),
    /// Fine-tune a model on your images
    Fit(Box<fit::FitArguments>),
    /// Find out which layers to tune for your images, from a few batches
    Advise(Box<advise::AdviseArguments>),
    /// Compare methods on the same data: a table with intervals, in distribution and under shift
    Compare(Box<compare::CompareArguments>),
    /// Show what a method would train, how fast and for how long
    Plan(Box<plan::PlanArguments>),
    /// Find learning rates by the range test
    LrFind(Box<lr_find::LrFindArguments>),
    /// Evaluate models between the start and the end of a run, in weights
    WiseFt(wise_ft::WiseFtArguments),
    /// Average the weights of several runs
    Soup(soup::SoupArguments),
    /// Write one HTML page from one or more runs
    Report(report::ReportArguments),
    /// Measure a model's accuracy and loss on labelled images
    Eval(Box<eval::EvalArguments>),
    /// Check that finished runs still are what they say: files, frozen tensors, accuracies
    Verify(verify::VerifyArguments),
    /// Name the most likely classes of images
    Predict(Box<predict::PredictArguments>),
    /// Write the features of images at a layer to a file
    Features(Box<features::FeaturesArguments>),
    /// Map features in two dimensions
    Umap(Box<umap::UmapArguments>),
    /// Measure how alike representations are: between ways of resizing, layers or models
    Cka(Box<cka::CkaArguments>),
    /// Measure what changes if images are resized otherwise than in training
    Audit(Box<audit::AuditArguments>),
    /// List a model's stages and blocks
    Layers(Box<layers::LayersArguments>),
    /// List the architectures that can be built, and the hub's weights for them
    Models(models::ModelsArguments),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArguments),
    /// Print tables of the manual in Markdown
    #[command(hide = true)]
    Reference(reference::ReferenceArguments),
}

/// Runs what the user asked for.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    retune_kernels::operators::set_enabled(arguments.global.kernels != "plain");
    if arguments.global.kernels == "avx2" && !retune_kernels::keep_to_avx2() {
        return Err(Failure::Mistake("--kernels avx2 needs a processor that has AVX2".to_owned()));
    }
    if let Some(threads) = arguments.global.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| Failure::Mistake(format!("cannot start {threads} threads: {error}")))?;
    }
    interrupt::listen(!arguments.global.quiet)?;
    let console = Console::new(&arguments.global);
    match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments, &console),
        Command::Fit(arguments) => fit::run(&arguments, &console),
        Command::Advise(arguments) => advise::run(&arguments, &console),
        Command::Compare(arguments) => compare::run(&arguments, &console),
        Command::Plan(arguments) => plan::run(&arguments, &console),
        Command::LrFind(arguments) => lr_find::run(&arguments, &console),
        Command::WiseFt(arguments) => wise_ft::run(&arguments, &console),
        Command::Soup(arguments) => soup::run(&arguments, &console),
        Command::Report(arguments) => report::run(&arguments, &console),
        Command::Eval(arguments) => eval::run(&arguments, &console),
        Command::Verify(arguments) => verify::run(&arguments, &console),
        Command::Predict(arguments) => predict::run(&arguments, &console),
        Command::Features(arguments) => features::run(&arguments, &console),
        Command::Umap(arguments) => umap::run(&arguments, &console),
        Command::Cka(arguments) => cka::run(&arguments, &console),
        Command::Audit(arguments) => audit::run(&arguments, &console),
        Command::Layers(arguments) => layers::run(&arguments, &console),
        Command::Models(arguments) => models::run(&arguments, &console),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Reference(arguments) => reference::run(&arguments),
    }
}
