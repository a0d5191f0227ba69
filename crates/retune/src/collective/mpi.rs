//! The processes of an MPI job, which `mpirun` or Slurm started.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::mpi::collective::SystemOperation;
use ::mpi::datatype::{Partition, PartitionMut};
use ::mpi::environment::Universe;
use ::mpi::request::{Request, Scope, scope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Buffer, BufferMut, Communicator, CommunicatorCollectives, Equivalence, Root};
use ::mpi::{Count, Threading};

use super::{Collective, Combine, PendingSum, Processes};

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
/// One thread at a time may work with the processes. MPI ends when the last clone is dropped.
pub fn join() -> Option<Processes> {
    let (universe, threading) = ::mpi::initialize_with_threading(Threading::Multiple)?;
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    let background = (size > 1 && threading == Threading::Multiple).then(Background::start);
    Some(Processes::new(Job { rank, size, nanoseconds: Arc::default(), background, _universe: universe }))
}

struct Job {
    rank: usize,
    size: usize,
    /// Spent in MPI's calls, or waiting for those of the background thread.
    nanoseconds: Arc<AtomicU64>,
    /// `None` if MPI allows calls from one thread only, or there is a single process.
    background: Option<Background>,
    /// Ends MPI when it is dropped, after the background thread.
    _universe: Universe,
}

impl Job {
    fn timed<T>(&self, call: impl FnOnce(&SimpleCommunicator) -> T) -> T {
        timed(&self.nanoseconds, || call(&SimpleCommunicator::world()))
    }
}

fn timed<T>(nanoseconds: &AtomicU64, call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
    result
}

/// Each process adds up a slice of the values, in the order of the processes, then all get all slices. As much goes over
/// the network as for a sum in any order. Few values everyone adds up alone, in the same order.
fn add_in_order<T>(communicator: &SimpleCommunicator, waiting: Waiting, sums: &mut [T], values: &[T])
where
    T: AddAssign + Copy + Default + Equivalence,
    [T]: Buffer + BufferMut,
{
    let (rank, size) = (communicator.rank() as usize, communicator.size() as usize);
    if (1..=FEW).contains(&(sums.len() * size)) {
        let mut received = vec![T::default(); sums.len() * size];
        scope(|scope| waiting.end(communicator.immediate_all_gather_into(scope, values, &mut received[..])));
        for of_process in received.chunks_exact(sums.len()) {
            sums.iter_mut().zip(of_process).for_each(|(sum, value)| *sum += *value);
        }
        return;
    }
    let (mut own, mut received) = (Vec::new(), Vec::new());
    for (sums, values) in sums.chunks_mut(BUCKET).zip(values.chunks(BUCKET)) {
        let start = |rank: usize| sums.len() * rank / size;
        let slices = Pieces::of((0..size).map(|rank| start(rank + 1) - start(rank)));
        own.clear();
        own.extend_from_slice(&sums[start(rank)..start(rank + 1)]);
        let of_each = Pieces::of(std::iter::repeat_n(own.len(), size));
        received.resize(own.len() * size, T::default());
        let sent = Partition::new(values, &slices.lengths[..], &slices.starts[..]);
        let mut pieces = PartitionMut::new(&mut received[..], &of_each.lengths[..], &of_each.starts[..]);
        scope(|scope| waiting.end(communicator.immediate_all_to_all_varcount_into(scope, &sent, &mut pieces)));
        for of_process in received.chunks_exact(own.len().max(1)) {
            own.iter_mut().zip(of_process).for_each(|(sum, value)| *sum += *value);
        }
        let mut all = PartitionMut::new(sums, &slices.lengths[..], &slices.starts[..]);
        scope(|scope| waiting.end(communicator.immediate_all_gather_varcount_into(scope, &own[..], &mut all)));
    }
}

/// What `combine` makes of the rows of all processes: each combines a slice of the values, then all get all slices. Few values
/// everyone combines alone.
fn combine_rows(
    world: &SimpleCommunicator,
    own: &[Vec<f64>],
    rows: &[usize],
    length: usize,
    combine: Combine,
) -> Vec<f64> {
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    let all = rows.iter().sum::<usize>();
    if all * length <= FEW {
        let lengths = Pieces::of(rows.iter().map(|rows| rows * length));
        let mut received = vec![0.0; all * length];
        let mut pieces = PartitionMut::new(&mut received[..], &lengths.lengths[..], &lengths.starts[..]);
        world.all_gather_varcount_into(&own.concat()[..], &mut pieces);
        return combine(&received.chunks_exact(length).collect::<Vec<_>>());
    }
    let mut combined = vec![0.0; length];
    for (bucket, combined) in combined.chunks_mut(BUCKET).enumerate() {
        let start = |process: usize| combined.len() * process / size;
        let slices = Pieces::of((0..size).map(|process| start(process + 1) - start(process)));
        let of_slice = |process: usize| {
            let first = bucket * BUCKET + slices.starts[process] as usize;
            first..first + slices.lengths[process] as usize
        };
        let sent: Vec<f64> =
            (0..size).flat_map(|to| own.iter().flat_map(move |row| &row[of_slice(to)])).copied().collect();
        let to_each = Pieces::of((0..size).map(|to| own.len() * of_slice(to).len()));
        let own_length = of_slice(rank).len();
        let from_each = Pieces::of(rows.iter().map(|rows| rows * own_length));
        let mut received = vec![0.0; all * own_length];
        world.all_to_all_varcount_into(
            &Partition::new(&sent[..], &to_each.lengths[..], &to_each.starts[..]),
            &mut PartitionMut::new(&mut received[..], &from_each.lengths[..], &from_each.starts[..]),
        );
        let received: Vec<&[f64]> = (0..all).map(|row| &received[row * own_length..][..own_length]).collect();
        let mut pieces = PartitionMut::new(combined, &slices.lengths[..], &slices.starts[..]);
        world.all_gather_varcount_into(&combine(&received)[..], &mut pieces);
    }
    combined
}

/// How a thread waits for the other processes.
#[derive(Clone, Copy)]
enum Waiting {
    /// It asks all the time, and knows at once.
    Busy,
    /// It sleeps in between, and leaves its core to the threads that compute. MPI moves data only when it is asked, a piece
    /// of a large message each time, so it must be asked often.
    Asleep,
}

/// How long a waiting thread sleeps before it asks again.
const NAP: Duration = Duration::from_micros(50);

impl Waiting {
    fn end<'a, D: ?Sized, S: Scope<'a>>(self, mut request: Request<'a, D, S>) {
        match self {
            Self::Busy => request.wait_without_status(),
            Self::Asleep => {
                while let Err(unfinished) = request.test() {
                    request = unfinished;
                    std::thread::sleep(NAP);
                }
            }
        }
    }
}

/// Lengths of consecutive pieces, and where they start.
struct Pieces {
    lengths: Vec<Count>,
    starts: Vec<Count>,
}

impl Pieces {
    fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let lengths: Vec<Count> = lengths.map(|length| length as Count).collect();
        let before = |end: &mut Count, length: &Count| Some(std::mem::replace(end, *end + length));
        let starts = lengths.iter().scan(0, before).collect();
        Self { lengths, starts }
    }
}

/// A thread that adds up values with those of the other processes, on a communicator of their own.
struct Background {
    /// `None` once it is to end.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// Sums, what this process adds to them, and where the result goes.
struct Order {
    sums: Vec<f32>,
    values: Vec<f32>,
    reply: Sender<Vec<f32>>,
}

impl Background {
    /// All processes start theirs together.
    fn start() -> Self {
        let (orders, received) = channel();
        let (ready, started) = channel();
        let thread = std::thread::spawn(move || {
            let communicator = SimpleCommunicator::world().duplicate();
            // Nobody waits if the process ends already.
            let _ = ready.send(());
            add_as_ordered(&communicator, received);
        });
        // Other calls on the world's communicator must come after this one in all processes.
        let _ = started.recv();
        Self { orders: Some(orders), thread: Some(thread) }
    }

    fn add(&self, sums: Vec<f32>, values: Vec<f32>) -> Receiver<Vec<f32>> {
        let (reply, sums_later) = channel();
        let orders = self.orders.as_ref().expect("orders end when the background is dropped");
        orders.send(Order { sums, values, reply }).expect("the thread works until orders end");
        sums_later
    }
}

fn add_as_ordered(communicator: &SimpleCommunicator, orders: Receiver<Order>) {
    for Order { mut sums, values, reply } in orders {
        add_in_order(communicator, Waiting::Asleep, &mut sums, &values);
        // Whoever ordered may have ended, by an interrupt or an error.
        let _ = reply.send(sums);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // It has said why it panicked, if it did.
            let _ = thread.join();
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
        self.timed(|world| add_in_order(world, Waiting::Busy, sums, values));
    }

    fn begin_add(&self, mut sums: Vec<f32>, values: Vec<f32>) -> PendingSum {
        let Some(background) = &self.background else {
            self.add(&mut sums, &values);
            return PendingSum::known(sums);
        };
        let later = background.add(sums, values);
        let nanoseconds = self.nanoseconds.clone();
        PendingSum::new(move || timed(&nanoseconds, || later.recv().expect("the background replies to each order")))
    }

    fn add_f64(&self, sums: &mut [f64], values: &[f64]) {
        self.timed(|world| add_in_order(world, Waiting::Busy, sums, values));
    }

    fn combine(&self, own: &[Vec<f64>], rows: &[usize], length: usize, combine: Combine) -> Vec<f64> {
        self.timed(|world| combine_rows(world, own, rows, length, combine))
    }

    fn gather(&self, values: &[f32]) -> Vec<Vec<f32>> {
        let mut lengths = vec![0_u64; self.size];
        self.timed(|world| world.all_gather_into(&(values.len() as u64), &mut lengths[..]));
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length as usize).collect();
        let mut gathered: Vec<Vec<f32>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for start in (0..longest).step_by(GATHERED) {
            let piece = |length: usize| start.min(length)..length.min(start + GATHERED);
            let Pieces { lengths, starts } = Pieces::of(lengths.iter().map(|&length| piece(length).len()));
            let mut received = vec![0.0_f32; lengths.iter().sum::<Count>() as usize];
            let mut pieces = PartitionMut::new(&mut received[..], &lengths[..], &starts[..]);
            self.timed(|world| world.all_gather_varcount_into(&values[piece(values.len())], &mut pieces));
            for ((all, &start), &length) in gathered.iter_mut().zip(&starts).zip(&lengths) {
                all.extend_from_slice(&received[start as usize..][..length as usize]);
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
