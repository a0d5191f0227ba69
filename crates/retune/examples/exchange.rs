//! What several processes exchange in a step of training that shares a batch, without the training: the gradients, and what
//! the BatchNorm layers add up with `--bn train`.
//!
//!     cargo build --release --features mpi --example exchange
//!     mpirun -n 2 target/release/examples/exchange resnet18 100

use std::time::Instant;

use retune::collective::{Processes, mpi};
use retune::device;
use retune::models::Model;
use retune::models::parameters::Role;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let architecture = arguments.next().ok_or("needs an architecture and a number of steps")?;
    let steps: usize = arguments.next().ok_or("needs a number of steps")?.parse()?;
    let processes = mpi::join().ok_or("MPI was begun before")?;
    let model = Model::from_scratch(None, Some(&architecture), Clone::clone, 0, &device::by_name("cpu")?)?;

    let specs = &model.network().specs;
    let trained = specs.iter().filter(|spec| spec.role.is_trainable()).map(|spec| spec.len()).sum();
    // A layer has two statistics of each channel, a mean and a variance.
    let statistics: Vec<usize> =
        specs.iter().filter(|spec| spec.role == Role::Statistic).map(|spec| spec.len()).collect();
    let channels: Vec<usize> = statistics.chunks(2).map(|both| both[0]).collect();

    let (gradients, mut sums) = (vec![1.0_f32; trained], vec![0.0; trained]);
    let of_gradients = milliseconds(&processes, steps, || processes.add(&mut sums, &gradients));
    let of_layers = milliseconds(&processes, steps, || {
        // Forward, a count, sums, and sums of squares; backward, two sums.
        for values in
            channels.iter().map(|channels| 2 * channels + 1).chain(channels.iter().map(|channels| 2 * channels))
        {
            processes.add_f64(&mut vec![0.0; values], &vec![1.0; values]);
        }
    });
    if processes.is_root() {
        println!("{architecture} by {} processes, the quickest and the median of {steps} steps:", processes.size());
        println!("{trained} gradients: {of_gradients}");
        println!("{} BatchNorm layers, forward and backward: {of_layers}", channels.len());
    }
    Ok(())
}

/// The time of an exchange in milliseconds: the quickest and the median.
fn milliseconds(processes: &Processes, steps: usize, mut exchange: impl FnMut()) -> String {
    let mut measured: Vec<f64> = (0..steps.max(1))
        .map(|_| {
            processes.barrier();
            let started = Instant::now();
            exchange();
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    measured.sort_by(f64::total_cmp);
    format!("{:.2} and {:.2} ms", measured[0], measured[measured.len() / 2])
}
