//! The layers that advice chooses among.

use std::ops::Range;

use serde::Serialize;

use crate::methods::layers::{Granularity, LayerSelection};
use crate::models::Model;

/// A stage of a model, or a few neighboring ones, that can be tuned alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The stage's name, or `FIRST..LAST`.
    pub name: String,
    /// The first stage, as `--first` takes it.
    pub first: String,
    /// The last stage, as `--last` takes it.
    pub last: String,
    /// Its learnable scalars.
    pub parameters: usize,
    /// Its blocks' positions in the model.
    #[serde(skip)]
    pub blocks: Range<usize>,
}

impl Candidate {
    fn new(model: &Model, blocks: Range<usize>) -> Self {
        let stage = |block: usize| model.blocks()[block].stage.clone();
        let (first, last) = (stage(blocks.start), stage(blocks.end - 1));
        Self {
            name: if first == last { first.clone() } else { format!("{first}..{last}") },
            first,
            last,
            parameters: model.block_parameters()[blocks.clone()].iter().sum(),
            blocks,
        }
    }

    /// The layers as a method takes them.
    pub fn layers(&self) -> LayerSelection {
        LayerSelection::Range { first: Some(self.first.clone()), last: Some(self.last.clone()) }
    }
}

/// The model's stages from input to output, at most `most` of them (and at least 3): the first and the last stay by
/// themselves, those between are put together evenly where there are too many.
pub(super) fn of(model: &Model, most: usize) -> Vec<Candidate> {
    let layers = Granularity::Stage.layers(model.blocks());
    group(&layers, most.max(3)).into_iter().map(|blocks| Candidate::new(model, blocks)).collect()
}

fn group(layers: &[Range<usize>], most: usize) -> Vec<Range<usize>> {
    if layers.len() <= most {
        return layers.to_vec();
    }
    let between = layers.len() - 2;
    let bounds: Vec<usize> = (0..most - 1).map(|group| 1 + group * between / (most - 2)).collect();
    let mut groups = vec![layers[0].clone()];
    groups.extend(bounds.windows(2).map(|pair| layers[pair[0]].start..layers[pair[1] - 1].end));
    groups.push(layers[layers.len() - 1].clone());
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::layers::Selected;

    #[test]
    fn layers_between_the_ends_are_put_together_evenly() {
        let layers: Vec<Range<usize>> = (0..14).map(|block| block..block + 1).collect();
        assert_eq!(group(&layers, 14), layers);
        assert_eq!(group(&layers, 6), [0..1, 1..4, 4..7, 7..10, 10..13, 13..14]);
        assert_eq!(group(&layers[..9], 6), [0..1, 1..2, 2..4, 4..6, 6..8, 8..9]);
        assert_eq!(group(&layers, 3), [0..1, 1..13, 13..14]);
    }

    #[test]
    fn candidates_of_a_transformer_cover_it_and_are_named_as_methods_take_them() {
        let cpu = crate::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_vit"), Clone::clone, 0, &cpu).unwrap();
        let candidates = of(&model, 4);
        let blocks: Vec<usize> = candidates.iter().flat_map(|candidate| candidate.blocks.clone()).collect();
        assert_eq!(blocks, (0..model.blocks().len()).collect::<Vec<_>>());
        for candidate in &candidates {
            let selected = candidate.layers().resolve(model.blocks()).unwrap();
            let range: Vec<usize> = (0..selected.len()).filter(|&block| selected[block] == Selected::Whole).collect();
            assert_eq!(range, candidate.blocks.clone().collect::<Vec<_>>(), "{}", candidate.name);
        }
        assert_eq!(
            candidates.iter().map(|candidate| candidate.parameters).sum::<usize>(),
            model.block_parameters().iter().sum::<usize>()
        );
    }
}
