//! Whole training steps of a randomly initialized model, one for each line on standard input, so that another program
//! can take turns with it:
//!
//!     yes | head -5 | cargo run --release -p retune --example steps -- resnet18 64 32 all adamw
//!
//! The arguments are the architecture, the images' side, the images in a batch, the first and the last layer trained
//! (`layer1:head`; one name trains that layer alone, and `all` everything), the optimizer (`sgd` or `adamw`) and, to compare,
//! `plain` to leave out the CPU kernels, `avx2` or `avx512` to keep them to it, or `bfloat16` to multiply in it. A step is
//! what `fit` does with a batch that is loaded: forward, backward, update. Prints the milliseconds of each step and, at the end, of its parts.
//!
//! `cuda` and `wgpu` compute on a graphics device, in a build with the feature. A line then stands for 16 steps, after which
//! the host waits for the device, as `fit` does; what is printed is the mean of a step.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use retune::device::Numbers;
use retune::loading::Batch;
use retune::models::Model;
use retune::models::config::ModelConfig;
use retune::pixels::preprocess::Preprocessing;
use retune::train::optimizer::{Optimizer, OptimizerKind, OptimizerOptions};
use retune::train::options::Precision;
use retune::train::{Differentiation, loss_gradients};
use retune_kernels::Instructions;

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, side, batch, layers, kind, rest @ ..] = arguments.as_slice() else {
        return Err("give an architecture, a side, a batch size, layers and an optimizer".into());
    };
    if rest.iter().any(|argument| argument == "plain") {
        retune_kernels::operators::set_enabled(false);
    }
    for (name, instructions) in [("avx2", Instructions::Avx2), ("avx512", Instructions::Avx512)] {
        if rest.iter().any(|argument| argument == name) && !retune_kernels::keep_to(instructions) {
            return Err(format!("this processor has no {name}").into());
        }
    }
    let rounded = rest.iter().any(|argument| argument == "bfloat16");
    let precision = if rounded { Precision::Bfloat16 } else { Precision::Float32 };
    let (side, count) = (side.parse::<u32>()?, batch.parse::<usize>()?);
    let name = rest.iter().find(|argument| ["cuda", "wgpu"].contains(&argument.as_str()));
    let device = retune::device::by_name(name.map_or("cpu", String::as_str))?;
    let steps = if name.is_some() { 16 } else { 1 };
    let classes: Vec<String> = (0..CLASSES).map(|class| class.to_string()).collect();
    let config = ModelConfig::of_architecture(architecture)?.with_classes(&classes);
    let preprocessing = Preprocessing { height: side, width: side, ..config.preprocessing().clone() };
    let config = config.with_preprocessing(preprocessing);
    let mut model = Model::initialize(config, 0, &device)?;
    let layers = match layers.split_once(':').unwrap_or((layers, layers)) {
        ("all", _) => 0..model.blocks().len(),
        (first, last) => model.network().find_blocks(first)?.start..model.network().find_blocks(last)?.end,
    };
    let trained: Vec<bool> = model.network().specs.iter().map(|spec| layers.contains(&spec.block)).collect();
    let batch = random_batch(count, side as usize);
    let options = OptimizerOptions { kind: kind.parse::<OptimizerKind>()?, ..OptimizerOptions::default() };
    let mut optimizer = Optimizer::new(options, trained.len());
    let learning_rates = vec![1e-4; trained.len()];

    let what = Differentiation { precision, ..Differentiation::new(&trained) };
    let mut update_time = 0.0;
    for line in std::io::stdin().lock().lines() {
        line?;
        let started = Instant::now();
        let mut last = None;
        for _ in 0..steps {
            let found = loss_gradients(&model, &batch, &what);
            let differentiated = Instant::now();
            optimizer.step(&mut model.parameters, found.gradients, &learning_rates);
            update_time = differentiated.elapsed().as_secs_f64() * 1e3;
            last = Some(found.numbers);
        }
        // A device that fails leaves out what follows; its numbers show it.
        let [loss, _] = Numbers::fetch(last.into_iter().collect())?[0];
        device.sync()?;
        println!("{:.2}", started.elapsed().as_secs_f64() * 1e3 / f64::from(steps));
        if !loss.is_finite() {
            return Err(format!("the loss is {loss}").into());
        }
        std::io::stdout().flush()?;
    }
    eprintln!("the last update took {update_time:.2} ms");
    Ok(())
}

fn random_batch(n: usize, side: usize) -> Batch {
    // Any values that are not all alike will do.
    let images = (0..n * 3 * side * side).map(|index| (index as f32 * 0.618).fract() * 4.0 - 2.0).collect();
    let labels = (0..n).map(|index| index % CLASSES).collect();
    Batch {
        number: 0,
        images,
        labels,
        indices: (0..n).collect(),
        targets: None,
        mixed: false,
        n,
        height: side,
        width: side,
    }
}
