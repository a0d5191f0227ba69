//! Threads in the place of processes, for tests.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{Collective, Combine, Processes};

struct Thread {
    rank: usize,
    /// To each thread, this one included.
    senders: Vec<Sender<Vec<f64>>>,
    /// From each thread.
    receivers: Mutex<Vec<Receiver<Vec<f64>>>>,
}

impl Thread {
    /// What all threads send, in their order. A thread that has ended, as by a panic, ends the others.
    fn exchange(&self, values: Vec<f64>) -> Vec<Vec<f64>> {
        for sender in &self.senders {
            sender.send(values.clone()).expect("all threads go on");
        }
        let receivers = self.receivers.lock().unwrap();
        receivers.iter().map(|receiver| receiver.recv().expect("all threads go on")).collect()
    }
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn add(&self, sums: &mut [f32], values: &[f32]) {
        for of_thread in self.gather(values) {
            sums.iter_mut().zip(of_thread).for_each(|(sum, value)| *sum += value);
        }
    }

    fn add_f64(&self, sums: &mut [f64], values: &[f64]) {
        for of_thread in self.exchange(values.to_vec()) {
            sums.iter_mut().zip(of_thread).for_each(|(sum, value)| *sum += value);
        }
    }

    fn combine(&self, own: &[Vec<f64>], rows: &[usize], length: usize, combine: Combine) -> Vec<f64> {
        let all = self.exchange(own.concat());
        let given: Vec<&[f64]> = all.iter().flat_map(|values| values.chunks_exact(length)).collect();
        assert_eq!(given.len(), rows.iter().sum::<usize>(), "each gives as many rows as the others expect");
        // In two pieces, as other processes may do it.
        let (left, right): (Vec<_>, Vec<_>) = given.iter().map(|row| row.split_at(length / 2)).unzip();
        [combine(&left), combine(&right)].concat()
    }

    fn gather(&self, values: &[f32]) -> Vec<Vec<f32>> {
        let all = self.exchange(values.iter().map(|&value| f64::from(value)).collect());
        all.into_iter().map(|values| values.into_iter().map(|value| value as f32).collect()).collect()
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let all = self.exchange(bytes.iter().map(|&byte| f64::from(byte)).collect());
        *bytes = all[0].iter().map(|&byte| byte as u8).collect();
    }

    fn any(&self, here: bool) -> bool {
        self.exchange(vec![f64::from(u8::from(here))]).concat().contains(&1.0)
    }

    fn barrier(&self) {
        self.exchange(Vec::new());
    }

    fn abort(&self, status: u8) -> ! {
        panic!("aborted with status {status}")
    }
}

/// What each of several threads that work together returns. Like a process, each has workers of its own: one that waits for
/// the others would keep shared workers from them.
pub(crate) fn on_threads<T: Send>(size: usize, work: impl Fn(&Processes) -> T + Sync) -> Vec<T> {
    let mut threads: Vec<Thread> =
        (0..size).map(|rank| Thread { rank, senders: Vec::new(), receivers: Mutex::default() }).collect();
    for to in 0..size {
        for from in 0..size {
            let (sender, receiver) = channel();
            threads[from].senders.push(sender);
            threads[to].receivers.get_mut().unwrap().push(receiver);
        }
    }
    std::thread::scope(|scope| {
        let work = &work;
        let workers = || rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let start = |thread| scope.spawn(move || workers().install(|| work(&Processes::new(thread))));
        let running: Vec<_> = threads.into_iter().map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
