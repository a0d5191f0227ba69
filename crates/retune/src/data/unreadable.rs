//! Images that cannot be read, found and left out before anything is made of the others.

use std::ops::ControlFlow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::decode::DecodeLimits;
use super::source::Dataset;

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

impl Dataset {
    /// Reads and decodes every image, and takes out those that cannot be; `None` if `on_image`, which
    /// is told of each, asks to stop.
    pub fn leave_out_unreadable(
        &mut self,
        limits: &DecodeLimits,
        on_image: impl Fn() -> ControlFlow<()> + Sync,
    ) -> Option<Vec<LeftOut>> {
        let check = |(index, sample): (usize, &super::Sample)| {
            if on_image().is_break() {
                return None;
            }
            let failed = sample.image.load(limits).err();
            Some(failed.map(|error| LeftOut { index, name: sample.name.clone(), reason: error.to_string() }))
        };
        let found: Option<Vec<Option<LeftOut>>> = self.samples.par_iter().enumerate().map(check).collect();
        let left_out: Vec<LeftOut> = found?.into_iter().flatten().collect();
        self.leave_out(&left_out);
        Some(left_out)
    }

    /// Takes images out that were found unreadable before; whether all of them were there.
    pub fn leave_out(&mut self, left_out: &[LeftOut]) -> bool {
        let is_there = |image: &LeftOut| self.samples.get(image.index).is_some_and(|sample| sample.name == image.name);
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
        let left_out = dataset.leave_out_unreadable(&DecodeLimits::default(), || ControlFlow::Continue(())).unwrap();
        assert_eq!(left_out.iter().map(|image| image.index).collect::<Vec<_>>(), [1, 3]);
        assert!(left_out[0].reason.contains("b.png") && left_out[0].reason.contains("not an image"));
        let kept: Vec<bool> = dataset.samples.iter().map(|sample| sample.name.ends_with("a.png")).collect();
        assert_eq!(kept, [true, false]);

        let mut again = whole.clone();
        assert!(again.leave_out(&left_out));
        assert_eq!(again.samples.len(), 2);
        let mut shorter = whole.select(&[0]);
        assert!(!shorter.leave_out(&left_out));
        assert!(whole.clone().leave_out_unreadable(&DecodeLimits::default(), || ControlFlow::Break(())).is_none());
    }
}
