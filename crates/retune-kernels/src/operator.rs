//! How an operator of this crate becomes an operation on Burn's tensors.
//!
//! Burn calls its backends through a trait of all operations. This is one more operation for its CPU
//! backend, which runs any [`Operator`]; and for automatic differentiation on top of it, which keeps
//! what the operator asks for and calls it again on the way back.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchTensor, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};

/// A contiguous tensor of the CPU backend.
#[derive(Clone, Debug)]
pub struct Array(FloatTensor<Flex>);

impl Array {
    /// An array of `values`.
    pub fn new(values: Vec<f32>, shape: &[usize]) -> Self {
        Self(Flex::float_from_data(TensorData::new(values, shape.to_vec()), &Default::default()))
    }

    fn contiguous(tensor: FloatTensor<Flex>) -> Self {
        Self(if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() })
    }

    /// Its values, row-major.
    pub fn values(&self) -> &[f32] {
        self.0.as_slice().expect("an array is made contiguous, of 32-bit floats")
    }

    /// Its values, taken over if nobody else holds them.
    pub fn into_values(self) -> Vec<f32> {
        let data = self.0.into_data();
        data.try_into_vec().expect("an array is made of 32-bit floats")
    }
}

/// A differentiable function of arrays.
pub trait Operator: Debug + Send + Sync + 'static {
    /// Its value.
    fn forward(&self, inputs: &[Array]) -> Array;

    /// What the backward pass will need for the gradients in `wanted` (one place for each input).
    fn needs(&self, wanted: &[bool]) -> Needs;

    /// The gradient of each input in `wanted`, from the output's.
    fn backward(&self, kept: Kept, gradient: Array, wanted: &[bool]) -> Vec<Option<Array>>;
}

/// What an operator's backward pass needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Whether each of the inputs.
    pub inputs: Vec<bool>,
    /// Whether the output.
    pub output: bool,
}

/// What was kept for the backward pass, where it was needed.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Each of the inputs.
    pub inputs: Vec<Option<Array>>,
    /// The output.
    pub output: Option<Array>,
}

impl Kept {
    /// An input that the operator has said it needs.
    pub(crate) fn input(&self, index: usize) -> &Array {
        self.inputs[index].as_ref().expect("an input that `needs` has asked for")
    }

    /// The output, where the operator has said it needs it.
    pub(crate) fn output(&self) -> &Array {
        self.output.as_ref().expect("an output that `needs` has asked for")
    }
}

/// Most inputs of an operator.
const MAX_INPUTS: usize = 5;

/// Burn's CPU backend with this crate's operators. Burn chooses a backend by single tensors, not by
/// lists of them: the places that an operator does not use repeat its first input.
#[backend_extension(Flex, Autodiff)]
pub trait FusedBackend: Backend {
    /// The operator's value at the leading `count` tensors.
    fn fused(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        count: usize,
        operator: Arc<dyn Operator>,
    ) -> FloatTensor<Self>;
}

impl FusedBackend for Flex {
    fn fused(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        count: usize,
        operator: Arc<dyn Operator>,
    ) -> FloatTensor<Self> {
        let inputs = [first, second, third, fourth, fifth];
        let inputs: Vec<Array> = inputs.into_iter().take(count).map(Array::contiguous).collect();
        operator.forward(&inputs).0
    }
}

impl<C: CheckpointStrategy> FusedBackend for Autodiff<Flex, C> {
    fn fused(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        fourth: FloatTensor<Self>,
        fifth: FloatTensor<Self>,
        count: usize,
        operator: Arc<dyn Operator>,
    ) -> FloatTensor<Self> {
        let inputs = [first, second, third, fourth, fifth];
        match count {
            1 => tracked::<C, 1>(inputs, operator),
            2 => tracked::<C, 2>(inputs, operator),
            3 => tracked::<C, 3>(inputs, operator),
            4 => tracked::<C, 4>(inputs, operator),
            _ => tracked::<C, MAX_INPUTS>(inputs, operator),
        }
    }
}

#[derive(Debug)]
struct FusedBackward;

/// What is kept for the backward pass, and whose it is.
#[derive(Clone, Debug)]
struct State {
    operator: Arc<dyn Operator>,
    kept: Kept,
}

impl<const N: usize> Backward<Flex, N> for FusedBackward {
    type State = State;

    fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { operator, kept } = ops.state;
        let gradient = Array::contiguous(gradients.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = operator.backward(kept, gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                gradients.register::<Flex>(parent.id, gradient.0);
            }
        }
    }
}

fn tracked<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; MAX_INPUTS],
    operator: Arc<dyn Operator>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let wanted = inputs.each_ref().map(is_tracked::<C>);
    let (arrays, nodes): (Vec<_>, Vec<_>) = inputs
        .into_iter()
        .take(N)
        .map(|input| {
            let (tensor, node) = input.into_parts();
            (Array::contiguous(tensor), node)
        })
        .unzip();
    let Ok(nodes): Result<[_; N], _> = nodes.try_into() else { unreachable!("no more than N inputs were taken") };
    let output = operator.forward(&arrays);
    match FusedBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(tracked) => {
            let needs = operator.needs(&wanted[..N]);
            let inputs = arrays.into_iter().zip(needs.inputs).map(|(array, needed)| needed.then_some(array)).collect();
            let kept = Kept { inputs, output: needs.output.then(|| output.clone()) };
            tracked.finish(State { operator, kept }, output.0)
        }
        OpsKind::UnTracked(untracked) => untracked.finish(output.0),
    }
}

/// Whether a tensor depends on one that gradients are asked for. Burn tells only an operation in
/// preparation, so one is prepared and dropped.
fn is_tracked<C: CheckpointStrategy>(tensor: &FloatTensor<Autodiff<Flex, C>>) -> bool {
    let preparation = Backward::<Flex, 1>::prepare::<C>(FusedBackward, [tensor.node()]);
    matches!(preparation.compute_bound().stateful(), OpsKind::Tracked(_))
}

/// Runs an operator of one to five inputs on tensors of the CPU.
pub(crate) fn run<const D: usize>(inputs: Vec<DispatchTensor>, operator: impl Operator) -> Tensor<D> {
    let count = inputs.len();
    assert!((1..=MAX_INPUTS).contains(&count), "one to five inputs");
    let mut places = inputs.iter().cloned().chain(std::iter::repeat(inputs[0].clone()));
    let mut next = || places.next().expect("an endless sequence");
    let places = [next(), next(), next(), next(), next()];
    drop(inputs);
    let [first, second, third, fourth, fifth] = places;
    Tensor::from_dispatch(Dispatch::fused(first, second, third, fourth, fifth, count, Arc::new(operator)))
}
