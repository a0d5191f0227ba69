//! Where in a file a model's tensors are: the prefix under which all of the architecture's names are found.

use std::collections::{HashMap, HashSet};

use super::container::Checkpoint;

/// Where all tensors of a model are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What stands before the architecture's names, keys of dictionaries included: empty, or with a dot at its end.
    pub prefix: String,
    /// The innermost dictionary that it leads into; empty for the outermost.
    pub dictionary: String,
}

impl Place {
    fn new(checkpoint: &Checkpoint, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), dictionary: checkpoint.dictionary_of(prefix).to_owned() }
    }

    /// What stands before the architecture's names within the dictionary.
    pub fn below(&self) -> &str {
        let below = &self.prefix[self.dictionary.len()..];
        if self.dictionary.is_empty() { below } else { &below[1..] }
    }

    /// Whether a momentum encoder was trained beside it, as MoCo does: its head is then a projection.
    pub fn is_of_momentum_training(&self) -> bool {
        self.segments().any(|segment| PARTNERS.iter().any(|(kept, _)| *kept == segment))
    }

    /// Whether it follows another model slowly while both are trained.
    pub fn is_momentum_encoder(&self) -> bool {
        self.segments().any(is_momentum_encoder)
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.prefix.split_terminator('.')
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.below(), self.dictionary.as_str()) {
            ("", "") => formatter.write_str("those with nothing in front of their names"),
            ("", dictionary) => write!(formatter, "those in {dictionary}"),
            (below, "") => write!(formatter, "those under {below}"),
            (below, dictionary) => write!(formatter, "those under {below} in {dictionary}"),
        }
    }
}

/// Every place under which all the names are found.
pub(super) fn holding(checkpoint: &Checkpoint, names: &[String]) -> Vec<Place> {
    let counts = count(checkpoint, names);
    let mut prefixes: Vec<&str> =
        counts.into_iter().filter(|(_, n)| *n == names.len()).map(|(prefix, _)| prefix).collect();
    prefixes.sort_unstable();
    prefixes.into_iter().map(|prefix| Place::new(checkpoint, prefix)).collect()
}

/// The place under which most of the names are found.
pub(super) fn nearest(checkpoint: &Checkpoint, names: &[String]) -> Place {
    let counts = count(checkpoint, names);
    let most = counts.into_iter().max_by(|one, other| one.1.cmp(&other.1).then(other.0.cmp(one.0)));
    Place::new(checkpoint, most.map_or("", |(prefix, _)| prefix))
}

/// How many of the names are found under each prefix.
fn count<'a>(checkpoint: &'a Checkpoint, names: &[String]) -> HashMap<&'a str, usize> {
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let depth = names.iter().map(|name| name.split('.').count()).max().unwrap_or_default();
    let mut counts = HashMap::new();
    for name in checkpoint.names() {
        let starts = name.rmatch_indices('.').map(|(at, _)| at + 1);
        // The name itself has no dot before it.
        let whole = (name.split('.').nth(depth).is_none()).then_some(0);
        for start in starts.take(depth).chain(whole).filter(|&start| wanted.contains(&name[start..])) {
            *counts.entry(&name[..start]).or_default() += 1;
        }
    }
    counts
}

/// Keys of dictionaries that hold a model, those of averages first: timm 1.0.31 takes them in this order, as far as it
/// knows them (`load_state_dict`).
const DICTIONARIES: [&str; 14] = [
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "ema",
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "teacher",
    "student",
    "module",
];

/// Whether a dictionary of this name holds a model.
pub(super) fn is_model_dictionary(key: &str) -> bool {
    DICTIONARIES.contains(&key)
}

/// Encoders that gradients train, and those beside them that follow slowly (MoCo, MoCo v3, BYOL).
const PARTNERS: [(&str, &str); 4] = [
    ("encoder_q", "encoder_k"),
    ("base_encoder", "momentum_encoder"),
    ("online_encoder", "target_encoder"),
    ("online_network", "target_network"),
];

/// Whether the part is one that follows another slowly while both are trained.
pub(super) fn is_momentum_encoder(segment: &str) -> bool {
    PARTNERS.iter().any(|(_, left)| *left == segment)
        || segment.ends_with("_momentum")
        || segment.starts_with("momentum_")
}

/// The place to take, and those that were passed over for it.
///
/// # Errors
/// Two places of which neither is known to be the better one.
pub(super) fn prefer(places: &[Place]) -> Result<(Place, Vec<Place>), (Place, Place)> {
    let best = places.iter().find(|place| places.iter().all(|other| place == &other || is_better(place, other)));
    match (best, places) {
        (Some(best), _) => Ok((best.clone(), places.iter().filter(|place| *place != best).cloned().collect())),
        (None, [first, second, ..]) => {
            // The two of which neither wins: the first that nothing beats, and one that it does not beat.
            let first =
                places.iter().find(|place| places.iter().all(|other| !is_better(other, place))).unwrap_or(first);
            let other = places.iter().find(|other| *other != first && !is_better(first, other)).unwrap_or(second);
            let (first, other) = if first.prefix <= other.prefix { (first, other) } else { (other, first) };
            Err((first.clone(), other.clone()))
        }
        (None, [only]) => Ok((only.clone(), Vec::new())),
        (None, []) => Ok((Place { prefix: String::new(), dictionary: String::new() }, Vec::new())),
    }
}

/// Whether a rule says that the one is to be taken where both are there.
fn is_better(one: &Place, other: &Place) -> bool {
    let (mut ones, mut others) = (one.segments(), other.segments());
    let mut at = 0;
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return false,
            (own, of_other) if own == of_other => at += 1,
            (own, of_other) if at < depth(&one.dictionary).max(depth(&other.dictionary)) => {
                return rank(own) < rank(of_other);
            }
            (Some(own), Some(of_other)) => {
                let follows =
                    of_other.strip_suffix("_momentum") == Some(own) || of_other.strip_prefix("momentum_") == Some(own);
                return follows || PARTNERS.contains(&(own, of_other)) || (is_average(own) && !is_average(of_other));
            }
            _ => return false,
        }
    }
}

fn depth(dictionary: &str) -> usize {
    dictionary.split_terminator('.').count()
}

/// Dictionaries by their keys: known ones in their order, then none at all, then unknown ones.
fn rank(key: Option<&str>) -> usize {
    match key {
        Some(key) => DICTIONARIES.iter().position(|known| *known == key).unwrap_or(DICTIONARIES.len() + 1),
        None => DICTIONARIES.len(),
    }
}

/// Whether a module's name says that it is a moving average of another.
fn is_average(segment: &str) -> bool {
    segment.split('_').any(|word| word == "ema")
}
