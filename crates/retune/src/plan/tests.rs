use super::*;
use proptest::prelude::*;

fn blocks() -> Vec<Block> {
    ["stem", "layer1.0", "head"].map(Block::alone).into()
}

fn gradient(rate_factors: &[(&str, f64)]) -> Plan {
    let rate_factors = rate_factors.iter().map(|&(block, factor)| (block.to_owned(), factor)).collect();
    let solver = Solver::Gradient(Gradient {
        epochs: 2,
        learning_rates: vec![0.1],
        schedule: Schedule::Cosine,
        warmup_epochs: 0.5,
        rate_factors,
        ..Gradient::default()
    });
    Plan { method: "test".into(), phases: vec![Phase { name: "one".into(), solver }] }
}

#[test]
fn a_plan_trains_on_frozen_blocks_where_the_first_block_is_frozen_for_a_while() {
    let cpu = crate::device::by_name("cpu").unwrap();
    let model = crate::models::Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
    let on_frozen = |plan: &Plan| plan.trains_on_frozen_blocks(model.blocks(), &model.network().specs);
    let rates: Vec<(&str, f64)> = model.blocks().iter().map(|block| (block.name.as_str(), 1.0)).collect();
    let everything = gradient(&rates);
    assert!(!on_frozen(&everything));
    assert!(on_frozen(&gradient(&rates[1..])));
    assert!(on_frozen(&everything.clone().from_probe()));
    let mut waiting = everything;
    let Solver::Gradient(descent) = &mut waiting.phases[0].solver else { unreachable!() };
    descent.frozen_epochs.insert(rates[0].0.to_owned(), 1);
    assert!(on_frozen(&waiting));
}

#[test]
fn toml_keeps_everything() {
    let mut plan = gradient(&[("stem", 0.25), ("head", 1.0)]);
    let probe = Solver::LogisticRegression(LogisticRegression::default());
    plan.phases.push(Phase { name: "probe".into(), solver: probe });
    let interpolation = Solver::Interpolation(Interpolation { alphas: vec![0.25, 0.5] });
    plan.phases.push(Phase { name: "line".into(), solver: interpolation });
    let Solver::Gradient(everything) = &mut plan.phases[0].solver else { unreachable!() };
    everything.warmup = Warmup::Exponential;
    everything.parameters = Selection::NotNorms;
    everything.combine = Combine::GreedySoup;
    everything.rungs = vec![Rung { epochs: 1, keep: 2, keep_largest: false }];
    everything.patience = Some(3);
    everything.reinitialize = vec!["layer1.0".into()];
    everything.frozen_epochs.insert("stem".into(), 1);
    everything.adaptive = Some(Adaptive {
        criterion: Criterion::SignalToNoise,
        layer: LayerKind::Block,
        batches: 3,
        threshold: Some(0.5),
        restart_optimizer: true,
        head: HeadMeasure::Apart,
    });
    everything.anchor = Some(Anchor::default());
    everything.average = Some(Averaging::Exponential { decay: 0.99 });
    everything.low_rank = Some(LowRank::default());
    assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan);
}

#[test]
fn factors_are_written_under_their_old_name_and_read_under_both() {
    let plan = gradient(&[("head", 1.0)]);
    let text = plan.to_toml().unwrap();
    assert!(text.contains("[phase.rates]\nhead = 1.0"), "{text}");
    assert_eq!(Plan::from_toml(&text.replace("phase.rates", "phase.rate_factors")).unwrap(), plan);
}

#[test]
fn a_misspelt_key_is_refused() {
    let text = gradient(&[("head", 1.0)]).to_toml().unwrap().replace("warmup_epochs", "warm_up_epochs");
    assert!(Plan::from_toml(&text).unwrap_err().to_string().contains("warm_up_epochs"));
}

#[test]
fn mistakes_are_named() {
    let message = |plan: Plan| plan.check(&blocks()).unwrap_err().to_string();
    assert!(message(gradient(&[("layer9", 1.0)])).contains("layer9"));
    assert!(message(gradient(&[("head", 0.0)])).contains("trains no block"));
    assert!(message(gradient(&[("head", -1.0)])).contains("the rate of 'head' must be at least 0"));
    assert!(message(gradient(&[("head", f64::NAN)])).contains("NaN"));
    let with = |change: fn(&mut Gradient)| {
        let mut plan = gradient(&[("head", 1.0)]);
        let Solver::Gradient(settings) = &mut plan.phases[0].solver else { unreachable!("as made above") };
        change(settings);
        message(plan)
    };
    let long = with(|settings| settings.rungs = vec![Rung { epochs: 3, keep: 1, keep_largest: false }]);
    assert!(long.contains("a rung's epochs must be between 1 and the phase's epochs, not 3"), "{long}");
    assert!(
        with(|settings| settings.rungs = vec![Rung { epochs: 1, keep: 0, keep_largest: false }]).contains("at least 1")
    );
    assert!(with(|settings| settings.patience = Some(0)).contains("the patience must be at least 1"));
    let mut full_rank = gradient(&[("head", 1.0)]);
    let Solver::Gradient(settings) = &mut full_rank.phases[0].solver else { unreachable!("as made above") };
    settings.low_rank = Some(LowRank { rank: usize::MAX, alpha: 1.0 });
    assert!(message(full_rank).contains("the rank must be between 1 and 1024"));
}

#[test]
fn slanted_triangle_follows_ulmfit() {
    // Equation 3 by hand for T = 100: cut = 10; p(5) = 0.5, p(10) = 1, p(55) = 1 − 45/90.
    let at = |step: i32| Schedule::Slanted.factor(f64::from(step), 100, 0.0);
    for (step, expected) in [(0, 1.0 / 32.0), (5, 16.5 / 32.0), (10, 1.0), (55, 16.5 / 32.0)] {
        assert!((at(step) - expected).abs() < 1e-12, "{step}: {}", at(step));
    }
}

#[test]
fn warmup_climbs_from_zero_step_by_step() {
    let factors: Vec<f64> = (0..5).map(|step| Schedule::Constant.factor(f64::from(step), 8, 4.0)).collect();
    assert_eq!(factors, [0.0, 0.25, 0.5, 0.75, 1.0]);
}

/// The notebooks' warm-up: 10⁻ⁿ in the first of n epochs, …, 10⁻¹ in the last, each for a whole epoch.
#[test]
fn exponential_warmup_climbs_by_a_factor_of_10_each_epoch() {
    let at = |step: i32| Warmup::Exponential.factor(f64::from(step), 9.0, 3);
    for (step, exponent) in [(0, -3), (2, -3), (3, -2), (5, -2), (6, -1), (8, -1)] {
        assert!((at(step) / 10f64.powi(exponent) - 1.0).abs() < 1e-12, "step {step}: {}", at(step));
    }
    // Half an epoch of warm-up is its last half.
    assert!((Warmup::Exponential.factor(0.0, 2.0, 4) - 0.1).abs() < 1e-12);
}

#[test]
fn a_probe_comes_first_and_once() {
    let plan = gradient(&[("head", 1.0)]);
    let probed = plan.clone().from_probe();
    assert_eq!(probed.phases[0], Phase::linear_probe());
    assert_eq!(probed.phases[1..], plan.phases);
    assert_eq!(probed.clone().from_probe(), probed);
}

/// What plan.toml says of an adaptive phase since before the head was judged apart.
#[test]
fn older_adaptive_plans_keep_their_meaning() {
    let text = "method = 'auto-rgn'\n[[phase]]\nname = 'auto-RGN'\nsolver = 'gradient'\nepochs = 1\n\
                learning_rates = [1e-3]\nparameters = 'not-norms'\n[phase.rates]\nhead = 1.0\n\
                [phase.adaptive]\ncriterion = 'relative-gradient-norm'\nlayer = 'tensor'\nbatches = 5\n\
                restart_optimizer = true\n";
    let plan = Plan::from_toml(text).unwrap();
    let Solver::Gradient(settings) = &plan.phases[0].solver else { unreachable!("as written above") };
    assert_eq!(settings.adaptive.as_ref().unwrap().head, HeadMeasure::WithBody);
    assert_eq!(settings.warmup, Warmup::Linear);
    assert!(!plan.to_toml().unwrap().contains("head = \"with-body\""));
}

proptest! {
    #[test]
    fn factors_stay_between_0_and_1(step in 0usize..500, extra in 1usize..500, warmup in 0.0..400.0f64) {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine, Schedule::Slanted] {
            let factor = schedule.factor(step as f64, step + extra, warmup);
            prop_assert!((0.0..=1.0).contains(&factor), "{schedule:?}: {factor}");
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,200}") {
        let _ = Plan::from_toml(&text);
    }
}
