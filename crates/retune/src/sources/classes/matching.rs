//! The rules by which classes are matched, in the order in which they apply.

use std::collections::HashMap;
use std::path::Path;

use super::wordnet::{Found, Synsets};
use super::{ClassList, ClassMatch, WordNet, positions_of};
use crate::sources::DataError;

/// Which class of the model each class of the data is.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub how: ClassMatch,
    /// For each class of the data its position in `classes`.
    pub positions: Vec<Option<usize>>,
    /// The model's classes, by their own names where they have some, else by the data's.
    pub classes: Vec<String>,
}

/// Classes of the data that have images, and all the others.
#[derive(Clone, Copy)]
struct Data<'a> {
    root: &'a Path,
    classes: &'a [String],
    images: &'a [usize],
}

impl<'a> Data<'a> {
    fn has_images(&self, class: usize) -> bool {
        self.images.get(class).is_some_and(|&images| images > 0)
    }

    /// Classes with images, by their position.
    fn present(self) -> impl Iterator<Item = (usize, &'a String)> {
        self.classes.iter().enumerate().filter(move |(class, _)| self.has_images(*class))
    }
}

pub(super) fn matched(
    root: &Path,
    classes: &[String],
    images: &[usize],
    known: &ClassList,
) -> Result<Matched, DataError> {
    let data = Data { root, classes, images };
    if data.present().next().is_none() {
        let classes = known.names().unwrap_or(classes).to_vec();
        return Ok(Matched { how: ClassMatch::ByName, positions: vec![None; data.classes.len()], classes });
    }
    let matched = match (known.names(), &known.wordnet) {
        (Some(ids), Some(wordnet)) => by_wordnet(data, ids, wordnet),
        (Some(names), None) => by_name(data, names),
        (None, _) => by_number(data, known.len(), None, false).unwrap_or_else(|| by_position(data, known.len())),
    }?;
    check_distinct(data, &matched)?;
    Ok(matched)
}

/// That a class is none of the model's.
pub(super) fn unknown(root: &Path, class: &str, known: &ClassList) -> DataError {
    let (path, class) = (root.to_owned(), class.to_owned());
    match (&known.wordnet, known.names()) {
        (Some(WordNet { presumed, .. }), _) => {
            let set = presumed.as_ref().map(|presumed| presumed.set);
            DataError::NoSynset { path, class, count: known.len(), set }
        }
        (None, names) => DataError::UnknownClass { path, class, known: names.unwrap_or_default().to_vec() },
    }
}

fn ambiguous(data: Data, class: &str, candidates: Vec<String>) -> DataError {
    DataError::AmbiguousClass { path: data.root.to_owned(), class: class.to_owned(), candidates }
}

/// By exact name, else by equal value of names that are numbers.
fn by_name(data: Data, names: &[String]) -> Result<Matched, DataError> {
    let exact = positions_of(names);
    let mut by_value: HashMap<u64, Vec<usize>> = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        if let Some(value) = number(name) {
            by_value.entry(value).or_default().push(position);
        }
    }
    let mut how = ClassMatch::ByName;
    let mut positions = Vec::with_capacity(data.classes.len());
    for (class, name) in data.classes.iter().enumerate() {
        let same = exact.get(name.as_str());
        let found = same.or_else(|| by_value.get(&number(name)?));
        positions.push(match found.map(Vec::as_slice) {
            Some([position]) => {
                if same.is_none() && data.has_images(class) && how == ClassMatch::ByName {
                    how = ClassMatch::ByEqualNumber { data: name.clone(), model: names[*position].clone() };
                }
                Some(*position)
            }
            Some(several) if data.has_images(class) => {
                let candidates = several.iter().map(|&position| format!("number {position}")).collect();
                return Err(ambiguous(data, name, candidates));
            }
            _ => None,
        });
    }
    Ok(Matched { how, positions, classes: names.to_vec() })
}

/// By WordNet id, else by WordNet's name, else by number; by position where the ids were only presumed.
fn by_wordnet(data: Data, ids: &[String], wordnet: &WordNet) -> Result<Matched, DataError> {
    let by_count = wordnet.presumed.as_ref().filter(|presumed| presumed.by_count).map(|presumed| presumed.set);
    let synsets = Synsets::new(ids, &wordnet.synonyms);
    let found: Vec<Found> = data.classes.iter().map(|name| synsets.find(name)).collect();
    let (mut any_id, mut named, mut unclear, mut missing) = (false, None, None, false);
    for (class, name) in data.present() {
        match &found[class] {
            Found::Id(_) => any_id = true,
            Found::Name(position) => named = named.or(Some((name, *position))),
            Found::Several(candidates) => unclear = unclear.or(Some((name, candidates))),
            Found::Nothing => missing = true,
        }
    }
    if missing && !any_id {
        if let Some(matched) = by_number(data, ids.len(), Some(ids), wordnet.presumed.is_none()) {
            return matched;
        }
        // The model may have as many classes as ImageNet and be someone's own.
        if wordnet.presumed.is_some() && data.classes.len() == ids.len() {
            return by_position(data, ids.len());
        }
    }
    if let Some((name, candidates)) = unclear {
        return Err(ambiguous(data, name, candidates.iter().map(|&position| ids[position].clone()).collect()));
    }
    let how = match named {
        Some((name, position)) => {
            ClassMatch::ByWordNetName { data: name.clone(), id: ids[position].clone(), presumed: by_count }
        }
        None => ClassMatch::ByWordNetId { presumed: by_count },
    };
    let positions = found.iter().map(|found| match found {
        Found::Id(position) | Found::Name(position) => Some(*position),
        _ => None,
    });
    Ok(Matched { how, positions: positions.collect(), classes: ids.to_vec() })
}

/// By number, where all names of the data are numbers. The model has `count` classes, and `own` names or presumed ones.
fn by_number(data: Data, count: usize, names: Option<&[String]>, own: bool) -> Option<Result<Matched, DataError>> {
    let numbers: Vec<Option<u64>> = data.classes.iter().map(|name| number(name)).collect();
    let mut present: Vec<(u64, usize)> =
        data.present().map(|(class, _)| Some((numbers[class]?, class))).collect::<Option<_>>()?;
    present.sort_unstable();
    if !own && counts_from_one(&numbers, count) {
        return Some(by_position(data, count));
    }
    let (&(_, first), &(highest, last)) = (present.first()?, present.last()?);
    if highest >= count as u64 {
        let (path, class) = (data.root.to_owned(), data.classes[last].clone());
        return Some(Err(DataError::ClassNumber { path, class, count }));
    }
    let position = |number: &Option<u64>| usize::try_from((*number)?).ok().filter(|&number| number < count);
    let positions: Vec<Option<usize>> = numbers.iter().map(position).collect();
    let classes = names.map_or_else(|| names_of_numbers(data, &positions, count), <[String]>::to_vec);
    let [first, last] = [first, last].map(|class| data.classes[class].clone());
    Some(Ok(Matched { how: ClassMatch::ByNumber { first, last, named: own }, positions, classes }))
}

/// Names for a model's classes from those of the data, which are numbers: its own spelling, and for numbers that it lacks
/// as many digits.
fn names_of_numbers(data: Data, positions: &[Option<usize>], count: usize) -> Vec<String> {
    let padded = data.classes.iter().any(|name| name.len() > 1 && name.starts_with('0'));
    let width = data.classes.first().map_or(0, String::len);
    let width = if padded && data.classes.iter().all(|name| name.len() == width) { width } else { 0 };
    let mut names: Vec<String> = (0..count).map(|class| format!("{class:0width$}")).collect();
    for (name, position) in data.classes.iter().zip(positions) {
        if let Some(position) = *position {
            names[position].clone_from(name);
        }
    }
    names
}

/// Whether the numbers are 1 to `count`.
fn counts_from_one(numbers: &[Option<u64>], count: usize) -> bool {
    let mut sorted: Vec<u64> = numbers.iter().flatten().copied().collect();
    sorted.sort_unstable();
    numbers.len() == count && sorted.into_iter().eq(1..=count as u64)
}

/// The first of the data's classes is the model's first: in the order of their numbers where all are numbers, else in
/// their own.
fn by_position(data: Data, model: usize) -> Result<Matched, DataError> {
    let count = data.classes.len();
    if count != model {
        return Err(DataError::ClassCount { path: data.root.to_owned(), data: count, model });
    }
    let numbers: Option<Vec<u64>> = data.classes.iter().map(|name| number(name)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    if let Some(numbers) = &numbers {
        order.sort_by_key(|&class| numbers[class]);
    }
    let mut positions = vec![None; count];
    for (position, &class) in order.iter().enumerate() {
        positions[class] = Some(position);
    }
    let classes: Vec<String> = order.iter().map(|&class| data.classes[class].clone()).collect();
    let [first, last] = [classes.first(), classes.last()].map(|name| name.cloned().unwrap_or_default());
    Ok(Matched { how: ClassMatch::ByPosition { first, last, numbers: numbers.is_some() }, positions, classes })
}

/// Two classes of the data that are one of the model would be added up without a word.
fn check_distinct(data: Data, matched: &Matched) -> Result<(), DataError> {
    let mut taken: HashMap<usize, &String> = HashMap::new();
    for (class, name) in data.present() {
        let Some(position) = matched.positions[class] else { continue };
        if let Some(one) = taken.insert(position, name) {
            let (pair, class) = (Box::new([one.clone(), name.clone()]), matched.classes[position].clone());
            return Err(DataError::SameClass { path: data.root.to_owned(), pair, class });
        }
    }
    Ok(())
}

/// The value of a name that is a whole number from 0 on, as `7`, `007` or, as tables with gaps have it, `7.0`.
fn number(name: &str) -> Option<u64> {
    let (whole, fraction) = name.split_once('.').unwrap_or((name, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = digits(whole) && digits(fraction) && fraction.bytes().all(|byte| byte == b'0');
    if is_whole { whole.parse().ok() } else { None }
}
