//! How alike source and target images are to the model, block after block.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rand::seq::index;
use retune_analysis::cka::{Alignment, Estimate, Estimator, Gram, Kernel, Rows};
use retune_random::generator;
use serde::Serialize;

use super::{AdviseError, Candidate, Target};
use crate::inference::Layer;
use crate::inference::layers::{Positions, for_each_batch_at};
use crate::run::evaluation_loader;
use crate::sources::{DataSource, Dataset, LabelSets};

/// The most pairs that are compared: kernel matrices grow with their square.
const MAX_PAIRS: usize = 1000;
/// Pairs below which an estimate says nothing.
const MIN_PAIRS: usize = 16;
/// Side of the small images that are compared in place of whole ones.
const THUMBNAIL: usize = 16;
/// Halves of the images that intervals are made from.
const RESAMPLES: usize = 200;
/// Keeps the choice of source images apart from other uses of the seed.
const CHOICE: u64 = 0x6164_7669_7365_0001;

/// How source and target images are paired; CKA compares two views of the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// The same files, changed on their way, as `DATA` and `DATA@fog:3` are.
    SameImages,
    /// Images of the same class, drawn at random.
    SameClass,
}

/// How alike source and target images are once they have passed a candidate.
///
/// Each block's output is averaged over positions, because different images have no positions in common. With images
/// paired by class, all that two of a pair have in common is their class, so CKA measures whether the target's classes lie
/// to each other as the source's do; its ceiling is that of other source images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similarity {
    /// Debiased linear CKA of source and target.
    pub cka: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// The same of source images with other source images of the same class: what no shift would give. 1 for the same
    /// images.
    pub ceiling: Option<f64>,
    /// `cka / ceiling`, between 0 and 1.
    pub kept: Option<f64>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<String>,
}

impl Target<'_> {
    /// Compares source and target before the first candidate and after each.
    pub(super) fn compare(&self, pairs: &Pairs, candidates: &[Candidate]) -> Result<Comparison, AdviseError> {
        let sets: Vec<&Dataset> = [&pairs.source, &pairs.target].into_iter().chain(&pairs.reference).collect();
        let layers: Vec<Layer> = candidates.iter().map(|candidate| self.output_of(candidate)).collect();
        // The images themselves come before all layers.
        let places = layers.len() + 1;
        let compared = (1..sets.len()).flat_map(|set| (0..places).map(move |place| (place, set * places + place)));
        let seed = self.options.train.seed;
        let mut alignment =
            Alignment::new(sets.len() * places, compared.collect(), Estimator::Debiased, RESAMPLES, seed);
        let mut grams = Vec::new();
        self.monitor.start("comparing source and target", sets.len() * pairs.source.len());
        for set in &sets {
            let outputs = self.outputs(set, &layers)?;
            grams.extend(
                outputs.iter().map(|values| Gram::of(Rows { values, width: values.len() / set.len() }, Kernel::Linear)),
            );
        }
        self.monitor.finish();
        alignment.add(grams);
        let estimates = alignment.finish();
        let (of_target, of_reference) = estimates.split_at(places);
        let ceilings: Vec<Option<f64>> = match pairs.kind {
            Pairing::SameImages => vec![Some(1.0); places],
            Pairing::SameClass => of_reference.iter().map(|estimate| estimate.value.ok()).collect(),
        };
        let mut similarities =
            of_target.iter().zip(ceilings).map(|(estimate, ceiling)| similarity(estimate, ceiling)).collect::<Vec<_>>();
        let input = similarities.remove(0);
        Ok(Comparison { pairing: pairs.kind, input, candidates: similarities })
    }

    /// Where a candidate's output is taken; a new head says nothing, so what it sees stands for it.
    fn output_of(&self, candidate: &Candidate) -> Layer {
        let last = candidate.blocks.end - 1;
        match (last == self.model.head(), self.new_head) {
            (true, true) => Layer::Pooled,
            (true, false) => Layer::Logits,
            _ => Layer::Block(last),
        }
    }

    /// The images as small as [`THUMBNAIL`], and what becomes of them at each layer.
    fn outputs(&self, images: &Dataset, layers: &[Layer]) -> Result<Vec<Vec<f32>>, AdviseError> {
        let train = &self.options.train;
        let loader = evaluation_loader(images.clone(), self.model, train.batch_size, train.threads)?;
        let mut outputs = vec![Vec::new(); layers.len() + 1];
        for_each_batch_at(self.model, &loader, layers, Positions::Mean, self.monitor, |batch, of_batch| {
            let images = batch.images.chunks_exact(batch.images.len() / batch.n.max(1));
            outputs[0].extend(images.flat_map(|image| thumbnail(image, batch.height, batch.width)));
            outputs[1..].iter_mut().zip(of_batch).for_each(|(all, rows)| all.extend(rows));
        })?;
        Ok(outputs)
    }
}

/// How alike source and target images are.
pub(super) struct Comparison {
    pub pairing: Pairing,
    /// The images themselves.
    pub input: Similarity,
    /// After each candidate.
    pub candidates: Vec<Similarity>,
}

/// An image of `height × width` pixels, channel by channel, each averaged over areas to at most [`THUMBNAIL`] a side:
/// whole images of hundreds would fill the memory, and say no more of their class.
fn thumbnail(image: &[f32], height: usize, width: usize) -> Vec<f32> {
    let channels = image.len() / (height * width);
    let (rows, columns) = (height.min(THUMBNAIL), width.min(THUMBNAIL));
    let area = |place: usize, of: usize, side: usize| place * side / of..((place + 1) * side).div_ceil(of);
    let mean = |channel: usize, row: usize, column: usize| {
        let (rows, columns) = (area(row, rows, height), area(column, columns, width));
        let count = rows.len() * columns.len();
        let sum_of_row = |y: usize| columns.clone().map(|x| image[(y * width + x) * channels + channel]).sum::<f32>();
        rows.map(sum_of_row).sum::<f32>() / count as f32
    };
    let mut means = Vec::with_capacity(channels * rows * columns);
    for channel in 0..channels {
        for row in 0..rows {
            means.extend((0..columns).map(|column| mean(channel, row, column)));
        }
    }
    means
}

/// Images in the order of their pairs.
pub(super) struct Pairs {
    kind: Pairing,
    source: Dataset,
    target: Dataset,
    /// Other source images, paired in the same way.
    reference: Option<Dataset>,
}

/// Pairs a source's images with the target's.
pub(super) fn pair(path: &Path, target: &Dataset, of_labels: bool, seed: u64) -> Result<Pairs, AdviseError> {
    let (source, target) = match of_labels {
        // The same labels may be in another order, or in columns of their own.
        true => (by_sorted_labels(&DataSource::open_multi_label(path)?.all()), by_sorted_labels(target)),
        false => (DataSource::open(path)?.all(), target.clone()),
    };
    let pairs = same_images(&source, &target).unwrap_or_else(|| same_class(&source, &target, seed));
    let kind = if of_labels { "combination of labels" } else { "class" };
    let (found, path) = (pairs.source.len(), path.to_owned());
    if found == 0 && pairs.kind == Pairing::SameClass && !share_a_class(&source, &target) {
        let class = target.classes.iter().find(|class| !class.is_empty()).cloned().unwrap_or_default();
        return Err(AdviseError::SourceUnrelated { path, kind, class });
    }
    if found < MIN_PAIRS {
        return Err(AdviseError::FewPairs { path, kind, found, needed: MIN_PAIRS });
    }
    Ok(pairs)
}

/// The same images with classes that name their labels in one order, one after the other.
fn by_sorted_labels(images: &Dataset) -> Dataset {
    let sets = LabelSets::of(&images.classes);
    let names = |class: usize| sets.of_class(class).iter().map(|&label| sets.names()[label].as_str());
    let named = |class: usize| names(class).collect::<Vec<_>>().join(", ");
    let of_class: Vec<String> = (0..images.classes.len()).map(named).collect();
    // Two spellings of one combination are one class.
    let classes: Vec<String> = of_class.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let mut sorted = Dataset { classes, ..images.clone() };
    for sample in sorted.samples.iter_mut() {
        sample.label = sample.label.and_then(|label| sorted.classes.binary_search(of_class.get(label)?).ok());
    }
    sorted
}

/// Every target image with the source image from the same file; `None` unless all have one.
fn same_images(source: &Dataset, target: &Dataset) -> Option<Pairs> {
    if source.root != target.root {
        return None;
    }
    let positions: HashMap<&str, usize> =
        source.samples.iter().enumerate().map(|(index, sample)| (&*sample.name, index)).collect();
    let found = target.samples.iter().map(|sample| positions.get(&*sample.name).copied());
    let found: Vec<usize> = found.take(MAX_PAIRS).collect::<Option<_>>()?;
    let target = target.select(&(0..found.len()).collect::<Vec<_>>());
    Some(Pairs { kind: Pairing::SameImages, source: source.select(&found), target, reference: None })
}

/// Target images with source images of their class, twice: the second time for the ceiling.
fn same_class(source: &Dataset, target: &Dataset, seed: u64) -> Pairs {
    let of_class = |images: &Dataset, name: &str| -> Vec<usize> {
        let class = images.classes.iter().position(|class| class == name);
        let has = |index: &usize| class.is_some() && images.samples[*index].label == class;
        (0..images.len()).filter(has).collect()
    };
    let (mut sources, mut targets, mut references) = (Vec::new(), Vec::new(), Vec::new());
    let share = |count: usize| (count * MAX_PAIRS).div_ceil(target.len().max(MAX_PAIRS));
    for (number, name) in (0u64..).zip(&target.classes) {
        let (own, other) = (of_class(target, name), of_class(source, name));
        let count = share(own.len()).min(other.len() / 2);
        let mut random = generator(seed, &[CHOICE, number]);
        let drawn: Vec<usize> = index::sample(&mut random, other.len(), 2 * count).iter().map(|at| other[at]).collect();
        targets.extend(&own[..count]);
        sources.extend(&drawn[..count]);
        references.extend(&drawn[count..]);
    }
    Pairs {
        kind: Pairing::SameClass,
        source: source.select(&sources),
        target: target.select(&targets),
        reference: Some(source.select(&references)),
    }
}

fn share_a_class(source: &Dataset, target: &Dataset) -> bool {
    target.classes.iter().any(|class| source.classes.contains(class))
}

fn similarity(estimate: &Estimate, ceiling: Option<f64>) -> Similarity {
    let cka = estimate.value.ok();
    // Below this the source's own classes do not show, and a share of nothing says nothing.
    let shown = ceiling.filter(|&ceiling| ceiling > 0.05);
    Similarity {
        cka,
        interval: estimate.interval,
        ceiling,
        kept: cka.zip(shown).map(|(cka, ceiling)| (cka / ceiling).clamp(0.0, 1.0)),
        undefined: estimate.value.err().map(|reason| reason.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::source::tests::memory_dataset;

    fn named(labels: &[usize], classes: &[&str]) -> Dataset {
        let classes = classes.iter().map(|&name| name.to_owned()).collect();
        Dataset { classes, ..memory_dataset(labels, 2, 2) }
    }

    #[test]
    fn thumbnails_average_areas() {
        let plane: Vec<f32> =
            (0..32 * 48).map(|index| (index / 48 / 2) as f32 + (index % 48 / 3 * 100) as f32).collect();
        let small = thumbnail(&plane, 32, 48);
        assert_eq!(small.len(), 16 * 16);
        assert!((small[16 * 3 + 5] - 503.0).abs() < 1e-3, "{}", small[16 * 3 + 5]);
        assert_eq!(thumbnail(&plane[..6], 2, 3), &plane[..6]);
        // Two pixels of three channels, one channel after the other.
        assert_eq!(thumbnail(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn pairs_of_a_class_are_of_that_class_by_name_and_no_source_image_comes_twice() {
        let target = named(&[0, 0, 0, 1, 1], &["cat", "dog"]);
        let source = named(&[0, 0, 0, 0, 1, 1, 1, 2], &["dog", "cat", "eel"]);
        let pairs = same_class(&source, &target, 3);
        // Three cats of the source give one pair and its reference; four dogs give two.
        assert_eq!((pairs.target.len(), pairs.source.len()), (3, 3));
        let reference = pairs.reference.unwrap();
        for ((one, other), third) in pairs.target.samples.iter().zip(&pairs.source.samples).zip(&reference.samples) {
            let name = &target.classes[one.label.unwrap()];
            assert_eq!(name, &source.classes[other.label.unwrap()]);
            assert_eq!(name, &source.classes[third.label.unwrap()]);
        }
        let mut used: Vec<&str> =
            pairs.source.samples.iter().chain(&reference.samples).map(|sample| &*sample.name).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 6);
    }

    #[test]
    fn combinations_of_labels_are_the_same_however_they_are_written() {
        let target = named(&[0, 0, 1, 2], &["cat|dog", "dog|cat", ""]);
        let source = named(&[0, 0, 0, 0, 0, 0, 1, 1], &["['dog', 'cat']", "['dog']"]);
        let (source, target) = (by_sorted_labels(&source), by_sorted_labels(&target));
        assert_eq!(
            (&target.classes[..], &source.classes[..]),
            (&["", "cat, dog"].map(str::to_owned)[..], &["cat, dog", "dog"].map(str::to_owned)[..])
        );
        let labels: Vec<Option<usize>> = target.samples.iter().map(|sample| sample.label).collect();
        assert_eq!(labels, [Some(1), Some(1), Some(1), Some(0)]);
        // Six images with both give three pairs and their references.
        assert_eq!(same_class(&source, &target, 1).target.len(), 3);
    }

    #[test]
    fn the_same_files_are_paired_by_name_whatever_their_labels() {
        let target = named(&[0, 1, 0], &["cat", "dog"]);
        let mut source = target.clone();
        source.samples.iter_mut().for_each(|sample| sample.label = Some(1));
        source.samples.reverse();
        let pairs = same_images(&source, &target).unwrap();
        let names = |images: &Dataset| images.samples.iter().map(|sample| sample.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&pairs.source), names(&pairs.target));
        let elsewhere = Dataset { root: "elsewhere".into(), ..source };
        assert!(same_images(&elsewhere, &target).is_none());
    }
}
