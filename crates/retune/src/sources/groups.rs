//! Groups held out whole, such as all images of a patient, a place or a video, and groups that are on two sides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use retune_random::{combine, keyed_hash, permutation};

use super::source::{Sample, SplitName};
use super::split::SplitIndices;
use super::{DataError, DataNote};

/// Keeps this split apart from others under one seed.
const GROUP_KEY: u64 = 0x6772_6f75_7073_0003;

/// Rounds in which groups may change sides; a handful is enough, and the bound is for what nobody has thought of.
const MAX_ROUNDS: usize = 20;

/// Orders that are tried for few groups; of many groups one order is as good as another.
const MAX_ORDERS: usize = 32;

/// Groups that all orders together may have.
const MAX_TRIED: usize = 1 << 20;

/// A split by groups.
#[derive(Debug)]
pub(super) struct GroupedSplit {
    pub indices: SplitIndices,
    /// Classes without a validation image, by their numbers.
    pub not_validated: Vec<usize>,
}

impl GroupedSplit {
    /// What a user should hear about a split of these samples.
    pub fn notes(&self, samples: &[Sample], classes: &[String]) -> Vec<DataNote> {
        let group = |&index: &usize| samples[index].group.as_deref();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.indices.validation.iter().filter_map(group) {
            *groups.entry(name).or_default() += 1;
        }
        let held_out = (!groups.is_empty()).then(|| DataNote::HeldOut {
            groups: groups.into_iter().map(|(name, images)| (name.to_owned(), images)).collect(),
            images: self.indices.validation.len(),
            of: samples.len(),
        });
        let ungrouped = samples.iter().filter(|sample| sample.group.is_none()).count();
        let ungrouped = (ungrouped > 0).then_some(DataNote::Ungrouped { images: ungrouped, of: samples.len() });
        let not_validated: Vec<String> = self.not_validated.iter().map(|&class| classes[class].clone()).collect();
        let not_validated = (!not_validated.is_empty()).then_some(DataNote::NotValidated { classes: not_validated });
        [held_out, ungrouped, not_validated].into_iter().flatten().collect()
    }
}

/// Holds out whole groups so that about `fraction` of every class is held out: the goal of scikit-learn's
/// `StratifiedGroupKFold`, the squares of the classes' deviations from the fraction being as small as they get.
///
/// In orders that the seed draws, groups join the validation side, each where that brings the classes nearer to the
/// fraction; then each class without a validation image gets the group that does least harm; then groups change sides
/// as long as that helps; and the best of the orders is taken. Every class keeps a group to train on. An image without a
/// group is one of its own. What comes out depends on the names of groups and images, not on their order.
///
/// # Errors
/// [`DataError::NoGroups`]; [`DataError::SingleGroup`], of a class that cannot be on both sides.
pub(super) fn split(
    samples: &[Sample],
    classes: &[String],
    root: &Path,
    fraction: f64,
    seed: u64,
) -> Result<GroupedSplit, DataError> {
    if samples.iter().all(|sample| sample.group.is_none()) {
        return Err(DataError::NoGroups { path: root.to_owned(), columns: Vec::new() });
    }
    let groups = Group::all(samples, seed);
    let start = Sides::of(&groups, classes.len() + 1, fraction);
    if let Some((class, group)) = start.single_group() {
        let class = classes.get(class).cloned().unwrap_or_default();
        return Err(DataError::SingleGroup { class, group: groups[group].name.to_owned() });
    }
    let sides = if fraction > 0.0 { start.best_of_orders(seed) } else { start };
    let mut indices = SplitIndices::default();
    for (group, held_out) in groups.iter().zip(&sides.held_out) {
        let side = if *held_out { &mut indices.validation } else { &mut indices.train };
        side.extend(&group.samples);
    }
    indices.train.sort_unstable();
    indices.validation.sort_unstable();
    let not_validated = sides.uncovered().collect();
    Ok(GroupedSplit { indices, not_validated })
}

/// The samples of one group.
struct Group<'a> {
    name: &'a str,
    samples: Vec<usize>,
    /// How many there are of each class that it has; classes are counted from 1, and 0 is that of images without a label.
    counts: Vec<(usize, usize)>,
}

impl<'a> Group<'a> {
    /// All groups in an order that the seed draws.
    fn all(samples: &'a [Sample], seed: u64) -> Vec<Self> {
        let mut members: HashMap<(bool, &str), Vec<usize>> = HashMap::new();
        for (index, sample) in samples.iter().enumerate() {
            // An image's name is another name than the same one of a group.
            let name = sample.group.as_deref().map_or((false, &*sample.name), |group| (true, group));
            members.entry(name).or_default().push(index);
        }
        let key = combine(GROUP_KEY, seed);
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_by_cached_key(|(name, _)| (keyed_hash(key, name.1.as_bytes()), *name));
        let group = |((_, name), indices): ((bool, &'a str), Vec<usize>)| {
            let mut counts = BTreeMap::new();
            for &index in &indices {
                *counts.entry(samples[index].label.map_or(0, |label| label + 1)).or_insert(0) += 1;
            }
            Self { name, samples: indices, counts: counts.into_iter().collect() }
        };
        members.into_iter().map(group).collect()
    }
}

/// Which groups are held out, and what that makes of the classes.
#[derive(Clone)]
struct Sides<'a> {
    groups: &'a [Group<'a>],
    fraction: f64,
    held_out: Vec<bool>,
    /// How many images each class has, and how many of them are held out.
    totals: Vec<usize>,
    validation: Vec<usize>,
    /// The groups of each class.
    groups_of: Vec<Vec<usize>>,
}

impl<'a> Sides<'a> {
    fn of(groups: &'a [Group<'a>], classes: usize, fraction: f64) -> Self {
        let (mut totals, mut groups_of) = (vec![0; classes], vec![Vec::new(); classes]);
        for (number, group) in groups.iter().enumerate() {
            for &(class, count) in &group.counts {
                totals[class] += count;
                groups_of[class].push(number);
            }
        }
        let held_out = vec![false; groups.len()];
        Self { groups, fraction, held_out, validation: vec![0; totals.len()], totals, groups_of }
    }

    /// A class that has one group alone, and the group.
    fn single_group(&self) -> Option<(usize, usize)> {
        let single = |(class, groups): (usize, &Vec<usize>)| match groups[..] {
            [group] if class > 0 => Some((class - 1, group)),
            _ => None,
        };
        self.groups_of.iter().enumerate().find_map(single)
    }

    /// What is wrong with a class of which so many images are held out: the square of the deviation from the fraction,
    /// and `missing` where there is none.
    fn loss(&self, class: usize, held_out: usize, missing: f64) -> f64 {
        let deviation = held_out as f64 / self.totals[class] as f64 - self.fraction;
        deviation * deviation + if held_out == 0 { missing } else { 0.0 }
    }

    /// What changes of all losses if a group changes sides; nothing where a class would have no group left to train on.
    fn change(&self, group: usize, missing: f64) -> Option<f64> {
        let mut change = 0.0;
        for &(class, count) in &self.groups[group].counts {
            let before = self.validation[class];
            let after = if self.held_out[group] { before - count } else { before + count };
            if after == self.totals[class] {
                return None;
            }
            change += self.loss(class, after, missing) - self.loss(class, before, missing);
        }
        Some(change)
    }

    fn turn(&mut self, group: usize) {
        for &(class, count) in &self.groups[group].counts {
            if self.held_out[group] {
                self.validation[class] -= count;
            } else {
                self.validation[class] += count;
            }
        }
        self.held_out[group] = !self.held_out[group];
    }

    /// The best that is reached from here in some orders of the groups.
    fn best_of_orders(self, seed: u64) -> Self {
        let orders = (MAX_TRIED / self.groups.len().max(1)).clamp(1, MAX_ORDERS);
        let mut best: Option<(f64, Self)> = None;
        for number in 0..orders {
            let order = permutation(self.groups.len(), combine(GROUP_KEY, seed), number as u64);
            let mut sides = self.clone();
            sides.fill(&order);
            sides.cover();
            sides.improve(&order);
            let loss = sides.total_loss(1.0);
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, sides));
            }
        }
        best.map_or(self, |(_, sides)| sides)
    }

    fn total_loss(&self, missing: f64) -> f64 {
        let classes = (0..self.totals.len()).filter(|&class| self.totals[class] > 0);
        classes.map(|class| self.loss(class, self.validation[class], missing)).sum()
    }

    fn fill(&mut self, order: &[usize]) {
        for &group in order {
            if self.change(group, 0.0).is_some_and(|change| change < 0.0) {
                self.turn(group);
            }
        }
    }

    fn uncovered(&self) -> impl Iterator<Item = usize> {
        let is_uncovered = |&class: &usize| self.totals[class] > 0 && self.validation[class] == 0;
        (1..self.totals.len()).filter(is_uncovered).map(|class| class - 1)
    }

    fn cover(&mut self) {
        let mut classes: Vec<usize> = self.uncovered().map(|class| class + 1).collect();
        classes.sort_by_key(|&class| self.groups_of[class].len());
        for class in classes {
            if self.validation[class] > 0 {
                continue;
            }
            let changes = self.groups_of[class].iter().filter_map(|&group| Some((group, self.change(group, 1.0)?)));
            if let Some((group, _)) = changes.min_by(|(_, one), (_, other)| one.total_cmp(other)) {
                self.turn(group);
            }
        }
    }

    fn improve(&mut self, order: &[usize]) {
        // Sums in another order differ in their last digits, which is no improvement.
        const MIN: f64 = 1e-12;
        for _ in 0..MAX_ROUNDS {
            let mut is_better = false;
            for &group in order {
                if self.change(group, 1.0).is_some_and(|change| change < -MIN) {
                    self.turn(group);
                    is_better = true;
                }
            }
            if !is_better {
                break;
            }
        }
    }
}

/// What is to be said of groups that are among the samples to train on and in another split as well.
pub(super) fn shared(train: &[Sample], split: &SplitName, samples: &[Sample], avoidable: bool) -> Option<DataNote> {
    let groups = |samples: &'_ [Sample]| -> HashSet<Arc<str>> {
        samples.iter().filter_map(|sample| sample.group.clone()).collect()
    };
    let others = groups(samples);
    if others.is_empty() {
        return None;
    }
    let train = groups(train);
    let example = others.iter().filter(|group| train.contains(*group)).min()?;
    Some(DataNote::SharedGroups {
        split: split.clone(),
        groups: others.len(),
        shared: others.iter().filter(|group| train.contains(*group)).count(),
        example: example.to_string(),
        avoidable,
    })
}

#[cfg(test)]
mod tests;
