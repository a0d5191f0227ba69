//! Images that Python holds, as data that commands can name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use numpy::{PyArray3, PyArrayMethods, PyReadonlyArray3, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use retune::sources::memory::{self, Lent};
use retune::sources::{DataError, Dataset, ImageSource, ImageStore, Sample, SplitName, StoredImage};
use retune::wording::counted;

use crate::failure::{self, IntoPython, unreadable};

/// What arrays are called where a store has to name a file.
const ARRAY: &str = "array";

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Held>()?;
    module.add_class::<Location>()?;
    module.add_function(wrap_pyfunction!(lend, module)?)
}

/// Images that commands find at `path` for as long as this exists.
#[pyclass(frozen, module = "retune._retune")]
struct Location {
    lent: Lent,
}

#[pymethods]
impl Location {
    /// What commands name.
    #[getter]
    fn path(&self) -> String {
        self.lent.location().display().to_string()
    }
}

/// Images that Python has handed over.
///
/// They are one C-contiguous array of bytes, `[n, height, width]` or `[n, height, width, 1 or 3]`, which stays where it is, or
/// any iterable of arrays `[height, width, 3]`, encoded images (`bytes`) and paths.
#[pyclass(frozen, module = "retune._retune")]
struct Held {
    sources: Vec<ImageSource>,
}

#[pymethods]
impl Held {
    #[new]
    fn new(images: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { sources: sources(images)? })
    }

    fn __len__(&self) -> usize {
        self.sources.len()
    }
}

/// A split: its name, its images, and of each a label (a position among the classes), a group and a name, where there are any.
type Split<'py> = (String, Bound<'py, Held>, Vec<Option<usize>>, Vec<Option<String>>, Vec<String>);

/// Lends splits with their classes.
#[pyfunction]
fn lend(py: Python<'_>, splits: Vec<Split<'_>>, classes: Vec<String>) -> PyResult<Location> {
    let of_each = |(name, held, labels, groups, names): Split<'_>| {
        let sample = |(index, image): (usize, &ImageSource)| Sample {
            image: image.clone(),
            label: labels.get(index).copied().flatten(),
            group: groups.get(index).cloned().flatten().map(Into::into),
            name: names.get(index).map_or_else(|| format!("image {index}"), String::clone).into(),
        };
        let samples = held.get().sources.iter().enumerate().map(sample).collect();
        let dataset = Dataset { root: PathBuf::new(), classes: classes.clone(), samples, corruptions: Vec::new() };
        (SplitName::from(name.as_str()), dataset)
    };
    let splits: Vec<_> = splits.into_iter().map(of_each).collect();
    let lent = py.detach(|| memory::lend(splits));
    Ok(Location { lent: lent.into_python()? })
}

fn sources(images: &Bound<'_, PyAny>) -> PyResult<Vec<ImageSource>> {
    if let Some(store) = ArrayImages::of(images) {
        let (n, store) = (store.n, Arc::new(store));
        return Ok((0..n).map(|item| ImageSource::Stored { images: store.clone(), item }).collect());
    }
    let mut sources = Vec::new();
    let mut encoded = Vec::new();
    for (number, image) in images.try_iter()?.enumerate() {
        let image = image?;
        sources.push(if let Ok(array) = image.extract::<PyReadonlyArray3<'_, u8>>() {
            Some(ImageSource::Memory(Arc::new(copied(&array)?)))
        } else if let Ok(bytes) = image.cast::<PyBytes>() {
            encoded.push((number, bytes.as_bytes().to_vec()));
            None
        } else {
            Some(ImageSource::File(image.extract::<PathBuf>()?.into()))
        });
    }
    let (places, images): (Vec<usize>, Vec<Vec<u8>>) = encoded.into_iter().unzip();
    let store = Arc::new(EncodedImages(images));
    for (item, place) in places.into_iter().enumerate() {
        sources[place] = Some(ImageSource::Stored { images: store.clone(), item });
    }
    Ok(sources.into_iter().flatten().collect())
}

/// An image of an array `[height, width, 3]`.
pub fn copied(array: &PyReadonlyArray3<'_, u8>) -> PyResult<RgbImage> {
    let py = array.py();
    let &[height, width, channels] = array.shape() else { return Err(failure::mistake(py, &"not an image")) };
    if channels != 3 {
        return Err(failure::mistake(py, &format!("an image has 3 channels, not {channels}")));
    }
    let pixels = match array.as_slice() {
        Ok(pixels) => pixels.to_vec(),
        Err(_) => array.as_array().iter().copied().collect(),
    };
    RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or_else(|| failure::mistake(py, &format!("no image has {height}×{width} pixels")))
}

/// A new array `[height, width, 3]` with the pixels of an image.
pub fn array(py: Python<'_>, image: RgbImage) -> PyResult<Bound<'_, PyArray3<u8>>> {
    let shape = [image.height() as usize, image.width() as usize, 3];
    numpy::PyArray1::from_vec(py, image.into_raw()).reshape(shape)
}

/// The images of one array of bytes, which stays Python's. An image is copied when it is loaded.
struct ArrayImages {
    array: Py<PyAny>,
    n: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl ArrayImages {
    /// The images of an array `[n, height, width]` or `[n, height, width, 1 or 3]`; nothing for anything else.
    fn of(images: &Bound<'_, PyAny>) -> Option<Self> {
        let array = images.clone().unbind();
        if let Ok(colors) = images.extract::<PyReadonlyArray4<'_, u8>>() {
            let &[n, height, width, channels] = colors.shape() else { return None };
            let fits = matches!(channels, 1 | 3) && colors.is_c_contiguous();
            return fits.then_some(Self { array, n, height, width, channels });
        }
        let grays = images.extract::<PyReadonlyArray3<'_, u8>>().ok()?;
        let &[n, height, width] = grays.shape() else { return None };
        grays.is_c_contiguous().then_some(Self { array, n, height, width, channels: 1 })
    }

    fn pixels(&self, item: usize) -> PyResult<Vec<u8>> {
        let size = self.height * self.width * self.channels;
        let range = item * size..(item + 1) * size;
        Python::attach(|py| {
            let array = self.array.bind(py);
            Ok(if let Ok(colors) = array.extract::<PyReadonlyArray4<'_, u8>>() {
                colors.as_slice()?[range].to_vec()
            } else {
                array.extract::<PyReadonlyArray3<'_, u8>>()?.as_slice()?[range].to_vec()
            })
        })
    }
}

impl fmt::Debug for ArrayImages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {}×{}×{}", counted(self.n, "image"), self.height, self.width, self.channels)
    }
}

impl ImageStore for ArrayImages {
    fn path(&self) -> &Path {
        Path::new(ARRAY)
    }

    fn read(&self, item: usize) -> Result<StoredImage, DataError> {
        let pixels = self.pixels(item).map_err(|error| unreadable(self.path(), error))?;
        let pixels = if self.channels == 1 { pixels.iter().flat_map(|&gray| [gray; 3]).collect() } else { pixels };
        let image = RgbImage::from_raw(self.width as u32, self.height as u32, pixels);
        image.map(StoredImage::Pixels).ok_or_else(|| unreadable(self.path(), "its shape has changed"))
    }
}

/// Encoded images, as PNG files hold them: those with opacity or 16 bits.
#[derive(Debug)]
struct EncodedImages(Vec<Vec<u8>>);

impl ImageStore for EncodedImages {
    fn path(&self) -> &Path {
        Path::new(ARRAY)
    }

    fn read(&self, item: usize) -> Result<StoredImage, DataError> {
        let image = self.0.get(item).ok_or_else(|| unreadable(self.path(), format!("it has no image {item}")))?;
        Ok(StoredImage::Encoded(image.clone()))
    }

    fn encoded_bytes(&self, item: usize) -> Option<u64> {
        self.0.get(item).map(|image| image.len() as u64)
    }

    fn holds_pixels(&self) -> bool {
        false
    }
}
