//! Training on a graphics device: what it gives, against the CPU, and what passes between it and the host.
//!
//!     scripts/graphics.sh
//!
//! It needs a Vulkan driver. Mesa's, which computes on the processor, will do (Debian: mesa-vulkan-drivers, libvulkan1). The
//! variable `RETUNE_TEST_DEVICE` names another device of the build: `cuda`.

#![cfg(any(feature = "wgpu", feature = "cuda"))]

mod common;

use std::sync::Mutex;

use burn::tensor::{Device, Tensor, TensorData};
use common::{fixtures, training_images};
use retune::device::{self, Transfers};
use retune::loading::Batch;
use retune::methods::{Method, MethodOptions};
use retune::models::Model;
use retune::monitor::{MetricsRow, Monitor};
use retune::plan::{Averaging, Plan, Solver};
use retune::sources::Dataset;
use retune::train::optimizer::OptimizerKind;
use retune::train::options::{BatchNormPolicy, Precision, TrainOptions};
use retune::train::{Differentiation, Trainer, loss_gradients};
use retune_kernels::operators::{self, Following, Gated, Window};

/// The counts of transfers are those of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn graphics() -> Device {
    device::by_name(&name()).unwrap_or_else(|error| panic!("{error}"))
}

fn name() -> String {
    std::env::var("RETUNE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_owned())
}

/// The images twice, so that an epoch of batches of two has 24 steps.
fn images() -> Dataset {
    let images = training_images();
    let samples = images.samples.iter().chain(images.samples.iter()).cloned().collect();
    Dataset { samples, ..images }
}

/// What a training did.
#[derive(Default)]
struct Watched {
    rows: Mutex<Vec<MetricsRow>>,
    /// The transfers before the first step of an epoch and after each of them.
    transfers: Mutex<Vec<Transfers>>,
    in_epoch: Mutex<bool>,
}

impl Watched {
    fn count(&self) {
        if *self.in_epoch.lock().unwrap() {
            self.transfers.lock().unwrap().push(Transfers::so_far());
        }
    }
}

impl Monitor for Watched {
    fn start(&self, task: &str, _: usize) {
        *self.in_epoch.lock().unwrap() = task.contains("epoch 1/1") && !task.contains("validation");
        self.count();
    }
    fn advance(&self, _: usize) {
        self.count();
    }
    fn measured(&self, row: &MetricsRow) {
        self.rows.lock().unwrap().push(row.clone());
    }
    fn message(&self, _: &str) {}
}

struct Trained {
    start: Vec<Vec<f32>>,
    end: Vec<Vec<f32>>,
    rows: Vec<MetricsRow>,
    /// Those of each step.
    transfers: Vec<Transfers>,
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    (0..model.parameters.specs().len()).map(|index| model.parameters.values(index)).collect()
}

/// An epoch of a fixture model by a method.
fn trained(name: &str, method: &str, options: &TrainOptions, change: fn(&mut Plan), device: &Device) -> Trained {
    let model = Model::load(&fixtures().join(name), None, Clone::clone, device).unwrap();
    let of_method = MethodOptions { epochs: 1, learning_rates: vec![1e-2], ..MethodOptions::default() };
    let mut plan = method.parse::<Method>().unwrap().plan(model.blocks(), &of_method).unwrap();
    change(&mut plan);
    let (start, watched) = (values(&model), Watched::default());
    let trainer = Trainer::new(&images(), &training_images()).options(options.clone());
    let end = values(&trainer.run(&plan, model, &watched).unwrap().model);
    let transfers = watched.transfers.into_inner().unwrap();
    let transfers = transfers.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    Trained { start, end, rows: watched.rows.into_inner().unwrap(), transfers }
}

fn options(kind: OptimizerKind) -> TrainOptions {
    let mut options =
        TrainOptions { batch_size: 2, clip_norm: Some(1.0), threads: 1, seed: 3, ..TrainOptions::default() };
    options.optimizer.kind = kind;
    options
}

fn distance(one: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs.map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>().sqrt()
}

/// How far apart the two devices end, as a part of the way that training went; and the largest difference of a loss.
fn differences(cpu: &Trained, graphics: &Trained) -> (f64, f64) {
    assert!(cpu.start == graphics.start);
    let apart = distance(&cpu.end, &graphics.end) / distance(&cpu.start, &cpu.end);
    assert_eq!(cpu.rows.len(), graphics.rows.len());
    let losses = cpu.rows.iter().zip(&graphics.rows).map(|(cpu, graphics)| (cpu.loss / graphics.loss - 1.0).abs());
    (apart, losses.fold(0.0, f64::max))
}

/// Both compute in single precision, with sums in another order and other approximations of exponentials. 24 steps of
/// gradient descent make 8e-7 to 4e-6 of the way of it. Adam divides a gradient by its size, so one that is next to nothing on
/// both devices can move a weight either way: 4e-3. All measured with Mesa's driver, which computes with the processor's vectors.
/// NVIDIA's matrix units round factors to 11 bits (TF32): 8e-2 for a ResNet on an H200. A wrong rule makes about 1.
fn compare(name: &str, method: &str, options: &TrainOptions, change: fn(&mut Plan)) -> Trained {
    let tolerance = match options.optimizer.kind {
        _ if self::name() == "cuda" => 2e-1,
        OptimizerKind::Sgd => 1e-4,
        _ => 5e-2,
    };
    let on = |device: &Device| trained(name, method, options, change, device);
    let (cpu, graphics) = (on(&Device::flex()), on(&graphics()));
    let (apart, losses) = differences(&cpu, &graphics);
    println!("{name}, {method}: weights {apart:e} of the way apart, losses {losses:e}");
    assert!(apart < tolerance, "{name}, {method}: weights are {apart:e} of the way apart");
    assert!(losses < tolerance, "{name}, {method}: losses differ by {losses:e}");
    assert_eq!(cpu.transfers, [Transfers::default(); 24], "{name}, {method}: the CPU moves nothing");
    graphics
}

/// The losses of 16 steps are fetched at once. Images, labels and targets go to the device; nothing else passes.
fn expect_no_waiting(trained: &Trained, what: &str) {
    let expected: Vec<Transfers> =
        (1..=24).map(|step| Transfers { to_host: u64::from(step == 16), to_device: 3 }).collect();
    assert_eq!(trained.transfers, expected, "{what}");
}

#[test]
fn a_resnet_trains_without_the_host() {
    let _alone = ONE_AT_A_TIME.lock();
    let options = TrainOptions { batch_norm: BatchNormPolicy::Train, ..options(OptimizerKind::Sgd) };
    expect_no_waiting(&compare("resnet_basic", "ft", &options, |_| {}), "resnet");
}

#[test]
fn a_vision_transformer_and_its_average_train_without_the_host() {
    let _alone = ONE_AT_A_TIME.lock();
    let average = |plan: &mut Plan| {
        let Solver::Gradient(settings) = &mut plan.phases[0].solver else { panic!("it is gradient descent") };
        settings.learning_rates = vec![1e-3];
        settings.average = Some(Averaging::Exponential { decay: 0.9 });
    };
    expect_no_waiting(&compare("vit", "ft", &options(OptimizerKind::AdamW), average), "vit");
}

#[test]
fn anchors_and_low_rank_changes_need_no_host_either() {
    let _alone = ONE_AT_A_TIME.lock();
    expect_no_waiting(&compare("vit", "l2-sp", &options(OptimizerKind::Sgd), |_| {}), "l2-sp");
    expect_no_waiting(&compare("vit", "lora", &options(OptimizerKind::Sgd), |_| {}), "lora");
}

/// The weights of layers and the norms of their gradients are measured on the device.
#[test]
fn measured_rates_are_those_of_the_cpu() {
    let _alone = ONE_AT_A_TIME.lock();
    let options = options(OptimizerKind::Sgd);
    let measured = |device: &Device| {
        let rows = trained("resnet_basic", "auto-rgn", &options, |_| {}, device).rows;
        rows.into_iter().find_map(|row| row.rate_multipliers).unwrap()
    };
    let (cpu, graphics) = (measured(&Device::flex()), measured(&graphics()));
    assert!(cpu.keys().eq(graphics.keys()));
    // A linear probe comes first, of which both devices find the optimum up to its tolerance: 1e-3 was measured with Mesa's driver, and
    // 4e-2 on an H200, which rounds factors.
    let tolerance = if name() == "cuda" { 1e-1 } else { 2e-2 };
    for ((name, cpu), graphics) in cpu.iter().zip(graphics.values()) {
        assert!((cpu - graphics).abs() < tolerance * cpu.abs(), "{name}: {graphics} is not {cpu}");
    }
}

#[test]
fn a_divergence_is_told_by_its_first_step() {
    let _alone = ONE_AT_A_TIME.lock();
    let diverged = |device: &Device| {
        let model = Model::load(&fixtures().join("resnet_basic"), None, Clone::clone, device).unwrap();
        let of_method = MethodOptions { epochs: 1, learning_rates: vec![1e30], ..MethodOptions::default() };
        let plan = "ft".parse::<Method>().unwrap().plan(model.blocks(), &of_method).unwrap();
        let options = TrainOptions { clip_norm: None, ..options(OptimizerKind::Sgd) };
        let trainer = Trainer::new(&images(), &training_images()).options(options);
        trainer.run(&plan, model, &Watched::default()).unwrap_err().to_string()
    };
    // The host looks at 16 steps at once. In which of the first ones an overflow reaches the loss depends on the order of sums.
    for error in [diverged(&Device::flex()), diverged(&graphics())] {
        let early = (2..=4).any(|step| error.contains(&format!("the loss was not finite in step {step} of epoch 1")));
        assert!(early, "{error}");
    }
}

#[test]
fn a_model_comes_back_to_the_cpu_as_it_was() {
    let _alone = ONE_AT_A_TIME.lock();
    let load = |device: &Device| Model::load(&fixtures().join("vit"), None, Clone::clone, device).unwrap();
    let before = Transfers::so_far();
    let model = load(&graphics());
    let uploads = Transfers::so_far().since(before);
    let back = model.on_cpu().unwrap();
    assert_eq!(Transfers::so_far().since(before), Transfers { to_host: 1, ..uploads });
    assert!(back.parameters.equal(&load(&Device::flex()).parameters).unwrap());
}

#[test]
fn bfloat16_is_refused_where_the_device_does_not_have_it() {
    let _alone = ONE_AT_A_TIME.lock();
    let device = graphics();
    let model = Model::load(&fixtures().join("vit"), None, Clone::clone, &device).unwrap();
    let of_method = MethodOptions { epochs: 1, learning_rates: vec![1e-3], ..MethodOptions::default() };
    let plan = Method::FT.plan(model.blocks(), &of_method).unwrap();
    let options = TrainOptions { precision: Precision::Bfloat16, ..options(OptimizerKind::Sgd) };
    let trained = Trainer::new(&images(), &training_images()).options(options).run(&plan, model, &Watched::default());
    match trained {
        Ok(_) => assert!(device.supports_dtype(burn::tensor::DType::BF16)),
        Err(error) => assert!(error.to_string().contains("bfloat16"), "{error}"),
    }
}

/// What an operator gives for the same inputs on a device: its output, and the gradients of the inputs for a fixed gradient
/// of the output.
fn of_operator(device: &Device, shapes: &[&[usize]], operator: &dyn Fn(&[Tensor<4>]) -> Tensor<4>) -> Vec<Vec<f32>> {
    let device = device.clone().autodiff();
    let inputs: Vec<Tensor<4>> = (shapes.iter().enumerate())
        .map(|(input, shape)| {
            let shape: [usize; 4] = (*shape).try_into().unwrap();
            waves(shape, input as f32 + 1.0, &device).require_grad()
        })
        .collect();
    let output = operator(&inputs);
    let seed = waves(output.dims(), 0.3, &device);
    let gradients = (output.clone() * seed).sum().backward();
    let values = |tensor: Tensor<4>| tensor.into_data().try_into_vec().unwrap();
    let found = inputs.iter().map(|input| values(input.grad(&gradients).unwrap()));
    std::iter::once(values(output.inner())).chain(found).collect()
}

/// Values between −2 and 2 that are not all alike.
fn waves(shape: [usize; 4], phase: f32, device: &Device) -> Tensor<4> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|index| (index as f32).mul_add(0.7, phase).sin() * 2.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Both in single precision with sums in another order, and exponentials and error functions of 1e-6 or better: 4e-6 of the
/// largest value was measured with Mesa's driver. NVIDIA's matrix units round the factors of products to 11 bits (TF32): on an H200,
/// 2e-4 of a linear layer, and 2.5e-3 of a convolution whose results of up to 30 are limited to 6. The same sums of rounded
/// factors in double precision are just as far away.
#[test]
fn operators_and_their_gradients_are_those_of_the_cpu() {
    let _alone = ONE_AT_A_TIME.lock();
    let window =
        |stride, padding, groups| Window { stride, vertical_padding: padding, horizontal_padding: padding, groups };
    let convolved = |window: Window| {
        move |x: &[Tensor<4>]| {
            let flat = |place: usize| x[place].clone().reshape([-1]);
            let following =
                Following { scale: Some(flat(2)), shift: Some(flat(3)), residual: None, limits: Some((0.0, 6.0)) };
            operators::convolution(x[0].clone(), x[1].clone(), window, following)
        }
    };
    let gate = |kind| move |x: &[Tensor<4>]| operators::gated(x[0].clone(), kind);
    let normalized = |x: &[Tensor<4>]| {
        operators::layer_norm(x[0].clone(), x[1].clone().reshape([-1]), x[2].clone().reshape([-1]), 1e-6)
    };
    let by_batch = |x: &[Tensor<4>]| {
        operators::batch_norm(x[0].clone(), x[1].clone().reshape([-1]), x[2].clone().reshape([-1]), 1e-5).output
    };
    let attended = |x: &[Tensor<4>]| {
        let [batch, tokens, ..] = x[0].dims();
        operators::attention(x[0].clone().reshape([batch, tokens, 3, 2, 8])).unsqueeze()
    };
    let linear = |x: &[Tensor<4>]| {
        let weight = x[1].clone().reshape([9, 6]);
        let following = Following { shift: Some(x[2].clone().reshape([-1])), ..Following::default() };
        operators::linear(x[0].clone(), weight, following)
    };
    let pooled = |x: &[Tensor<4>]| operators::max_pool(x[0].clone(), 3, 2, 1);
    let averaged = |x: &[Tensor<4>]| operators::global_average(x[0].clone()).unsqueeze();
    let dense: &[&[usize]] = &[&[2, 9, 8, 6], &[12, 6, 3, 3], &[1, 1, 1, 12], &[1, 1, 1, 12]];
    let tiles: &[&[usize]] = &[&[2, 8, 8, 6], &[12, 6, 4, 4], &[1, 1, 1, 12], &[1, 1, 1, 12]];
    let points: &[&[usize]] = &[&[2, 9, 8, 6], &[12, 6, 1, 1], &[1, 1, 1, 12], &[1, 1, 1, 12]];
    let depthwise: &[&[usize]] = &[&[2, 9, 8, 6], &[6, 1, 3, 3], &[1, 1, 1, 6], &[1, 1, 1, 6]];
    let wide: &[&[usize]] = &[&[3, 9, 8, 8], &[8, 1, 5, 5], &[1, 1, 1, 8], &[1, 1, 1, 8]];
    let many: &[&[usize]] = &[&[2, 5, 4, 260], &[260, 1, 3, 3], &[1, 1, 1, 260], &[1, 1, 1, 260]];
    let map: &[&[usize]] = &[&[2, 9, 8, 6]];
    type Case<'a> = (&'a str, &'a [&'a [usize]], &'a dyn Fn(&[Tensor<4>]) -> Tensor<4>);
    let cases: [Case; 22] = [
        ("convolution", dense, &convolved(window(1, (1, 1), 1))),
        ("strided convolution", dense, &convolved(window(2, (1, 1), 1))),
        ("convolution with uneven padding", dense, &convolved(window(2, (0, 1), 1))),
        ("windows side by side", tiles, &convolved(window(4, (0, 0), 1))),
        ("points", points, &convolved(window(1, (0, 0), 1))),
        ("points in steps", points, &convolved(window(2, (0, 0), 1))),
        ("depthwise convolution", depthwise, &convolved(window(1, (1, 1), 6))),
        ("wide depthwise convolution in steps", wide, &convolved(window(2, (1, 2), 8))),
        ("depthwise convolution of many channels", many, &convolved(window(1, (1, 1), 260))),
        ("linear", &[&[2, 5, 3, 6], &[1, 1, 9, 6], &[1, 1, 1, 9]], &linear),
        ("linear of many rows", &[&[2, 100, 100, 6], &[1, 1, 9, 6], &[1, 1, 1, 9]], &linear),
        ("layer normalization", &[&[2, 9, 8, 6], &[1, 1, 1, 6], &[1, 1, 1, 6]], &normalized),
        ("layer normalization of long rows", &[&[2, 1, 3, 1100], &[1, 1, 1, 1100], &[1, 1, 1, 1100]], &normalized),
        ("normalization by the batch", &[&[2, 9, 8, 6], &[1, 1, 1, 6], &[1, 1, 1, 6]], &by_batch),
        ("attention", &[&[2, 7, 6, 8]], &attended),
        ("attention to many tokens", &[&[1, 301, 6, 8]], &attended),
        ("SiLU", map, &gate(Gated::Silu)),
        ("GELU", map, &gate(Gated::Gelu)),
        ("GELU by a hyperbolic tangent", map, &gate(Gated::GeluTanh)),
        ("GELU by a sigmoid", map, &gate(Gated::QuickGelu)),
        ("the largest of a window", map, &pooled),
        ("the mean of a map", map, &averaged),
    ];
    let tolerance = if name() == "cuda" { 1e-2 } else { 1e-4 };
    for (name, shapes, operator) in cases {
        let (cpu, device) =
            (of_operator(&Device::flex(), shapes, operator), of_operator(&graphics(), shapes, operator));
        for (part, (cpu, device)) in cpu.iter().zip(&device).enumerate() {
            let largest = cpu.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let apart = cpu.iter().zip(device).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max) / largest;
            println!("{name}, part {part}: {apart:e}");
            assert!(apart < tolerance, "{name}: part {part} differs by {apart:e} of its largest value");
        }
    }
}

/// The gradients of a batch's loss, of all parameters, end to end.
fn gradients_of(name: &str, batch_statistics: bool, device: &Device) -> Vec<Vec<f32>> {
    let model = Model::load(&fixtures().join(name), None, Clone::clone, device).unwrap();
    let (height, width) =
        (model.config().preprocessing().height as usize, model.config().preprocessing().width as usize);
    let images = (0..2 * 3 * height * width).map(|index| (index as f32 * 0.7).sin() * 2.0).collect();
    let (labels, indices) = (vec![0, 1], vec![0, 1]);
    let batch = Batch { number: 0, images, labels, indices, targets: None, mixed: false, n: 2, height, width };
    let trained = vec![true; model.parameters.specs().len()];
    let what = Differentiation {
        batch_statistics: &vec![batch_statistics; model.blocks().len()],
        ..Differentiation::new(&trained)
    };
    loss_gradients(&model, &batch, &what).gradient_values().into_iter().flatten().collect()
}

/// Convolutions of every kind, attention, and normalization, as models have them: 4e-6 of the gradients' length was measured with
/// Mesa's driver. NVIDIA's matrix units round factors.
#[test]
fn models_of_every_family_have_the_gradients_of_the_cpu() {
    let _alone = ONE_AT_A_TIME.lock();
    let tolerance = if name() == "cuda" { 1e-1 } else { 1e-3 };
    let models = [
        ("convnext_v2", false),
        ("efficientnet_lite_same_padding", true),
        ("efficientnet_v2", false),
        ("resnext", true),
        ("vit_clip", false),
    ];
    for (model, batch_statistics) in models {
        let on = |device: &Device| gradients_of(model, batch_statistics, device);
        let (cpu, device) = (on(&Device::flex()), on(&graphics()));
        let none: Vec<Vec<f32>> = cpu.iter().map(|values| vec![0.0; values.len()]).collect();
        let apart = distance(&cpu, &device) / distance(&cpu, &none);
        println!("{model}: gradients {apart:e} of their length apart");
        assert!(apart < tolerance, "{model}: gradients are {apart:e} of their length apart");
    }
}
