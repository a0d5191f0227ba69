use std::path::PathBuf;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use retune_analysis::cka::Undefined;

use super::*;
use crate::device;
use crate::models::Model;
use crate::monitor::Silent;
use crate::sources::{ImageSource, Sample};

fn model() -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
    Model::load(&folder, None, Clone::clone, &device::by_name("cpu").unwrap()).unwrap()
}

fn images(n: u32) -> Dataset {
    let picture = |number: u32| {
        RgbImage::from_fn(90, 70, |x, y| {
            Rgb([(x * number) as u8, (y * 7 + number * 31) as u8, (x * y / (number + 1)) as u8])
        })
    };
    let sample = |number: u32| Sample {
        image: ImageSource::Memory(Arc::new(picture(number))),
        label: Some(number as usize % 5),
        group: None,
        name: number.to_string().into(),
    };
    let classes = (0..5).map(|class| class.to_string()).collect();
    Dataset { root: PathBuf::new(), classes, samples: (0..n).map(sample).collect(), corruptions: Vec::new() }
}

fn view<'a>(name: &str, model: &'a Model, interpolation: Interpolation) -> View<'a> {
    let preprocessing = model.config().preprocessing().clone();
    View {
        name: name.into(),
        model,
        preprocessing: retune_pixels::preprocess::Preprocessing { interpolation, ..preprocessing },
    }
}

#[test]
fn the_same_resizing_changes_nothing_and_another_does() {
    let model = model();
    let own = view("own", &model, Interpolation::Bicubic);
    let variants = [view("same", &model, Interpolation::Bicubic), view("nearest", &model, Interpolation::Nearest)];
    let options = CkaOptions { resamples: 40, ..CkaOptions::default() };
    let audit = audit(&own, &variants, &images(20), &options, &Silent).unwrap();
    let [own, same, nearest] = audit.rows.as_slice() else { panic!("{audit:?}") };
    assert_eq!(AuditRow { name: own.name.clone(), ..same.clone() }, *own);
    assert_eq!((same.logit_change, same.pixel_difference), (Some(0.0), Some(0.0)));
    assert_eq!(same.changed_predictions.unwrap().value, 0.0);
    assert!((same.cka.unwrap() - 1.0).abs() < 1e-12);
    assert!(nearest.logit_change.unwrap() > 0.0 && nearest.pixel_difference.unwrap() > 1.0);
    assert!(nearest.cka.unwrap() < 1.0 - 1e-6, "{nearest:?}");
    assert!(nearest.accuracy.is_some());
}

#[test]
fn minibatches_change_what_is_counted_by_nothing() {
    let model = model();
    let own = view("own", &model, Interpolation::Bicubic);
    let variants = [view("nearest", &model, Interpolation::Nearest)];
    let of = |memory| {
        let options = CkaOptions { resamples: 0, memory, batch_size: 4, ..CkaOptions::default() };
        audit(&own, &variants, &images(40), &options, &Silent).unwrap()
    };
    // A byte of memory leaves the smallest minibatches.
    let (whole, parts) = (of(1 << 30), of(1));
    assert_eq!((whole.minibatches, parts.minibatches), (1, 3));
    let (one, other) = (&whole.rows[1], &parts.rows[1]);
    assert_eq!((one.accuracy, one.changed_predictions), (other.accuracy, other.changed_predictions));
    // Sums of single-precision outputs in batches of other sizes.
    assert!((one.logit_change.unwrap() - other.logit_change.unwrap()).abs() < 1e-5);
    assert!((one.pixel_difference.unwrap() - other.pixel_difference.unwrap()).abs() < 1e-9);
}

/// The model with its five logits as those of labels, of which each image has the one of its class and, every third, the
/// next one.
fn of_labels() -> (Model, Dataset) {
    let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let model = model().with_classes(&names, crate::models::HeadInitialization::Normal, 3).unwrap();
    let mut images = images(30);
    images.classes =
        names.iter().cloned().chain((0..5).map(|at| format!("{}|{}", names[at], names[(at + 1) % 5]))).collect();
    for (at, sample) in images.samples.iter_mut().enumerate() {
        sample.label = Some(at % 5 + if at % 3 == 0 { 5 } else { 0 });
    }
    (model.for_several_labels(), images)
}

#[test]
fn several_labels_are_judged_by_mean_average_precision() {
    let (model, images) = of_labels();
    let own = view("own", &model, Interpolation::Bicubic);
    let variants = [view("same", &model, Interpolation::Bicubic), view("nearest", &model, Interpolation::Nearest)];
    let options = CkaOptions { resamples: 40, ..CkaOptions::default() };
    let found = audit(&own, &variants, &images, &options, &Silent).unwrap();
    let [own_row, same, nearest] = found.rows.as_slice() else { panic!("{found:?}") };
    assert!(found.several_labels && found.score_name() == "mean average precision");
    let loader = own.loader(images.clone(), 8, 1).unwrap();
    let evaluated = crate::inference::evaluate(&model, &loader, "", &Silent).unwrap();
    let precision = own_row.score().unwrap();
    assert_eq!(
        (Some(precision.value), own_row.accuracy.unwrap().value),
        (evaluated.mean_average_precision, evaluated.accuracy)
    );
    assert!(precision.interval[0] < precision.value && precision.value < precision.interval[1]);
    assert_eq!(same.score_difference().unwrap().mean, 0.0);
    assert_eq!((same.logit_change, same.changed_predictions.unwrap().value), (Some(0.0), 0.0));
    let lead = nearest.score_difference().unwrap();
    assert!((lead.mean - (nearest.score().unwrap().value - precision.value)).abs() < 1e-12);
    assert!(lead.interval[0] < lead.mean && lead.mean < lead.interval[1]);
    assert!(nearest.logit_change.unwrap() > 0.0);

    // Without labels there is no precision, and everything else is measured.
    let mut unlabeled = images;
    unlabeled.classes.clear();
    unlabeled.samples.iter_mut().for_each(|sample| sample.label = None);
    let found = audit(&own, &variants, &unlabeled, &options, &Silent).unwrap();
    assert!(found.rows.iter().all(|row| row.score().is_none() && row.changed_predictions.is_some()));
    assert_eq!(found.rows[2].logit_change, nearest.logit_change);
}

/// A shift of every logit changes no softmax and every sigmoid.
#[test]
fn the_change_of_label_logits_is_by_hand() {
    let labels = Labels::of(&of_labels().0, &Dataset { classes: vec!["a".into()], ..images(2) }).unwrap().unwrap();
    let seen = |logits: &[f32]| Seen {
        pixels: Vec::new(),
        size: [1, 1],
        features: Vec::new(),
        logits: logits.to_vec(),
        classes: 5,
    };
    let own = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0];
    let shifted = own.map(|logit| logit + 0.5);
    let mut tally = Tally::default();
    let mut dataset = images(2);
    dataset.samples.iter_mut().for_each(|sample| sample.label = Some(0));
    tally.add(&seen(&shifted), &seen(&own), &dataset, Some(&labels));
    let undefined = || Estimate { value: Err(Undefined::ConstantFeatures), interval: None, debiased: None };
    let model = model();
    let row = tally.row(&view("shifted", &model, Interpolation::Bicubic), &tally, None, undefined());
    // One label of five varies, by 1 about its mean: a spread of √(2 / 10); every logit changes by 0.5.
    assert!((row.logit_change.unwrap() - 0.5 / 0.2f64.sqrt()).abs() < 1e-12);
    // No logit crosses 0, so the model gives the same labels; it gives each image four or five, and each has one.
    assert_eq!(row.changed_predictions.unwrap().value, 0.0);
    assert_eq!(row.accuracy.unwrap().value, 0.0);
}
