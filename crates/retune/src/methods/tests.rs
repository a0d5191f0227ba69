use serde_json::{Value, json};

use super::options::{Kind, OptionError};
use super::*;
use crate::models::architectures;
use crate::plan::{
    Anchor, Averaging, Combine, Criterion, Gradient, HeadMeasure, LowRank, Phase, Search, Selection, Solver,
};

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

fn factors(gradient: &Gradient) -> Vec<(&str, f64)> {
    gradient.rate_factors.iter().map(|(name, &factor)| (name.as_str(), factor)).collect()
}

#[test]
fn every_plan_fits_its_blocks_and_every_name_parses() {
    for method in ALL {
        assert_eq!(method.name.parse::<Method>().unwrap(), *method);
        assert!(!method.summary.is_empty(), "{method}");
        let plan = method.plan(&blocks(), &MethodOptions::default()).unwrap();
        plan.check(&blocks()).unwrap();
        assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan, "{method}");
    }
    let error = "lp-tf".parse::<Method>().unwrap_err().to_string();
    assert_eq!(error, "unknown method 'lp-tf'; did you mean 'lp-ft'?");
    let error = "distillation".parse::<Method>().unwrap_err().to_string();
    assert!(error.contains("distillation") && error.contains("auto-rgn"), "{error}");
}

/// Values that fit the option: of a choice all, or else one that is no default.
fn some_values(kind: Kind) -> Vec<Value> {
    vec![match kind {
        Kind::Whole(_) => json!(7),
        Kind::Number(_) => json!(0.5),
        Kind::Numbers(_) => json!([0.25, 1.0]),
        Kind::Range(_) => json!([0.5, 7.0]),
        Kind::Choice(names) => return names.iter().map(|name| json!(name)).collect(),
    }]
}

/// A name that the type of an option does not know would silently be the default.
#[test]
fn every_name_that_an_option_takes_is_read() {
    for option in declared_options() {
        let Kind::Choice(names) = option.declaration.kind else { continue };
        let plan = |method: Method, name: &Value| {
            let options = MethodOptions { epochs: 9, ..MethodOptions::default() };
            let options = options.with(option.declaration.name, name.clone()).unwrap();
            method.plan(architectures::build("resnet18", &Default::default(), 10, None).unwrap().blocks(), &options)
        };
        // Two names may make the same plan of one method, but not of all that share the option.
        for name in names.iter().map(|name| json!(name)) {
            let is_read = option.methods.iter().any(|(method, own)| {
                let default = own.default().unwrap();
                default == name || plan(*method, &name).unwrap() != plan(*method, &default).unwrap()
            });
            assert!(is_read, "{}: {name}", option.declaration.name);
        }
    }
}

#[test]
fn plans_fit_every_family_with_every_option_and_train_a_new_head() {
    for (name, network) in architectures::smallest_of_each_family() {
        let blocks = network.blocks();
        for method in ALL {
            let check = |options: &MethodOptions| {
                let plan = method.plan(blocks, options).and_then(|plan| plan.check(blocks).map(|()| plan));
                let plan = plan.unwrap_or_else(|error| panic!("{method} on {name}: {error}"));
                let mut trained = network.specs.iter().zip(plan.trained_parameters(blocks, &network.specs));
                assert!(
                    trained
                        .all(|(spec, trained)| trained || !spec.role.is_trainable() || spec.block < blocks.len() - 1),
                    "{method} on {name} leaves a new head as it is: {options:?}"
                );
            };
            check(&MethodOptions::default());
            let mut all = MethodOptions::default();
            for option in method.options {
                let declaration = option.declaration();
                for value in some_values(declaration.kind) {
                    check(&MethodOptions::default().with(declaration.name, value.clone()).unwrap());
                    all.values.set(declaration.name, value).unwrap();
                }
            }
            check(&all);
        }
    }
}

#[test]
fn names_are_unique_and_shared_options_agree_and_defaults_fit() {
    for (index, method) in ALL.iter().enumerate() {
        assert!(!ALL[..index].contains(method), "{method}");
    }
    let shared =
        ["epochs", "lr", "schedule", "warmup_epochs", "ema", "swa_from", "first", "last", "layers", "method", "plan"];
    let mut names: Vec<&str> = shared.into();
    for DeclaredOption { declaration, methods } in declared_options() {
        let former = declaration.former_name.unwrap_or(declaration.name);
        assert!(!names.contains(&declaration.name) && !names.contains(&former), "{}", declaration.name);
        for (method, option) in methods {
            let own = OptionDeclaration { default_in_words: declaration.default_in_words, ..*option.declaration() };
            assert_eq!(own, declaration, "{method}");
            let default = option.default();
            assert_eq!(
                default.as_ref().map(|value| declaration.kind.accept(value)),
                default.clone().map(Some),
                "{method}"
            );
        }
        names.extend([declaration.name, former]);
    }
    for option in declared_options() {
        assert!(option.declaration.excludes.iter().all(|other| names.contains(other)), "{}", option.declaration.name);
    }
}

#[test]
fn what_a_method_declares_is_what_its_plan_does() {
    for method in ALL {
        let plan = method.plan(&blocks(), &MethodOptions::default()).unwrap();
        let descents: Vec<&Gradient> = plan
            .phases
            .iter()
            .filter_map(|phase| if let Solver::Gradient(gradient) = &phase.solver { Some(gradient) } else { None })
            .collect();
        assert_eq!(!descents.is_empty(), method.descends, "{method}");
        assert_eq!(descents.iter().any(|descent| descent.combine != Combine::Best), method.averages_rates, "{method}");
        assert!(descents.iter().all(|descent| descent.schedule == method.schedule), "{method}");
        let stem = MethodOptions { layers: "stem".parse().unwrap(), new_head: false, ..MethodOptions::default() };
        let with_layers = method.plan(&blocks(), &stem).unwrap();
        assert_eq!(
            with_layers
                != method.plan(&blocks(), &MethodOptions { new_head: false, ..MethodOptions::default() }).unwrap(),
            method.layers != Layers::Whole,
            "{method}"
        );
    }
}

#[test]
fn options_are_checked_and_a_default_counts_as_not_set() {
    let defaults = MethodOptions::default;
    assert_eq!(defaults().with("rgn_batches", 5).unwrap(), defaults());
    // What is the default of one method only makes a difference for the other.
    assert_ne!(defaults().with("granularity", "stage").unwrap(), defaults());
    // A whole number is a number, and a number is a list of one.
    assert_eq!(defaults().with("decay", 1).unwrap(), defaults().with("decay", 1.0).unwrap());
    assert_eq!(defaults().with("alpha", 0.25).unwrap(), defaults().with("alpha", [0.25]).unwrap());
    assert_eq!(defaults().with("dekay", 0.5), Err(OptionError::Unknown("dekay".into())));
    let error = |name: &str, value: Value| defaults().with(name, value).unwrap_err().to_string();
    assert_eq!(error("decay", 1.5.into()), "the option 'decay' must be a number above 0 and at most 1, not 1.5");
    assert_eq!(error("rgn_batches", 0.into()), "the option 'rgn_batches' must be a whole number above 0, not 0");
    assert_eq!(error("snr_mode", "offical".into()), "the option 'snr_mode' must be paper or official, not offical");
    assert_eq!(
        error("lr_range", [1.0, 0.5].into()),
        "the option 'lr_range' must be two numbers above 0, LOW..HIGH, not 1,0.5"
    );
    assert!(defaults().with("anchor", f64::NAN).is_err() && defaults().with("lora_rank", 1025).is_err());
}

/// `method_options` of a `compare.toml` as versions wrote it in which options had other names.
#[test]
fn options_of_older_comparisons_are_read() {
    let old = r#"
        epochs = 3
        learning_rates = [0.001]
        warmup_epochs = 0.0
        new_head = true
        layers = "all"
        granularity = "stage"
        decay = 0.8
        lowest_factor = 0.1
        rate_range = [1e-5, 1e-3]
        reinitialize = 2
        unfreeze = "first-to-last"
        adaptive_layer = "block"
        adaptive_batches = 5
        snr = "official"
        snr_threshold = 0.2
        alphas = [0.5, 1.0]
        [anchor]
        strength = 0.3
        head_strength = 0.01
        [low_rank]
        rank = 8
        alpha = 2.0
    "#;
    // Those versions put no probe before a method.
    let probe = ProbePhase::Never;
    let mut expected = MethodOptions { epochs: 3, learning_rates: vec![1e-3], probe, ..MethodOptions::default() };
    let values: [(&str, Value); 11] = [
        ("granularity", "stage".into()),
        ("decay", 0.8.into()),
        ("decay_min", 0.1.into()),
        ("lr_range", [1e-5, 1e-3].into()),
        ("reinit", 2.into()),
        ("unfreeze", "first-to-last".into()),
        ("rgn_granularity", "block".into()),
        ("snr_mode", "official".into()),
        ("snr_threshold", 0.2.into()),
        ("alpha", [0.5, 1.0].into()),
        ("anchor", 0.3.into()),
    ];
    for (name, value) in values {
        expected.values.set(name, value).unwrap();
    }
    let expected = expected.with("lora_alpha", 2.0).unwrap();
    let found: MethodOptions = toml::from_str(old).unwrap();
    assert_eq!(found, expected);
    assert_eq!(toml::from_str::<MethodOptions>(&toml::to_string(&found).unwrap()).unwrap(), expected);
    let misspelt = toml::from_str::<MethodOptions>(&old.replace("decay = 0.8", "dekay = 0.8")).unwrap_err();
    assert!(misspelt.to_string().contains("no method has an option 'dekay'"), "{misspelt}");
}

#[test]
fn lp_ft_is_lp_and_then_ft() {
    let phases = |method: Method| method.plan(&blocks(), &MethodOptions::default()).unwrap().phases;
    let joined = [phases(Method::LP), phases(Method::FT)].concat();
    assert_eq!(phases(Method::LP_FT), joined);
    assert_eq!(phases(Method::WISE_FT)[..2], joined);
}

#[test]
fn every_method_can_start_from_a_probe_and_those_that_measure_gradients_do() {
    let plan = |method: Method, probe: ProbePhase, new_head: bool| {
        method.plan(&blocks(), &MethodOptions { probe, new_head, ..MethodOptions::default() }).unwrap()
    };
    let probes = |plan: &Plan| plan.phases.iter().filter(|phase| **phase == Phase::linear_probe()).count();
    for method in ALL {
        let (without, with) = (plan(*method, ProbePhase::Never, true), plan(*method, ProbePhase::Always, true));
        assert_eq!((with.phases[0].clone(), probes(&with)), (Phase::linear_probe(), 1), "{method}");
        assert_eq!(with.phases[1..], without.phases[probes(&without)..], "{method}");
        let own = plan(*method, ProbePhase::ByMethod, true);
        let measures = [Method::AUTO_RGN, Method::AUTO_SNR].contains(method);
        assert_eq!(own, if measures { with } else { without }, "{method}");
        // A head that is kept fits already.
        let kept = |probe| plan(*method, probe, false);
        assert_eq!(kept(ProbePhase::ByMethod), kept(ProbePhase::Never), "{method}");
    }
    assert_eq!(plan(Method::FT, ProbePhase::Always, true).phases, plan(Method::LP_FT, ProbePhase::Never, true).phases);
}

#[test]
fn a_new_head_is_judged_apart_and_a_kept_one_with_the_body() {
    for method in [Method::AUTO_RGN, Method::AUTO_SNR] {
        let head = |new_head: bool| {
            let options = MethodOptions { new_head, ..MethodOptions::default() };
            gradient(method, &options).adaptive.unwrap().head
        };
        assert_eq!((head(true), head(false)), (HeadMeasure::Apart, HeadMeasure::WithBody), "{method}");
    }
}

#[test]
fn surgical_tunes_the_range_and_a_new_head() {
    let layers = "layer1..layer1.1".parse().unwrap();
    let options = MethodOptions { layers, new_head: false, ..MethodOptions::default() };
    assert_eq!(factors(&gradient(Method::SURGICAL, &options)), [("layer1.0", 1.0), ("layer1.1", 1.0)]);
    let options = MethodOptions { new_head: true, ..options };
    assert_eq!(factors(&gradient(Method::SURGICAL, &options)).last(), Some(&("head", 1.0)));
}

#[test]
fn discriminative_rates_fall_back_from_the_head() {
    let options = MethodOptions::default().with("decay", 0.5).unwrap().with("decay_min", 0.2).unwrap();
    let by_block = [("stem", 0.2), ("layer1.0", 0.2), ("layer1.1", 0.25), ("layer2.0", 0.5), ("head", 1.0)];
    assert_eq!(factors(&gradient(Method::DISCRIMINATIVE, &options)), by_block);
    let options = options.with("granularity", "stage").unwrap();
    let by_stage = [("stem", 0.2), ("layer1.0", 0.25), ("layer1.1", 0.25), ("layer2.0", 0.5), ("head", 1.0)];
    assert_eq!(factors(&gradient(Method::DISCRIMINATIVE, &options)), by_stage);
    let plain = gradient(Method::DISCRIMINATIVE, &MethodOptions::default());
    assert!((plain.rate_factors["layer1.1"] - 0.81).abs() < 1e-12);
}

#[test]
fn a_rate_range_is_even_in_logarithm() {
    let options = MethodOptions::default().with("lr_range", [1e-6, 1e-2]).unwrap();
    let gradient = gradient(Method::DISCRIMINATIVE, &options);
    assert_eq!(gradient.learning_rates, [1e-2]);
    for (factor, expected) in gradient.rate_factors.values().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
        assert!((factor / expected - 1.0).abs() < 1e-12, "{factor} is not {expected}");
    }
}

#[test]
fn the_layers_before_the_head_are_drawn_anew() {
    let options = MethodOptions::default().with("reinit", 2).unwrap();
    assert_eq!(gradient(Method::DISCRIMINATIVE, &options).reinitialize, ["layer1.1", "layer2.0"]);
}

#[test]
fn ulmfit_unfreezes_one_more_layer_each_epoch() {
    let frozen = |options: &MethodOptions| -> Vec<usize> {
        let gradient = gradient(Method::ULMFIT, options);
        blocks().iter().map(|block| gradient.frozen_epochs.get(&block.name).copied().unwrap_or(0)).collect()
    };
    let options = MethodOptions::default();
    assert_eq!(frozen(&options), [3, 2, 2, 1, 0]);
    let by_block = options.clone().with("granularity", "block").unwrap();
    assert_eq!(frozen(&by_block), [4, 3, 2, 1, 0]);
    let upwards = by_block.clone().with("unfreeze", "first-to-last").unwrap();
    assert_eq!(frozen(&upwards), [0, 1, 2, 3, 0]);
    let kept_head = MethodOptions { new_head: false, ..upwards };
    assert_eq!(frozen(&kept_head), [0, 1, 2, 3, 4]);
    let short = MethodOptions { epochs: 2, ..by_block };
    assert_eq!(frozen(&short), [1, 1, 0, 0, 0]);
    let gradient = gradient(Method::ULMFIT, &options);
    assert_eq!(gradient.schedule, Schedule::Slanted);
    assert!((gradient.rate_factors["layer2.0"] - 1.0 / 2.6).abs() < 1e-12);
    assert!((gradient.rate_factors["layer1.0"] - 1.0 / 2.6 / 2.6).abs() < 1e-12);
}

#[test]
fn methods_differ_in_what_they_say_they_do() {
    let options = MethodOptions::default();
    let of = |method: Method| gradient(method, &options);
    assert_eq!(of(Method::NORMS).parameters, Selection::Norms);
    assert_eq!(of(Method::BIASES).parameters, Selection::Biases);
    assert_eq!(of(Method::LORA).low_rank, Some(LowRank::default()));
    assert_eq!(of(Method::L2_SP).anchor, Some(Anchor::default()));
    assert_eq!(of(Method::UNIFORM_SOUP).combine, Combine::UniformSoup);
    assert_eq!(of(Method::GREEDY_SOUP).combine, Combine::GreedySoup);
    let rgn = of(Method::AUTO_RGN);
    assert_eq!((rgn.parameters, rgn.adaptive.unwrap().threshold), (Selection::NotNorms, None));
    let official = options.clone().with("snr_mode", "official").unwrap();
    let adaptive = gradient(Method::AUTO_SNR, &official).adaptive.unwrap();
    assert_eq!((adaptive.criterion, adaptive.threshold), (Criterion::SignalToNoiseOfficial, Some(0.95)));
}

#[test]
fn specs_name_a_method_and_its_layers() {
    for text in ["ft", "surgical:layer1..layer2", "auto-rgn:stem+head"] {
        assert_eq!(text.parse::<MethodSpec>().unwrap().label(), text);
    }
    assert!("ft:layer1..".parse::<MethodSpec>().unwrap_err().contains("takes no layers"));
}

#[test]
fn rates_that_are_not_named_are_the_methods_own_and_halved() {
    let of = |method: Method, options: MethodOptions| {
        let gradient = gradient(method, &options);
        (gradient.learning_rates, gradient.rungs.len())
    };
    let default = MethodOptions { epochs: 8, ..MethodOptions::default() };
    assert_eq!(of(Method::LP_FT, default.clone()), (HALF_DECADES.to_vec(), 1));
    let full = MethodOptions { search: Some(Search::Full), ..default.clone() };
    assert_eq!(of(Method::LP_FT, full), (HALF_DECADES.to_vec(), 0));
    // Soups need the models of all rates, and too few epochs have no room for shorter trainings.
    let halved = MethodOptions { search: Some(Search::Halving), ..default.clone() };
    assert_eq!(of(Method::UNIFORM_SOUP, halved), (DECADES.to_vec(), 0));
    assert_eq!(of(Method::LP_FT, MethodOptions { epochs: 2, ..default.clone() }), (DECADES.to_vec(), 0));

    let named = MethodOptions { learning_rates: vec![1e-2, 1e-3], ..default };
    assert_eq!(of(Method::FT, named.clone()), (vec![1e-2, 1e-3], 0));
    // Of two rates, both go on.
    let halved = MethodOptions { search: Some(Search::Halving), ..named };
    assert_eq!(of(Method::FT, halved.clone()), (vec![1e-2, 1e-3], 0));
    let three = MethodOptions { learning_rates: vec![1e-2, 1e-3, 1e-4], ..halved };
    assert_eq!(of(Method::FT, three), (vec![1e-2, 1e-3, 1e-4], 1));
}

#[test]
fn a_shortened_descent_keeps_the_shares_of_its_epochs() {
    let options = MethodOptions {
        epochs: 8,
        warmup_epochs: 2.0,
        average: Some(Averaging::Epochs { from: 6 }),
        ..MethodOptions::default()
    };
    let short = gradient(Method::FT, &options).shortened(2);
    assert_eq!((short.epochs, short.warmup_epochs), (2, 0.5));
    assert_eq!(short.average, Some(Averaging::Epochs { from: 1 }));
    assert_eq!(gradient(Method::ULMFIT, &options).shortened(8), gradient(Method::ULMFIT, &options));
}
