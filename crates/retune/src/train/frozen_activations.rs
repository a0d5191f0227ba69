//! The frozen part of a network, run once: the activations that enter the first trained block, for
//! every image.
//!
//! While the blocks below it are frozen and the images do not change from epoch to epoch, neither do
//! these. They are kept in memory up to a limit, past it in a temporary file without a name; past
//! what that may hold, or where the disk is full, they are computed in every step after all.

use std::fs::File;
use std::ops::Range;

use burn::tensor::{Device, Tensor, f16};

use super::TrainError;
use super::options::ActivationOptions;
use crate::device::{self, DeviceError};
use crate::files;
use crate::inference::{self, Evaluation, InferenceError, Metric};
use crate::loading::{Loader, Order};
use crate::models::{Activation, Model};
use crate::monitor::Monitor;
use crate::sources::positional::{read_exact_at, write_all_at};

/// Bytes that a file may hold, and how many times the memory if that is more.
const FILE_BYTES: u64 = 8 << 30;
const FILE_FACTOR: u64 = 8;

/// Bytes that a file may hold by these options.
fn file_bytes(options: &ActivationOptions) -> u64 {
    if options.memory_bytes == 0 { 0 } else { FILE_BYTES.max(options.memory_bytes.saturating_mul(FILE_FACTOR)) }
}

/// What enters a block, for every image of a dataset.
pub(super) struct FrozenActivations {
    /// The block.
    pub block: usize,
    /// Shape of one image's activation.
    shape: Shape,
    rows: Rows,
    half: bool,
}

/// An activation's kind and sizes, without the batch.
#[derive(Clone, Copy)]
enum Shape {
    Map([usize; 3]),
    Tokens([usize; 2]),
    Vector(usize),
}

impl Shape {
    fn of(activation: &Activation) -> Self {
        match activation {
            Activation::Map(x) => {
                let [_, height, width, channels] = x.dims();
                Self::Map([height, width, channels])
            }
            Activation::Tokens(x) => {
                let [_, tokens, width] = x.dims();
                Self::Tokens([tokens, width])
            }
            Activation::Vector(x) => Self::Vector(x.dims()[1]),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Map(sizes) => sizes.iter().product(),
            Self::Tokens(sizes) => sizes.iter().product(),
            Self::Vector(width) => width,
        }
    }

    fn activation(self, n: usize, values: Vec<f32>, device: &Device) -> Activation {
        match self {
            Self::Map([height, width, channels]) => {
                Activation::Map(device::tensor(values, [n, height, width, channels], device))
            }
            Self::Tokens([tokens, width]) => Activation::Tokens(device::tensor(values, [n, tokens, width], device)),
            Self::Vector(width) => Activation::Vector(device::tensor(values, [n, width], device)),
        }
    }
}

/// The rows of all images, one after the other.
enum Rows {
    Memory(Vec<u8>),
    File(File),
}

impl Rows {
    /// Room for `bytes`; `None` if they are too many or there is no place for a file.
    fn new(bytes: u64, memory_left: u64, options: &ActivationOptions) -> Option<Self> {
        if bytes <= memory_left {
            return Some(Self::Memory(Vec::with_capacity(usize::try_from(bytes).ok()?)));
        }
        (bytes <= file_bytes(options)).then(|| tempfile::tempfile().ok().map(Self::File))?
    }

    fn append(&mut self, bytes: &[u8], at: u64) -> std::io::Result<()> {
        match self {
            Self::Memory(rows) => {
                rows.extend_from_slice(bytes);
                Ok(())
            }
            Self::File(file) => write_all_at(file, bytes, at),
        }
    }

    fn read(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::Memory(rows) => {
                let start = at as usize;
                out.copy_from_slice(&rows[start..start + out.len()]);
                Ok(())
            }
            Self::File(file) => read_exact_at(file, out, at),
        }
    }
}

impl FrozenActivations {
    /// Runs the blocks below `block` on every image of the loader's epoch numbered `view`; what they give goes to memory
    /// if `memory_left` suffices, else to a file. `None` if it does not fit.
    pub fn make(
        model: &Model,
        (loader, view): (&Loader, u64),
        block: usize,
        options: &ActivationOptions,
        memory_left: u64,
        monitor: &dyn Monitor,
    ) -> Result<Option<Self>, TrainError> {
        let device = model.parameters.tensors()[0].device();
        let images = loader.dataset().len();
        let task = format!("activations before {}", model.blocks()[block].name);
        let mut made: Option<Self> = None;
        let mut written = 0;
        monitor.start(&task, images);
        for batch in loader.epoch(view, Order::Sequential, 0) {
            let batch = batch?;
            if monitor.canceled() {
                return Err(TrainError::Interrupted);
            }
            let entry = entry(model, inference::images(&batch, &device), block);
            let shape = Shape::of(&entry);
            if made.is_none() {
                let bytes = (images * shape.len()) as u64 * width_of(options.half) as u64;
                let Some(rows) = Rows::new(bytes, memory_left, options) else {
                    monitor.finish();
                    return Ok(None);
                };
                made = Some(Self { block, shape, rows, half: options.half });
            }
            let Some(activations) = &mut made else { return Ok(None) };
            let bytes = encode(entry, options.half)?;
            if activations.rows.append(&bytes, written).is_err() {
                monitor.message("no room on the disk for the frozen blocks' activations: computing them in every step");
                monitor.finish();
                return Ok(None);
            }
            written += bytes.len() as u64;
            monitor.advance(batch.n);
        }
        monitor.finish();
        loader.tell_damaged(monitor);
        Ok(made)
    }

    /// Memory that the activations take.
    pub fn memory_bytes(&self) -> u64 {
        match &self.rows {
            Rows::Memory(rows) => rows.len() as u64,
            Rows::File(_) => 0,
        }
    }

    /// Whether all of these fit into what the options allow.
    pub fn fit_together<'a>(all: impl Iterator<Item = &'a Self>, options: &ActivationOptions) -> bool {
        let (mut memory, mut disk) = (0, 0);
        for activations in all {
            memory += activations.memory_bytes();
            if let Rows::File(file) = &activations.rows {
                disk += file.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        memory <= options.memory_bytes && disk <= file_bytes(options)
    }

    /// The activations of some images; `None` if the disk fails.
    pub fn batch(&self, indices: &[usize], device: &Device) -> Option<Activation> {
        let size = self.shape.len() * width_of(self.half);
        let mut bytes = vec![0; indices.len() * size];
        for (row, &index) in bytes.chunks_exact_mut(size.max(1)).zip(indices) {
            self.rows.read((index * size) as u64, row).ok()?;
        }
        Some(self.shape.activation(indices.len(), decode(&bytes, self.half), device))
    }

    /// Evaluates the model from here on; `None` if the disk fails.
    pub fn evaluate(
        &self,
        model: &Model,
        loader: &Loader,
        (batch_size, metric): (usize, Metric),
    ) -> Result<Option<Evaluation>, TrainError> {
        let device = model.parameters.tensors()[0].device();
        let dataset = loader.dataset();
        let (end, classes) = (model.blocks().len(), model.config().num_classes());
        let mut logits = Vec::with_capacity(dataset.len() * classes);
        let indices: Vec<usize> = (0..dataset.len()).collect();
        for indices in indices.chunks(batch_size.max(1)) {
            let Some(entry) = self.batch(indices, &device) else { return Ok(None) };
            let rows = device::read(model.forward_range(entry, self.block..end).pool())?;
            if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                let image = dataset.samples[indices[at / classes.max(1)]].name.to_string();
                return Err(InferenceError::NotFinite { image }.into());
            }
            logits.extend(rows);
        }
        Ok(Some(inference::evaluate_rows(metric, model, dataset, logits.chunks_exact(classes.max(1)))?))
    }
}

/// What enters `block`; the head pools what it is given, so its entry is kept pooled.
fn entry(model: &Model, images: Tensor<4>, block: usize) -> Activation {
    let below: Range<usize> = 0..block;
    let entry = model.forward_range(Activation::Map(images), below);
    if block == model.head() { Activation::Vector(entry.pool()) } else { entry }
}

fn width_of(half: bool) -> usize {
    if half { 2 } else { 4 }
}

fn encode(activation: Activation, half: bool) -> Result<Vec<u8>, DeviceError> {
    let values = match activation {
        Activation::Map(x) => device::read(x),
        Activation::Tokens(x) => device::read(x),
        Activation::Vector(x) => device::read(x),
    }?;
    if half {
        let halves = values.into_iter().map(|value| f16::from_f32(value).to_le_bytes());
        return Ok(halves.collect::<Vec<_>>().into_flattened());
    }
    Ok(files::little_endian(&values))
}

fn decode(bytes: &[u8], half: bool) -> Vec<f32> {
    if half {
        return bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect();
    }
    files::from_little_endian(bytes).collect()
}
