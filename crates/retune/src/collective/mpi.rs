//! The processes of an MPI job, which `mpirun` or Slurm started.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ::mpi::collective::SystemOperation;
use ::mpi::datatype::PartitionMut;
use ::mpi::environment::Universe;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Buffer, BufferMut, Communicator, CommunicatorCollectives, Equivalence, Root};
use ::mpi::{Count, Threading};

use super::{Collective, Processes};

/// Values that are added at once, 4 MiB of single-precision numbers: enough for the network's full rate, and little beside
/// a model.
const BUCKET: usize = 1 << 20;

/// Values of all processes together that everyone gets, to add them up alone: of few, the number of messages is what counts.
const FEW: usize = 1 << 15;

/// Values of a process that are gathered at once: MPI counts in 32 bits, over all processes.
const GATHERED: usize = 1 << 20;

/// Bytes that are broadcast at once.
const BROADCAST: usize = 1 << 28;

/// Joins the other processes of the MPI job that this one is of; alone, it is a job of one. `None` if MPI was begun before.
///
/// Only one thread at a time may work with the processes. MPI ends when the last clone is dropped.
pub fn join() -> Option<Processes> {
    let (universe, _) = ::mpi::initialize_with_threading(Threading::Serialized)?;
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    Some(Processes::new(Job { rank, size, nanoseconds: AtomicU64::new(0), _universe: universe }))
}

struct Job {
    rank: usize,
    size: usize,
    /// Spent in MPI's calls.
    nanoseconds: AtomicU64,
    _universe: Universe,
}

impl Job {
    fn timed<T>(&self, call: impl FnOnce(&SimpleCommunicator) -> T) -> T {
        let started = Instant::now();
        let result = call(&SimpleCommunicator::world());
        self.nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Each process adds up a slice of the values, in the order of the processes, then all get all slices. As much goes
    /// over the network as for a sum in any order. Few values everyone adds up alone, in the same order.
    fn add_in_order<T>(&self, sums: &mut [T], values: &[T])
    where
        T: AddAssign + Copy + Default + Equivalence,
        [T]: Buffer + BufferMut,
    {
        if (1..=FEW).contains(&(sums.len() * self.size)) {
            let mut received = vec![T::default(); sums.len() * self.size];
            self.timed(|world| world.all_gather_into(values, &mut received[..]));
            for of_process in received.chunks_exact(sums.len()) {
                sums.iter_mut().zip(of_process).for_each(|(sum, value)| *sum += *value);
            }
            return;
        }
        for (sums, values) in sums.chunks_mut(BUCKET).zip(values.chunks(BUCKET)) {
            let slice = sums.len().div_ceil(self.size);
            let mut sent = values.to_vec();
            sent.resize(slice * self.size, T::default());
            let mut received = vec![T::default(); slice * self.size];
            self.timed(|world| world.all_to_all_into(&sent[..], &mut received[..]));
            let before = |rank: usize| (rank * slice).min(sums.len());
            let mut own = sums[before(self.rank)..before(self.rank + 1)].to_vec();
            own.resize(slice, T::default());
            for of_process in received.chunks_exact(slice) {
                own.iter_mut().zip(of_process).for_each(|(sum, value)| *sum += *value);
            }
            self.timed(|world| world.all_gather_into(&own[..], &mut received[..]));
            sums.copy_from_slice(&received[..sums.len()]);
        }
    }
}

impl Collective for Job {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn add(&self, sums: &mut [f32], values: &[f32]) {
        self.add_in_order(sums, values);
    }

    fn add_f64(&self, sums: &mut [f64], values: &[f64]) {
        self.add_in_order(sums, values);
    }

    fn gather(&self, values: &[f32]) -> Vec<Vec<f32>> {
        let mut lengths = vec![0_u64; self.size];
        self.timed(|world| world.all_gather_into(&(values.len() as u64), &mut lengths[..]));
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
        let mut gathered: Vec<Vec<f32>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for start in (0..longest).step_by(GATHERED) {
            let piece = |length: usize| start.min(length)..length.min(start + GATHERED);
            let counts: Vec<Count> = lengths.iter().map(|&length| piece(length).len() as Count).collect();
            let before = |rank: usize| counts[..rank].iter().sum::<Count>();
            let starts: Vec<Count> = (0..self.size).map(before).collect();
            let mut received = vec![0.0_f32; counts.iter().sum::<Count>() as usize];
            let mut pieces = PartitionMut::new(&mut received[..], &counts[..], &starts[..]);
            self.timed(|world| world.all_gather_varcount_into(&values[piece(values.len())], &mut pieces));
            for ((all, &start), &count) in gathered.iter_mut().zip(&starts).zip(&counts) {
                all.extend_from_slice(&received[start as usize..(start + count) as usize]);
            }
        }
        gathered
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        self.timed(|world| {
            let root = world.process_at_rank(0);
            let mut length = bytes.len() as u64;
            root.broadcast_into(&mut length);
            bytes.resize(length as usize, 0);
            bytes.chunks_mut(BROADCAST).for_each(|bytes| root.broadcast_into(bytes));
        });
    }

    fn any(&self, here: bool) -> bool {
        let mut anywhere = 0_u8;
        self.timed(|world| world.all_reduce_into(&u8::from(here), &mut anywhere, SystemOperation::max()));
        anywhere > 0
    }

    fn barrier(&self) {
        self.timed(|world| world.barrier());
    }

    fn abort(&self, status: u8) -> ! {
        SimpleCommunicator::world().abort(i32::from(status))
    }

    fn seconds(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9
    }
}
