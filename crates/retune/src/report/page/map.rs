//! A map of images: one description, which a file's figure is drawn from and which a page paints on a canvas.
//!
//! What has which color, marker, and place in the legend is decided here, by [`retune_figures::looks`]. The page's script
//! only paints it, because a canvas moves ten thousand points faster than SVG does.

use retune_figures::figure::PointMap;
use retune_figures::{Look, looks};
use serde::{Serialize, Serializer};

/// Groups with looks of their own on a page, where they can be shown alone and found by name; a file has fewer.
const MAX_LOOKS: usize = 60;

/// Images as points in a plane. Lists have an entry for each point, or are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// How the places were computed.
    pub method: String,
    /// The classes that labels and predictions index.
    pub classes: Vec<String>,
    /// The sets that `set` indexes.
    pub sets: Vec<String>,
    /// Horizontal places.
    pub x: Vec<f32>,
    /// Vertical places.
    pub y: Vec<f32>,
    /// Classes; −1 where unknown.
    pub label: Vec<i64>,
    /// Sets.
    pub set: Vec<usize>,
    /// Most likely classes.
    pub predicted: Vec<usize>,
    /// Probabilities of the most likely classes.
    pub probability: Vec<f32>,
    /// Labels in the place of classes, where images have several; `classes` are their names.
    pub label_sets: Option<LabelSetsOfPoints>,
    /// The label that colors tell of first.
    pub colored_label: usize,
    /// Paths.
    pub path: Vec<String>,
    /// The thumbnails, where there are any.
    pub sheet: Option<usize>,
    /// Tiles; the point's own position if empty, −1 without one.
    pub tile: Vec<i64>,
    /// The initial coloring; if it is not available, the first that is.
    pub colored_by: ColorBy,
}

/// The labels of each point, positions in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LabelSetsOfPoints {
    /// Those that it has.
    pub has: Vec<Vec<usize>>,
    /// Those that it is predicted to have.
    pub predicted: Vec<Vec<usize>>,
}

/// What is true of a label and an image, in the order of the legend.
const OF_LABEL: [&str; 4] = ["has it, predicted", "has it, missed", "predicted wrongly", "neither"];

impl LabelSetsOfPoints {
    /// The position in [`OF_LABEL`] of each point.
    fn of_label(&self, label: usize) -> Vec<usize> {
        let state = |(has, predicted): (&Vec<usize>, &Vec<usize>)| match (
            has.binary_search(&label).is_ok(),
            predicted.binary_search(&label).is_ok(),
        ) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.has.iter().zip(&self.predicted).map(state).collect()
    }

    /// Of `labels` many, the one about which most points are wrong; of equal ones the first.
    pub fn hardest(&self, labels: usize) -> usize {
        let mut wrong = vec![0usize; labels];
        for (has, predicted) in self.has.iter().zip(&self.predicted) {
            let only = |one: &[usize], other: &[usize]| -> Vec<usize> {
                one.iter().filter(|label| other.binary_search(label).is_err()).copied().collect()
            };
            only(has, predicted).into_iter().chain(only(predicted, has)).for_each(|label| wrong[label] += 1);
        }
        let most = wrong.iter().copied().max().unwrap_or(0);
        wrong.iter().position(|&count| count == most).unwrap_or(0)
    }
}

/// What the colors of a map say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum ColorBy {
    /// The class of each image.
    #[default]
    Class,
    /// Whether each image has a label, and is predicted to.
    Label,
    /// The set that it is from.
    Set,
    /// The most likely class.
    Prediction,
    /// Whether that is right.
    Correctness,
}

/// A way to color a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Coloring {
    name: ColorBy,
    /// Names of the groups.
    entries: Vec<String>,
    /// How the groups look, in the order of the legend.
    looks: Vec<Look>,
}

impl Map {
    /// How a page's map is used.
    pub const HINT: &str = "Drag to move, and scroll or pinch to zoom. Point at an image to see it.";

    /// The figure of the map, as a file has it.
    pub fn figure(&self, title: &str, by: ColorBy) -> PointMap {
        let points = self.x.iter().zip(&self.y).map(|(&x, &y)| [x, y]).collect();
        PointMap { title: title.to_owned(), points, groups: self.groups(by), names: self.names(by) }
    }

    /// The ways to color it that say anything.
    fn colorings(&self) -> Vec<Coloring> {
        let all = [ColorBy::Class, ColorBy::Label, ColorBy::Set, ColorBy::Prediction, ColorBy::Correctness];
        all.into_iter().filter(|&by| self.has(by)).map(|by| self.coloring(by)).collect()
    }

    fn coloring(&self, by: ColorBy) -> Coloring {
        let entries = self.names(by);
        if by == ColorBy::Label {
            return Coloring { name: by, looks: self.label_looks(), entries };
        }
        let mut counts = vec![0; entries.len()];
        for group in self.groups(by) {
            counts.get_mut(group).into_iter().for_each(|count: &mut usize| *count += 1);
        }
        Coloring { name: by, looks: looks(&counts, &entries, MAX_LOOKS), entries }
    }

    /// The looks of images by a label. All of them are there whichever label is chosen, and images that have nothing to do
    /// with it lie gray under the others.
    fn label_looks(&self) -> Vec<Look> {
        let states = self.groups(ColorBy::Label);
        let look = |(state, name): (usize, &&str)| Look {
            name: (*name).to_owned(),
            groups: vec![state],
            count: states.iter().filter(|&&other| other == state).count(),
            shape: if state == 3 { 0 } else { state },
            series: (state < 3).then_some(state),
            // What is wrong is rarer than what is right, and lies on top.
            order: [1, 2, 3, 0][state],
        };
        OF_LABEL.iter().enumerate().map(look).collect()
    }

    fn has(&self, by: ColorBy) -> bool {
        let count = self.x.len();
        match by {
            ColorBy::Label => self.label_sets.is_some() && !self.classes.is_empty(),
            ColorBy::Correctness if self.label_sets.is_some() => true,
            ColorBy::Class => self.label.len() == count,
            ColorBy::Set => self.set.len() == count && self.sets.len() > 1,
            ColorBy::Prediction => self.predicted.len() == count,
            ColorBy::Correctness => self.predicted.len() == count && self.label.len() == count,
        }
    }

    /// Names of the groups that points can belong to.
    fn names(&self, by: ColorBy) -> Vec<String> {
        match by {
            ColorBy::Class => self.classes.iter().cloned().chain(self.unknown()).collect(),
            ColorBy::Label => OF_LABEL.map(str::to_owned).into(),
            ColorBy::Set => self.sets.clone(),
            ColorBy::Prediction => self.classes.clone(),
            ColorBy::Correctness if self.label_sets.is_some() => {
                ["all labels right", "some label wrong"].map(str::to_owned).into()
            }
            ColorBy::Correctness => ["right", "wrong"].map(str::to_owned).into_iter().chain(self.unknown()).collect(),
        }
    }

    /// The name of the group of images whose class is not known, if there are any.
    fn unknown(&self) -> Option<String> {
        self.label.iter().any(|&label| label < 0).then(|| "unknown".to_owned())
    }

    /// The group of each point, a position in the names.
    fn groups(&self, by: ColorBy) -> Vec<usize> {
        let unknown = self.classes.len();
        match by {
            ColorBy::Class => self.label.iter().map(|&label| usize::try_from(label).unwrap_or(unknown)).collect(),
            ColorBy::Label => self.label_sets.iter().flat_map(|sets| sets.of_label(self.colored_label)).collect(),
            ColorBy::Set => self.set.clone(),
            ColorBy::Prediction => self.predicted.clone(),
            ColorBy::Correctness => {
                if let Some(LabelSetsOfPoints { has, predicted }) = &self.label_sets {
                    return has.iter().zip(predicted).map(|(has, predicted)| usize::from(has != predicted)).collect();
                }
                let group = |(&predicted, &label): (&usize, &i64)| match label {
                    ..0 => 2,
                    _ => usize::from(predicted as i64 != label),
                };
                self.predicted.iter().zip(&self.label).map(group).collect()
            }
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Described<'a> {
            method: &'a str,
            classes: &'a [String],
            sets: &'a [String],
            x: &'a [f32],
            y: &'a [f32],
            label: &'a [i64],
            set: &'a [usize],
            predicted: &'a [usize],
            probability: &'a [f32],
            #[serde(skip_serializing_if = "Option::is_none")]
            label_sets: Option<&'a LabelSetsOfPoints>,
            #[serde(skip_serializing_if = "Option::is_none")]
            colored_label: Option<usize>,
            path: &'a [String],
            sheet: Option<usize>,
            tile: &'a [i64],
            colored_by: ColorBy,
            colorings: Vec<Coloring>,
        }
        let Self { method, classes, sets, x, y, label, set, predicted, probability, path, tile, .. } = self;
        let Self { sheet, colored_by, .. } = *self;
        let (label_sets, colorings) = (self.label_sets.as_ref(), self.colorings());
        let colored_label = label_sets.map(|_| self.colored_label);
        let described = Described {
            method,
            classes,
            sets,
            x,
            y,
            label,
            set,
            predicted,
            probability,
            label_sets,
            colored_label,
            path,
            sheet,
            tile,
            colored_by,
            colorings,
        };
        described.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use retune_figures::{Figure, SERIES, Style};

    use super::*;

    /// Images of eight classes and two sets, some of an unknown class, and every fifth taken for the next class.
    fn map() -> Map {
        let label = |at: i64| if at % 20 == 19 { -1 } else { at % 8 };
        Map {
            classes: (0..8).map(|class| format!("kind {class}")).collect(),
            sets: vec!["test".into(), "shifted".into()],
            x: (0..200).map(|at| (at % 17) as f32).collect(),
            y: (0..200).map(|at| (at / 17) as f32).collect(),
            label: (0..200).map(label).collect(),
            set: (0..200).map(|at| usize::from(at > 150)).collect(),
            predicted: (0..200).map(|at| (label(at).max(0) as usize + usize::from(at % 5 == 0)) % 8).collect(),
            ..Map::default()
        }
    }

    /// The page's data and the file say the same of every group: its name, its color, and its place in the legend.
    #[test]
    fn a_page_and_a_file_have_the_same_legend() {
        let map = map();
        let data = serde_json::to_value(&map).unwrap();
        let colorings = data["colorings"].as_array().unwrap();
        assert_eq!(colorings.len(), 4);
        let ways = [ColorBy::Class, ColorBy::Set, ColorBy::Prediction, ColorBy::Correctness];
        for (coloring, by) in colorings.iter().zip(ways) {
            let svg = Figure::from(map.figure("", by)).draw(&Style::default()).svg().to_owned();
            // The legend comes last, a marker and a name for each entry.
            let mut rest = &svg[..];
            for look in coloring["looks"].as_array().unwrap() {
                let name = format!(">{}<", look["name"].as_str().unwrap());
                let color = SERIES[look["series"].as_u64().unwrap() as usize];
                let end = rest.find(&name).unwrap_or_else(|| panic!("{by:?}: {name} is missing or out of order"));
                assert!(rest[..end].rfind(&format!("fill=\"{color}\"")).is_some(), "{by:?}: {name} is not {color}");
                rest = &rest[end + 1..];
            }
        }
        let counts = |at: usize| -> u64 {
            colorings[at]["looks"].as_array().unwrap().iter().map(|look| look["count"].as_u64().unwrap()).sum()
        };
        assert!((0..4).all(|at| counts(at) == 200));
        assert_eq!(colorings[0]["looks"][8]["name"], "unknown");
    }

    /// Images of three labels: the first is found twice and missed once, the second given wrongly to one.
    #[test]
    fn labels_color_by_what_is_true_and_what_is_said_of_one_of_them() {
        let sets = LabelSetsOfPoints {
            has: vec![vec![0], vec![0, 2], vec![0], vec![], vec![2]],
            predicted: vec![vec![0], vec![0, 2], vec![], vec![1], vec![2]],
        };
        assert_eq!((sets.of_label(0), sets.of_label(1)), (vec![0, 0, 1, 3, 3], vec![3, 3, 3, 2, 3]));
        assert_eq!(sets.hardest(3), 0);
        let places: Vec<f32> = (0u8..5).map(f32::from).collect();
        let map = Map {
            classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
            sets: vec!["val".into()],
            x: places.clone(),
            y: places,
            set: vec![0; 5],
            label_sets: Some(sets),
            colored_label: 0,
            ..Map::default()
        };
        let data = serde_json::to_value(&map).unwrap();
        let colorings = data["colorings"].as_array().unwrap();
        assert_eq!((&colorings[0]["name"], &colorings[1]["name"]), (&"Label".into(), &"Correctness".into()));
        let counts = |at: usize| -> Vec<u64> {
            colorings[at]["looks"].as_array().unwrap().iter().map(|look| look["count"].as_u64().unwrap()).collect()
        };
        // A look without images stays, because another label may have some.
        assert_eq!((counts(0), counts(1)), (vec![2, 1, 0, 2], vec![3, 2]));
        assert_eq!(colorings[0]["looks"][3]["series"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_not_known_is_no_way_to_color() {
        let plain = Map { label: Vec::new(), predicted: Vec::new(), sets: vec!["one".into()], ..map() };
        assert!(plain.colorings().is_empty());
    }
}
