//! Batch normalization of a batch in parts, against the whole batch in PyTorch.

use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex};

use burn::tensor::{Device, Tensor, TensorData};
use retune_kernels::operators::{SharedBatch, shared_batch_norm};

use super::{distance, host, tensor, values};

const IMAGES: usize = 5;
const MAP: [usize; 3] = [3, 2, 4];
const CHANNELS: usize = MAP[2];
const EPSILON: f64 = 1e-3;
/// So that no channel has a mean of zero.
const OFFSETS: [f32; CHANNELS] = [0.0, 1.0, -2.0, 5.0];

/// Threads that meet to add up.
#[derive(Debug)]
struct Meeting {
    barrier: Barrier,
    brought: Mutex<Vec<Vec<f64>>>,
}

#[derive(Debug)]
struct Member {
    number: usize,
    meeting: Arc<Meeting>,
}

impl SharedBatch for Member {
    fn add_up(&self, values: &mut [f64]) {
        self.meeting.brought.lock().unwrap()[self.number] = values.to_vec();
        self.meeting.barrier.wait();
        let brought = self.meeting.brought.lock().unwrap().clone();
        self.meeting.barrier.wait();
        for (index, value) in values.iter_mut().enumerate() {
            *value = brought.iter().map(|values| values[index]).sum();
        }
    }
}

/// What a part of the batch gives.
struct Found {
    output: Vec<f32>,
    gradients: [Vec<f32>; 3],
    statistics: [Vec<f32>; 2],
}

fn of_part(images: Range<usize>, batch: Member) -> Found {
    let image = MAP.iter().product::<usize>();
    let shape = [images.len(), MAP[0], MAP[1], MAP[2]];
    let places = images.start * image..images.end * image;
    let offset = |(index, value): (usize, f32)| value + OFFSETS[index % CHANNELS];
    let x: Vec<f32> = values(IMAGES * image, 1).into_iter().enumerate().map(offset).collect();
    let x = tensor(&x[places.clone()], shape);
    let (weight, bias) = (tensor(&values(CHANNELS, 3), [CHANNELS]), tensor(&values(CHANNELS, 4), [CHANNELS]));
    let normalized = shared_batch_norm(x.clone(), weight.clone(), bias.clone(), EPSILON, Arc::new(batch));
    let gradient = TensorData::new(values(IMAGES * image, 2)[places].to_vec(), shape);
    let gradient = Tensor::<4>::from_data(gradient, &Device::flex().autodiff());
    let gradients = (normalized.output.clone() * gradient).sum().backward();
    Found {
        output: host(normalized.output.inner()),
        gradients: [
            host(x.grad(&gradients).unwrap()),
            host(weight.grad(&gradients).unwrap()),
            host(bias.grad(&gradients).unwrap()),
        ],
        statistics: [host(normalized.mean), host(normalized.variance)],
    }
}

/// All parts at once, each on a thread of its own with its own workers: they wait for each other.
fn of_parts(parts: &[Range<usize>]) -> Vec<Found> {
    let meeting =
        Arc::new(Meeting { barrier: Barrier::new(parts.len()), brought: Mutex::new(vec![vec![]; parts.len()]) });
    std::thread::scope(|scope| {
        let start = |(number, part): (usize, &Range<usize>)| {
            let (member, part) = (Member { number, meeting: Arc::clone(&meeting) }, part.clone());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + number).build().unwrap();
            scope.spawn(move || pool.install(|| of_part(part, member)))
        };
        let running: Vec<_> = parts.iter().enumerate().map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn expected(name: &str) -> Vec<f64> {
    let row = include_str!("../fixtures/batch_norm/expected.txt").lines().find(|line| line.starts_with(name)).unwrap();
    row.split(' ').skip(1).map(|value| value.parse().unwrap()).collect()
}

/// The channel whose mean is ten times its deviation loses a digit of single precision, 6e-8, when the mean is subtracted.
const TOLERANCE: f64 = 2e-6;

#[test]
fn parts_of_a_batch_are_normalized_as_pytorch_does_the_whole() {
    for cuts in [&[0, 5][..], &[0, 3, 5], &[0, 2, 4, 5]] {
        let parts: Vec<Range<usize>> = cuts.windows(2).map(|cuts| cuts[0]..cuts[1]).collect();
        let found = of_parts(&parts);
        let joined = |of: fn(&Found) -> &[f32]| found.iter().flat_map(|found| of(found).to_vec()).collect::<Vec<f32>>();
        let close = |name: &str, values: &[f32]| {
            let distance = distance(values, &expected(name));
            assert!(distance < TOLERANCE, "{name} in {} parts: {distance:e}", parts.len());
        };
        close("output", &joined(|found| &found.output));
        close("x", &joined(|found| &found.gradients[0]));
        // Every part has the same statistics, and a share of the gradients of the weight and the bias.
        for part in &found {
            assert_eq!(part.statistics, found[0].statistics);
            close("mean", &part.statistics[0]);
            close("variance", &part.statistics[1]);
        }
        for (index, name) in [(1, "weight"), (2, "bias")] {
            let sum = |channel: usize| found.iter().map(|found| found.gradients[index][channel]).sum();
            close(name, &(0..CHANNELS).map(sum).collect::<Vec<f32>>());
        }
    }
}

/// Blocks of rows are added in their order: 3 images of 300 positions are several of them.
#[test]
fn statistics_do_not_depend_on_the_number_of_threads() {
    #[derive(Debug)]
    struct Alone;
    impl SharedBatch for Alone {
        fn add_up(&self, _: &mut [f64]) {}
    }
    let by = |threads: usize| {
        let work = || {
            let x = tensor(&values(3 * 300 * 7, 5), [3, 20, 15, 7]);
            let (weight, bias) = (tensor(&values(7, 6), [7]), tensor(&values(7, 7), [7]));
            let normalized = shared_batch_norm(x.clone(), weight.clone(), bias, EPSILON, Arc::new(Alone));
            let gradients = (normalized.output.clone() * normalized.output.clone() * x.clone()).sum().backward();
            let gradients = [host(x.grad(&gradients).unwrap()), host(weight.grad(&gradients).unwrap())];
            (host(normalized.output.inner()), gradients, host(normalized.variance))
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    assert!(by(1) == by(3));
}
