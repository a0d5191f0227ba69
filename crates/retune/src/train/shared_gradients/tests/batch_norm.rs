//! BatchNorm that follows batches of which several processes compute parts.

use super::*;
use crate::loading::mix::Mix;
use crate::models::parameters::Role;
use crate::train::optimizer::OptimizerKind;
use crate::train::options::{BatchNormPolicy, Keep};

/// SGD, whose steps are as small as the differences of the gradients: Adam divides by the size of a gradient.
fn following(batch_size: usize, accumulate: usize) -> TrainOptions {
    let options = options(batch_size, accumulate);
    let mut options = TrainOptions { batch_norm: BatchNormPolicy::Train, keep: Keep::Last, ..options };
    options.optimizer.kind = OptimizerKind::Sgd;
    options
}

/// How far training moved the weights and the running statistics.
#[derive(Clone, PartialEq)]
struct Moved {
    weights: Vec<f64>,
    statistics: Vec<f64>,
}

fn moved(name: &str, method: &str, options: &TrainOptions) -> Moved {
    let start = model(name);
    let end = trained_from(start.clone(), 1e-2, method, options, &Silent).unwrap().model;
    let (mut weights, mut statistics) = (Vec::new(), Vec::new());
    for (index, spec) in start.parameters.specs().iter().enumerate() {
        let (before, after) = (start.parameters.values(index), end.parameters.values(index));
        let moved = before.iter().zip(&after).map(|(&before, &after)| f64::from(after) - f64::from(before));
        if spec.role == Role::Statistic { statistics.extend(moved) } else { weights.extend(moved) }
    }
    Moved { weights, statistics }
}

/// The same of several processes, which all come to the same.
fn moved_together(size: usize, name: &str, method: &str, options: &TrainOptions) -> Moved {
    let of_processes = on_threads(size, |processes: &Processes| {
        moved(name, method, &TrainOptions { processes: processes.clone(), ..options.clone() })
    });
    assert!(of_processes.iter().all(|moved| *moved == of_processes[0]));
    of_processes.into_iter().next().unwrap()
}

/// Norm of the difference to norm of the movement, of the weights and of the statistics.
fn distances(one: &Moved, other: &Moved) -> [f64; 2] {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    [(&one.weights, &other.weights), (&one.statistics, &other.statistics)].map(|(one, other)| {
        let apart = norm(&mut one.iter().zip(other).map(|(one, other)| one - other));
        apart / norm(&mut other.iter().copied())
    })
}

/// How far apart weights and statistics may be, of the movement: the weights themselves would hide any mistake. Of another
/// order of sums in single precision, 6e-8, a dozen layers and steps make a few 1e-6. Weights have more room: where two values
/// of a window, or a value and zero, are almost equal, rounding decides which way a gradient goes.
const TOLERANCES: [f64; 2] = [1e-4, 1e-5];

fn are_close(distances: [f64; 2]) -> bool {
    distances.iter().zip(TOLERANCES).all(|(distance, tolerance)| *distance < tolerance)
}

/// 22 images in batches of 8 and 5 and 10 leave last ones of 6, 2, and 2: three processes have parts of 3 and 3 and none,
/// and two of them have none.
#[test]
fn parts_of_a_batch_are_normalized_by_the_whole() {
    for name in ["resnet_basic", "efficientnet"] {
        for batch_size in [8, 5, 10] {
            let options = following(batch_size, 1);
            let alone = moved(name, "ft", &options);
            assert!(moved_together(1, name, "ft", &options) == alone);
            for size in [2, 3] {
                let together = moved_together(size, name, "ft", &options);
                let distances = distances(&together, &alone);
                assert!(are_close(distances), "{name}, batches of {batch_size}, {size} processes: {distances:?}");
                assert!(moved_together(size, name, "ft", &options) == together, "a repetition");
            }
        }
    }
    // What parts that are normalized by themselves would give is far from that.
    let parts = moved("resnet_basic", "ft", &following(4, 2));
    let distances = distances(&parts, &moved("resnet_basic", "ft", &following(8, 1)));
    assert!(
        distances.iter().zip(TOLERANCES).all(|(distance, tolerance)| *distance > 100.0 * tolerance),
        "{distances:?}"
    );
}

/// Each of the batches of an update has statistics of its own, as in one process, and so has a measure of rates.
#[test]
fn batches_that_add_up_are_normalized_one_by_one_and_so_are_those_of_a_measure() {
    for (method, options) in [
        ("ft", following(4, 2)),
        ("auto-rgn", following(8, 1)),
        ("surgical", following(8, 1)),
        ("norms", following(8, 1)),
        ("ft", TrainOptions { drop_path: Some(0.3), ..following(8, 1) }),
        (
            "ft",
            TrainOptions { label_smoothing: 0.1, mix: Mix { mixup_alpha: 0.4, ..Mix::default() }, ..following(8, 1) },
        ),
    ] {
        let (alone, together) =
            (moved("resnet_basic", method, &options), moved_together(3, "resnet_basic", method, &options));
        let distances = distances(&together, &alone);
        assert!(are_close(distances), "{method}: {distances:?}");
    }
}

/// A batch of one image has no statistics, in parts or whole: all processes leave it out alike.
#[test]
fn a_last_batch_of_one_image_changes_no_statistics() {
    let options = following(7, 1);
    let distances =
        distances(&moved_together(2, "resnet_basic", "ft", &options), &moved("resnet_basic", "ft", &options));
    assert!(are_close(distances), "{distances:?}");
}

/// With a batch for each process, nothing is shared.
#[test]
fn whole_batches_give_the_bytes_of_one_process() {
    let options = following(4, 2);
    let alone = bits(&trained("ft", &options, &Silent).unwrap());
    for of_process in of_processes(2, "ft", &options) {
        assert!(of_process == alone);
    }
}
