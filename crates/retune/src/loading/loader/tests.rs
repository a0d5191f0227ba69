use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use retune_pixels::channels::Channels;
use retune_pixels::preprocess::CropMode;
use retune_pixels::resize::Interpolation;

use super::super::cache::MemoryBudget;
use super::*;
use crate::monitor::Messages;
use crate::sources::source::tests::memory_dataset;

pub(crate) fn small_preprocessing() -> Preprocessing {
    Preprocessing {
        width: 8,
        height: 6,
        interpolation: Interpolation::Bilinear,
        crop_pct: 0.9,
        crop_mode: CropMode::Center,
        channels: Channels::Rgb,
        mean: vec![0.5, 0.4, 0.3],
        std: vec![0.2, 0.3, 0.4],
        white: None,
    }
}

fn options(threads: usize) -> LoaderOptions {
    let cache = CacheOptions { memory: MemoryBudget::of_bytes(1000), disk_bytes: 1 << 20, disk_folder: None };
    LoaderOptions { threads, cache, prefetch: 1, ..LoaderOptions::deterministic(small_preprocessing(), 4) }
}

fn epoch(loader: &Loader, epoch: u64, order: Order, start: usize) -> Vec<Batch> {
    loader.epoch(epoch, order, start).map(Result::unwrap).collect()
}

/// A folder of two classes of small images, the image numbered `corrupt` cut short.
fn image_folder(images: usize, corrupt: Option<usize>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, sample) in memory_dataset(&vec![0; images], 9, 7).samples.iter().enumerate() {
        let path = folder.path().join(format!("c{}/{index:03}.png", index % 2));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        sample.image.load(&DecodeLimits::default()).unwrap().save(&path).unwrap();
        if corrupt == Some(index) {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
    folder
}

fn folder_loader(folder: &Path, options: LoaderOptions) -> Loader {
    Loader::new(crate::sources::DataSource::open(folder).unwrap().all(), options).unwrap()
}

#[test]
fn batches_hold_the_normalized_images_in_order() {
    let dataset = memory_dataset(&[0, 1, 2, 0, 1, 2], 8, 8);
    let loader = Loader::new(dataset.clone(), options(2)).unwrap();
    let batches = epoch(&loader, 0, Order::Sequential, 0);
    assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [4, 2]);
    assert_eq!(batches[1].indices, [4, 5]);
    assert_eq!(batches[1].labels, [1, 2]);
    assert_eq!(batches[1].targets, None);
    let preprocessing = small_preprocessing();
    let image = dataset.samples[5].image.load(&DecodeLimits::default()).unwrap();
    let mut expected = vec![0.0; 3 * 6 * 8];
    preprocessing.normalize_into(&preprocessing.apply(&image.into()), &mut expected);
    assert_eq!(batches[1].images[expected.len()..], expected);
}

#[test]
fn an_incomplete_batch_may_be_dropped() {
    let loader = |drop_last, count: usize| {
        Loader::new(memory_dataset(&vec![0; count], 4, 4), LoaderOptions { drop_last, ..options(1) })
    };
    assert_eq!(epoch(&loader(true, 6).unwrap(), 0, Order::Sequential, 0).len(), 1);
    assert_eq!(epoch(&loader(true, 8).unwrap(), 0, Order::Sequential, 0).len(), 2);
    assert!(matches!(loader(true, 3), Err(DataError::LoaderOptions(_))));
    assert_eq!(loader(false, 3).unwrap().batches_per_epoch(), 1);
}

/// Every random stage at once, so that each would show.
fn random_options(threads: usize) -> LoaderOptions {
    LoaderOptions {
        augmentation: Augmentation::new(AugmentPolicy::RandAugment),
        mix: Mix { mixup_alpha: 0.8, cutmix_alpha: 1.0 },
        label_smoothing: 0.1,
        seed: 5,
        ..options(threads)
    }
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let folder = image_folder(23, None);
    let batches = |threads, number| {
        epoch(&folder_loader(folder.path(), random_options(threads)), number, Order::Shuffled { seed: 1 }, 0)
    };
    let one = batches(1, 3);
    assert_eq!(one.len(), 6);
    assert_eq!(one, batches(2, 3));
    assert_eq!(one, batches(5, 3));
    assert_ne!(one, batches(1, 4));
}

#[test]
fn an_epoch_entered_late_or_again_has_the_same_batches() {
    let folder = image_folder(23, None);
    let order = Order::Shuffled { seed: 1 };
    let loader = folder_loader(folder.path(), random_options(2));
    let whole = epoch(&loader, 2, order, 0);
    // From the cache this time, and with a cache that has only the later images.
    assert_eq!(whole, epoch(&loader, 2, order, 0));
    assert_eq!(whole[4..], epoch(&folder_loader(folder.path(), random_options(2)), 2, order, 4));
    assert!(epoch(&loader, 2, order, 6).is_empty());
    assert!(epoch(&loader, 2, order, 99).is_empty());
}

#[test]
fn another_seed_changes_the_images_and_not_the_order() {
    let folder = image_folder(8, None);
    let batches = |seed| {
        epoch(&folder_loader(folder.path(), LoaderOptions { seed, ..random_options(2) }), 0, Order::Sequential, 0)
    };
    let (first, second) = (batches(1), batches(2));
    assert_eq!(first[0].indices, second[0].indices);
    assert_ne!(first[0].images, second[0].images);
}

#[test]
fn every_image_is_decoded_and_transformed_once() {
    let folder = image_folder(12, None);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let transform: ImageTransform = Arc::new(move |image, index| {
        counted.fetch_add(1, Ordering::Relaxed);
        let mut image = image.clone();
        image.fill(index as u8);
        image
    });
    let loader = folder_loader(folder.path(), LoaderOptions { transform: Some(transform), ..options(3) });
    let first = epoch(&loader, 0, Order::Sequential, 0);
    assert_eq!(first, epoch(&loader, 1, Order::Sequential, 0));
    assert_eq!(calls.load(Ordering::Relaxed), 12);
    assert!(loader.cache().disk_bytes() > 0, "the budget in memory is too large to exercise the disk");
}

#[test]
fn a_certain_flip_is_kept_flipped() {
    let dataset = memory_dataset(&[0], 8, 6);
    let flip = Augmentation { hflip: 1.0, ..Augmentation::new(AugmentPolicy::Flip) };
    let loader = Loader::new(dataset.clone(), LoaderOptions { augmentation: flip, ..options(1) }).unwrap();
    let plain = Loader::new(dataset, options(1)).unwrap();
    // The green of the first row, which rises from left to right.
    let green = |batch: &Batch| batch.images[..3 * 8].iter().copied().skip(1).step_by(3).collect::<Vec<f32>>();
    let row = |loader: &Loader| green(&epoch(loader, 0, Order::Sequential, 0)[0]);
    let mut mirrored = row(&plain);
    mirrored.reverse();
    assert_eq!(row(&loader), mirrored);
    assert_ne!(row(&loader), row(&plain));
}

#[test]
fn a_corrupt_file_is_named_after_the_batches_before_it() {
    let folder = image_folder(12, Some(11));
    let mut batches = folder_loader(folder.path(), options(2)).epoch(0, Order::Sequential, 0);
    assert!(batches.next().unwrap().is_ok());
    assert!(batches.next().unwrap().is_ok());
    let error = batches.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("011.png"), "{error}");
    assert!(batches.next().is_none());
}

#[test]
fn damaged_images_are_told_of_once() {
    let folder = image_folder(3, None);
    let jpegs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-jpeg/tests/fixtures");
    let damaged = jpegs.join("damaged/baseline-441-205.jpg");
    for (from, to) in [(&damaged, "c0/x.jpg"), (&jpegs.join("baseline-420.jpg"), "c0/y.jpg"), (&damaged, "c1/z.jpg")] {
        std::fs::copy(from, folder.path().join(to)).unwrap();
    }
    let loader = folder_loader(folder.path(), options(2));
    let told = |epochs: u64| {
        let messages = Messages::default();
        for number in 0..epochs {
            epoch(&loader, number, Order::Sequential, 0);
            loader.tell_damaged(&messages);
        }
        messages.into_texts()
    };
    let note = "note: 2 images are damaged, such as c0/x.jpg: some of their pixels are gray or wrong";
    assert_eq!(told(2), [note]);
    assert!(told(1).is_empty());
}

#[test]
fn a_missing_file_is_named() {
    let dataset = Dataset::from_files(&["absent/picture.png"]);
    let error = Loader::new(dataset, options(1)).unwrap().epoch(0, Order::Sequential, 0).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("absent/picture.png"), "{error}");
}

#[test]
fn dropping_the_iterator_stops_the_work() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let transform: ImageTransform = Arc::new(move |image, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
        image.clone()
    });
    let loader =
        Loader::new(memory_dataset(&[0; 400], 4, 4), LoaderOptions { transform: Some(transform), ..options(2) })
            .unwrap();
    let mut batches = loader.epoch(0, Order::Sequential, 0);
    batches.next().unwrap().unwrap();
    drop(batches);
    // Taken: one batch; waiting: one; being made: one; and one more may have been begun meanwhile.
    let after = calls.load(Ordering::Relaxed);
    assert!(after <= 16, "{after} images were loaded for one batch of 4");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(calls.load(Ordering::Relaxed), after);
}

#[test]
fn a_panic_on_a_thread_is_an_error_and_not_a_short_epoch() {
    let transform: ImageTransform = Arc::new(|image, index| {
        assert!(index < 5, "a deliberate panic of a test");
        image.clone()
    });
    let loader =
        Loader::new(memory_dataset(&[0; 8], 4, 4), LoaderOptions { transform: Some(transform), ..options(2) }).unwrap();
    let batches: Vec<_> = loader.epoch(0, Order::Sequential, 0).collect();
    assert!(matches!(batches[..], [Ok(_), Err(DataError::LoaderStopped)]));
}

#[test]
fn smoothed_labels_are_targets() {
    let dataset = memory_dataset(&[1, 0, 3], 4, 4);
    let loader = Loader::new(dataset, LoaderOptions { label_smoothing: 0.2, ..options(1) }).unwrap();
    let targets = epoch(&loader, 0, Order::Sequential, 0)[0].targets.clone().unwrap();
    let expected = [0.05, 0.85, 0.05, 0.05, 0.85, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.85];
    // Sums of two float32 numbers below 1: one rounding, at most 2^-24.
    assert!(targets.iter().zip(expected).all(|(target, expected)| (target - expected).abs() < 1e-7), "{targets:?}");
}

#[test]
fn mixing_changes_images_and_targets_alike_in_every_epoch() {
    let mix = Mix { mixup_alpha: 0.8, cutmix_alpha: 0.0 };
    let loader = Loader::new(memory_dataset(&[0, 1, 0, 1], 8, 6), LoaderOptions { mix, ..options(1) }).unwrap();
    let first = epoch(&loader, 0, Order::Sequential, 0);
    let second = epoch(&loader, 1, Order::Sequential, 0);
    assert_ne!(first[0].images, second[0].images);
    assert_ne!(first[0].targets, second[0].targets);
    assert_eq!(first, epoch(&loader, 0, Order::Sequential, 0));
}

#[test]
fn unlabeled_images_can_be_loaded_but_not_smoothed() {
    let mut dataset = memory_dataset(&[0, 1, 1], 4, 4);
    dataset.samples[1].label = None;
    let loader = Loader::new(dataset.clone(), options(1)).unwrap();
    assert!(epoch(&loader, 0, Order::Sequential, 0)[0].labels.is_empty());
    let result = Loader::new(dataset, LoaderOptions { label_smoothing: 0.1, ..options(1) });
    assert!(matches!(result, Err(DataError::Unlabeled { .. })));
}

#[test]
fn options_that_load_nothing_are_refused() {
    let dataset = || memory_dataset(&[0, 1], 4, 4);
    for options in [
        LoaderOptions { batch_size: 0, ..options(1) },
        LoaderOptions { threads: 0, ..options(1) },
        LoaderOptions { label_smoothing: 1.0, ..options(1) },
        LoaderOptions { label_smoothing: f64::NAN, ..options(1) },
        LoaderOptions { mix: Mix { mixup_alpha: -1.0, cutmix_alpha: 0.0 }, ..options(1) },
        LoaderOptions { preprocessing: Preprocessing { width: 0, ..small_preprocessing() }, ..options(1) },
    ] {
        assert!(matches!(Loader::new(dataset(), options), Err(DataError::LoaderOptions(_))));
    }
    assert!(matches!(Loader::new(memory_dataset(&[], 4, 4), options(1)), Err(DataError::LoaderOptions(_))));
}
