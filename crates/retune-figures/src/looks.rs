//! How the groups of a map look: the one description that files are drawn from and that pages paint.

use std::cmp::Reverse;

use serde::Serialize;

use crate::color::SERIES;

/// Groups that have a look of their own in a file; the smallest of more share one.
pub(crate) const MAX_IN_FILES: usize = SERIES.len();

/// A group, or several that share a look, on a map and in its legend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Its name in the legend.
    pub name: String,
    /// The groups that look so, by position.
    pub groups: Vec<usize>,
    /// Its points.
    pub count: usize,
    /// Which of [`SHAPES`](crate::SHAPES) its marker has; they repeat.
    pub shape: usize,
    /// Which of [`SERIES`] its color is; they repeat. [`OTHERS`](crate::OTHERS) if `None`.
    pub series: Option<usize>,
    /// When its points are drawn: those of 0 first, so that the points of large groups hide none of small ones.
    pub order: usize,
}

/// The looks of groups with so many points each, in the order of the legend: that of their names, which a reader looks
/// for. Groups without points have none. Of more than `most`, the smallest share the last look.
pub fn looks(counts: &[usize], names: &[String], most: usize) -> Vec<Look> {
    let mut by_size: Vec<usize> = (0..counts.len().min(names.len())).filter(|&group| counts[group] > 0).collect();
    by_size.sort_by_key(|&group| Reverse(counts[group]));
    let few = if by_size.len() > most { by_size.split_off(most - 1) } else { Vec::new() };
    by_size.sort_unstable();
    // Where there are few groups, each has its own look on every map, whether or not others have points.
    let is_few = names.len() <= most;
    let own = by_size.into_iter().enumerate().map(|(number, group)| {
        let number = if is_few { group } else { number };
        let name = names[group].clone();
        Look { name, groups: vec![group], count: counts[group], shape: number, series: Some(number), order: 0 }
    });
    let mut looks: Vec<Look> = own.collect();
    if !few.is_empty() {
        let count = few.iter().map(|&group| counts[group]).sum();
        looks.push(Look {
            name: format!("{} others", few.len()),
            groups: few,
            count,
            shape: 0,
            series: None,
            order: 0,
        });
    }
    let mut drawn: Vec<usize> = (0..looks.len()).collect();
    // What shares a gray lies under everything.
    drawn.sort_by_key(|&look| (looks[look].series.is_some(), Reverse(looks[look].count)));
    drawn.into_iter().enumerate().for_each(|(order, look)| looks[look].order = order);
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("class {number}")).collect()
    }

    #[test]
    fn few_groups_keep_their_looks_whatever_is_shown() {
        let found = looks(&[5, 0, 9], &names(3), 20);
        assert_eq!(
            found.iter().map(|look| (look.name.as_str(), look.series)).collect::<Vec<_>>(),
            [("class 0", Some(0)), ("class 2", Some(2))]
        );
        // The larger group lies under the smaller one.
        assert_eq!(found.iter().map(|look| look.order).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn the_smallest_of_many_groups_share_a_look() {
        let counts: Vec<usize> = (1..=5).collect();
        let found = looks(&counts, &names(5), 3);
        assert_eq!(found.iter().map(|look| look.name.as_str()).collect::<Vec<_>>(), ["class 3", "class 4", "3 others"]);
        assert_eq!(
            (found[2].groups.clone(), found[2].count, found[2].series, found[2].order),
            (vec![2, 1, 0], 6, None, 0)
        );
        assert_eq!((found[0].series, found[1].series), (Some(0), Some(1)));
    }
}
