//! Low-rank changes in the layout of Hugging Face's PEFT, which loads them onto the pretrained model
//! in timm: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::Adapters;
use crate::device::DeviceError;
use crate::files;
use crate::models::weights::{NamedTensor, WeightsError, named_tensors, write_tensors};
use crate::models::{Model, ParameterSpec};

/// What PEFT puts before every name of a wrapped model.
const PREFIX: &str = "base_model.model";
const WEIGHT: &str = ".weight";

impl Adapters {
    /// Writes the changes, and the head of `model` whole, as PEFT 0.21 writes them: a linear layer's
    /// `A` is `rank × inputs` and its `B` `outputs × rank`; a convolution's are `rank × inputs ×
    /// height × width` and `outputs × rank × 1 × 1`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_for_peft(&self, model: &Model, directory: &Path) -> Result<(), WeightsError> {
        files::create_folder(directory)?;
        write_tensors(&directory.join("adapter_model.safetensors"), self.tensors_for_peft(model)?)?;
        let text = self.configuration(model).to_string();
        files::write_atomically(&directory.join("adapter_config.json"), |file| file.write_all(text.as_bytes()))?;
        Ok(())
    }

    fn tensors_for_peft(&self, model: &Model) -> Result<BTreeMap<String, NamedTensor>, DeviceError> {
        let specs = &model.network().specs;
        let rank = self.low_rank.rank;
        let mut tensors = BTreeMap::new();
        for (&index, factors) in &self.factors {
            let (spec, [a, b]) = (&specs[index], factors.values()?);
            let (shape_of_a, shape_of_b) = match spec.shape.as_slice() {
                [outputs, inputs, height, width] => (vec![rank, *inputs, *height, *width], vec![*outputs, rank, 1, 1]),
                _ => (vec![rank, a.len() / rank], vec![b.len() / rank, rank]),
            };
            let name = |factor: &str| format!("{PREFIX}.{}.lora_{factor}.weight", module(spec));
            tensors.insert(name("A"), NamedTensor { shape: shape_of_a, values: a });
            tensors.insert(name("B"), NamedTensor { shape: shape_of_b, values: b });
        }
        let head = (0..specs.len()).filter(|&index| specs[index].block == model.head());
        let head = named_tensors(&model.parameters, head)?;
        tensors.extend(head.into_iter().map(|(name, tensor)| (format!("{PREFIX}.{name}"), tensor)));
        Ok(tensors)
    }

    fn configuration(&self, model: &Model) -> serde_json::Value {
        let specs = &model.network().specs;
        // PEFT matches a text as a whole regular expression; in a list, an entry would match every
        // name that ends like it.
        let modules = self.factors.keys().map(|&index| module(&specs[index]).replace('.', "\\."));
        let head = model.head_parameters().map(|(weight, _)| module(&specs[weight]).to_owned());
        json!({
            "peft_type": "LORA",
            "base_model_name_or_path": null,
            "r": self.low_rank.rank,
            "lora_alpha": self.low_rank.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "target_modules": modules.collect::<Vec<_>>().join("|"),
            "modules_to_save": head.into_iter().collect::<Vec<_>>(),
            "task_type": null,
        })
    }
}

fn module(spec: &ParameterSpec) -> &str {
    spec.name.strip_suffix(WEIGHT).unwrap_or(&spec.name)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::models::weights::read_tensors;
    use crate::plan::LowRank;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
    }

    #[test]
    fn the_layout_is_that_of_adapters_that_peft_wrote() {
        let device = burn::tensor::Device::flex();
        for name in ["resnet_basic", "vit", "convnext"] {
            let model = Model::load(&fixtures().join("models").join(name), None, Clone::clone, &device).unwrap();
            let specs = &model.network().specs;
            let changed =
                (0..specs.len()).filter(|&index| specs[index].block != model.head() && LowRank::fits(&specs[index]));
            let adapters = Adapters::new(LowRank { rank: 2, alpha: 4.0 }, specs, changed, 0, &device);
            let folder = tempfile::tempdir().unwrap();
            adapters.save_for_peft(&model, folder.path()).unwrap();

            let shapes = |directory: &Path| -> Vec<(String, Vec<usize>)> {
                let tensors = read_tensors(&directory.join("adapter_model.safetensors")).unwrap();
                tensors.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect()
            };
            let theirs = fixtures().join("methods/adapters").join(name);
            assert_eq!(shapes(folder.path()), shapes(&theirs), "{name}");

            let configuration = |directory: &Path| -> serde_json::Value {
                let text = std::fs::read_to_string(directory.join("adapter_config.json")).unwrap();
                serde_json::from_str(&text).unwrap()
            };
            let (ours, theirs) = (configuration(folder.path()), configuration(&theirs));
            let sorted = |value: &serde_json::Value| {
                let mut modules: Vec<String> = value.as_str().unwrap().split('|').map(str::to_owned).collect();
                modules.sort();
                modules
            };
            assert_eq!(sorted(&ours["target_modules"]), sorted(&theirs["target_modules"]), "{name}");
            for (key, value) in ours.as_object().unwrap().iter().filter(|(key, _)| *key != "target_modules") {
                assert_eq!(*value, theirs[key], "{name}: {key}");
            }
        }
    }
}
