use std::io::Read;
use std::sync::Arc;

use image::RgbImage;

use super::*;
use crate::data::{ImageSource, LoaderOptions, Sample};
use crate::device;
use crate::monitor::Silent;

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
        name: format!("katze/größe-{index}.png"),
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
    assert!(refused("f.parquet").contains("Parquet"));
    assert!(refused("features").contains(".npz or .safetensors"));
    assert_eq!(FeatureFormat::of(Path::new("F.NPZ")).unwrap(), FeatureFormat::Npz);
}
