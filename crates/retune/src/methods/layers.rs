//! Which layers a method tunes, and how it counts them.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::models::{Block, Neighbor, UnknownLayer};
use crate::plan::PlanError;

/// Unit that counts as one layer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// A stage, as the surgical fine-tuning paper counts.
    Stage,
    /// A block, as layer-wise learning-rate decay counts in timm.
    Block,
    /// A parameter tensor, in the order of PyTorch's `named_parameters()`.
    Tensor,
}

impl Granularity {
    /// The model's layers from input to output, each a range of blocks; by tensor, which are parts of blocks, every
    /// block.
    ///
    /// A transformer's last norm and the like count with the layer that they belong to (see
    /// [`Block::joins`]), as timm's `group_matcher` has it.
    pub fn layers(self, blocks: &[Block]) -> Vec<Range<usize>> {
        let begins = |index: usize| {
            if self == Self::Tensor {
                return true;
            }
            let (before, block) = (&blocks[index - 1], &blocks[index]);
            let joined = before.joins == Some(Neighbor::Next) || block.joins == Some(Neighbor::Previous);
            let same_stage = self == Self::Stage && before.stage == block.stage;
            !joined && !same_stage
        };
        let mut starts: Vec<usize> = (0..blocks.len()).filter(|&index| index == 0 || begins(index)).collect();
        starts.push(blocks.len());
        starts.windows(2).map(|pair| pair[0]..pair[1]).filter(|layer| !layer.is_empty()).collect()
    }

    /// The layers of which anything is selected, from input to output; of each, the names by which a plan sets its rates.
    pub(super) fn selected(self, blocks: &[Block], selected: &[Selected]) -> Vec<Vec<String>> {
        let names = |block: usize| selected[block].names(&blocks[block], self == Self::Tensor);
        let layers = self.layers(blocks).into_iter().map(|layer| layer.flat_map(names).collect::<Vec<_>>());
        let layers: Vec<Vec<String>> = match self {
            Self::Tensor => layers.flatten().map(|name| vec![name]).collect(),
            Self::Stage | Self::Block => layers.collect(),
        };
        layers.into_iter().filter(|names| !names.is_empty()).collect()
    }
}

/// How much of a block is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Nothing.
    Nothing,
    /// All of it.
    Whole,
    /// Some of its tensors: their positions in [`Block::parameters`], ascending.
    Tensors(Vec<usize>),
}

impl Selected {
    /// The names by which a plan sets rates for what is selected: the block's if it is all of it (unless `tensors` by
    /// themselves are asked for), else the tensors'.
    pub(super) fn names(&self, block: &Block, tensors: bool) -> Vec<String> {
        let of = |tensor: usize| block.parameters[tensor].name.clone();
        match self {
            Self::Nothing => Vec::new(),
            Self::Whole if tensors => (0..block.parameters.len()).map(of).collect(),
            Self::Whole => vec![block.name.clone()],
            Self::Tensors(positions) => positions.iter().map(|&tensor| of(tensor)).collect(),
        }
    }
}

/// Layers that a user picks from the list of available ones, by the names of tensors, blocks or stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerSelection {
    /// Every layer.
    #[default]
    All,
    /// From the first to the last, both included; the model's own first and last where not named.
    Range {
        /// The first layer.
        first: Option<String>,
        /// The last layer.
        last: Option<String>,
    },
    /// These.
    Set(Vec<String>),
}

impl LayerSelection {
    /// How much of each block is selected.
    ///
    /// # Errors
    /// An unknown name; a range that ends before it begins.
    pub fn resolve(&self, blocks: &[Block]) -> Result<Vec<Selected>, PlanError> {
        let places = Places::new(blocks);
        let mut chosen = vec![*self == Self::All; places.count];
        match self {
            Self::All => {}
            Self::Range { first, last } => {
                let start = first.as_ref().map_or(Ok(0), |name| places.find(name).map(|range| range.start))?;
                let end = last.as_ref().map_or(Ok(places.count), |name| places.find(name).map(|range| range.end))?;
                if start >= end {
                    let name = |name: &Option<String>| name.clone().unwrap_or_default();
                    return Err(PlanError::ReversedRange { first: name(first), last: name(last) });
                }
                chosen[start..end].fill(true);
            }
            Self::Set(names) => {
                for name in names {
                    chosen[places.find(name)?].fill(true);
                }
            }
        }
        Ok(places.fold(&chosen))
    }
}

/// A model's tensors in a row: each block has as many places as tensors. One without tensors has one.
struct Places<'a> {
    blocks: &'a [Block],
    /// Where each block's places begin.
    starts: Vec<usize>,
    count: usize,
}

impl<'a> Places<'a> {
    fn new(blocks: &'a [Block]) -> Self {
        let mut count = 0;
        let starts = blocks.iter().map(|block| {
            let start = count;
            count += block.parameters.len().max(1);
            start
        });
        Self { starts: starts.collect(), blocks, count }
    }

    fn of_block(&self, block: usize) -> Range<usize> {
        self.starts[block]..self.starts.get(block + 1).copied().unwrap_or(self.count)
    }

    /// The places of the stage, block or tensor called `name`.
    fn find(&self, name: &str) -> Result<Range<usize>, UnknownLayer> {
        if let Ok(blocks) = Block::find(self.blocks, name) {
            return Ok(self.starts[blocks.start]..self.of_block(blocks.end - 1).end);
        }
        let tensor =
            self.blocks.iter().zip(&self.starts).find_map(|(block, start)| Some(start + block.parameter(name)?));
        let known = |block: &'a Block| {
            let tensors = block.parameters.iter().map(|spec| spec.name.as_str());
            [block.name.as_str(), block.stage.as_str()].into_iter().chain(tensors)
        };
        let unknown = || UnknownLayer::among(name, self.blocks.iter().flat_map(known));
        tensor.map(|place| place..place + 1).ok_or_else(unknown)
    }

    /// How much of each block is `chosen`.
    fn fold(&self, chosen: &[bool]) -> Vec<Selected> {
        let of_block = |block: usize| {
            let chosen = &chosen[self.of_block(block)];
            let positions: Vec<usize> = (0..chosen.len()).filter(|&place| chosen[place]).collect();
            match positions.len() {
                0 => Selected::Nothing,
                count if count == chosen.len() => Selected::Whole,
                _ => Selected::Tensors(positions),
            }
        };
        (0..self.blocks.len()).map(of_block).collect()
    }
}

impl fmt::Display for LayerSelection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Range { first, last } => {
                let name = |name: &Option<String>| name.clone().unwrap_or_default();
                write!(formatter, "{}..{}", name(first), name(last))
            }
            Self::Set(names) => formatter.write_str(&names.join("+")),
        }
    }
}

impl FromStr for LayerSelection {
    type Err = String;

    /// `first..last` (either may be missing), or layers joined by `+`.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        if let Some((first, last)) = text.split_once("..") {
            return Ok(Self::Range { first: named(first), last: named(last) });
        }
        let names: Vec<String> = text.split('+').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err("expected layers as FIRST..LAST or A+B+C".into());
        }
        Ok(Self::Set(names))
    }
}

#[cfg(test)]
mod tests;
