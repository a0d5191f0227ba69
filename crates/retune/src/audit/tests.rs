use std::path::PathBuf;
use std::sync::Arc;

use image::{Rgb, RgbImage};

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
