//! Plans written by hand, checked against a model.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use retune::models::{Network, architectures};
use retune::plan::Plan;

static NETWORK: LazyLock<Network> =
    LazyLock::new(|| architectures::build("resnet18", &Default::default(), 10, None).unwrap());

fuzz_target!(|text: &str| {
    let Ok(plan) = Plan::from_toml(text) else { return };
    if plan.check(NETWORK.blocks()).is_ok() {
        let _ = plan.changed_parameters(NETWORK.blocks(), &NETWORK.specs);
        let _ = plan.learned_scalars(NETWORK.blocks(), &NETWORK.specs);
        let again = plan.to_toml().and_then(|text| Plan::from_toml(&text));
        assert!(again.is_ok(), "{again:?}");
    }
});
