//! `config.json`: what is understood builds a network, or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune::models::{ModelConfig, architectures};

fuzz_target!(|text: &str| {
    let Ok(config) = ModelConfig::parse(text, "config.json") else { return };
    let size = (config.preprocessing().height as usize, config.preprocessing().width as usize);
    let _ = architectures::build(config.architecture(), &config.model_args(), config.num_classes(), Some(size));
});
