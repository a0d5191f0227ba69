//! Images kept as bytes, so that each is decoded once in a run.
//!
//! A cache has one slot for each sample. Images stay in memory up to a budget and go to an unnamed
//! temporary file past it (the operating system removes the file when the process ends, however it
//! ends). When that file reaches its limit or its disk is full, the cache stops growing and further
//! images are decoded again each time: slower, never an error.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use image::{GrayImage, RgbImage};

use retune_pixels::picture::Picture;

use crate::sources::positional::{read_exact_at, write_all_at};

/// How much an [`ImageCache`] may keep, and where.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Room for pixels in memory, which several caches may share.
    pub memory: MemoryBudget,
    /// Bytes of pixels kept on disk past that.
    pub disk_bytes: u64,
    /// The folder of the temporary file; `None` for the system's temporary folder. Worth setting
    /// where that folder is itself held in memory, as `/tmp` is on some systems.
    pub disk_folder: Option<PathBuf>,
}

impl Default for CacheOptions {
    /// One GiB in memory and 32 GiB on disk, which hold 230,000 preprocessed images of 224 × 224.
    fn default() -> Self {
        Self { memory: MemoryBudget::of_bytes(1 << 30), disk_bytes: 32 << 30, disk_folder: None }
    }
}

/// Room in memory. Clones share it: what one cache takes is gone for the others.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Budget>);

impl MemoryBudget {
    /// Room for this many bytes.
    pub fn of_bytes(bytes: u64) -> Self {
        Self(Arc::new(Budget::new(bytes)))
    }
}

/// How far an image may go to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// In memory within its budget, then on disk.
    MemoryThenDisk,
    /// In memory within its budget, or not at all: for what is made again faster than it is read.
    MemoryOnly,
}

/// Decoded images by sample index, shared by any number of threads.
#[derive(Debug)]
pub struct ImageCache {
    /// A slot's lock is held while its image is decoded: a second thread that wants the same image
    /// waits for it and does not decode it again.
    slots: Vec<Mutex<Slot>>,
    memory: MemoryBudget,
    disk: Budget,
    disk_folder: Option<PathBuf>,
    spill: OnceLock<Option<File>>,
    stopped_growing: AtomicBool,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Memory(Picture),
    Disk { offset: u64, width: u32, height: u32, has_alpha: bool },
}

impl ImageCache {
    /// An empty cache for samples numbered `0..samples`.
    pub fn new(samples: usize, options: &CacheOptions) -> Self {
        Self {
            slots: std::iter::repeat_with(|| Mutex::new(Slot::Empty)).take(samples).collect(),
            memory: options.memory.clone(),
            disk: Budget::new(options.disk_bytes),
            disk_folder: options.disk_folder.clone(),
            spill: OnceLock::new(),
            stopped_growing: AtomicBool::new(false),
        }
    }

    /// The image of sample `index`, decoded by `decode` unless it is kept already.
    ///
    /// `decode` must not wait for other threads that use this cache, since the slot stays locked.
    ///
    /// # Errors
    /// What `decode` returns; nothing is kept then.
    ///
    /// # Panics
    /// If `index` is not below the number of samples.
    pub fn get_or_decode<E>(
        &self,
        index: usize,
        retention: Retention,
        decode: impl FnOnce() -> Result<Picture, E>,
    ) -> Result<Picture, E> {
        // A slot is only ever assigned whole, so one whose decoder panicked is still sound.
        let mut slot = self.slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Slot::Memory(image) => return Ok(image.clone()),
            &Slot::Disk { offset, width, height, has_alpha } => {
                if let Some(image) = self.read(offset, width, height, has_alpha) {
                    return Ok(image);
                }
            }
            Slot::Empty => {}
        }
        let image = decode()?;
        if matches!(*slot, Slot::Empty) {
            *slot = self.keep(&image, retention);
        }
        Ok(image)
    }

    /// Whether an image found no place, so that it will be decoded again.
    pub fn stopped_growing(&self) -> bool {
        self.stopped_growing.load(Ordering::Relaxed)
    }

    /// Bytes of pixels kept in memory now, by this cache and those that share its room.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.0.used.load(Ordering::Relaxed)
    }

    /// Bytes of the temporary file that are taken.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.used.load(Ordering::Relaxed)
    }

    fn keep(&self, image: &Picture, retention: Retention) -> Slot {
        let bytes = image.byte_count() as u64;
        if self.memory.0.reserve(bytes).is_some() {
            return Slot::Memory(image.clone());
        }
        if retention == Retention::MemoryOnly {
            return Slot::Empty;
        }
        match self.write(image) {
            Some(offset) => {
                let (width, height) = image.dimensions();
                Slot::Disk { offset, width, height, has_alpha: image.alpha.is_some() }
            }
            None => {
                self.stopped_growing.store(true, Ordering::Relaxed);
                Slot::Empty
            }
        }
    }

    /// Appends the image to the temporary file, unless that is full.
    fn write(&self, image: &Picture) -> Option<u64> {
        let file = self.spill.get_or_init(|| self.create_file().ok()).as_ref()?;
        let offset = self.disk.reserve(image.byte_count() as u64)?;
        let color = image.color.as_raw();
        let written = write_all_at(file, color, offset).and_then(|()| match &image.alpha {
            Some(alpha) => write_all_at(file, alpha.as_raw(), offset + color.len() as u64),
            None => Ok(()),
        });
        match written {
            Ok(()) => Some(offset),
            Err(_) => {
                // The disk is full or broken: do not let every later image find that out again.
                self.disk.close();
                None
            }
        }
    }

    fn create_file(&self) -> io::Result<File> {
        match &self.disk_folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }

    /// Reads an image back, or `None` if the disk fails; the image is then decoded again.
    fn read(&self, offset: u64, width: u32, height: u32, has_alpha: bool) -> Option<Picture> {
        let file = self.spill.get()?.as_ref()?;
        let mut color = RgbImage::new(width, height);
        read_exact_at(file, &mut color, offset).ok()?;
        if !has_alpha {
            return Some(color.into());
        }
        let mut alpha = GrayImage::new(width, height);
        read_exact_at(file, &mut alpha, offset + color.len() as u64).ok()?;
        Some(Picture::new(color, alpha))
    }
}

/// A number of bytes of which parts are reserved and never given back.
#[derive(Debug)]
struct Budget {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Budget {
    fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// Reserves `bytes` and returns how many were reserved before, or `None` if they do not fit.
    fn reserve(&self, bytes: u64) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        let fits = |used: u64| used.checked_add(bytes).filter(|&total| total <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()
    }

    fn close(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A 10 × 10 image, 300 bytes, that differs between samples.
    fn picture(index: usize) -> RgbImage {
        RgbImage::from_fn(10, 10, |x, y| image::Rgb([index as u8, x as u8, y as u8]))
    }

    fn options(memory_bytes: u64, disk_bytes: u64) -> CacheOptions {
        CacheOptions { memory: MemoryBudget::of_bytes(memory_bytes), disk_bytes, disk_folder: None }
    }

    /// Asks for every sample and returns how many had to be decoded.
    fn decoded(cache: &ImageCache, samples: usize, retention: Retention) -> usize {
        let count = AtomicUsize::new(0);
        for index in 0..samples {
            let decode = || {
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(picture(index).into())
            };
            let image = cache.get_or_decode(index, retention, decode).unwrap();
            assert_eq!(*image.color, picture(index));
        }
        count.into_inner()
    }

    #[test]
    fn images_past_the_memory_budget_come_back_from_disk() {
        let cache = ImageCache::new(10, &options(1000, 10_000));
        assert_eq!(decoded(&cache, 10, Retention::MemoryThenDisk), 10);
        assert_eq!((cache.memory_bytes(), cache.disk_bytes()), (900, 2100));
        assert_eq!(decoded(&cache, 10, Retention::MemoryThenDisk), 0);
        assert!(!cache.stopped_growing());
    }

    #[test]
    fn past_both_budgets_images_are_decoded_again() {
        let cache = ImageCache::new(10, &options(1000, 700));
        assert_eq!(decoded(&cache, 10, Retention::MemoryThenDisk), 10);
        assert!(cache.stopped_growing());
        assert_eq!(decoded(&cache, 10, Retention::MemoryThenDisk), 5);
    }

    #[test]
    fn caches_share_a_budget_of_memory() {
        let options = options(1000, 10_000);
        let caches = [ImageCache::new(10, &options), ImageCache::new(10, &options)];
        assert_eq!(decoded(&caches[0], 2, Retention::MemoryThenDisk), 2);
        assert_eq!(decoded(&caches[1], 10, Retention::MemoryThenDisk), 10);
        assert_eq!(caches.each_ref().map(ImageCache::memory_bytes), [900, 900]);
        assert_eq!(caches.each_ref().map(ImageCache::disk_bytes), [0, 2700]);
        assert_eq!(decoded(&caches[1], 10, Retention::MemoryThenDisk), 0);
    }

    #[test]
    fn what_is_cheap_to_make_is_not_written_to_disk() {
        let cache = ImageCache::new(10, &options(1000, 10_000));
        decoded(&cache, 10, Retention::MemoryOnly);
        assert_eq!(cache.disk_bytes(), 0);
        assert_eq!(decoded(&cache, 10, Retention::MemoryOnly), 7);
        assert!(!cache.stopped_growing());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let disk_folder = Some(folder.path().join("absent"));
        let cache = ImageCache::new(4, &CacheOptions { disk_folder, ..options(300, 10_000) });
        assert_eq!(decoded(&cache, 4, Retention::MemoryThenDisk), 4);
        assert_eq!(decoded(&cache, 4, Retention::MemoryThenDisk), 3);
        assert!(cache.stopped_growing());
    }

    /// Linux has a device that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_no_error() {
        let cache = ImageCache::new(4, &options(300, 10_000));
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        cache.spill.set(Some(full)).unwrap();
        assert_eq!(decoded(&cache, 4, Retention::MemoryThenDisk), 4);
        assert_eq!(decoded(&cache, 4, Retention::MemoryThenDisk), 3);
        assert!(cache.stopped_growing());
    }

    #[test]
    fn threads_that_ask_at_once_decode_once() {
        let cache = ImageCache::new(50, &options(3000, 100_000));
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for index in 0..50 {
                        let decode = || {
                            count.fetch_add(1, Ordering::Relaxed);
                            // Long enough for the other threads to arrive at the same slot.
                            std::thread::sleep(std::time::Duration::from_micros(200));
                            Ok::<_, Infallible>(picture(index).into())
                        };
                        let image = cache.get_or_decode(index, Retention::MemoryThenDisk, decode).unwrap();
                        assert_eq!(*image.color, picture(index));
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 50);
    }

    #[test]
    fn a_failed_decoding_is_not_kept() {
        let cache = ImageCache::new(1, &options(1000, 0));
        assert_eq!(cache.get_or_decode(0, Retention::MemoryThenDisk, || Err("corrupt")), Err("corrupt"));
        assert_eq!(decoded(&cache, 1, Retention::MemoryThenDisk), 1);
    }
}
