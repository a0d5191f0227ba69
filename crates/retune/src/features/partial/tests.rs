use super::*;
use crate::monitor::Messages;

fn origin(model: &str) -> Origin {
    let parts = serde_json::json!({
        "version": "1", "model": model, "device": "cpu", "layer": "Pooled", "preprocessing": "", "data": "d",
        "images": 5, "batch_size": 2, "transformed": false,
    });
    serde_json::from_value(parts).unwrap()
}

/// Opens the unfinished file for five images in batches of two, and what was said about it.
fn open(target: &Path, model: &str) -> (Partial, Vec<String>) {
    let told = Messages::default();
    let partial = Partial::open(target, &origin(model), 5, 2, &told).unwrap();
    (partial, told.into_texts())
}

const BATCHES: [&[f32]; 3] = [&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &[9.0, 10.0]];

fn append(partial: &mut Partial, batches: std::ops::Range<usize>) {
    for batch in batches {
        partial.append(&origin("m"), BATCHES[batch], 2).unwrap();
    }
}

fn values(partial: Partial) -> Vec<f32> {
    let mut all = Vec::new();
    partial
        .finish(|_, rows| {
            while let Some(rows) = rows.next()? {
                all.extend(rows);
            }
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn an_extraction_goes_on_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("F.npz");
    let (mut partial, told) = open(&target, "m");
    assert_eq!((partial.batches(), told.len()), (0, 0));
    append(&mut partial, 0..2);
    drop(partial);
    let (mut partial, told) = open(&target, "m");
    assert_eq!((partial.batches(), partial.width()), (2, 2));
    assert!(told[0].contains("after 4 of 5 images"), "{told:?}");
    append(&mut partial, 2..3);
    assert_eq!(values(partial), (1..=10).map(|value| value as f32).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Everything that a crash may leave behind the last whole batch.
#[test]
fn what_is_torn_or_lost_is_computed_again() {
    let spoilt: [fn(&Path); 5] = [
        |folder| File::options().write(true).open(folder.join("rows")).unwrap().set_len(25).unwrap(),
        |folder| File::options().write(true).open(folder.join("hashes")).unwrap().set_len(9).unwrap(),
        |folder| write_all_at(&File::options().write(true).open(folder.join("rows")).unwrap(), &[7], 20).unwrap(),
        |folder| write_all_at(&File::options().write(true).open(folder.join("hashes")).unwrap(), &[0; 8], 8).unwrap(),
        |folder| File::options().write(true).open(folder.join("rows")).unwrap().set_len(16).unwrap(),
    ];
    for spoil in spoilt {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("F.npz");
        let (mut partial, _) = open(&target, "m");
        append(&mut partial, 0..2);
        drop(partial);
        spoil(&folder_of(&target));
        let (mut partial, _) = open(&target, "m");
        assert_eq!(partial.batches(), 1);
        append(&mut partial, 1..3);
        assert_eq!(values(partial), (1..=10).map(|value| value as f32).collect::<Vec<_>>());
    }
}

#[test]
fn rows_of_another_origin_and_a_spoilt_state_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("F.npz");
    let (mut partial, _) = open(&target, "m");
    append(&mut partial, 0..1);
    drop(partial);
    let (partial, told) = open(&target, "other");
    assert_eq!(partial.batches(), 0);
    assert!(told[0].contains("starting anew") && told[0].contains("another model"), "{told:?}");
    drop(partial);

    let (mut partial, _) = open(&target, "m");
    append(&mut partial, 0..1);
    drop(partial);
    fs::write(folder_of(&target).join("origin.json"), "{").unwrap();
    assert_eq!(open(&target, "m").0.batches(), 0);
}

#[test]
fn two_processes_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("F.npz");
    let (_partial, _) = open(&target, "m");
    let second = Partial::open(&target, &origin("m"), 5, 2, &Messages::default());
    assert!(matches!(second, Err(FeaturesError::InUse(_))));
}
