use super::*;

fn evaluation(accuracy: f64, worst: Option<f64>) -> Evaluation {
    Evaluation {
        n: 200,
        accuracy,
        accuracy_interval: retune_analysis::intervals::wilson_interval((accuracy * 200.0) as usize, 200),
        balanced_accuracy: accuracy,
        loss: 1.0,
        worst_group: worst.map(|accuracy| crate::inference::GroupAccuracy { group: "snow".into(), n: 50, accuracy }),
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
        interpolation: None,
    }
}

fn comparison(methods: &[(&str, &[[f64; 2]])]) -> Comparison {
    let row = |&(label, seeds): &(&str, &[[f64; 2]])| {
        let runs = (0..)
            .zip(seeds)
            .map(|(seed, &[test, shifted])| (seed, run(seed, &[("val", 0.5), ("test", test), ("shifted", shifted)])));
        MethodRow { label: label.to_owned(), runs: runs.collect() }
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
    let row = MethodRow { label: "lp".into(), runs: [(0, run(0, &[("val", 0.5), ("shifted", 0.4)]))].into() };
    let without = Comparison::new(vec![row], &["shifted".to_owned()]);
    assert_eq!(without.in_distribution, "val");
    assert!(table::text(&without).contains("also chose rates"));
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
    assert!(text.contains("test: lp-ft is highest; its lead is not significant over ft."), "{text}");
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
