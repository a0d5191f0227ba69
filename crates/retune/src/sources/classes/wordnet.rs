//! WordNet's classes found by their ids and names.

use std::collections::HashMap;

use super::positions_of;

/// Which class a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The class of this WordNet id.
    Id(usize),
    /// The class that WordNet calls so.
    Name(usize),
    /// WordNet calls several classes so.
    Several(Vec<usize>),
    Nothing,
}

/// Classes by their ids and names.
pub(super) struct Synsets<'a> {
    by_id: HashMap<&'a str, Vec<usize>>,
    /// The names that come first.
    by_first_name: HashMap<String, Vec<usize>>,
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> Synsets<'a> {
    pub fn new(ids: &'a [String], synonyms: &[String]) -> Self {
        let mut by_first_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (class, names) in synonyms.iter().enumerate() {
            let whole = normalized(names);
            for (number, name) in names.split(',').map(normalized).enumerate().filter(|(_, name)| !name.is_empty()) {
                if number == 0 {
                    by_first_name.entry(name.clone()).or_default().push(class);
                }
                by_name.entry(name).or_default().push(class);
            }
            if names.contains(',') {
                by_first_name.entry(whole).or_default().push(class);
            }
        }
        by_name.values_mut().for_each(|classes| classes.dedup());
        Self { by_id: positions_of(ids), by_first_name, by_name }
    }

    /// By id, alone or before a name, as in `n02085620-Chihuahua`; else by the name that comes first, else by any.
    pub fn find(&self, name: &str) -> Found {
        if let Some([class]) = id_in(name).and_then(|id| self.by_id.get(id)).map(Vec::as_slice) {
            return Found::Id(*class);
        }
        let name = normalized(name);
        match self.by_first_name.get(&name).or_else(|| self.by_name.get(&name)).map(Vec::as_slice) {
            Some([class]) => Found::Name(*class),
            Some(several) => Found::Several(several.to_vec()),
            None => Found::Nothing,
        }
    }
}

/// The WordNet id that a name is or begins with.
fn id_in(name: &str) -> Option<&str> {
    const LENGTH: usize = "n01440764".len();
    let (id, rest) = name.split_at_checked(LENGTH)?;
    let is_id = id.starts_with('n') && id.bytes().skip(1).all(|byte| byte.is_ascii_digit());
    let ends = !rest.starts_with(|next: char| next.is_alphanumeric());
    (is_id && ends).then_some(id)
}

/// A name as people write it in folders (`Great_White_Shark`) and WordNet does (`great white shark`).
fn normalized(name: &str) -> String {
    let spaced = name.to_lowercase().replace(['_', '-'], " ");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_before_names_and_first_names_before_others() {
        // From timm's list: two classes are called maillot, two crane, and one has "crane" among others.
        let classes = [
            ("n02012849", "crane"),
            ("n03126707", "crane"),
            ("n03710637", "maillot"),
            ("n03710721", "maillot, tank suit"),
            ("n01440764", "tench, Tinca tinca"),
            ("n01484850", "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"),
        ];
        let (ids, names) =
            classes.map(|(id, names)| (id.to_owned(), names.to_owned())).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let synsets = Synsets::new(&ids, &names);
        assert_eq!(synsets.find("n01440764"), Found::Id(4));
        assert_eq!(synsets.find("n01484850-Great_White"), Found::Id(5));
        assert_eq!(synsets.find("n014407640"), Found::Nothing);
        assert_eq!(synsets.find("Great_White_Shark"), Found::Name(5));
        assert_eq!(synsets.find("man eater"), Found::Name(5));
        assert_eq!(synsets.find("maillot, tank suit"), Found::Name(3));
        assert_eq!(synsets.find("crane"), Found::Several(vec![0, 1]));
        assert_eq!(synsets.find("maillot"), Found::Several(vec![2, 3]));
        assert_eq!(synsets.find("größe"), Found::Nothing);
    }
}
