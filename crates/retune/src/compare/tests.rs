use super::*;
use crate::compare::judgments::Judgment;

fn evaluation(accuracy: f64, worst: Option<f64>) -> Evaluation {
    Evaluation {
        n: 200,
        accuracy,
        accuracy_interval: retune_analysis::intervals::wilson_interval((accuracy * 200.0) as usize, 200),
        balanced_accuracy: accuracy,
        loss: 1.0,
        worst_group: worst.map(|accuracy| crate::inference::GroupAccuracy { group: "snow".into(), n: 50, accuracy }),
        ..Evaluation::default()
    }
}

fn run(seed: u64, sets: &[(&str, f64)]) -> Summary {
    Summary {
        method: "ft".into(),
        architecture: "resnet18".into(),
        seed,
        best_epoch: 1,
        seconds: 2.0,
        training_images: 100,
        trained_parameters: 12_345,
        classes: vec!["a".into(), "b".into()],
        phases: Vec::new(),
        splits: sets.iter().map(|&(name, accuracy)| (name.to_owned(), evaluation(accuracy, None))).collect(),
        caveats: Vec::new(),
        interpolation: None,
        temperature: None,
        thresholds: None,
    }
}

fn comparison(methods: &[(&str, &[[f64; 2]])]) -> Comparison {
    let row = |&(label, seeds): &(&str, &[[f64; 2]])| {
        let mut row = MethodRow::new(label);
        for (seed, &[test, shifted]) in (0..).zip(seeds) {
            row.add(seed, run(seed, &[("val", 0.5), ("test", test), ("shifted", shifted)]), None);
        }
        row
    };
    Comparison::new(methods.iter().map(row).collect(), &["shifted".to_owned()])
}

#[test]
fn the_test_split_stands_for_training_data_and_val_where_there_is_none() {
    let with_test = comparison(&[("lp", &[[0.9, 0.8]])]);
    assert_eq!(
        (with_test.in_distribution.as_str(), with_test.shifted.as_slice()),
        ("test", &["shifted".to_owned()][..])
    );
    let mut row = MethodRow::new("lp");
    row.add(0, run(0, &[("val", 0.5), ("shifted", 0.4)]), None);
    let without = Comparison::new(vec![row], &["shifted".to_owned()]);
    assert_eq!(without.in_distribution, "val");
    assert!(table::text(&without).contains("also chose rates"));
}

#[test]
fn a_further_set_called_test_stands_for_training_data_too() {
    let mut row = MethodRow::new("lp");
    row.add(0, run(0, &[("val", 0.9), ("sketch", 0.4), ("test", 0.8)]), None);
    let found = Comparison::new(vec![row], &["sketch".to_owned(), "test".to_owned()]);
    assert_eq!((found.in_distribution.as_str(), found.shifted.as_slice()), ("test", &["sketch".to_owned()][..]));
    assert!(!table::text(&found).contains("no test split"));
}

#[test]
fn what_holds_for_every_set_is_said_once_and_more_seeds_are_proposed() {
    let two = |lead: f64| {
        comparison(&[("lp", &[[0.90, 0.5], [0.93, 0.54]]), ("ft", &[[0.92, 0.5 + lead], [0.90, 0.54 + lead]])])
    };
    let typed = "retune compare --seeds 2 --data d --out both";
    let run = |_: &str| Some(std::path::Path::new("both/runs/lp/seed-0"));
    let found = findings::of(&two(0.01), run, Some(typed));
    assert_eq!(
        found.sentences[0],
        "The 2 methods cannot be told apart with 2 seeds: on no set is any of them significantly worse than the best."
    );
    assert!(found.sentences[1..].iter().all(|sentence| !sentence.contains("significant")), "{found:?}");
    assert_eq!(found.next[0].command, "retune compare --data d --out both --seeds 5");
    // Where one is worse, each set has its own sentence, and the best model can be used.
    let found = findings::of(&two(0.4), run, Some(typed));
    assert!(found.sentences[1].ends_with("every other method is significantly worse."), "{found:?}");
    assert!(found.next[0].command.starts_with("retune predict"), "{found:?}");
}

#[test]
fn a_line_of_equal_accuracies_is_explained_where_it_is_drawn() {
    let note = |shifted: f64| {
        let rows = comparison(&[("lp", &[[0.90, shifted]]), ("ft", &[[0.95, shifted + 0.01]])]);
        page::sections(&rows).1.unwrap().note
    };
    assert!(note(0.91).ends_with("On the dashed line, both are equal."), "{}", note(0.91));
    assert!(!note(0.2).contains("dashed"), "{}", note(0.2));
    assert!(note(0.2).contains("Further right is better on test"));
}

#[test]
fn seeds_tell_what_differs() {
    let comparison = comparison(&[
        ("lp", &[[0.90, 0.80], [0.91, 0.81], [0.92, 0.79]]),
        ("ft", &[[0.95, 0.70], [0.96, 0.71], [0.97, 0.69]]),
        ("lp-ft", &[[0.951, 0.78], [0.958, 0.83], [0.972, 0.75]]),
    ]);
    let columns = comparison.columns();
    assert_eq!(columns.iter().map(Column::heading).collect::<Vec<_>>(), ["test", "shifted"]);
    // lp-ft leads ft by 0.001, −0.002, 0.002 in distribution: nothing. lp is behind by about 0.05.
    assert_eq!(comparison.standings(&columns[0]), [Standing::Worse, Standing::NotSignificantlyWorse, Standing::Best]);
    assert_eq!(comparison.standings(&columns[1]), [Standing::Best, Standing::Worse, Standing::NotSignificantlyWorse]);
    let text = table::text(&comparison);
    assert!(text.contains("91.0 ± 1.7"), "{text}");
    assert!(text.contains("Highest accuracy on test: lp-ft, 96.0 %"), "{text}");
    assert!(text.contains("not corrected for the number of methods, because not every run kept"), "{text}");
}

#[test]
fn seeds_that_all_differ_by_the_same_are_no_proof() {
    let comparison = comparison(&[("lp", &[[0.90, 0.5], [0.90, 0.5]]), ("ft", &[[0.91, 0.8], [0.91, 0.8]])]);
    let columns = comparison.columns();
    assert_eq!(comparison.standings(&columns[0]), [Standing::NotSignificantlyWorse, Standing::Best]);
    assert_eq!(comparison.standings(&columns[1]), [Standing::Worse, Standing::Best]);
}

#[test]
fn one_seed_has_intervals_over_images() {
    let comparison = comparison(&[("lp", &[[0.9, 0.5]]), ("ft", &[[0.92, 0.8]])]);
    let columns = comparison.columns();
    // 180 against 184 of 200 differ by nothing; 100 against 160 do.
    assert_eq!(comparison.standings(&columns[0]), [Standing::NotSignificantlyWorse, Standing::Best]);
    assert_eq!(comparison.standings(&columns[1]), [Standing::Worse, Standing::Best]);
    assert!(table::text(&comparison).contains("One seed"));
}

#[test]
fn worst_groups_have_columns_of_their_own() {
    let mut comparison = comparison(&[("lp", &[[0.9, 0.5]])]);
    comparison.rows[0].runs[0].splits["shifted"] = evaluation(0.5, Some(0.25));
    let comparison = Comparison::new(comparison.rows, &["shifted".to_owned()]);
    let headings: Vec<String> = comparison.columns().iter().map(Column::heading).collect();
    assert_eq!(headings, ["test", "shifted", "shifted, worst group"]);
    assert!(table::markdown(&comparison).contains("| **25.0** |"), "{}", table::markdown(&comparison));
}

#[test]
fn every_form_of_the_table_holds_the_same() {
    let comparison = comparison(&[("surgical:a_b..c", &[[0.9, 0.5]]), ("ft", &[[0.92, 0.8]])]);
    let markdown = table::markdown(&comparison);
    assert!(
        markdown.starts_with("| method | test, % | shifted, % | trained | seconds |\n| --- | ---: |"),
        "{markdown}"
    );
    assert!(markdown.contains("12,345"));
    let latex = table::latex(&comparison);
    assert!(latex.contains("surgical:a\\_b..c &") && latex.contains("\\bottomrule"), "{latex}");
    let csv = table::csv(&comparison).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 5);
    assert!(rows[1].starts_with("surgical:a_b..c,test,in-distribution,false,0,0.9,200,"), "{csv}");
    assert_eq!(comparison.scatters().len(), 1);
}

/// A row of runs that are right on all of 400 test images but those that `wrong` names, for each seed.
fn judged(label: &str, seeds: u64, wrong: impl Fn(u64, u64) -> bool) -> MethodRow {
    let mut row = MethodRow::new(label);
    for seed in 0..seeds {
        let judgment = |image| Judgment { image, group: Some(image % 4), is_right: !wrong(seed, image) };
        let images: Vec<Judgment> = (0..400).map(judgment).collect();
        let right = images.iter().filter(|judgment| judgment.is_right).count();
        let mut summary = run(seed, &[("val", 0.5), ("test", right as f64 / 400.0)]);
        summary.splits["test"].n = 400;
        row.add(seed, summary, None);
        row.judgments.insert(seed, Judgments { sets: [("test".to_owned(), images)].into(), ..Judgments::default() });
    }
    row
}

#[test]
fn images_and_seeds_are_both_sampled() {
    // Methods are wrong on the first 40 images, and a seed on a few others. The second is wrong on four more, the third on
    // 80 more.
    let few = |seed: u64, image: u64| image < 40 || image == 100 + seed;
    let rows = vec![
        judged("one", 2, few),
        judged("two", 2, |seed, image| few(seed, image) || (200..204).contains(&image)),
        judged("three", 2, |seed, image| few(seed, image) || (200..280).contains(&image)),
    ];
    let comparison = Comparison::new(rows, &[]);
    let result = &comparison.results()[0];
    assert_eq!((result.basis, result.images), (Basis::Predictions, 400));
    let standings = [Standing::Best, Standing::NotSignificantlyWorse, Standing::Worse];
    assert_eq!(comparison.standings(&result.column), standings);
    // The seeds agree, so the interval is about Wilson's of 359 of 400, 0.864 to 0.924.
    let interval = result.methods[0].estimate.unwrap().interval;
    assert!((interval[0] - 0.864).abs() < 0.01 && (interval[1] - 0.924).abs() < 0.01, "{interval:?}");
    let difference = result.methods[2].difference.unwrap();
    assert!((difference.mean + 0.2).abs() < 1e-12 && difference.interval[1] < -0.15, "{difference:?}");
    assert!(result.methods[2].p_value.unwrap() < 1e-6 && result.methods[0].p_value.is_none());
    let text = table::text(&comparison);
    assert!(text.contains("two is not significantly worse after Holm's correction."), "{text}");
    assert!(text.contains("(2 seeds, 400 images of test)"), "{text}");
    assert_eq!(text, table::text(&Comparison::new(comparison.rows.clone(), &[])));
}

#[test]
fn seeds_that_differ_much_leave_two_of_them_no_proof() {
    // One method is right on the first 300 images, the other on 340 or on 280.
    let rows =
        vec![judged("one", 2, |_, image| image >= 300), judged("two", 2, |seed, image| image >= 340 - 60 * seed)];
    let comparison = Comparison::new(rows, &[]);
    let result = &comparison.results()[0];
    assert_eq!(result.methods[0].standing, Standing::NotSignificantlyWorse);
    // Student's quantile for two seeds is 12.7.
    let interval = result.methods[1].estimate.unwrap().interval;
    assert!(interval[0] < 0.35, "{interval:?}");
}

#[test]
fn a_method_without_randomness_has_one_run() {
    let mut one = judged("lp", 3, |_, image| image < 100);
    assert!(one.repeats_itself() && one.runs.len() == 1);
    one.without_seed = true;
    assert!(!judged("ft", 3, |seed, image| image < 50 + seed).repeats_itself());
    let comparison = Comparison::new(vec![one, judged("ft", 3, |seed, image| image < 50 + seed)], &[]);
    assert_eq!(comparison.standings(&comparison.columns()[0]), [Standing::Worse, Standing::Best]);
    let text = table::text(&comparison);
    assert!(text.contains("lp (one run)") && text.contains("Nothing in lp is random: one run"), "{text}");
}

#[test]
fn worst_groups_are_resampled_where_predictions_have_groups() {
    let group_of_four = |worst: u64| move |_: u64, image: u64| image % 4 == 3 && image < 4 * worst;
    let mut rows = vec![judged("one", 2, group_of_four(20)), judged("two", 2, group_of_four(80))];
    for run in rows.iter_mut().flat_map(|row| row.runs.values_mut()) {
        let accuracy = 1.0 - 4.0 * (1.0 - run.splits["test"].accuracy);
        run.splits["test"] = evaluation(run.splits["test"].accuracy, Some(accuracy));
    }
    let comparison = Comparison::new(rows, &[]);
    let worst = &comparison.results()[1];
    assert!(worst.column.worst_group && worst.basis == Basis::Predictions);
    assert!((worst.methods[0].estimate.unwrap().mean - 0.8).abs() < 1e-12, "{worst:?}");
    assert_eq!(
        worst.methods.iter().map(|method| method.standing).collect::<Vec<_>>(),
        [Standing::Best, Standing::Worse]
    );
}
