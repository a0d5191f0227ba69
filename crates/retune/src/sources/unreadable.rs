//! Images that cannot be read, found and left out before anything is made of the others.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use retune_pixels::decode::DecodeLimits;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::source::{Dataset, Sample};

/// An image that was left out because it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its position in the dataset.
    pub index: usize,
    /// Its name there.
    pub name: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// Images that were read before, so that runs on the same images read each once. They are known by
/// their data's root and their names.
#[derive(Debug, Default)]
pub struct ReadImages(Mutex<HashMap<PathBuf, Reasons>>);

/// Why each image cannot be read; `None` where it can.
type Reasons = HashMap<Arc<str>, Option<String>>;

impl Dataset {
    /// Reads and decodes every image that is not among those `read` before, and takes out those that
    /// cannot be; `None` if `on_image`, which is told of each, asks to stop. One thread at a time
    /// adds to `read`, and another waits for it.
    pub fn leave_out_unreadable(
        &mut self,
        limits: &DecodeLimits,
        read: &ReadImages,
        on_image: impl Fn() -> ControlFlow<()> + Sync,
    ) -> Option<Vec<LeftOut>> {
        let reasons = self.read_all(limits, read, on_image)?;
        let left_out = |(index, (sample, reason)): (usize, (&Sample, Option<String>))| {
            Some(LeftOut { index, name: sample.name.to_string(), reason: reason? })
        };
        let left_out: Vec<LeftOut> = self.samples.iter().zip(reasons).enumerate().filter_map(left_out).collect();
        self.leave_out(&left_out);
        Some(left_out)
    }

    /// Reads and decodes every image that is not among those `read` before, as [`Dataset::leave_out_unreadable`] does, and takes
    /// nothing out.
    ///
    /// # Errors
    /// The first image that cannot be read.
    pub fn check_readable(
        &self,
        limits: &DecodeLimits,
        read: &ReadImages,
        on_image: impl Fn() -> ControlFlow<()> + Sync,
    ) -> Option<Result<(), DataError>> {
        let reasons = self.read_all(limits, read, on_image)?;
        let first = self.samples.iter().zip(reasons).find(|(_, reason)| reason.is_some());
        // Reasons are kept as text, so the error is made anew.
        Some(first.map_or(Ok(()), |(sample, _)| sample.image.load(limits).map(|_| ())))
    }

    /// Why each image cannot be read; nothing for those that can. `None` if `on_image` asks to stop.
    fn read_all(
        &self,
        limits: &DecodeLimits,
        read: &ReadImages,
        on_image: impl Fn() -> ControlFlow<()> + Sync,
    ) -> Option<Vec<Option<String>>> {
        // A thread that panicked has added nothing or all of its images.
        let mut read = read.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.entry(self.root.clone()).or_default();
        let reason = |sample: &Sample| {
            if on_image().is_break() {
                return None;
            }
            let load = || sample.image.load(limits).err().map(|error| error.to_string());
            Some(known.get(&sample.name).cloned().unwrap_or_else(load))
        };
        let reasons: Vec<Option<String>> = self.samples.par_iter().map(reason).collect::<Option<_>>()?;
        let names = self.samples.iter().map(|sample| Arc::clone(&sample.name));
        known.extend(names.zip(reasons.iter().cloned()));
        Some(reasons)
    }

    /// Takes images out that were found unreadable before; whether all of them were there.
    pub fn leave_out(&mut self, left_out: &[LeftOut]) -> bool {
        let is_there =
            |image: &LeftOut| self.samples.get(image.index).is_some_and(|sample| *sample.name == *image.name);
        let all_there = left_out.iter().all(is_there);
        let mut index = 0;
        let mut left_out = left_out.iter().map(|image| image.index).peekable();
        self.samples.retain(|_| {
            let kept = left_out.next_if_eq(&index).is_none();
            index += 1;
            kept
        });
        all_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_images_are_named_and_the_others_stay_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.png", "b.png", "c.png", "d.png"];
        let paths = names.map(|name| folder.path().join(name));
        for path in &paths {
            image::RgbImage::new(2, 2).save(path).unwrap();
        }
        std::fs::write(&paths[1], "no image").unwrap();
        std::fs::remove_file(&paths[3]).unwrap();
        let whole = Dataset::from_files(&paths);
        let mut dataset = whole.clone();
        let limits = DecodeLimits::default();
        let read = ReadImages::default();
        let left_out = dataset.leave_out_unreadable(&limits, &read, || ControlFlow::Continue(())).unwrap();
        assert_eq!(left_out.iter().map(|image| image.index).collect::<Vec<_>>(), [1, 3]);
        assert!(left_out[0].reason.contains("b.png") && left_out[0].reason.contains("not an image"));
        let kept: Vec<bool> = dataset.samples.iter().map(|sample| sample.name.ends_with("a.png")).collect();
        assert_eq!(kept, [true, false]);

        let mut again = whole.clone();
        assert!(again.leave_out(&left_out));
        assert_eq!(again.samples.len(), 2);
        let mut shorter = whole.select(&[0]);
        assert!(!shorter.leave_out(&left_out));
        assert!(whole.clone().leave_out_unreadable(&limits, &read, || ControlFlow::Break(())).is_none());

        let check =
            |dataset: &Dataset| dataset.check_readable(&limits, &ReadImages::default(), || ControlFlow::Continue(()));
        assert!(check(&again).unwrap().is_ok());
        assert!(check(&whole).unwrap().unwrap_err().to_string().contains("b.png"));
        assert!(whole.check_readable(&limits, &read, || ControlFlow::Break(())).is_none());

        // What was read before is not read again, though it has changed.
        std::fs::write(&paths[0], "no image any more").unwrap();
        let mut known = whole.clone();
        assert_eq!(known.leave_out_unreadable(&limits, &read, || ControlFlow::Continue(())), Some(left_out));
        assert!(again.check_readable(&limits, &read, || ControlFlow::Continue(())).unwrap().is_ok());
        assert!(check(&again).unwrap().is_err());
        let mut unknown = whole.clone();
        let found = unknown.leave_out_unreadable(&limits, &ReadImages::default(), || ControlFlow::Continue(()));
        assert_eq!(found.unwrap().len(), 3);
    }
}
