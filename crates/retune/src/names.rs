//! Names that someone may have meant.

/// The candidate that is most like `name`, if any is close. Two letters that changed places count as one mistake.
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .map(|(_, candidate)| candidate)
}

/// The closest candidate as a clause, such as ` (did you mean 'cat'?)`; empty if none is close.
pub(crate) fn suggestion<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    closest(name, candidates).map(|close| format!(" (did you mean '{close}'?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_close_name_is_suggested() {
        let known = || ["lp", "ft", "lp-ft", "surgical"].into_iter();
        assert_eq!(closest("surgicla", known()), Some("surgical"));
        assert_eq!(closest("lpft", known()), Some("lp-ft"));
        assert_eq!(closest("lp-tf", known()), Some("lp-ft"));
        assert_eq!(closest("magic", known()), None);
        assert_eq!(suggestion("surgicla", known()), " (did you mean 'surgical'?)");
    }
}
