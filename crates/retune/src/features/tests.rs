use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::RgbImage;

use super::*;
use crate::device;
use crate::loading::LoaderOptions;
use crate::monitor::{Messages, Silent};
use crate::sources::{Dataset, ImageSource, Sample};

fn model() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
    Model::load(&folder, None, Clone::clone, &device::by_name("cpu").unwrap()).unwrap()
}

/// Five images in batches of two, the last without a label.
fn loader(model: &Model) -> Loader {
    let sample = |index: usize| Sample {
        image: ImageSource::Memory(Arc::new(RgbImage::from_pixel(8, 8, image::Rgb([40 * index as u8; 3])))),
        label: (index < 4).then_some(index % 2),
        group: None,
        name: format!("katze/größe-{index}.png").into(),
    };
    let classes = ["hund", "katze"].map(String::from).into();
    let dataset =
        Dataset { root: PathBuf::new(), classes, samples: (0..5).map(sample).collect(), corruptions: Vec::new() };
    let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), 2);
    Loader::new(dataset, options).unwrap()
}

fn expected(model: &Model, loader: &Loader) -> Vec<f32> {
    inference::extract(model, loader, Layer::Pooled, "", &Silent).unwrap().values
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Header text and data of an array in an archive.
fn array(archive: &mut zip::ZipArchive<File>, name: &str) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
    let data = bytes.split_off(10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    (String::from_utf8_lossy(&bytes[10..]).into_owned(), data)
}

#[test]
fn an_npz_archive_holds_every_row_label_path_and_class() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let path = folder.path().join("features.npz");
    let shape = write(&model, &loader, Layer::Pooled, &path, &Silent).unwrap();
    assert_eq!(shape, FeatureShape { images: 5, width: 12 });

    let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
    let (header, data) = array(&mut archive, "features");
    assert!(header.contains("'<f4'") && header.contains("(5, 12)"), "{header}");
    assert_eq!(floats(&data), expected(&model, &loader));
    let (_, labels) = array(&mut archive, "labels");
    let labels: Vec<i64> = labels.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    assert_eq!(labels, [0, 1, 0, 1, -1]);
    let (header, paths) = array(&mut archive, "paths");
    assert!(header.contains("'<U17'") && header.contains("(5,)"), "{header}");
    let characters = paths[17 * 4..].as_chunks().0.iter().take(17).map(|bytes| u32::from_le_bytes(*bytes));
    assert_eq!(characters.filter_map(char::from_u32).collect::<String>(), "katze/größe-1.png");
    let (header, _) = array(&mut archive, "classes");
    assert!(header.contains("'<U5'") && header.contains("(2,)"), "{header}");
}

#[test]
fn a_safetensors_file_holds_the_same() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let path = folder.path().join("features.safetensors");
    write(&model, &loader, Layer::Pooled, &path, &Silent).unwrap();

    let bytes = std::fs::read(&path).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let features = tensors.tensor("features").unwrap();
    assert_eq!(features.shape(), [5, 12]);
    assert_eq!(floats(features.data()), expected(&model, &loader));
    assert_eq!(tensors.tensor("labels").unwrap().data()[32..], (-1i64).to_le_bytes());
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["classes"], r#"["hund","katze"]"#);
    assert!(metadata["paths"].starts_with(r#"["katze/größe-0.png","#), "{}", metadata["paths"]);
}

const NAMES: [&str; 3] = ["f.npz", "f.safetensors", "f.parquet"];

#[test]
fn what_is_written_is_read_back_from_every_format() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    for name in NAMES {
        let path = folder.path().join(name);
        write(&model, &loader, Layer::Pooled, &path, &Silent).unwrap();
        let table = read(&path).unwrap();
        assert_eq!(table.features, expected(&model, &loader), "{name}");
        assert_eq!(table.width, 12);
        assert_eq!(table.labels, [Some(0), Some(1), Some(0), Some(1), None]);
        assert_eq!(table.paths[4], "katze/größe-4.png");
        assert_eq!(table.classes, ["hund", "katze"]);
    }
}

fn shard(text: &str) -> Shard {
    text.parse().unwrap()
}

/// The shards of five images in batches of two, in a format each.
fn write_shards(model: &Model, loader: &Loader, folder: &Path) -> Vec<PathBuf> {
    let parts = [("1/3", "f.npz"), ("2/3", "f.safetensors"), ("3/3", "f.parquet")];
    let write = |(part, name): (&str, &str)| {
        let path = folder.join(format!("{}-{name}", &part[..1]));
        write_shard(model, loader, Layer::Pooled, shard(part), &path, &Silent).unwrap();
        path
    };
    parts.map(write).to_vec()
}

/// Their order and formats do not matter, nor does an extraction that was interrupted.
#[test]
fn merged_shards_have_the_bytes_of_one_extraction() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let shards = write_shards(&model, &loader, folder.path());
    let rows: Vec<usize> = shards.iter().map(|path| read(path).unwrap().len()).collect();
    assert_eq!(rows, [2, 2, 1]);
    assert_eq!(read(&shards[1]).unwrap().labels, [Some(0), Some(1)]);
    let backwards: Vec<PathBuf> = shards.iter().rev().cloned().collect();
    for name in NAMES {
        let [whole, merged] = ["whole", "merged"].map(|part| folder.path().join(format!("{part}-{name}")));
        write(&model, &loader, Layer::Pooled, &whole, &Silent).unwrap();
        write(&model, &loader, Layer::Pooled, &merged, &StopsSoon::default()).unwrap_err();
        let shape = merge(&backwards, &merged, &Silent).unwrap();
        assert_eq!(shape, FeatureShape { images: 5, width: 12 });
        assert_eq!(std::fs::read(&merged).unwrap(), std::fs::read(&whole).unwrap(), "{name}");
    }
    // Three shards, whole and merged, and nothing else.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 9);
}

#[test]
fn shards_that_do_not_make_a_whole_are_refused() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let shards = write_shards(&model, &loader, folder.path());
    let out = folder.path().join("all.npz");
    let refused = |shards: &[&PathBuf]| {
        let shards: Vec<PathBuf> = shards.iter().map(|path| (*path).clone()).collect();
        let sentence = merge(&shards, &out, &Silent).unwrap_err().to_string();
        sentence.replace(&format!("{}/", folder.path().display()), "")
    };
    let [one, two, three] = [&shards[0], &shards[1], &shards[2]];
    assert_eq!(refused(&[one, three]), "shard 2/3 is missing");
    assert_eq!(refused(&[two]), "2 shards are missing: 1/3, 3/3");
    assert_eq!(refused(&[one, two, one, three]), "1-f.npz and 1-f.npz both hold shard 1/3");

    let other = |name: &str, layer: Layer, part: &str| {
        let path = folder.path().join(name);
        write_shard(&model, &loader, layer, shard(part), &path, &Silent).unwrap();
        path
    };
    let logits = other("logits.npz", Layer::Logits, "2/3");
    assert_eq!(
        refused(&[one, &logits, three]),
        "1-f.npz and logits.npz do not belong together: one is of another layer"
    );
    let half = other("half.npz", Layer::Pooled, "2/2");
    let expected = "1-f.npz and half.npz do not belong together: one is of 2 shards, the other of 3";
    assert_eq!(refused(&[one, &half]), expected);
    let whole = folder.path().join("whole.npz");
    write(&model, &loader, Layer::Pooled, &whole, &Silent).unwrap();
    assert!(refused(&[one, &whole]).starts_with("whole.npz is not a shard of an extraction"));
    assert!(!out.exists());

    let many = write_shard(&model, &loader, Layer::Pooled, shard("1/4"), &out, &Silent).unwrap_err().to_string();
    assert_eq!(many, "4 shards are too many for 5 images in batches of 2: there can be 3");
}

/// Asks to stop when it is asked for the second time.
#[derive(Default)]
struct StopsSoon(AtomicUsize);

impl Monitor for StopsSoon {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn canceled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 0
    }
}

#[test]
fn an_interrupted_extraction_ends_with_the_same_bytes() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    for name in NAMES {
        let [whole, resumed] = ["whole", "resumed"].map(|part| folder.path().join(format!("{part}-{name}")));
        write(&model, &loader, Layer::Pooled, &whole, &Silent).unwrap();
        // A batch gets done each time.
        for _ in 0..2 {
            let stopped = write(&model, &loader, Layer::Pooled, &resumed, &StopsSoon::default()).unwrap_err();
            assert!(matches!(stopped, FeaturesError::Inference(InferenceError::Interrupted)));
            assert!(!resumed.exists());
        }
        let rows = folder.path().join(format!(".resumed-{name}.partial/rows"));
        assert_eq!(std::fs::metadata(rows).unwrap().len(), 4 * 12 * 4);
        write(&model, &loader, Layer::Pooled, &resumed, &Silent).unwrap();
        assert_eq!(std::fs::read(&resumed).unwrap(), std::fs::read(&whole).unwrap(), "{name}");
    }
    // Three formats, whole and resumed, and nothing else.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
}

#[test]
fn another_layer_starts_anew() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let path = folder.path().join("f.npz");
    write(&model, &loader, Layer::Logits, &path, &StopsSoon::default()).unwrap_err();
    write(&model, &loader, Layer::Pooled, &path, &Silent).unwrap();
    assert_eq!(read(&path).unwrap().features, expected(&model, &loader));
}

#[test]
fn another_precision_starts_anew() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let loader = loader(&model);
    let path = folder.path().join("f.npz");
    let rounding = model.in_precision(crate::models::Precision::Bfloat16);
    write(&rounding, &loader, Layer::Pooled, &path, &StopsSoon::default()).unwrap_err();
    let told = Messages::default();
    write(&model, &loader, Layer::Pooled, &path, &told).unwrap();
    let told = told.into_texts();
    assert!(told.len() == 1 && told[0].contains("is of another precision"), "{told:?}");
    assert_eq!(read(&path).unwrap().features, expected(&model, &loader));

    write(&rounding, &loader, Layer::Pooled, &path, &StopsSoon::default()).unwrap_err();
    let told = Messages::default();
    write(&rounding, &loader, Layer::Pooled, &path, &told).unwrap();
    let told = told.into_texts();
    assert!(told[0].contains("going on after 2 of 5 images"), "{told:?}");
    // What is left is compared.
    assert!(told[1].contains("with float32 in 3 images"), "{told:?}");
    assert_eq!(read(&path).unwrap(), table(&rounding, &loader, Layer::Pooled, &Silent).unwrap());
    let [one, other] = [&model, &rounding].map(|model| Origin::of(model, &loader, Layer::Pooled, None).unwrap());
    assert!(!serde_json::to_string(&one).unwrap().contains("precision") && one.difference(&other).is_some());
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let path = folder.path().join("features.npz");
    let samples = Dataset::from_files(&[folder.path().join("absent.png")]);
    let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), 2);
    let loader = Loader::new(samples, options).unwrap();
    let error = write(&model, &loader, Layer::Pooled, &path, &Silent).unwrap_err().to_string();
    assert!(error.contains("absent.png"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn other_formats_are_refused_by_name() {
    let refused = |path: &str| FeatureFormat::of(Path::new(path)).unwrap_err().to_string();
    assert!(refused("f.csv").contains(".npz, .parquet, or .safetensors"));
    assert!(refused("features").contains(".npz, .parquet, or .safetensors"));
    assert_eq!(FeatureFormat::of(Path::new("f.parquet")).unwrap().extension, "parquet");
    assert_eq!(FeatureFormat::of(Path::new("F.NPZ")).unwrap().extension, "npz");
}
