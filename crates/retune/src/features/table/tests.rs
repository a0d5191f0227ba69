use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features").join(name)
}

fn expected() -> FeatureTable {
    FeatureTable {
        features: (0..15).map(|at| at as f32 * 2.5 - 10.0).collect(),
        width: 3,
        labels: [Some(1), Some(0), Some(1), None, Some(0)].into(),
        paths: (0..5).map(|row| format!("katze/größe-{row}.png")).collect(),
        classes: ["hund", "katze"].map(String::from).into(),
    }
}

#[test]
fn what_numpy_wrote_is_read_in_every_type_and_layout() {
    for name in ["float32.npz", "float16_compressed.npz", "float64_columns.npz", "big_endian.npz"] {
        assert_eq!(read(&fixture(name)).unwrap(), expected(), "{name}");
    }
}

#[test]
fn what_arrow_wrote_is_read_as_lists_of_any_kind() {
    for name in ["list.parquet", "fixed_size_list.parquet"] {
        assert_eq!(read(&fixture(name)).unwrap(), expected(), "{name}");
    }
}

#[test]
fn what_is_not_in_a_file_is_unknown() {
    let bare = FeatureTable { labels: vec![None; 5], paths: Vec::new(), classes: Vec::new(), ..expected() };
    assert_eq!(read(&fixture("features_alone.npz")).unwrap(), bare);
    let labeled = FeatureTable { labels: expected().labels, ..bare };
    assert_eq!(read(&fixture("float16.safetensors")).unwrap(), labeled);
}

/// The sentence that refuses a file.
fn refusal(path: &Path) -> String {
    match read(path).unwrap_err() {
        FeaturesError::Unusable { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn pickled_text_is_refused_with_a_remedy() {
    let problem = refusal(&fixture("objects.npz"));
    assert!(problem.contains("`paths`") && problem.contains("dtype=str"), "{problem}");
}

/// A safetensors file of float32 `features` and int64 `labels`.
fn safetensors(features: &[f32], shape: [usize; 2], labels: &[i64], metadata: &[(&str, &str)]) -> Vec<u8> {
    use ::safetensors::tensor::{Dtype, TensorView};
    let features: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
    let labels_bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let tensors = [
        ("features", TensorView::new(Dtype::F32, shape.into(), &features).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![labels.len()], &labels_bytes).unwrap()),
    ];
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ::safetensors::serialize(tensors, Some(metadata)).unwrap()
}

fn refusal_of(extension: &str, bytes: &[u8]) -> String {
    let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
    file.write_all(bytes).unwrap();
    refusal(file.path())
}

#[test]
fn arrays_that_do_not_fit_each_other_are_refused() {
    let rows = [1.0, 2.0, 3.0, 4.0];
    let cases = [
        (safetensors(&rows, [2, 2], &[0], &[]), "`labels` has 1 entries for 2 rows"),
        (safetensors(&rows, [2, 2], &[0, 7], &[("classes", r#"["a", "b"]"#)]), "label 7 is none of the 2"),
        (safetensors(&rows, [2, 2], &[0, 1], &[("paths", r#"["a"]"#)]), "`paths` has 1 entries"),
        (safetensors(&rows, [2, 2], &[0, 1], &[("paths", "a")]), "not a JSON list"),
        (safetensors(&[1.0, 2.0, f32::NAN, 4.0], [2, 2], &[0, 1], &[]), "not finite in row 1, column 0"),
        (safetensors(&[], [2, 0], &[0, 1], &[]), "rows of `features` are empty"),
    ];
    for (bytes, expected) in cases {
        let problem = refusal_of(".safetensors", &bytes);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn files_that_are_no_feature_files_are_refused() {
    assert!(refusal_of(".npz", b"path,label\n").contains("not an .npz archive"));
    assert!(refusal_of(".parquet", b"path,label\n").contains("not a Parquet file"));
    assert!(refusal_of(".safetensors", b"path").contains("not a .safetensors file"));
    assert!(refusal_of(".safetensors", b"path,label\nsome text").contains("its header would have"));
    let other = ::safetensors::serialize(
        [("weight", ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap())],
        None,
    );
    assert!(refusal_of(".safetensors", &other.unwrap()).contains("the file holds weight"));
    let missing = read(Path::new("absent.npz")).unwrap_err().to_string();
    assert!(missing.contains("absent.npz: no such file"), "{missing}");
}

/// A spoiled copy of a fixture: what reading it gives, if it is not refused.
fn spoiled(name: &str, spoil: impl Fn(&mut Vec<u8>)) -> Option<FeatureTable> {
    let mut bytes = std::fs::read(fixture(name)).unwrap();
    spoil(&mut bytes);
    let extension = name.rsplit_once('.').unwrap().1;
    let mut file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    read(file.path()).ok()
}

/// Run lengths let a small file stand for more than it can hold; a page sought past the end once took minutes to be
/// refused.
#[test]
fn what_a_parquet_file_expands_to_is_bounded() {
    let refusal = |name: &str| read(&fixture(name)).unwrap_err().to_string();
    for name in ["many_values.parquet", "much_text.parquet"] {
        assert!(refusal(name).contains("than it can hold"), "{}", refusal(name));
    }
    assert!(refusal("../found/endless-features.parquet").contains("endless-features.parquet"));
    // The lengths of a text's values, more than any memory has room for.
    assert!(refusal("../found/many-lengths.parquet").contains("many-lengths.parquet"));
}

const FORMATS: [&str; 4] = ["float32.npz", "float16_compressed.npz", "float16.safetensors", "list.parquet"];

proptest! {
    #[test]
    fn a_file_that_ends_early_is_refused(name in proptest::sample::select(&FORMATS), part in 0.0..1.0f64) {
        let cut = |bytes: &mut Vec<u8>| bytes.truncate((bytes.len() as f64 * part) as usize);
        prop_assert_eq!(spoiled(name, cut), None);
    }

    #[test]
    fn flipped_bytes_never_panic(
        name in proptest::sample::select(&FORMATS),
        flips in proptest::collection::vec((0.0..1.0f64, 1..=255u8), 1..4),
    ) {
        let flip = |bytes: &mut Vec<u8>| {
            for &(place, mask) in &flips {
                let at = (bytes.len() as f64 * place) as usize;
                bytes[at] ^= mask;
            }
        };
        if let Some(table) = spoiled(name, flip) {
            prop_assert_eq!(table.features.len(), table.labels.len() * table.width);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        refusal_of(".npz", &bytes);
        refusal_of(".safetensors", &bytes);
        refusal_of(".parquet", &bytes);
    }
}
