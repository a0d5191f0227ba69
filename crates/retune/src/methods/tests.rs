use super::*;
use crate::plan::{Combine, Selection, Solver};

fn blocks() -> Vec<Block> {
    vec![
        Block::alone("stem"),
        Block::new("layer1.0", "layer1"),
        Block::new("layer1.1", "layer1"),
        Block::new("layer2.0", "layer2"),
        Block::alone("head"),
    ]
}

fn gradient(method: Method, options: &MethodOptions) -> Gradient {
    let plan = method.plan(&blocks(), options).unwrap();
    let found = plan.phases.into_iter().find_map(|phase| match phase.solver {
        Solver::Gradient(gradient) => Some(gradient),
        _ => None,
    });
    found.unwrap()
}

fn rates(gradient: &Gradient) -> Vec<(&str, f64)> {
    gradient.rates.iter().map(|(name, &rate)| (name.as_str(), rate)).collect()
}

#[test]
fn every_plan_fits_its_blocks_and_every_name_parses() {
    for method in ALL {
        assert_eq!(method.name().parse::<Method>().unwrap(), method);
        let plan = method.plan(&blocks(), &MethodOptions::default()).unwrap();
        plan.check(&blocks()).unwrap();
        assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan, "{method}");
    }
    let error = "lp-tf".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("lp-tf") && error.contains("auto-rgn"), "{error}");
}

#[test]
fn lp_ft_is_lp_and_then_ft() {
    let phases = |method: Method| method.plan(&blocks(), &MethodOptions::default()).unwrap().phases;
    let joined = [phases(Method::Lp), phases(Method::Ft)].concat();
    assert_eq!(phases(Method::LpFt), joined);
    assert_eq!(phases(Method::WiseFt)[..2], joined);
}

#[test]
fn surgical_tunes_the_range_and_a_new_head() {
    let layers = "layer1..layer1.1".parse().unwrap();
    let options = MethodOptions { layers, new_head: false, ..MethodOptions::default() };
    assert_eq!(rates(&gradient(Method::Surgical, &options)), [("layer1.0", 1.0), ("layer1.1", 1.0)]);
    let options = MethodOptions { new_head: true, ..options };
    assert_eq!(rates(&gradient(Method::Surgical, &options)).last(), Some(&("head", 1.0)));
}

#[test]
fn discriminative_rates_fall_back_from_the_head() {
    let options = MethodOptions { decay: Some(0.5), lowest_factor: 0.2, ..MethodOptions::default() };
    let by_block = [("stem", 0.2), ("layer1.0", 0.2), ("layer1.1", 0.25), ("layer2.0", 0.5), ("head", 1.0)];
    assert_eq!(rates(&gradient(Method::Discriminative, &options)), by_block);
    let options = MethodOptions { granularity: Some(Granularity::Stage), ..options };
    let by_stage = [("stem", 0.2), ("layer1.0", 0.25), ("layer1.1", 0.25), ("layer2.0", 0.5), ("head", 1.0)];
    assert_eq!(rates(&gradient(Method::Discriminative, &options)), by_stage);
    let plain = gradient(Method::Discriminative, &MethodOptions::default());
    assert!((plain.rates["layer1.1"] - 0.81).abs() < 1e-12);
}

#[test]
fn a_rate_range_is_even_in_logarithm() {
    let options = MethodOptions { rate_range: Some([1e-6, 1e-2]), ..MethodOptions::default() };
    let gradient = gradient(Method::Discriminative, &options);
    assert_eq!(gradient.learning_rates, [1e-2]);
    for (rate, expected) in gradient.rates.values().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
        assert!((rate / expected - 1.0).abs() < 1e-12, "{rate} is not {expected}");
    }
}

#[test]
fn the_layers_before_the_head_are_drawn_anew() {
    let options = MethodOptions { reinitialize: 2, ..MethodOptions::default() };
    assert_eq!(gradient(Method::Discriminative, &options).reinitialize, ["layer1.1", "layer2.0"]);
}

#[test]
fn ulmfit_unfreezes_one_more_layer_each_epoch() {
    let frozen = |options: &MethodOptions| -> Vec<usize> {
        let gradient = gradient(Method::Ulmfit, options);
        blocks().iter().map(|block| gradient.frozen_epochs.get(&block.name).copied().unwrap_or(0)).collect()
    };
    let options = MethodOptions::default();
    assert_eq!(frozen(&options), [3, 2, 2, 1, 0]);
    let by_block = MethodOptions { granularity: Some(Granularity::Block), ..options.clone() };
    assert_eq!(frozen(&by_block), [4, 3, 2, 1, 0]);
    let upwards = MethodOptions { unfreeze: UnfreezeOrder::FirstToLast, ..by_block.clone() };
    assert_eq!(frozen(&upwards), [0, 1, 2, 3, 0]);
    let kept_head = MethodOptions { new_head: false, ..upwards };
    assert_eq!(frozen(&kept_head), [0, 1, 2, 3, 4]);
    let short = MethodOptions { epochs: 2, ..by_block };
    assert_eq!(frozen(&short), [1, 1, 0, 0, 0]);
    let gradient = gradient(Method::Ulmfit, &options);
    assert_eq!(gradient.schedule, Schedule::Slanted);
    assert!((gradient.rates["layer2.0"] - 1.0 / 2.6).abs() < 1e-12);
    assert!((gradient.rates["layer1.0"] - 1.0 / 2.6 / 2.6).abs() < 1e-12);
}

#[test]
fn methods_differ_in_what_they_say_they_do() {
    let options = MethodOptions::default();
    let of = |method: Method| gradient(method, &options);
    assert_eq!(of(Method::Norms).parameters, Selection::Norms);
    assert_eq!(of(Method::Biases).parameters, Selection::Biases);
    assert_eq!(of(Method::Lora).low_rank, Some(LowRank::default()));
    assert_eq!(of(Method::L2Sp).anchor, Some(Anchor::default()));
    assert_eq!(of(Method::UniformSoup).combine, Combine::UniformSoup);
    assert_eq!(of(Method::GreedySoup).combine, Combine::GreedySoup);
    let rgn = of(Method::AutoRgn);
    assert_eq!((rgn.parameters, rgn.adaptive.unwrap().threshold), (Selection::NotNorms, None));
    let official = MethodOptions { snr: SignalToNoise::Official, ..options.clone() };
    let adaptive = gradient(Method::AutoSnr, &official).adaptive.unwrap();
    assert_eq!((adaptive.criterion, adaptive.threshold), (Criterion::SignalToNoiseOfficial, Some(0.95)));
}

#[test]
fn specs_name_a_method_and_its_layers() {
    for text in ["ft", "surgical:layer1..layer2", "auto-rgn:stem+head"] {
        assert_eq!(text.parse::<MethodSpec>().unwrap().label(), text);
    }
    assert!("ft:layer1..".parse::<MethodSpec>().unwrap_err().contains("takes no layers"));
}
