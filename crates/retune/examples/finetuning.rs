//! Fine-tune one pretrained model by each method, and compare accuracy in distribution with accuracy under shift.
//!
//!     cargo run --release -p retune --example finetuning
//!
//! Everything is embedded: a small ResNet, pretrained on Fashion-MNIST, and three groups of garments to fine-tune it to.
//! Training shows some kinds of garments of each group; the shifted images are of other kinds of the same groups.

use std::error::Error;

use retune::compare::{Comparison, MethodRow, table};
use retune::fit::summarize;
use retune::methods::layers::LayerSelection;
use retune::methods::{Method, MethodOptions};
use retune::models::HeadInitialization;
use retune::monitor::Silent;
use retune::train::options::TrainOptions;
use retune::train::{Shared, Trainer};

const SEED: u64 = 0;
const METHODS: [Method; 8] = [
    Method::Lp,
    Method::Ft,
    Method::LpFt,
    Method::Surgical,
    Method::AutoRgn,
    Method::AutoSnr,
    Method::Discriminative,
    Method::Ulmfit,
];

fn main() -> Result<(), Box<dyn Error>> {
    // A task is images to train on, images like them ("test") and images from after a shift ("shifted").
    let task = retune::demo::subpopulation_shift()?;
    // Part of the training images is held out: it chooses learning rates and epochs. The other two sets choose nothing,
    // so what they say at the end is fair.
    let data = task.data(SEED)?;
    println!("{}: {}\n{} images to train on\n", task.name, task.title, data.train.len());

    // A model is an ordered list of blocks, from the input to the classifier, the head. The pretrained head knows ten
    // garments; three groups need a new one. It starts at zero, so that it favours no class.
    let model = retune::demo::backbone()?.with_classes(&data.train.classes, HeadInitialization::Zeros, SEED)?;
    let blocks: Vec<&str> = model.blocks().iter().map(|block| block.name.as_str()).collect();
    println!("blocks: {}\n", blocks.join(" → "));

    // What the methods have in common. Of several learning rates, the held-out images choose.
    let options = TrainOptions { seed: SEED, batch_size: 64, ..TrainOptions::default() };
    // Methods that keep some blocks frozen run the images through those only once, and share the result.
    let shared = Shared::default();

    let mut rows = Vec::new();
    for method in METHODS {
        // Surgical fine-tuning is told which layers to tune; for new kinds of the same groups, middle ones are good.
        let layers = match method {
            Method::Surgical => {
                let [first, last] = task.surgical.map(|layer| Some(layer.to_owned()));
                LayerSelection::Range { first, last }
            }
            _ => LayerSelection::All,
        };
        let method_options =
            MethodOptions { epochs: 4, learning_rates: vec![1e-3, 3e-3], layers, ..MethodOptions::default() };

        // A method is nothing but a plan over the blocks: phases, each with the blocks that train and a rate for each.
        let plan = method.plan(model.blocks(), &method_options)?;
        let phases: Vec<&str> = plan.phases.iter().map(|phase| phase.name.as_str()).collect();
        println!("{method}: {} ({})", phases.join(", then "), method.summary());

        // The trainer runs any plan and does not know which method made it. Every method starts from the same model.
        let trainer = Trainer {
            plan: &plan,
            options: &options,
            train: &data.train,
            validation: &data.validation,
            // Nothing is kept on disk: no metrics, no checkpoints to go on from.
            directory: None,
            shared: Some(&shared),
            monitor: &Silent,
        };
        let trained = trainer.run(model.clone(), false)?;

        // Only now are "test" and "shifted" looked at.
        let summary = summarize(&plan, &options, &trained, &data, &Silent)?;
        rows.push(MethodRow { label: method.to_string(), runs: [(SEED, summary)].into() });
    }

    // The set in distribution stands first, then what accuracy is left under shift, with 95 % intervals over images.
    println!("\n{}", table::text(&Comparison::new(rows, &["shifted".to_owned()])));
    Ok(())
}
