//! What a file holds besides the model: what recipes are known to leave in it, and what nobody knows the use of.

use std::fmt;

use super::container::Checkpoint;
use super::place::{self, Place};

/// What a tensor that the model has no place for is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Purpose {
    /// Takes the place of the classifier in self-supervised training.
    ProjectionHead,
    /// Follows the projection head (BYOL, SimSiam, MoCo v3).
    Predictor,
    /// SwAV's clusters.
    Prototypes,
    /// What draws images again (MAE, SimMIM).
    Decoder,
    /// Stands for patches that are hidden (MAE, DINOv2).
    MaskToken,
    /// Follows the encoder slowly (MoCo, BYOL).
    MomentumEncoder,
    /// What another model is taught by.
    Teacher,
    /// MoCo's negatives.
    Queue,
    /// How many models an average holds; operations that a profiler counted.
    Counter,
    /// A loss with tensors of its own, such as class weights.
    Loss,
    /// The part of CLIP that reads text, and the scale of its products.
    TextTower,
}

impl fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ProjectionHead => "a projection head",
            Self::Predictor => "a predictor",
            Self::Prototypes => "prototypes",
            Self::Decoder => "a decoder",
            Self::MaskToken => "a mask token",
            Self::MomentumEncoder => "a momentum encoder",
            Self::Teacher => "a teacher",
            Self::Queue => "a queue",
            Self::Counter => "counters",
            Self::Loss => "a loss",
            Self::TextTower => "a text tower",
        })
    }
}

/// A tensor that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name in the file, below the dictionary that was taken.
    pub name: String,
    /// What it is there for.
    pub purpose: Purpose,
}

/// What lies beside a model's tensors.
pub(super) struct Leftovers {
    /// What is known to be of no use here.
    pub known: Vec<LeftOut>,
    /// What is not.
    pub unknown: Vec<String>,
}

/// Sorts what lies in the model's dictionary besides the tensors that were taken. `others` are whole models that were
/// passed over, `classifier` the module that gives logits.
pub(super) fn sort(
    checkpoint: &Checkpoint,
    place: &Place,
    others: &[Place],
    classifier: &str,
    is_taken: impl Fn(&str) -> bool,
) -> Leftovers {
    let mut leftovers = Leftovers { known: Vec::new(), unknown: Vec::new() };
    for name in checkpoint.names().filter(|name| !is_batch_counter(name)) {
        let taken = name.strip_prefix(place.prefix.as_str()).is_some_and(&is_taken);
        if taken || !lies_within(checkpoint, name, place) {
            continue;
        }
        let start = if place.dictionary.is_empty() { 0 } else { place.dictionary.len() + 1 };
        let shown = name[start..].to_owned();
        match purpose(name, place, classifier) {
            Some(purpose) => leftovers.known.push(LeftOut { name: shown, purpose }),
            // Said as a whole, not tensor by tensor.
            None if others.iter().any(|other| name.starts_with(&other.prefix)) => {}
            None => leftovers.unknown.push(shown),
        }
    }
    leftovers
}

/// PyTorch's count of batches that BatchNorm has seen, which nothing uses.
pub(in crate::models) fn is_batch_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

/// What training scripts keep beside a model in order to go on.
const TRAINING_STATE: [&str; 8] =
    ["optim", "scheduler", "lr_scheduler", "scaler", "grad_scaler", "amp", "callbacks", "loops"];

/// Whether a tensor is in the model's dictionary or in one within it, and no training state of the outermost.
fn lies_within(checkpoint: &Checkpoint, name: &str, place: &Place) -> bool {
    let dictionary = checkpoint.dictionary_of(name);
    let Some(rest) = dictionary.strip_prefix(place.dictionary.as_str()) else { return false };
    if !place.dictionary.is_empty() {
        return rest.is_empty() || rest.starts_with('.');
    }
    let key = rest.split('.').next().unwrap_or_default();
    !TRAINING_STATE.contains(&key) && !key.starts_with("optimizer") && !place::is_model_dictionary(key)
}

fn purpose(name: &str, place: &Place, classifier: &str) -> Option<Purpose> {
    if matches!(name.rsplit('.').next(), Some("n_averaged" | "total_ops" | "total_params")) {
        return Some(Purpose::Counter);
    }
    if let Some(own) = name.strip_prefix(place.prefix.as_str()) {
        let rest = own.strip_prefix(classifier).filter(|rest| rest.starts_with('.'));
        return match rest {
            // What has other tensors than a linear layer's, or was trained beside a momentum encoder, gives no logits.
            Some(rest) if !matches!(rest, ".weight" | ".bias") || place.is_of_momentum_training() => {
                Some(Purpose::ProjectionHead)
            }
            _ => of_part(own, false),
        };
    }
    // The first part that is not on the way to the model too.
    let shared =
        name.split_inclusive('.').zip(place.prefix.split_inclusive('.')).take_while(|(one, other)| one == other);
    let start: usize = shared.map(|(segment, _)| segment.len()).sum();
    of_part(&name[start..], true)
}

/// What a part of a training script's module is for, by what scripts call it.
fn of_part(name: &str, beside_model: bool) -> Option<Purpose> {
    let mut segments = name.split('.');
    let (segment, next) = (segments.next()?, segments.next().unwrap_or_default());
    let starts = |words: &[&str]| words.iter().any(|word| segment.starts_with(word));
    match segment {
        "predictor" | "prediction_head" | "prediction_mlp" => Some(Purpose::Predictor),
        "head" if matches!(next, "mlp" | "last_layer" | "proj") => Some(Purpose::ProjectionHead),
        _ if starts(&["projector", "projection"]) => Some(Purpose::ProjectionHead),
        "prototypes" => Some(Purpose::Prototypes),
        "mask_token" => Some(Purpose::MaskToken),
        "decoder" => Some(Purpose::Decoder),
        _ if starts(&["decoder_"]) => Some(Purpose::Decoder),
        _ if place::is_momentum_encoder(segment) => Some(Purpose::MomentumEncoder),
        _ if segment == "teacher" || starts(&["teacher_"]) => Some(Purpose::Teacher),
        _ if segment == "queue" || starts(&["queue_"]) => Some(Purpose::Queue),
        _ if starts(&["criterion", "loss"]) || segment.ends_with("_loss") => Some(Purpose::Loss),
        "logit_scale"
        | "logit_bias"
        | "transformer"
        | "text"
        | "token_embedding"
        | "positional_embedding"
        | "ln_final"
        | "text_projection"
            if beside_model =>
        {
            Some(Purpose::TextTower)
        }
        _ => None,
    }
}
