//! Convolutions and linear layers against sums in double precision, and against Burn's own operators.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use retune_kernels::operators::{Following, Window, convolution, linear};
use retune_kernels::{Precision, with_precision};

use super::{choose_instructions, distance, host, tensor, values};

/// Sizes of a convolution and what follows it.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    input: (usize, usize),
    inputs: usize,
    outputs: usize,
    kernel: usize,
    groups: usize,
    stride: usize,
    vertical_padding: (usize, usize),
    horizontal_padding: (usize, usize),
    scaled: bool,
    residual: bool,
    limits: Option<(f32, f32)>,
    seed: u64,
}

impl Case {
    fn output(&self) -> (usize, usize) {
        let length =
            |input: usize, padding: (usize, usize)| (input + padding.0 + padding.1 - self.kernel) / self.stride + 1;
        (length(self.input.0, self.vertical_padding), length(self.input.1, self.horizontal_padding))
    }

    /// Calls `visit(y, x, weight)` with the places of every product that the convolution sums.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let (height, width) = self.output();
        let (inputs, outputs) = (self.inputs / self.groups, self.outputs / self.groups);
        for image in 0..self.batch {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                for (tap_y, tap_x) in (0..self.kernel).flat_map(|y| (0..self.kernel).map(move |x| (y, x))) {
                    let source_y = (y * self.stride + tap_y).wrapping_sub(self.vertical_padding.0);
                    let source_x = (x * self.stride + tap_x).wrapping_sub(self.horizontal_padding.0);
                    if source_y >= self.input.0 || source_x >= self.input.1 {
                        continue;
                    }
                    for output in 0..self.outputs {
                        for input in 0..inputs {
                            let channel = output / outputs * inputs + input;
                            let to = ((image * height + y) * width + x) * self.outputs + output;
                            let from = ((image * self.input.0 + source_y) * self.input.1 + source_x) * self.inputs;
                            let tap = ((output * inputs + input) * self.kernel + tap_y) * self.kernel + tap_x;
                            visit(to, from + channel, tap);
                        }
                    }
                }
            }
        }
    }

    fn sizes(&self) -> [usize; 3] {
        let (height, width) = self.output();
        [
            self.batch * height * width * self.outputs,
            self.batch * self.input.0 * self.input.1 * self.inputs,
            self.outputs * self.inputs / self.groups * self.kernel * self.kernel,
        ]
    }
}

/// Everything that a convolution is given.
struct Given {
    x: Vec<f32>,
    weight: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    residual: Vec<f32>,
    /// Factors of the outputs in the differentiated sum.
    gradient: Vec<f32>,
}

impl Given {
    fn new(case: &Case) -> Self {
        let [y, x, weight] = case.sizes();
        let mut given = Self {
            x: values(x, case.seed),
            weight: values(weight, case.seed + 1),
            scale: values(case.outputs, case.seed + 2),
            shift: values(case.outputs, case.seed + 3),
            residual: values(y, case.seed + 4),
            gradient: values(y, case.seed + 5),
        };
        // A sum so close to a limit that single precision may fall on its other side has no say.
        if let Some((low, high)) = case.limits {
            let (_, free) = sums(case, &given);
            let is_near = |value: f64, limit: f32| (value - f64::from(limit)).abs() < 1e-4;
            for (gradient, value) in given.gradient.iter_mut().zip(free) {
                if is_near(value, low) || is_near(value, high) {
                    *gradient = 0.0;
                }
            }
        }
        given
    }
}

/// The sums of products, and what becomes of them before the limits, in double precision.
fn sums(case: &Case, given: &Given) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; case.sizes()[0]];
    case.products(|to, from, tap| sums[to] += f64::from(given.x[from]) * f64::from(given.weight[tap]));
    let of_output = |values: &[f32], at: usize| f64::from(values[at % case.outputs]);
    let free = sums.iter().enumerate().map(|(at, sum)| {
        let scaled = if case.scaled { sum * of_output(&given.scale, at) + of_output(&given.shift, at) } else { *sum };
        scaled + if case.residual { f64::from(given.residual[at]) } else { 0.0 }
    });
    let free = free.collect();
    (sums, free)
}

/// An output and the gradients of the inputs.
struct Found<T> {
    y: Vec<T>,
    x: Vec<T>,
    weight: Vec<T>,
    scale: Vec<T>,
    shift: Vec<T>,
    residual: Vec<T>,
}

fn in_double_precision(case: &Case, given: &Given) -> Found<f64> {
    let [ys, xs, weights] = case.sizes();
    let (sums, free) = sums(case, given);
    let (x, weight) = (&given.x, &given.weight);
    let scale = |at: usize| if case.scaled { f64::from(given.scale[at % case.outputs]) } else { 1.0 };
    let (low, high) = case.limits.map_or((f64::NEG_INFINITY, f64::INFINITY), |(low, high)| (low.into(), high.into()));
    let mut found = Found {
        y: free.iter().map(|value| value.clamp(low, high)).collect(),
        x: vec![0.0; xs],
        weight: vec![0.0; weights],
        scale: vec![0.0; case.outputs],
        shift: vec![0.0; case.outputs],
        residual: vec![0.0; ys],
    };
    for at in 0..ys {
        let passes = free[at] > low && free[at] < high;
        found.residual[at] = if passes { f64::from(given.gradient[at]) } else { 0.0 };
        found.shift[at % case.outputs] += found.residual[at];
        found.scale[at % case.outputs] += found.residual[at] * sums[at];
    }
    let Found { x: dx, weight: dw, residual: gradient, .. } = &mut found;
    case.products(|to, from, tap| {
        dx[from] += gradient[to] * scale(to) * f64::from(weight[tap]);
        dw[tap] += gradient[to] * scale(to) * f64::from(x[from]);
    });
    found
}

fn by_operator(case: &Case, given: &Given) -> Found<f32> {
    let (height, width) = case.output();
    let output_shape = [case.batch, height, width, case.outputs];
    let x = tensor(&given.x, [case.batch, case.input.0, case.input.1, case.inputs]);
    let weight = tensor(&given.weight, [case.outputs, case.inputs / case.groups, case.kernel, case.kernel]);
    let scale = tensor(&given.scale, [case.outputs]);
    let shift = tensor(&given.shift, [case.outputs]);
    let residual = tensor(&given.residual, output_shape);
    let window = Window {
        stride: case.stride,
        vertical_padding: case.vertical_padding,
        horizontal_padding: case.horizontal_padding,
        groups: case.groups,
    };
    let following = Following {
        scale: case.scaled.then(|| scale.clone()),
        shift: case.scaled.then(|| shift.clone()),
        residual: case.residual.then(|| residual.clone()),
        limits: case.limits,
    };
    let y = convolution(x.clone(), weight.clone(), window, following);
    let mut gradients = (y.clone() * tensor(&given.gradient, output_shape)).sum().backward();
    let zeros = |count: usize| vec![0.0; count];
    let [ys, ..] = case.sizes();
    Found {
        y: host(y.inner()),
        x: host(x.grad_remove(&mut gradients).expect("a gradient")),
        weight: host(weight.grad_remove(&mut gradients).expect("a gradient")),
        scale: scale.grad_remove(&mut gradients).map_or(zeros(case.outputs), host),
        shift: shift.grad_remove(&mut gradients).map_or(zeros(case.outputs), host),
        residual: residual.grad_remove(&mut gradients).map_or(zeros(ys), host),
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..15, 1usize..15, 1usize..6, 1usize..4);
    let channels = prop_oneof![
        // Plain: up to two panels of the widest vectors and a rest.
        (1usize..40, 1usize..70).prop_map(|(inputs, outputs)| (inputs, outputs, 1)),
        (1usize..5, 1usize..10, 1usize..40).prop_map(|(groups, a, b)| (groups * a, groups * b, groups)),
        // Depthwise.
        (2usize..70).prop_map(|channels| (channels, channels, channels)),
    ];
    let padding = ((0usize..3, 0usize..3), (0usize..3, 0usize..3));
    let limits = prop_oneof![Just(None), Just(Some((0.0, f32::INFINITY))), Just(Some((0.0, 6.0)))];
    (sizes, channels, padding, limits, any::<bool>(), any::<bool>(), 0u64..1 << 32).prop_filter_map(
        "a window no larger than the padded input",
        |(
            (batch, height, width, kernel, stride),
            (inputs, outputs, groups),
            padding,
            limits,
            scaled,
            residual,
            seed,
        )| {
            let (vertical_padding, horizontal_padding) = padding;
            let fits = |input: usize, padding: (usize, usize)| input + padding.0 + padding.1 >= kernel;
            let case = Case {
                batch,
                input: (height, width),
                inputs,
                outputs,
                kernel,
                groups,
                stride,
                vertical_padding,
                horizontal_padding,
                scaled,
                residual,
                limits,
                seed,
            };
            (fits(height, vertical_padding) && fits(width, horizontal_padding)).then_some(case)
        },
    )
}

proptest! {
    /// Rounding: each value sums up to some thousands of products of magnitude below 1 in single
    /// precision, whose error stays below 1e-5 of the largest result.
    #[test]
    fn convolutions_and_their_gradients_are_those_of_double_precision(case in cases()) {
        let given = Given::new(&case);
        let (found, expected) = (by_operator(&case, &given), in_double_precision(&case, &given));
        prop_assert!(distance(&found.y, &expected.y) < 1e-5, "output");
        prop_assert!(distance(&found.x, &expected.x) < 1e-5, "gradient of the input");
        prop_assert!(distance(&found.weight, &expected.weight) < 1e-5, "gradient of the weight");
        if case.scaled {
            prop_assert!(distance(&found.scale, &expected.scale) < 1e-5, "gradient of the scale");
            prop_assert!(distance(&found.shift, &expected.shift) < 1e-5, "gradient of the shift");
        }
        if case.residual {
            prop_assert!(distance(&found.residual, &expected.residual) < 1e-5, "gradient of the residual");
        }
    }
}

proptest! {
    /// Factors that bfloat16 holds exactly leave only the rounding of 32-bit sums; a scaled weight is
    /// one that it does not hold.
    #[test]
    fn products_in_bfloat16_lose_nothing_but_what_their_factors_lose(case in cases()) {
        let case = Case { scaled: false, ..case };
        let mut given = Given::new(&case);
        for values in [&mut given.x, &mut given.weight, &mut given.gradient] {
            values.iter_mut().for_each(|value| *value = (*value * 64.0).round() / 64.0);
        }
        let found = with_precision(Precision::Bfloat16, || by_operator(&case, &given));
        let expected = in_double_precision(&case, &given);
        prop_assert!(distance(&found.y, &expected.y) < 1e-5, "output");
        prop_assert!(distance(&found.x, &expected.x) < 1e-5, "gradient of the input");
        prop_assert!(distance(&found.weight, &expected.weight) < 1e-5, "gradient of the weight");
    }

    /// Each factor is off by at most 2^-9 of itself, so each product by 2^-8; the largest sums are of
    /// products that are mostly smaller than 1.
    #[test]
    fn products_in_bfloat16_are_near_those_of_double_precision(case in cases()) {
        let case = Case { limits: None, ..case };
        let given = Given::new(&case);
        let found = with_precision(Precision::Bfloat16, || by_operator(&case, &given));
        let expected = in_double_precision(&case, &given);
        prop_assert!(distance(&found.y, &expected.y) < 0.01, "output");
        prop_assert!(distance(&found.x, &expected.x) < 0.01, "gradient of the input");
        prop_assert!(distance(&found.weight, &expected.weight) < 0.01, "gradient of the weight");
    }
}

#[test]
fn a_linear_layer_in_bfloat16_rounds_its_factors() {
    choose_instructions();
    // 1 + 2^-9 lies between two numbers of eight significant bits; 1 is the nearest.
    let between = 1.0 + 1.0 / 512.0;
    let product = |precision| {
        let (x, weight) = (tensor(&[between; 64], [1, 64]), tensor(&[1.0; 64], [1, 64]));
        host(with_precision(precision, || linear(x, weight, Following::default())).inner())
    };
    assert_eq!(product(Precision::Float32), vec![64.0 * between]);
    assert_eq!(product(Precision::Bfloat16), vec![64.0]);
}

/// Sizes as in the models: enough rows for several tasks and panels.
#[test]
fn convolutions_of_a_models_size_are_burns() {
    for (inputs, outputs, kernel, stride, groups, size) in [
        (3, 64, 7, 2, 1, 40),
        (64, 128, 3, 2, 1, 20),
        (64, 64, 3, 1, 1, 20),
        (96, 96, 5, 1, 96, 20),
        // Depthwise: several bands of lines, the last strip of channels in part, and more channels than one task takes.
        (40, 40, 7, 1, 40, 70),
        (24, 24, 5, 2, 24, 70),
        (400, 400, 3, 2, 400, 40),
        (64, 96, 3, 1, 4, 9),
    ] {
        let padding = kernel / 2;
        let x = tensor(&values(2 * size * size * inputs, 1), [2, size, size, inputs]);
        let weight_shape = [outputs, inputs / groups, kernel, kernel];
        let weight = tensor(&values(weight_shape.iter().product(), 2), weight_shape);
        let window =
            Window { stride, vertical_padding: (padding, padding), horizontal_padding: (padding, padding), groups };
        let fused = convolution(x.clone(), weight.clone(), window, Following::default());
        let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], groups);
        let plain = conv2d(x.clone().permute([0, 3, 1, 2]), weight.clone(), None, options).permute([0, 2, 3, 1]);
        let compare = |a: Tensor<4>, b: Tensor<4>| {
            let b: Vec<f64> = host(b).into_iter().map(f64::from).collect();
            // Two sums of up to a thousand products in different orders.
            assert!(distance(&host(a), &b) < 1e-5, "{inputs} to {outputs} channels");
        };
        compare(fused.clone().inner(), plain.clone().inner());
        let weights = tensor(&values(fused.shape().num_elements(), 3), fused.dims());
        let mut of_fused = (fused * weights.clone()).sum().backward();
        let mut of_plain = (plain * weights).sum().backward();
        for tensor in [x, weight] {
            let fused = tensor.grad_remove(&mut of_fused).expect("a gradient");
            compare(fused, tensor.grad_remove(&mut of_plain).expect("a gradient"));
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    // Direct, by Winograd's algorithm with many tiles and with few, and depthwise.
    for (side, inputs, outputs, groups) in [(30, 24, 40, 1), (30, 32, 48, 1), (8, 64, 80, 1), (40, 40, 40, 40)] {
        let case = Case {
            batch: 3,
            input: (side, side),
            inputs,
            outputs,
            kernel: 3,
            groups,
            stride: 1,
            vertical_padding: (1, 1),
            horizontal_padding: (1, 1),
            scaled: true,
            residual: true,
            limits: Some((0.0, 6.0)),
            seed: 7,
        };
        let given = Given::new(&case);
        let with_threads = |count: usize, precision| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads");
            let found = pool.install(|| with_precision(precision, || by_operator(&case, &given)));
            [found.y, found.x, found.weight, found.scale, found.shift, found.residual]
        };
        for precision in [Precision::Float32, Precision::Bfloat16] {
            assert_eq!(with_threads(1, precision), with_threads(5, precision));
        }
    }
}

#[test]
fn only_the_gradients_that_are_asked_for_are_computed() {
    choose_instructions();
    let device = Device::flex().autodiff();
    let x = Tensor::<2>::ones([3, 4], &device);
    let weight = Tensor::<2>::ones([5, 4], &device).require_grad();
    let y = linear(x.clone(), weight.clone(), Following::default());
    let gradients = y.sum().backward();
    assert!(x.grad(&gradients).is_none());
    assert_eq!(host(weight.grad(&gradients).expect("a gradient")), vec![3.0; 20]);
}

proptest! {
    #[test]
    fn linear_layers_are_burns(rows in 1usize..30, inputs in 1usize..140, outputs in 1usize..140, seed in 0u64..1 << 32) {
        let x = tensor(&values(2 * rows * inputs, seed), [2, rows, inputs]);
        let weight = tensor(&values(outputs * inputs, seed + 1), [outputs, inputs]);
        let bias = tensor(&values(outputs, seed + 2), [outputs]);
        let fused = linear(x.clone(), weight.clone(), Following { shift: Some(bias.clone()), ..Following::default() });
        let plain = burn::tensor::module::linear(x.clone(), weight.clone().transpose(), Some(bias.clone()));
        let difference = host((fused.clone() - plain.clone()).abs().max().inner())[0];
        // Sums of 140 products of magnitude below 1.
        prop_assert!(difference < 3e-5);
        let factors = tensor(&values(2 * rows * outputs, seed + 3), [2, rows, outputs]);
        let of_fused = (fused * factors.clone()).sum().backward();
        let of_plain = (plain * factors).sum().backward();
        let largest = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let gradient = |tensor: &Tensor<3>, of| host(tensor.grad(of).expect("a gradient"));
        prop_assert!(largest(gradient(&x, &of_fused), gradient(&x, &of_plain)) < 3e-5);
        let gradient = |tensor: &Tensor<2>, of| host(tensor.grad(of).expect("a gradient"));
        prop_assert!(largest(gradient(&weight, &of_fused), gradient(&weight, &of_plain)) < 3e-5);
        let gradient = |tensor: &Tensor<1>, of| host(tensor.grad(of).expect("a gradient"));
        prop_assert!(largest(gradient(&bias, &of_fused), gradient(&bias, &of_plain)) < 3e-5);
    }
}

/// Sizes at which a 3×3 convolution is computed by Winograd's algorithm.
fn winograd_cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 3usize..19, 3usize..19, 1usize..5, 1usize..5);
    let padding = ((0usize..3, 0usize..3), (0usize..3, 0usize..3));
    let following = (any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, padding, following, 0u64..1 << 32).prop_map(
        |((batch, height, width, inputs, outputs), (vertical_padding, horizontal_padding), following, seed)| Case {
            batch,
            input: (height, width),
            inputs: inputs * 16,
            outputs: outputs * 16,
            kernel: 3,
            groups: 1,
            stride: 1,
            vertical_padding,
            horizontal_padding,
            scaled: following.0,
            residual: following.1,
            limits: following.2.then_some((0.0, 6.0)),
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The transforms multiply by up to 8 in either direction and subtract again, which costs about
    /// a decimal more than the direct sum.
    #[test]
    fn winograd_convolutions_and_their_gradients_are_those_of_double_precision(case in winograd_cases()) {
        let given = Given::new(&case);
        let (found, expected) = (by_operator(&case, &given), in_double_precision(&case, &given));
        // The error is a share of the sums, which may be far larger than the limits that cut them.
        let sums = in_double_precision(&Case { limits: None, ..case.clone() }, &given).y;
        let largest = |values: &[f64]| values.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
        let cut = largest(&sums) / largest(&expected.y);
        prop_assert!(distance(&found.y, &expected.y) < 5e-5 * cut.max(1.0), "output");
        // Near a limit the two may fall on different sides, and then differ by a whole gradient.
        if case.limits.is_some() {
            return Ok(());
        }
        prop_assert!(distance(&found.x, &expected.x) < 5e-5, "gradient of the input");
        prop_assert!(distance(&found.weight, &expected.weight) < 5e-5, "gradient of the weight");
        if case.scaled {
            prop_assert!(distance(&found.scale, &expected.scale) < 5e-5, "gradient of the scale");
        }
    }
}
