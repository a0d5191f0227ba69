//! Which layers a method tunes, and how it counts them.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::models::{Block, Neighbour};
use crate::plan::PlanError;

/// What counts as one layer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// A stage, as the surgical fine-tuning paper counts.
    Stage,
    /// A block, as layer-wise learning-rate decay counts in timm.
    Block,
}

impl FromStr for Granularity {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "stage" => Self::Stage,
            "block" => Self::Block,
            _ => return Err("expected stage or block".into()),
        })
    }
}

impl Granularity {
    /// The model's layers from input to output, each a range of blocks.
    ///
    /// A transformer's last norm and the like count with the layer that they belong to (see
    /// [`Block::joins`]), as timm's `group_matcher` has it.
    pub fn layers(self, blocks: &[Block]) -> Vec<Range<usize>> {
        let begins = |index: usize| {
            let (before, block) = (&blocks[index - 1], &blocks[index]);
            let joined = before.joins == Some(Neighbour::Next) || block.joins == Some(Neighbour::Previous);
            let same_stage = self == Self::Stage && before.stage == block.stage;
            !joined && !same_stage
        };
        let mut starts: Vec<usize> = (0..blocks.len()).filter(|&index| index == 0 || begins(index)).collect();
        starts.push(blocks.len());
        starts.windows(2).map(|pair| pair[0]..pair[1]).filter(|layer| !layer.is_empty()).collect()
    }
}

/// Layers that a user picks from the list of available ones, by the names of blocks or stages.
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
    /// For each block, whether it is selected.
    ///
    /// # Errors
    /// An unknown name; a range that ends before it begins.
    pub fn resolve(&self, blocks: &[Block]) -> Result<Vec<bool>, PlanError> {
        let mut selected = vec![*self == Self::All; blocks.len()];
        match self {
            Self::All => {}
            Self::Range { first, last } => {
                let start = first.as_ref().map_or(Ok(0), |name| Block::find(blocks, name).map(|range| range.start))?;
                let end =
                    last.as_ref().map_or(Ok(blocks.len()), |name| Block::find(blocks, name).map(|range| range.end))?;
                if start >= end {
                    let name = |name: &Option<String>| name.clone().unwrap_or_default();
                    return Err(PlanError::ReversedRange { first: name(first), last: name(last) });
                }
                selected[start..end].fill(true);
            }
            Self::Set(names) => {
                for name in names {
                    selected[Block::find(blocks, name)?].fill(true);
                }
            }
        }
        Ok(selected)
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
mod tests {
    use super::*;

    fn blocks() -> Vec<Block> {
        vec![
            Block::alone("stem"),
            Block::new("layer1.0", "layer1"),
            Block::new("layer1.1", "layer1"),
            Block::new("layer2.0", "layer2"),
            Block::alone("norm").joining(Neighbour::Previous),
            Block::alone("head"),
        ]
    }

    #[test]
    fn names_of_stages_and_blocks_select_and_text_says_the_same() {
        let selected = |text: &str| {
            let parsed: LayerSelection = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            let resolved = parsed.resolve(&blocks()).unwrap();
            resolved.into_iter().map(|on| if on { '1' } else { '0' }).collect::<String>()
        };
        assert_eq!(selected("layer1..layer2"), "011100");
        assert_eq!(selected("layer1.1.."), "001111");
        assert_eq!(selected("..layer1.0"), "110000");
        assert_eq!(selected("stem+head"), "100001");
        assert_eq!(selected("layer1"), "011000");
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text: &str| {
            let selection: LayerSelection = text.parse().unwrap();
            selection.resolve(&blocks()).unwrap_err().to_string()
        };
        assert!(error("layer2..stem").contains("'stem' comes before 'layer2'"));
        assert!(error("layr1").contains("did you mean 'layer1'"));
        assert!("a++b".parse::<LayerSelection>().is_err());
    }

    #[test]
    fn layers_are_counted_as_timm_counts_them() {
        assert_eq!(Granularity::Block.layers(&blocks()), [0..1, 1..2, 2..3, 3..5, 5..6]);
        assert_eq!(Granularity::Stage.layers(&blocks()), [0..1, 1..3, 3..5, 5..6]);
    }
}
