//! The label sets of ImageNet: which class each of a model's logits is, by WordNet id, and what WordNet calls it.
//!
//! As in timm 1.0.31 (`timm.data.ImageNetInfo`, `infer_imagenet_subset`), the number of classes tells which set it is. The
//! table is `assets/imagenet/synsets.txt.gz`, made by `scripts/imagenet_synsets.py`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

/// A list of classes that models are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelSet {
    /// Its name, as timm's documentation has it.
    pub name: &'static str,
    /// Its classes.
    pub classes: usize,
    /// Its bit in the table.
    bit: u8,
    /// Whether the thousand classes of ImageNet-1k come before all others; else the order is that of the ids.
    thousand_first: bool,
}

const fn set(name: &'static str, classes: usize, bit: u8) -> LabelSet {
    LabelSet { name, classes, bit, thousand_first: false }
}

/// In the order of the bits, as `scripts/imagenet_synsets.py` has it.
const SETS: [LabelSet; 7] = [
    set("ImageNet-1k", 1000, 0),
    set("ImageNet-12k", 11_821, 1),
    set("ImageNet-22k", 21_841, 2),
    LabelSet { thousand_first: true, ..set("ImageNet-22k (Microsoft)", 21_842, 3) },
    set("ImageNet-21k (Google)", 21_843, 4),
    set("ImageNet-21k-P", 11_221, 5),
    set("ImageNet-21k-P (winter 2021)", 10_450, 6),
];

impl LabelSet {
    /// The set of so many classes.
    pub fn of_count(classes: usize) -> Option<Self> {
        SETS.into_iter().find(|set| set.classes == classes)
    }

    /// WordNet id and names of every class, in the order of the logits; the names of a class are separated by commas, the
    /// usual one first.
    pub fn synsets(self) -> (Vec<String>, Vec<String>) {
        let first = |synset: &Synset| self.thousand_first && synset.is_in(SETS[0]);
        let members = || SYNSETS.iter().filter(|(_, synset)| synset.is_in(self));
        let ordered =
            members().filter(|(_, synset)| first(synset)).chain(members().filter(|(_, synset)| !first(synset)));
        ordered.map(|(id, synset)| (format!("n{id:08}"), synset.names.clone())).unzip()
    }
}

struct Synset {
    /// The sets that have it.
    sets: u8,
    names: String,
}

impl Synset {
    fn is_in(&self, set: LabelSet) -> bool {
        self.sets >> set.bit & 1 == 1
    }
}

/// What the table has, by the number in the WordNet id.
static SYNSETS: LazyLock<BTreeMap<u32, Synset>> = LazyLock::new(|| {
    let mut text = String::new();
    let table = include_bytes!("../../assets/imagenet/synsets.txt.gz");
    // The table is part of the program, and a test reads all of it.
    if GzDecoder::new(table.as_slice()).read_to_string(&mut text).is_err() {
        return BTreeMap::new();
    }
    let lines: Vec<&str> = text.lines().collect();
    let (steps, rest) = lines.split_at(lines.len() / 3);
    let (sets, names) = rest.split_at(lines.len() / 3);
    let mut id = 0;
    let rows = steps.iter().zip(sets).zip(names);
    rows.filter_map(|((step, sets), names)| {
        id += step.parse::<u32>().ok()?;
        Some((id, Synset { sets: u8::from_str_radix(sets, 16).ok()?, names: (*names).to_owned() }))
    })
    .collect()
});

/// What WordNet calls the class of an id, with commas between; `None` of what is no id of ImageNet's.
pub fn names_of(id: &str) -> Option<&'static str> {
    let digits = id.strip_prefix('n').filter(|digits| digits.len() == 8)?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    SYNSETS.get(&number).map(|synset| synset.names.as_str())
}

/// Names to show in the place of those that are WordNet ids: the usual one, with the id where another class has the same.
pub fn shown(classes: &[String]) -> Vec<String> {
    let usual = |class: &String| names_of(class).and_then(|names| names.split(',').next());
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for class in classes {
        *counts.entry(usual(class).unwrap_or(class)).or_default() += 1;
    }
    let show = |class: &String| match usual(class) {
        Some(name) if counts[name] > 1 => format!("{name} ({class})"),
        Some(name) => name.to_owned(),
        None => class.clone(),
    };
    classes.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn label_sets_are_timms() {
        // sha256sum of the lists in timm 1.0.31's timm/data/_info, in the order of SETS.
        let expected = [
            "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
            "f6483e79f18a9b670d43d915ddba40bbcaf82cfc4e92a07bd44057b9d44935f3",
            "0ae24538751973797b29d8dec412b2bdc61bc4ec3ecd081eba0735804236bbd2",
            "f2c7ac47500e1d1d70432d3cb2e2b2187c6880125439832bf4b4038f716ca278",
            "66362bdedf36d933382edca5493fc562dcc17128ce36403c9e730a75f48cb2f2",
            "cd76d977daaa2f13a4a91fca0f53713f2f29675308d4ce0f0ee0e5b07a3164c6",
            "f49dde3d69946b8635586432f34f35985f807d168286ce5fde746aac3a7d94c8",
        ];
        for (set, expected) in SETS.into_iter().zip(expected) {
            let (ids, names) = set.synsets();
            assert_eq!((ids.len(), names.len()), (set.classes, set.classes), "{}", set.name);
            assert!(names.iter().all(|names| !names.is_empty()));
            let text = ids.join("\n") + "\n";
            let found: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{}", set.name);
            assert_eq!(LabelSet::of_count(set.classes), Some(set));
        }
        assert_eq!(LabelSet::of_count(999), None);
    }

    #[test]
    fn classes_have_wordnets_names() {
        let (ids, names) = SETS[0].synsets();
        // timm.data.ImageNetInfo("imagenet-1k").index_to_description
        assert_eq!((ids[0].as_str(), names[0].as_str()), ("n01440764", "tench, Tinca tinca"));
        assert_eq!(
            (ids[999].as_str(), names[999].as_str()),
            ("n15075141", "toilet tissue, toilet paper, bathroom tissue")
        );
        let shown = shown(&ids);
        assert_eq!(shown[0], "tench");
        assert_eq!((shown[134].as_str(), shown[517].as_str()), ("crane (n02012849)", "crane (n03126707)"));
        let distinct: std::collections::BTreeSet<&String> = shown.iter().collect();
        assert_eq!(distinct.len(), 1000);
        assert_eq!(
            super::shown(&["cat".to_owned(), "n99999999".to_owned(), "n1".to_owned()]),
            ["cat", "n99999999", "n1"]
        );
    }
}
