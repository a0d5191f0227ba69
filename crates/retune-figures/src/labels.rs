//! Names beside points, where they cover nothing.

/// A rectangle: left, top, right, bottom.
pub(crate) type Area = [f64; 4];

/// What is covered already.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    inside: Area,
    taken: Vec<Area>,
}

/// Height of a name.
const HEIGHT: f64 = 15.0;

impl Places {
    /// Nothing is covered yet in an area.
    pub fn new(inside: Area) -> Self {
        Self { inside, taken: Vec::new() }
    }

    /// An area is covered.
    pub fn take(&mut self, area: Area) {
        self.taken.push(area);
    }

    /// A line between two places is covered: the small boxes along it.
    pub fn take_line(&mut self, from: [f64; 2], to: [f64; 2]) {
        let steps = ((to[0] - from[0]).abs().max((to[1] - from[1]).abs()) / 6.0).ceil().clamp(1.0, 200.0);
        for step in 0..=steps as usize {
            let share = step as f64 / steps;
            let [x, y] = [0, 1].map(|axis| from[axis] + share * (to[axis] - from[axis]));
            self.take([x - 2.0, y - 2.0, x + 2.0, y + 2.0]);
        }
    }

    /// The lower left corner of a name of a width near a place, which is covered from then on; `None` where nothing is
    /// free.
    pub fn near(&mut self, x: f64, y: f64, width: f64) -> Option<[f64; 2]> {
        self.at_distances(&[9.0, 18.0, 30.0], [x, y], width)
    }

    /// The same so near that the name cannot be taken for that of another place.
    pub fn beside(&mut self, x: f64, y: f64, width: f64) -> Option<[f64; 2]> {
        self.at_distances(&[10.0, 14.0], [x, y], width)
    }

    fn at_distances(&mut self, distances: &[f64], [x, y]: [f64; 2], width: f64) -> Option<[f64; 2]> {
        let candidates = distances.iter().flat_map(|&away| {
            let (right, left) = (x + away, x - away - width);
            let slant = 0.7 * away;
            [
                [right, y - HEIGHT / 2.0],
                [left, y - HEIGHT / 2.0],
                [x - width / 2.0, y - away - HEIGHT],
                [x - width / 2.0, y + away],
                [x + slant, y - slant - HEIGHT],
                [x + slant, y + slant],
                [x - slant - width, y - slant - HEIGHT],
                [x - slant - width, y + slant],
            ]
        });
        let area = |[left, top]: [f64; 2]| [left, top, left + width, top + HEIGHT];
        let found = candidates.map(area).find(|area| self.is_free(area))?;
        self.taken.push(found);
        Some([found[0], found[3] - 3.5])
    }

    fn is_free(&self, area: &Area) -> bool {
        let [left, top, right, bottom] = self.inside;
        area[0] >= left
            && area[2] <= right
            && area[1] >= top
            && area[3] <= bottom
            && !self.taken.iter().any(|other| overlap(area, other))
    }
}

/// Whether two areas share more than an edge.
pub(crate) fn overlap(one: &Area, other: &Area) -> bool {
    one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
}

/// Places at least `distance` apart, each as near as can be to where it belongs, between two ends.
pub(crate) fn apart(wanted: &[f64], distance: f64, [least, most]: [f64; 2]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&one, &other| wanted[one].total_cmp(&wanted[other]));
    // Neighbors that are too close form a block about the mean of where they belong.
    let mut blocks: Vec<(f64, Vec<usize>)> = Vec::new();
    for index in order {
        blocks.push((wanted[index], vec![index]));
        while let [.., (above, upper), (below, lower)] = blocks.as_slice() {
            let half = |members: &Vec<usize>| distance * members.len() as f64 / 2.0;
            if above + half(upper) <= below - half(lower) {
                break;
            }
            let (upper, lower) = (upper.clone(), lower.clone());
            let members = [upper, lower].concat();
            let mean = members.iter().map(|&member| wanted[member]).sum::<f64>() / members.len() as f64;
            let half = distance * members.len() as f64 / 2.0;
            let middle = mean.clamp(
                least + half - distance / 2.0,
                (most - half + distance / 2.0).max(least + half - distance / 2.0),
            );
            blocks.truncate(blocks.len() - 2);
            blocks.push((middle, members));
        }
    }
    let mut places = vec![0.0; wanted.len()];
    for (middle, members) in blocks {
        let first = middle - distance * (members.len() as f64 - 1.0) / 2.0;
        for (at, member) in members.into_iter().enumerate() {
            places[member] = first + distance * at as f64;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_distance_and_order() {
        assert_eq!(apart(&[10.0, 50.0], 14.0, [0.0, 100.0]), [10.0, 50.0]);
        assert_eq!(apart(&[50.0, 50.0], 14.0, [0.0, 100.0]), [43.0, 57.0]);
        let places = apart(&[99.0, 100.0, 98.0, 20.0], 14.0, [0.0, 100.0]);
        assert_eq!(places, [86.0, 100.0, 72.0, 20.0]);
    }

    #[test]
    fn a_name_finds_a_free_place_or_none() {
        let mut places = Places::new([0.0, 0.0, 60.0, 20.0]);
        assert!(places.near(5.0, 10.0, 40.0).is_some());
        assert!(places.near(5.0, 10.0, 40.0).is_none());
        assert!(places.near(5.0, 10.0, 400.0).is_none());
    }
}
