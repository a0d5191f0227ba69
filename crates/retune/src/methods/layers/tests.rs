use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::methods::{Method, MethodOptions};
use crate::models::{Network, architectures};
use crate::plan::{Plan, Solver};

fn blocks() -> Vec<Block> {
    vec![
        Block::alone("stem"),
        Block::new("layer1.0", "layer1"),
        Block::new("layer1.1", "layer1"),
        Block::new("layer2.0", "layer2"),
        Block::alone("norm").joining(Neighbor::Previous),
        Block::alone("head"),
    ]
}

#[test]
fn names_of_stages_and_blocks_select_and_text_says_the_same() {
    let selected = |text: &str| {
        let parsed: LayerSelection = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        let resolved = parsed.resolve(&blocks()).unwrap();
        resolved.into_iter().map(|part| if part == Selected::Whole { '1' } else { '0' }).collect::<String>()
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

/// One of each family.
static NETWORKS: LazyLock<Vec<Network>> =
    LazyLock::new(|| architectures::smallest_of_each_family().map(|(_, network)| network).collect());

/// Names of all tensors in PyTorch's order.
fn tensors(network: &Network) -> Vec<&str> {
    let parameters = network.blocks().iter().flat_map(|block| &block.parameters);
    parameters.map(|spec| spec.name.as_str()).collect()
}

/// The tensors to which `plan` gives a rate above 0, and their rates.
fn rates<'a>(plan: &Plan, network: &'a Network) -> Vec<(&'a str, f64)> {
    let rates = plan.phases[0].parameter_rate_factors(network.blocks(), &network.specs);
    let trainable = network.specs.iter().zip(rates).filter(|(spec, _)| spec.role.is_trainable());
    trainable.filter(|(_, rate)| *rate > 0.0).map(|(spec, rate)| (spec.name.as_str(), rate)).collect()
}

fn surgical(selection: LayerSelection, network: &Network) -> Plan {
    let options = MethodOptions { layers: selection, new_head: false, ..MethodOptions::default() };
    Method::SURGICAL.plan(network.blocks(), &options).unwrap()
}

#[test]
fn a_range_goes_from_a_tensor_to_a_tensor_and_blocks_mix_with_them() {
    let network = architectures::build("resnet18", &Default::default(), 10, None).unwrap();
    let resolved = |text: &str| -> Vec<String> {
        let plan = surgical(text.parse().unwrap(), &network);
        let Solver::Gradient(gradient) = &plan.phases[0].solver else { unreachable!("surgical descends") };
        gradient.rate_factors.keys().cloned().collect()
    };
    // Whole blocks go by their own names, parts of blocks by their tensors'.
    assert_eq!(resolved("layer4.1.bn2.weight..fc.bias"), ["layer4.1.bn2.weight", "layer4.1.bn2.bias", "head"]);
    assert_eq!(resolved("..bn1.weight"), ["conv1.weight", "bn1.weight"]);
    assert_eq!(
        resolved("layer3.1.bn2.weight..layer4"),
        ["layer3.1.bn2.weight", "layer3.1.bn2.bias", "layer4.0", "layer4.1",]
    );
    assert_eq!(resolved("fc.bias+stem+layer1.0.conv1.weight"), ["stem", "layer1.0.conv1.weight", "fc.bias"]);
    // A new head trains whole.
    let options = MethodOptions { layers: "bn1.bias..bn1.bias".parse().unwrap(), ..MethodOptions::default() };
    let plan = Method::SURGICAL.plan(network.blocks(), &options).unwrap();
    assert_eq!(
        rates(&plan, &network).into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["bn1.bias", "fc.weight", "fc.bias"]
    );
    // A running statistic is no tensor that trains.
    let error = "bn1.running_mean".parse::<LayerSelection>().unwrap().resolve(network.blocks()).unwrap_err();
    assert!(error.to_string().contains("unknown layer 'bn1.running_mean'"), "{error}");
    let error = "layer3.0.conv1.wieght".parse::<LayerSelection>().unwrap().resolve(network.blocks()).unwrap_err();
    assert!(error.to_string().contains("did you mean 'layer3.0.conv1.weight'"), "{error}");
}

#[test]
fn no_tensor_has_the_name_of_a_block_or_stage() {
    for network in NETWORKS.iter() {
        for tensor in tensors(network) {
            assert!(Block::find(network.blocks(), tensor).is_err(), "{tensor}");
        }
    }
}

#[test]
fn rates_fall_from_the_last_tensor_to_the_first() {
    let options = MethodOptions::default().with("granularity", "tensor").unwrap();
    for network in NETWORKS.iter() {
        for method in [Method::DISCRIMINATIVE, Method::ULMFIT] {
            let plan = method.plan(network.blocks(), &options).unwrap();
            plan.check(network.blocks()).unwrap();
            let found = rates(&plan, network);
            assert!(found.iter().map(|(name, _)| *name).eq(tensors(network)), "{method}");
            for (back, (name, rate)) in found.into_iter().rev().enumerate() {
                assert_eq!(rate, 0.9f64.powf(back as f64), "{method}: {name}");
            }
        }
    }
}

#[test]
fn ulmfit_by_tensor_unfreezes_one_more_each_epoch() {
    let network = &NETWORKS[0];
    let names = tensors(network);
    let frozen = |new_head: bool, epochs: usize| -> Vec<usize> {
        let options = MethodOptions { new_head, epochs, ..MethodOptions::default() };
        let options = options.with("granularity", "tensor").unwrap();
        let plan = Method::ULMFIT.plan(network.blocks(), &options).unwrap();
        let Solver::Gradient(gradient) = &plan.phases[0].solver else { unreachable!("ulmfit descends") };
        let parameters =
            network.blocks().iter().flat_map(|block| block.parameters.iter().map(move |spec| (block, spec)));
        parameters.map(|(block, spec)| gradient.frozen_epochs_of(block, &spec.name)).collect()
    };
    let count = names.len();
    assert_eq!(&names[count - 2..], ["fc.weight", "fc.bias"]);
    // A kept head: its bias first, then its weight. A new head trains whole from the start.
    assert_eq!(frozen(false, count), (0..count).rev().collect::<Vec<_>>());
    let expected = (1..count - 1).rev().chain([0, 0]);
    assert_eq!(frozen(true, count), expected.collect::<Vec<_>>());
    // With too few epochs for one each, all train in the last.
    let few = frozen(false, 4);
    assert!(few.iter().max() == Some(&3) && few.is_sorted_by(|one, next| one >= next), "{few:?}");
}

proptest! {
    #[test]
    fn any_selection_of_tensors_trains_exactly_those(
        network in 0..NETWORKS.len(),
        chosen in proptest::collection::vec(any::<bool>(), 300),
    ) {
        let network = &NETWORKS[network];
        let names = tensors(network).into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(name, _)| name);
        let chosen: Vec<&str> = names.collect();
        prop_assume!(!chosen.is_empty());
        let selection = LayerSelection::Set(chosen.iter().rev().map(|&name| name.to_owned()).collect());
        prop_assert_eq!(&selection.to_string().parse::<LayerSelection>().unwrap(), &selection);
        let plan = surgical(selection, network);
        plan.check(network.blocks()).unwrap();
        prop_assert_eq!(rates(&plan, network).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), chosen);
        prop_assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan);
    }

    #[test]
    fn any_range_of_tensors_trains_exactly_those(network in 0..NETWORKS.len(), one in 0usize..300, other in 0usize..300) {
        let network = &NETWORKS[network];
        let names = tensors(network);
        let (one, other) = (one % names.len(), other % names.len());
        let (first, last) = (one.min(other), one.max(other));
        let selection: LayerSelection = format!("{}..{}", names[first], names[last]).parse().unwrap();
        let plan = surgical(selection, network);
        prop_assert_eq!(rates(&plan, network).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), &names[first..=last]);
        prop_assert_eq!(&Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), &plan);
        if first < last {
            let reversed: LayerSelection = format!("{}..{}", names[last], names[first]).parse().unwrap();
            prop_assert!(reversed.resolve(network.blocks()).unwrap_err().to_string().contains("comes before"));
        }
    }
}
