//! Threads in the place of processes, for tests.

use std::sync::{Arc, Barrier, Mutex};

use super::{Collective, Processes};

/// What the threads have laid down for each other.
struct Table {
    values: Mutex<Vec<Vec<f64>>>,
    barrier: Barrier,
}

struct Thread {
    rank: usize,
    size: usize,
    table: Arc<Table>,
}

impl Thread {
    /// What all threads lay down, in their order.
    fn exchange(&self, values: Vec<f64>) -> Vec<Vec<f64>> {
        self.table.values.lock().unwrap()[self.rank] = values;
        self.table.barrier.wait();
        let all = self.table.values.lock().unwrap().clone();
        self.table.barrier.wait();
        all
    }
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
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

/// What each of several threads that work together returns.
pub(crate) fn on_threads<T: Send>(size: usize, work: impl Fn(&Processes) -> T + Sync) -> Vec<T> {
    let table = Arc::new(Table { values: Mutex::new(vec![Vec::new(); size]), barrier: Barrier::new(size) });
    std::thread::scope(|scope| {
        let work = &work;
        let start = |rank: usize| {
            let processes = Processes::new(Thread { rank, size, table: Arc::clone(&table) });
            scope.spawn(move || work(&processes))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
