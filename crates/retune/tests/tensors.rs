//! What a plan freezes inside a block that trains stays, bit for bit, whatever else goes on.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use common::{StopAfter, load, training_images};
use retune::inference::Metric;
use retune::loading::mix::Mix;
use retune::methods::{Method, MethodOptions};
use retune::models::weights::read_tensors;
use retune::models::{Model, Role};
use retune::monitor::{Monitor, Silent};
use retune::pixels::augment::{AugmentPolicy, Augmentation};
use retune::plan::{
    Anchor, Averaging, Combine, Gradient, Interpolation, LowRank, Phase, Plan, PlanError, Schedule, Solver,
};
use retune::train::optimizer::{OptimizerKind, OptimizerOptions};
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, TrainOptions};
use retune::train::{TrainError, Trained, Trainer, metrics};

/// Rates of a plan that trains parts of three blocks: of `layer1.1` two tensors, of `layer2.0` all but two, and the
/// head's bias.
const RATES: [(&str, f64); 6] = [
    ("layer1.1.conv2.weight", 1.0),
    ("layer1.1.bn2.bias", 0.5),
    ("layer2.0", 0.25),
    ("layer2.0.bn1.weight", 0.0),
    ("layer2.0.conv2.weight", 0.0),
    ("fc.bias", 1.0),
];

/// The same without rates: what trains of each block.
fn trains(name: &str) -> bool {
    match name {
        "layer1.1.conv2.weight" | "layer1.1.bn2.bias" | "fc.bias" => true,
        "layer2.0.bn1.weight" | "layer2.0.conv2.weight" => false,
        _ => name.starts_with("layer2.0."),
    }
}

fn gradient() -> Gradient {
    Gradient {
        epochs: 2,
        learning_rates: vec![1e-2],
        schedule: Schedule::Constant,
        rate_factors: RATES.iter().map(|&(name, rate)| (name.to_owned(), rate)).collect(),
        ..Gradient::default()
    }
}

fn plan(gradient: Gradient) -> Plan {
    let phases = vec![Phase { name: "parts of blocks".into(), solver: Solver::Gradient(gradient) }];
    Plan { method: "test".into(), phases }
}

fn options() -> TrainOptions {
    TrainOptions {
        seed: 3,
        batch_size: 8,
        shuffle: true,
        optimizer: OptimizerOptions::default(),
        clip_norm: Some(1.0),
        batch_norm: BatchNormPolicy::Frozen,
        keep: Keep::Last,
        select: Metric::Accuracy,
        label_smoothing: 0.0,
        balanced_classes: false,
        augmentation: Augmentation::new(AugmentPolicy::None),
        mix: Mix::default(),
        checkpoint_every: None,
        cache_bytes: 1 << 20,
        precision: Precision::Float32,
        frozen_precision: Precision::Float32,
        // Nothing is kept, so that the images that a monitor counts are those of steps and of validation.
        activations: ActivationOptions { memory_bytes: 0, ..ActivationOptions::default() },
        threads: 1,
        ..TrainOptions::default()
    }
}

/// A model in whose frozen tensors a sign can be lost.
fn model() -> Model {
    let mut model = load("resnet_basic", Some([32, 32]));
    for index in 0..model.network().specs.len() {
        let mut values = model.parameters.values(index);
        if values.len() > 1 && model.network().specs[index].role != Role::Statistic {
            values[1] = -0.0;
            model.parameters.set_values(index, values);
        }
    }
    model
}

fn train(
    plan: &Plan,
    options: &TrainOptions,
    directory: Option<&Path>,
    monitor: &dyn Monitor,
    resume: bool,
) -> Result<Trained, TrainError> {
    let images = training_images();
    let mut trainer = Trainer::new(&images, &images).options(options.clone());
    if let Some(directory) = directory {
        trainer = trainer.directory(directory);
    }
    if resume { trainer.resume(plan, model(), monitor) } else { trainer.run(plan, model(), monitor) }
}

fn bits(model: &Model, index: usize) -> Vec<u32> {
    model.parameters.values(index).into_iter().map(f32::to_bits).collect()
}

/// Every way of training that touches weights beside the gradient's update.
fn ways() -> Vec<(&'static str, Plan, TrainOptions)> {
    let sgd = OptimizerOptions { kind: OptimizerKind::Sgd, weight_decay: 0.1, ..OptimizerOptions::default() };
    let adamw = OptimizerOptions { weight_decay: 0.5, ..OptimizerOptions::default() };
    let with = |change: fn(&mut Gradient)| {
        let mut gradient = gradient();
        change(&mut gradient);
        plan(gradient)
    };
    let nothing = || with(|_| {});
    let mut line = nothing();
    let solver = Solver::Interpolation(Interpolation { alphas: vec![0.3] });
    line.phases.push(Phase { name: "line".into(), solver });
    let batch_norm = |batch_norm| TrainOptions { batch_norm, ..options() };
    vec![
        ("weight decay", nothing(), TrainOptions { optimizer: adamw, ..options() }),
        ("momentum", nothing(), TrainOptions { optimizer: sgd, ..options() }),
        ("l2-sp", with(|gradient| gradient.anchor = Some(Anchor { strength: 1.0, head_strength: 1.0 })), options()),
        ("ema", with(|gradient| gradient.average = Some(Averaging::Exponential { decay: 0.9 })), options()),
        ("swa", with(|gradient| gradient.average = Some(Averaging::Epochs { from: 1 })), options()),
        (
            "soup",
            with(|gradient| {
                gradient.learning_rates = vec![1e-2, 1e-3];
                gradient.combine = Combine::UniformSoup;
            }),
            options(),
        ),
        ("wise-ft", line, options()),
        ("lora", with(|gradient| gradient.low_rank = Some(LowRank { rank: 2, alpha: 4.0 })), options()),
        ("bn train", nothing(), batch_norm(BatchNormPolicy::Train)),
        ("bn recalibrate", nothing(), batch_norm(BatchNormPolicy::Recalibrate)),
    ]
}

#[test]
fn frozen_tensors_of_blocks_that_train_keep_every_bit() {
    let start = model();
    let specs = start.network().specs.clone();
    for (way, plan, options) in ways() {
        let trained = train(&plan, &options, None, &Silent, false).unwrap();
        for (index, spec) in specs.iter().enumerate() {
            let block = &start.blocks()[spec.block].name;
            let follows =
                options.batch_norm != BatchNormPolicy::Frozen && ["layer1.1", "layer2.0"].contains(&block.as_str());
            // Low-rank changes are of matrices alone; the head trains as it is.
            let is_changed = match way {
                "lora" => trains(&spec.name) && (spec.shape.len() > 1 || block == "head"),
                _ => trains(&spec.name),
            };
            let expected = if spec.role == Role::Statistic { follows } else { is_changed };
            let changed = bits(&start, index) != bits(&trained.model, index);
            assert_eq!(changed, expected, "{way}: {}", spec.name);
        }
        // Stopped in the first and in the second epoch, and gone on with.
        for images in [10, 60] {
            let folder = tempfile::tempdir().unwrap();
            let monitor = StopAfter { images, seen: AtomicUsize::new(0) };
            let stopped = train(&plan, &options, Some(folder.path()), &monitor, false);
            assert!(matches!(stopped, Err(TrainError::Interrupted)), "{way}: stopped too late to test anything");
            check_checkpoint(way, folder.path());
            let resumed = train(&plan, &options, Some(folder.path()), &Silent, true).unwrap().model;
            for (index, spec) in specs.iter().enumerate() {
                assert!(bits(&resumed, index) == bits(&trained.model, index), "{way}, {images}: {}", spec.name);
            }
        }
    }
}

/// Checks that a checkpoint holds moments and changed values of nothing that is frozen.
fn check_checkpoint(way: &str, run: &Path) {
    let names = |file: &str| -> BTreeSet<String> {
        read_tensors(&run.join("checkpoint").join(file)).unwrap().into_keys().collect()
    };
    for name in names("optimizer.safetensors") {
        let tensor = name.split_once('.').unwrap().1;
        assert!(trains(tensor), "{way}: {name}");
    }
    for name in names("current.safetensors") {
        assert!(trains(&name) || name.contains("running_"), "{way}: {name}");
    }
}

#[test]
fn metrics_have_the_rates_of_tensors_where_they_differ() {
    let folder = tempfile::tempdir().unwrap();
    let mut gradient = gradient();
    gradient.rate_factors.insert("layer3.0".into(), 0.5);
    train(&plan(gradient), &options(), Some(folder.path()), &Silent, false).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let rates = rows.into_iter().find_map(|row| row.rates).unwrap();
    let found: Vec<(&str, f64)> = rates.iter().map(|(name, &rate)| (name.as_str(), rate)).collect();
    let expected = [
        ("layer1.1.conv2.weight", 1e-2),
        ("layer1.1.bn2.bias", 0.5e-2),
        ("layer2.0.conv1.weight", 0.25e-2),
        ("layer2.0.bn1.bias", 0.25e-2),
        ("layer2.0.bn2.weight", 0.25e-2),
        ("layer2.0.bn2.bias", 0.25e-2),
        ("layer2.0.downsample.0.weight", 0.25e-2),
        ("layer2.0.downsample.1.weight", 0.25e-2),
        ("layer2.0.downsample.1.bias", 0.25e-2),
        ("layer3.0", 0.5e-2),
        ("fc.bias", 1e-2),
    ];
    // One rounding of the mean over steps.
    let close = |(found, expected): (&(&str, f64), &(&str, f64))| {
        found.0 == expected.0 && (found.1 / expected.1 - 1.0).abs() < 1e-14
    };
    assert!(found.len() == expected.len() && found.iter().zip(&expected).all(close), "{found:?}");
}

#[test]
fn rates_of_tensors_are_read_beside_those_of_blocks() {
    let model = model();
    let text = "method = \"by hand\"\n[[phase]]\nname = \"one\"\nsolver = \"gradient\"\nepochs = 4\n\
                learning_rates = [0.1]\nrates = { \"layer2.0\" = 0.5, \"layer2.0.bn1.weight\" = 0.0 }\n\
                frozen_epochs = { \"layer2.0.bn1.bias\" = 3 }\n";
    let plan = Plan::from_toml(text).unwrap();
    plan.check(model.blocks()).unwrap();
    assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan);
    let specs = &model.network().specs;
    let trained = plan.trained_parameters(model.blocks(), specs);
    let changed = plan.changed_parameters(model.blocks(), specs);
    for (spec, (trained, changed)) in specs.iter().zip(trained.into_iter().zip(changed)) {
        let in_block = model.blocks()[spec.block].name == "layer2.0";
        let is_statistic = spec.role == Role::Statistic;
        assert_eq!(trained, in_block && !is_statistic && spec.name != "layer2.0.bn1.weight", "{}", spec.name);
        // Running statistics may follow the batches, as --bn says.
        assert_eq!(changed, trained || (in_block && is_statistic), "{}", spec.name);
    }
    let refused =
        |from: &str, to: &str| Plan::from_toml(&text.replace(from, to)).unwrap().check(model.blocks()).unwrap_err();
    let unknown = refused("\"layer2.0.bn1.weight\"", "\"layer2.0.bn1.running_mean\"");
    assert!(
        matches!(unknown, PlanError::UnknownName { .. }) && unknown.to_string().contains("running_mean"),
        "{unknown}"
    );
    let unknown = refused("\"layer2.0.bn1.bias\"", "\"layer2.0.bn9.bias\"");
    assert!(unknown.to_string().contains("layer2.0.bn9.bias"), "{unknown}");
    // A tensor's 0 freezes it although its block has a rate; what is left may be nothing.
    let nothing =
        refused("rates = { \"layer2.0\" = 0.5,", "parameters = \"norms\"\nrates = { \"layer2.0.conv1.weight\" = 0.5,");
    assert!(matches!(nothing, PlanError::NothingSelected(_)), "{nothing}");
}

#[test]
fn a_frozen_embedding_keeps_every_bit_in_every_family() {
    for name in ["resnet_basic", "vit_clip", "convnext", "efficientnet"] {
        for policy in [BatchNormPolicy::Frozen, BatchNormPolicy::Train] {
            let before = load(name, None);
            let method = MethodOptions {
                epochs: 1,
                learning_rates: vec![1e-2],
                schedule: Some(Schedule::Constant),
                new_head: false,
                ..MethodOptions::default()
            };
            let plan = Method::FREEZE_EMBED.plan(before.blocks(), &method).unwrap();
            let (options, images) = (TrainOptions { batch_norm: policy, ..options() }, training_images());
            let trainer = Trainer::new(&images, &images).options(options);
            let after = trainer.run(&plan, before.clone(), &Silent).unwrap().model;
            // Of the frozen block running statistics stay as well; of every other, something moves.
            for (index, block) in before.blocks().iter().enumerate().filter(|(_, block)| !block.parameters.is_empty()) {
                let specs = before.network().specs.iter().enumerate().filter(|(_, spec)| spec.block == index);
                let moved = specs.filter(|&(spec, _)| bits(&before, spec) != bits(&after, spec)).count();
                assert_eq!(moved > 0, index > 0, "{name}, {policy:?}: {moved} tensors of {} moved", block.name);
            }
        }
    }
}
