//! Fine-tune one pretrained model by each method, and compare accuracy in distribution with accuracy under shift.
//!
//!     cargo run --release -p retune --example finetuning
//!
//! Everything is embedded: a small ResNet, pretrained on Fashion-MNIST, and three groups of garments to fine-tune it to.
//! Training shows some kinds of garments of each group; the shifted images are of other kinds of the same groups.

use std::error::Error;

use retune::compare::{Comparison, MethodRow, table};
use retune::methods::layers::LayerSelection;
use retune::methods::{Layers, Method, MethodOptions};
use retune::models::HeadInitialization;
use retune::monitor::Silent;
use retune::run::summarize;
use retune::train::options::TrainOptions;
use retune::train::{Shared, Trainer};

const SEEDS: [u64; 3] = [0, 1, 2];
const METHODS: [Method; 8] = [
    Method::LP,
    Method::FT,
    Method::LP_FT,
    Method::SURGICAL,
    Method::AUTO_RGN,
    Method::AUTO_SNR,
    Method::DISCRIMINATIVE,
    Method::ULMFIT,
];

fn main() -> Result<(), Box<dyn Error>> {
    // A task is images to train on, images like them ("test") and images from after a shift ("shifted").
    let task = retune::demo::subpopulation_shift()?;
    println!("{}: {}\n", task.name, task.title);

    // A model is an ordered list of blocks, from the input to the classifier, the head. The pretrained head knows ten
    // garments; three groups need a new one. It starts at zero, so that it favors no class.
    let pretrained = retune::demo::backbone()?;
    let model = pretrained.with_classes(&task.train.classes, HeadInitialization::Zeros, 0)?;
    let blocks: Vec<&str> = model.blocks().iter().map(|block| block.name.as_str()).collect();
    println!("the model: {}\n", blocks.join(" → "));

    let mut rows: Vec<MethodRow> = Vec::new();
    for method in METHODS {
        println!("{method}: {}", method.summary);
        rows.push(MethodRow::new(method.to_string()));
    }
    // One seed is an anecdote: the order of images, and which are held out, change what comes out.
    for seed in SEEDS {
        // Part of the training images is held out: it chooses learning rates and epochs. "test" and "shifted" choose
        // nothing, so what they say at the end is fair.
        let data = task.data(seed)?;
        let options = TrainOptions { seed, batch_size: 64, ..TrainOptions::default() };
        // Methods that keep some blocks frozen run the images through those only once, and share the result.
        let shared = Shared::default();
        let trainer = Trainer::new(&data.train, &data.validation).options(options.clone()).sharing(&shared);

        for (method, row) in METHODS.into_iter().zip(&mut rows) {
            // Surgical fine-tuning is told which layers to tune; for new kinds of the same groups, middle ones are good.
            let layers = match method.layers {
                Layers::Needed => {
                    let [first, last] = task.surgical.map(|layer| Some(layer.to_owned()));
                    LayerSelection::Range { first, last }
                }
                Layers::Whole | Layers::Taken => LayerSelection::All,
            };
            let method_options =
                MethodOptions { epochs: 4, learning_rates: vec![1e-3, 3e-3], layers, ..MethodOptions::default() };

            // A method is nothing but a plan over the blocks: phases, each with the blocks that train and their rates.
            let plan = method.plan(model.blocks(), &method_options)?;

            // The trainer runs any plan and does not know which method made it. All start from the same model. Nothing is
            // kept on disk: no metrics, no checkpoints to go on from.
            let trained = trainer.run(&plan, model.clone(), &Silent)?;

            // Only now are "test" and "shifted" looked at.
            row.add(seed, summarize(&plan, &options, &trained, &data, &Silent)?, None);
        }
    }

    // Accuracy in distribution stands first, then what is left of it under shift, each with its interval over seeds.
    println!("\n{}", table::text(&Comparison::new(rows, &["shifted".to_owned()])));
    Ok(())
}
