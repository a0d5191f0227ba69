//! One file for each subcommand: its own options, the library calls it makes, what it prints.

mod advise;
mod audit;
mod cka;
mod compare;
mod completions;
mod demo;
mod eval;
mod export;
mod features;
mod fit;
mod knn;
mod layers;
mod lr_find;
mod man;
mod merge_features;
mod models;
mod plan;
mod predict;
mod probe;
mod reference;
mod report;
mod soup;
mod umap;
mod verify;
mod wise_ft;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Console;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Try every method on embedded data with a shift; needs no model and no images
    Demo(demo::DemoArguments),
    /// Fine-tune a model on your images
    Fit(Box<fit::FitArguments>),
    /// Estimate which layers to tune for your images
    Advise(Box<advise::AdviseArguments>),
    /// Compare methods on the same data, in distribution and under shift
    Compare(Box<compare::CompareArguments>),
    /// Show what a method would train, before anything trains
    Plan(Box<plan::PlanArguments>),
    /// Find a learning rate with the range test
    LrFind(Box<lr_find::LrFindArguments>),
    /// Interpolate between the weights at the start and at the end of a run
    WiseFt(wise_ft::WiseFtArguments),
    /// Average the weights of several runs
    Soup(soup::SoupArguments),
    /// Write an HTML report of one or more runs
    Report(report::ReportArguments),
    /// Evaluate a model on labeled images
    Eval(Box<eval::EvalArguments>),
    /// Verify finished runs: their files, frozen tensors, and accuracies
    Verify(verify::VerifyArguments),
    /// Predict the classes of images
    Predict(Box<predict::PredictArguments>),
    /// Write a model for other runtimes, as ONNX
    Export(Box<export::ExportArguments>),
    /// Extract the features of images at a layer
    Features(Box<features::FeaturesArguments>),
    /// Put the shards of an extraction together
    MergeFeatures(merge_features::MergeFeaturesArguments),
    /// Judge features by the votes of the nearest neighbors
    Knn(knn::KnnArguments),
    /// Judge features by a linear probe
    Probe(probe::ProbeArguments),
    /// Map features in two dimensions with UMAP
    Umap(Box<umap::UmapArguments>),
    /// Compare representations with CKA, across resizing filters, layers, or models
    Cka(Box<cka::CkaArguments>),
    /// Measure what changes if images are prepared differently from training
    Audit(Box<audit::AuditArguments>),
    /// List a model's stages and blocks
    Layers(Box<layers::LayersArguments>),
    /// List the available architectures and their weights on the hub
    Models(models::ModelsArguments),
    /// Print a shell completion script
    Completions(completions::CompletionsArguments),
    /// Print the manual page
    Man(man::ManArguments),
    /// Print tables of the manual in Markdown
    #[command(hide = true)]
    Reference(reference::ReferenceArguments),
}

/// Runs what the user asked for.
pub fn run(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Demo(arguments) => demo::run(&arguments, console),
        Command::Fit(arguments) => fit::run(&arguments, console),
        Command::Advise(arguments) => advise::run(&arguments, console),
        Command::Compare(arguments) => compare::run(&arguments, console),
        Command::Plan(arguments) => plan::run(&arguments, console),
        Command::LrFind(arguments) => lr_find::run(&arguments, console),
        Command::WiseFt(arguments) => wise_ft::run(&arguments, console),
        Command::Soup(arguments) => soup::run(&arguments, console),
        Command::Report(arguments) => report::run(&arguments, console),
        Command::Eval(arguments) => eval::run(&arguments, console),
        Command::Verify(arguments) => verify::run(&arguments, console),
        Command::Predict(arguments) => predict::run(&arguments, console),
        Command::Export(arguments) => export::run(*arguments, console),
        Command::Features(arguments) => features::run(&arguments, console),
        Command::MergeFeatures(arguments) => merge_features::run(&arguments, console),
        Command::Knn(arguments) => knn::run(&arguments, console),
        Command::Probe(arguments) => probe::run(&arguments, console),
        Command::Umap(arguments) => umap::run(&arguments, console),
        Command::Cka(arguments) => cka::run(&arguments, console),
        Command::Audit(arguments) => audit::run(&arguments, console),
        Command::Layers(arguments) => layers::run(&arguments, console),
        Command::Models(arguments) => models::run(&arguments, console),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Reference(arguments) => reference::run(&arguments),
    }
}
