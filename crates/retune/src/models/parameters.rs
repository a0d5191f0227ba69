//! A model's parameters as plain data: an ordered list of named tensors.
//!
//! The architecture (which layer uses which parameter) and the parameters (their values) are kept
//! apart. So a checkpoint, an average of two models, a frozen-tensor check or an optimizer step is
//! a loop over a list and knows no architecture, and the same architecture runs on tracked tensors
//! while it trains and on plain ones while it is evaluated.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor};
use rand::RngExt;
use rayon::prelude::*;

use crate::device::{self, DeviceError, host_values, read_all, values, with_values};
use crate::files;

/// What a parameter is to its layer; optimizers and methods choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The weight of a linear layer or of a convolution that mixes all its channels.
    Weight,
    /// The weight of a convolution in groups, a depthwise one included.
    GroupedWeight,
    /// The bias of a linear layer or convolution.
    Bias,
    /// The scale of a normalization layer.
    NormWeight,
    /// The shift of a normalization layer.
    NormBias,
    /// A class token, register tokens or a position embedding.
    Embedding,
    /// The per-channel factor of a residual branch (layer scale).
    LayerScale,
    /// A running statistic of a BatchNorm layer: never trained by gradients.
    Statistic,
}

impl Role {
    /// Whether gradients train it (all but running statistics).
    pub fn is_trainable(self) -> bool {
        self != Role::Statistic
    }
}

/// How a parameter is filled when no weights are loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialization {
    /// Every element has this value.
    Constant(f32),
    /// Independent normal values with mean 0 and this standard deviation, redrawn beyond two
    /// standard deviations.
    TruncatedNormal(f32),
    /// Uniform in `-bound..bound`.
    Uniform(f32),
}

/// Name, shape and place of one parameter. The value is kept beside it in [`Parameters`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// timm's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// What it is to its layer.
    pub role: Role,
    /// Index of the block that holds it.
    pub block: usize,
    /// How it is filled without pretrained weights.
    pub initialization: Initialization,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no element (never so in a real model).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether weight decay applies, as timm decides it: not to vectors, biases, tokens and
    /// position embeddings.
    pub fn decays(&self) -> bool {
        self.shape.len() > 1 && matches!(self.role, Role::Weight | Role::GroupedWeight)
    }

    fn initial_values(&self, seed: u64) -> Vec<f32> {
        // Seeded by name, so that a wider head or another depth leaves every other tensor alike.
        let mut generator = retune_random::generator(seed, &[retune_random::hash(self.name.as_bytes())]);
        let mut draw = || match self.initialization {
            Initialization::Constant(value) => value,
            Initialization::TruncatedNormal(deviation) => retune_random::truncated_normal(&mut generator) * deviation,
            Initialization::Uniform(bound) => generator.random_range(-1.0f32..1.0) * bound,
        };
        (0..self.len()).map(|_| draw()).collect()
    }
}

/// Index of a parameter in its model's list; a layer holds these instead of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// Position in the model's list of parameters.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The values of all parameters of a model, in the order of its specs.
///
/// Each is kept flat; the layer that uses it gives it its shape. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Parameters {
    specs: Arc<[ParameterSpec]>,
    tensors: Vec<Tensor<1>>,
    /// The hash of each tensor, once somebody has asked for it; whoever shares the tensor shares it.
    hashes: Vec<Arc<OnceLock<u64>>>,
}

impl Parameters {
    /// Freshly initialized parameters, the same for the same seed and names.
    pub fn initialize(specs: Arc<[ParameterSpec]>, seed: u64, device: &Device) -> Self {
        let none = vec![None; specs.len()];
        Self::complete(specs, none, seed, device)
    }

    /// The known tensors, in the order of `specs`, and freshly initialized ones in the places of those that are not.
    pub(super) fn complete(
        specs: Arc<[ParameterSpec]>,
        known: Vec<Option<Tensor<1>>>,
        seed: u64,
        device: &Device,
    ) -> Self {
        let fresh = |spec: &ParameterSpec| device::tensor(spec.initial_values(seed), [spec.len()], device);
        let tensors = specs.par_iter().zip(known).map(|(spec, known)| known.unwrap_or_else(|| fresh(spec))).collect();
        Self::from_tensors(specs, tensors)
    }

    /// Zeros, for values that a file is about to give.
    pub(super) fn zeros(specs: Arc<[ParameterSpec]>, device: &Device) -> Self {
        let tensors = specs.iter().map(|spec| Tensor::zeros([spec.len()], device)).collect();
        Self::from_tensors(specs, tensors)
    }

    /// Parameters from flat values in the order of `specs`.
    ///
    /// # Panics
    /// If the number of tensors differs from the number of specs (a caller's error, not input's).
    pub fn from_tensors(specs: Arc<[ParameterSpec]>, tensors: Vec<Tensor<1>>) -> Self {
        assert_eq!(specs.len(), tensors.len(), "one tensor for each parameter");
        let hashes = tensors.iter().map(|_| Arc::default()).collect();
        Self { specs, tensors, hashes }
    }

    /// Draws the parameters that `chosen` names anew, the same values for the same seed and names.
    pub fn reinitialize(&mut self, seed: u64, chosen: impl Fn(&ParameterSpec) -> bool) {
        for (index, spec) in self.specs.clone().iter().enumerate().filter(|(_, spec)| chosen(spec)) {
            self.set_values(index, spec.initial_values(seed));
        }
    }

    /// Names, shapes and roles, in order.
    pub fn specs(&self) -> &Arc<[ParameterSpec]> {
        &self.specs
    }

    /// The flat tensors, in order.
    pub fn tensors(&self) -> &[Tensor<1>] {
        &self.tensors
    }

    /// One parameter in its shape.
    pub(crate) fn get<const D: usize>(&self, id: ParameterId, shape: [usize; D]) -> Tensor<D> {
        self.tensors[id.0].clone().reshape(shape)
    }

    /// One parameter flat.
    pub fn flat(&self, id: ParameterId) -> Tensor<1> {
        self.tensors[id.0].clone()
    }

    /// Whether all values are those of `other`, bit for bit: 0 is not −0.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn equal(&self, other: &Self) -> Result<bool, DeviceError> {
        let lengths = |parameters: &Self| parameters.specs.iter().map(ParameterSpec::len).collect::<Vec<_>>();
        Ok(lengths(self) == lengths(other) && !self.differing(other)?.contains(&true))
    }

    /// For each parameter, whether any bit is not that of `other`, parameters of the same model.
    ///
    /// # Errors
    /// What the device failed in.
    pub(crate) fn differing(&self, other: &Self) -> Result<Vec<bool>, DeviceError> {
        Ok(values::are_same(self.tensors.iter().zip(&other.tensors))?.into_iter().map(|same| !same).collect())
    }

    /// The values of the parameter at `index`, flat, on the host.
    ///
    /// # Panics
    /// If another device than the CPU fails.
    pub fn values(&self, index: usize) -> Vec<f32> {
        host_values(self.tensors[index].clone())
    }

    /// The values of the parameters at `indices`, by one read from a device.
    ///
    /// # Errors
    /// What the device failed in.
    pub(crate) fn values_at(&self, indices: &[usize]) -> Result<Vec<Vec<f32>>, DeviceError> {
        read_all(indices.iter().map(|&index| self.tensors[index].clone()).collect())
    }

    /// The same on the CPU, by one read from another device.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn on_cpu(&self) -> Result<Self, DeviceError> {
        let cpu = Device::flex();
        if self.tensors.iter().all(|tensor| tensor.device() == cpu) {
            // With the hashes that are known.
            return Ok(self.clone());
        }
        Ok(Self::from_tensors(self.specs.clone(), device::on_cpu(self.tensors.clone())?))
    }

    /// A hash of the values of the parameter at `index`, computed at most once of values that do not change.
    ///
    /// # Errors
    /// What the device failed in.
    pub(crate) fn hash(&self, index: usize) -> Result<u64, DeviceError> {
        if let Some(hash) = self.hashes[index].get() {
            return Ok(*hash);
        }
        // Eight bytes at a time: after each epoch of several processes, all weights pass through here.
        let of_values = |values: &[f32]| retune_random::keyed_hash(0, &files::little_endian(values));
        let hash = with_values(&self.tensors[index], of_values)?;
        Ok(*self.hashes[index].get_or_init(|| hash))
    }

    /// Replaces the tensor at `index`.
    pub fn set(&mut self, index: usize, tensor: Tensor<1>) {
        *self.tensor_mut(index) = tensor;
    }

    /// Replaces the values at `index`, on the same device.
    pub fn set_values(&mut self, index: usize, values: Vec<f32>) {
        let device = self.tensors[index].device();
        let length = values.len();
        *self.tensor_mut(index) = device::tensor(values, [length], &device);
    }

    /// The tensor at `index`, to be updated.
    pub(crate) fn tensor_mut(&mut self, index: usize) -> &mut Tensor<1> {
        self.hashes[index] = Arc::default();
        &mut self.tensors[index]
    }

    /// Index of the parameter called `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.specs.iter().position(|spec| spec.name == name)
    }
}

/// Collects the parameters of a model while its layers are built, keeping the dotted names.
pub(crate) struct ParameterBuilder {
    specs: Vec<ParameterSpec>,
    scope: Vec<String>,
    block: usize,
}

impl ParameterBuilder {
    pub fn new() -> Self {
        Self { specs: Vec::new(), scope: Vec::new(), block: 0 }
    }

    /// Builds something whose parameters are named `name.*` (several segments may be dotted).
    pub fn within<T>(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let built = build(self);
        self.scope.pop();
        built
    }

    /// From here on, parameters belong to the block with this index.
    pub fn enter_block(&mut self, block: usize) {
        self.block = block;
    }

    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        role: Role,
        initialization: Initialization,
    ) -> ParameterId {
        let mut full_name = self.scope.join(".");
        if !full_name.is_empty() {
            full_name.push('.');
        }
        full_name.push_str(name);
        self.specs.push(ParameterSpec {
            name: full_name,
            shape: shape.to_vec(),
            role,
            block: self.block,
            initialization,
        });
        ParameterId(self.specs.len() - 1)
    }

    pub fn finish(self) -> Arc<[ParameterSpec]> {
        self.specs.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_present_values() {
        let spec = |name: &str| ParameterSpec {
            name: name.to_owned(),
            shape: vec![2],
            role: Role::Weight,
            block: 0,
            initialization: Initialization::Constant(1.0),
        };
        let mut parameters = Parameters::initialize(vec![spec("a"), spec("b")].into(), 0, &Device::flex());
        let copy = parameters.clone();
        let of_ones = parameters.hash(0).unwrap();
        assert_eq!(of_ones, retune_random::keyed_hash(0, &files::little_endian(&[1.0, 1.0])));
        assert_eq!(copy.hashes[0].get(), Some(&of_ones), "who shares a tensor shares its hash");
        parameters.set_values(0, vec![1.0, 2.0]);
        assert_eq!(parameters.hash(0).unwrap(), retune_random::keyed_hash(0, &files::little_endian(&[1.0, 2.0])));
        assert_eq!([0, 1].map(|index| copy.hash(index).unwrap()), [of_ones, of_ones]);
    }
}
