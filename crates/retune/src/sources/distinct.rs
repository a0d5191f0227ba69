//! Texts of which many are equal, such as labels and groups, each kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// The texts met so far.
#[derive(Debug, Default)]
pub(super) struct Distinct(HashSet<Arc<str>>);

impl Distinct {
    /// The text as all others that equal it share it.
    pub fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut texts = Distinct::default();
        let first = texts.shared("cat");
        assert_eq!(&*texts.shared("dog"), "dog");
        assert!(Arc::ptr_eq(&first, &texts.shared("cat")));
    }
}
