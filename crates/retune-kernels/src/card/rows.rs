//! Kernels in CubeCL for what needs whole rows of the last dimension. A group of threads has a row, each of them every so many vectors.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::num_traits::Zero;
use cubecl::prelude::*;
use cubecl::{CubeCount, CubeDim};

use super::layout::{Rows, addresses, element_type, empty, vector_of};

/// The sum of a vector's numbers over all threads of a group, for each of them.
#[cube]
fn total<N: Size>(value: Vector<f32, N>, shared: &mut Shared<[f32]>, #[comptime] group: usize) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for place in 0..N::value() {
        sum += value.extract(place);
    }
    of_group(sum, shared, group, false)
}

/// The largest of a vector's numbers over all threads of a group, for each of them.
#[cube]
fn largest<N: Size>(value: Vector<f32, N>, shared: &mut Shared<[f32]>, #[comptime] group: usize) -> f32 {
    let mut found = value.extract(0usize);
    #[unroll]
    for place in 1..N::value() {
        found = max(found, value.extract(place));
    }
    of_group(found, shared, group, true)
}

/// The sum, or the largest, of one number of each thread of a group.
#[cube]
fn of_group(number: f32, shared: &mut Shared<[f32]>, #[comptime] group: usize, #[comptime] is_largest: bool) -> f32 {
    let thread = UNIT_POS as usize;
    shared[thread] = number;
    sync_cube();
    let mut half = group.runtime() / 2;
    while half > 0 {
        if thread < half {
            let other = shared[thread + half];
            if is_largest {
                shared[thread] = max(shared[thread], other);
            } else {
                shared[thread] += other;
            }
        }
        sync_cube();
        half /= 2;
    }
    let found = shared[0];
    sync_cube();
    found
}

/// The mean of a row, and one over its deviation.
#[cube]
fn statistics<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    start: usize,
    columns: usize,
    epsilon: f32,
    shared: &mut Shared<[f32]>,
    #[comptime] group: usize,
) -> (f32, f32) {
    let count = f32::cast_from(columns * N::value());
    let mut sum = Vector::<f32, N>::zero();
    let mut column = UNIT_POS as usize;
    while column < columns {
        sum += Vector::cast_from(x[start + column]);
        column += group;
    }
    let mean = total::<N>(sum, shared, group) / count;
    let mut squares = Vector::<f32, N>::zero();
    let mut column = UNIT_POS as usize;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[start + column]);
        let centered = value - Vector::broadcast(mean);
        squares += centered * centered;
        column += group;
    }
    let variance = total::<N>(squares, shared, group) / count;
    (mean, 1.0f32 / (variance + epsilon).sqrt())
}

/// Normalizes a row: twice over it for mean and deviation, once for the output.
#[cube(launch, address_type = "dynamic")]
fn normalized<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    weight: &Tensor<Vector<E, N>>,
    bias: &Tensor<Vector<E, N>>,
    output: &mut Tensor<Vector<E, N>>,
    rows: usize,
    columns: usize,
    pitch: usize,
    epsilon: f32,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(group);
    let (mean, inverse) = statistics::<E, N>(x, row * pitch, columns, epsilon, &mut shared, group);
    let mut column = UNIT_POS as usize;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        let value = (value - Vector::broadcast(mean)) * Vector::broadcast(inverse);
        let value = value * Vector::cast_from(weight[column]) + Vector::cast_from(bias[column]);
        output[row * columns + column] = Vector::cast_from(value);
        column += group;
    }
}

/// The gradient of a row that was normalized, with the sums that it needs over the row.
#[cube(launch, address_type = "dynamic")]
fn normalized_backward<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    weight: &Tensor<Vector<E, N>>,
    gradient: &Tensor<Vector<E, N>>,
    dx: &mut Tensor<Vector<E, N>>,
    products: &mut Tensor<Vector<E, N>>,
    rows: usize,
    columns: usize,
    pitch: usize,
    gradient_pitch: usize,
    epsilon: f32,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(group);
    let (mean, inverse) = statistics::<E, N>(x, row * pitch, columns, epsilon, &mut shared, group);
    let mut sum = Vector::<f32, N>::zero();
    let mut along = Vector::<f32, N>::zero();
    let mut column = UNIT_POS as usize;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        let value = (value - Vector::broadcast(mean)) * Vector::broadcast(inverse);
        let change: Vector<f32, N> = Vector::cast_from(gradient[row * gradient_pitch + column]);
        let scaled = change * Vector::cast_from(weight[column]);
        sum += scaled;
        along += scaled * value;
        products[row * columns + column] = Vector::cast_from(change * value);
        column += group;
    }
    let count = f32::cast_from(columns * N::value());
    let sum = total::<N>(sum, &mut shared, group) / count;
    let along = total::<N>(along, &mut shared, group) / count;
    let mut column = UNIT_POS as usize;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        let value = (value - Vector::broadcast(mean)) * Vector::broadcast(inverse);
        let change: Vector<f32, N> = Vector::cast_from(gradient[row * gradient_pitch + column]);
        let scaled = change * Vector::cast_from(weight[column]);
        let rest = scaled - Vector::broadcast(sum) - value * Vector::broadcast(along);
        dx[row * columns + column] = Vector::cast_from(rest * Vector::broadcast(inverse));
        column += group;
    }
}

/// The softmax of a row: its largest number, the sum of exponentials, the weights.
#[cube(launch, address_type = "dynamic")]
fn softmax_of_rows<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    weights: &mut Tensor<Vector<E, N>>,
    rows: usize,
    columns: usize,
    pitch: usize,
    scale: f32,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(group);
    let thread = UNIT_POS as usize;
    // A thread without a column repeats the first one.
    let first: Vector<f32, N> = Vector::cast_from(x[row * pitch + select(thread < columns, thread, 0)]);
    let mut most = first * Vector::broadcast(scale);
    let mut column = thread;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        most = max(most, value * Vector::broadcast(scale));
        column += group;
    }
    let most = largest::<N>(most, &mut shared, group);
    let mut sum = Vector::<f32, N>::zero();
    let mut column = thread;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        sum += (value * Vector::broadcast(scale) - Vector::broadcast(most)).exp();
        column += group;
    }
    let inverse = 1.0f32 / total::<N>(sum, &mut shared, group);
    let mut column = thread;
    while column < columns {
        let value: Vector<f32, N> = Vector::cast_from(x[row * pitch + column]);
        let value = (value * Vector::broadcast(scale) - Vector::broadcast(most)).exp();
        weights[row * columns + column] = Vector::cast_from(value * Vector::broadcast(inverse));
        column += group;
    }
}

/// The gradient of a row whose softmax is `weights`.
#[cube(launch, address_type = "dynamic")]
fn softmax_of_rows_backward<E: Float, N: Size>(
    weights: &Tensor<Vector<E, N>>,
    gradient: &Tensor<Vector<E, N>>,
    dx: &mut Tensor<Vector<E, N>>,
    rows: usize,
    columns: usize,
    pitch: usize,
    gradient_pitch: usize,
    scale: f32,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(group);
    let mut sum = Vector::<f32, N>::zero();
    let mut column = UNIT_POS as usize;
    while column < columns {
        let weight: Vector<f32, N> = Vector::cast_from(weights[row * pitch + column]);
        sum += weight * Vector::cast_from(gradient[row * gradient_pitch + column]);
        column += group;
    }
    let sum = total::<N>(sum, &mut shared, group);
    let mut column = UNIT_POS as usize;
    while column < columns {
        let weight: Vector<f32, N> = Vector::cast_from(weights[row * pitch + column]);
        let change: Vector<f32, N> = Vector::cast_from(gradient[row * gradient_pitch + column]);
        let found = weight * (change - Vector::broadcast(sum)) * Vector::broadcast(scale);
        dx[row * columns + column] = Vector::cast_from(found);
        column += group;
    }
}

/// The gradients of a row of a weight and of its factor.
#[cube(launch, address_type = "dynamic")]
fn scaled_backward<E: Float, N: Size>(
    weight: &Tensor<Vector<E, N>>,
    gradient: &Tensor<Vector<E, N>>,
    scale: &Tensor<E>,
    of_weight: &mut Tensor<Vector<E, N>>,
    of_scale: &mut Tensor<E>,
    rows: usize,
    columns: usize,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = Shared::<[f32]>::new_slice(group);
    let factor = f32::cast_from(scale[row]);
    let mut sum = Vector::<f32, N>::zero();
    let mut place = row * columns + UNIT_POS as usize;
    while place < (row + 1) * columns {
        let change: Vector<f32, N> = Vector::cast_from(gradient[place]);
        sum += change * Vector::cast_from(weight[place]);
        of_weight[place] = Vector::cast_from(change * Vector::broadcast(factor));
        place += group;
    }
    let sum = total::<N>(sum, &mut shared, group);
    if UNIT_POS == 0 {
        of_scale[row] = E::cast_from(sum);
    }
}

/// The threads of a row of so many vectors, with about four for each thread: a power of two, so that sums can be halved.
fn group_of(columns: usize) -> usize {
    (columns / 4).next_power_of_two().clamp(32, 256)
}

/// A group for each row. A device allows so many groups along one direction only.
fn groups(rows: usize) -> CubeCount {
    const ALONG: usize = 1 << 15;
    CubeCount::new_2d(rows.min(ALONG) as u32, rows.div_ceil(ALONG).max(1) as u32)
}

/// Each row of `x` `[.., columns]`, normalized and times `weight` plus `bias`, both `[columns]`.
pub(super) fn normalize(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, epsilon: f64) -> CubeTensor {
    let output = empty(&x, x.meta.shape().clone());
    let x = Rows::of(x);
    let vector = x.vector();
    let (columns, element) = (x.columns / vector, element_type(&output));
    let group = group_of(columns);
    normalized::launch(
        &output.client.clone(),
        groups(x.rows),
        CubeDim::new_1d(group as u32),
        addresses(&[&x.tensor, &output]),
        vector,
        x.tensor.into_tensor_arg(),
        into_contiguous(weight).into_tensor_arg(),
        into_contiguous(bias).into_tensor_arg(),
        output.clone().into_tensor_arg(),
        x.rows,
        columns,
        x.pitch / vector,
        epsilon as f32,
        group,
        element,
    );
    output
}

/// The gradient of the input of [`normalize`], and for each value the gradient of the output times what was normalized; both as `x`.
pub(super) fn normalize_backward(
    x: CubeTensor,
    weight: CubeTensor,
    gradient: CubeTensor,
    epsilon: f64,
) -> (CubeTensor, CubeTensor) {
    let [dx, products] = [(); 2].map(|()| empty(&x, x.meta.shape().clone()));
    let (x, gradient) = (Rows::of(x), Rows::of(gradient));
    let vector = x.vector().min(gradient.vector());
    let (columns, element) = (x.columns / vector, element_type(&dx));
    let group = group_of(columns);
    normalized_backward::launch(
        &dx.client.clone(),
        groups(x.rows),
        CubeDim::new_1d(group as u32),
        addresses(&[&x.tensor, &gradient.tensor, &dx]),
        vector,
        x.tensor.into_tensor_arg(),
        into_contiguous(weight).into_tensor_arg(),
        gradient.tensor.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        products.clone().into_tensor_arg(),
        x.rows,
        columns,
        x.pitch / vector,
        gradient.pitch / vector,
        epsilon as f32,
        group,
        element,
    );
    (dx, products)
}

/// The softmax of `x · scale` `[.., columns]` over the columns.
pub(super) fn softmax(x: CubeTensor, scale: f64) -> CubeTensor {
    let weights = empty(&x, x.meta.shape().clone());
    let x = Rows::of(x);
    let vector = x.vector();
    let (columns, element) = (x.columns / vector, element_type(&weights));
    let group = group_of(columns);
    softmax_of_rows::launch(
        &weights.client.clone(),
        groups(x.rows),
        CubeDim::new_1d(group as u32),
        addresses(&[&x.tensor, &weights]),
        vector,
        x.tensor.into_tensor_arg(),
        weights.clone().into_tensor_arg(),
        x.rows,
        columns,
        x.pitch / vector,
        scale as f32,
        group,
        element,
    );
    weights
}

/// The gradient of the input of [`softmax`], from its output.
pub(super) fn softmax_backward(weights: CubeTensor, gradient: CubeTensor, scale: f64) -> CubeTensor {
    let dx = empty(&weights, weights.meta.shape().clone());
    let (weights, gradient) = (Rows::of(weights), Rows::of(gradient));
    let vector = weights.vector().min(gradient.vector());
    let (columns, element) = (weights.columns / vector, element_type(&dx));
    let group = group_of(columns);
    softmax_of_rows_backward::launch(
        &dx.client.clone(),
        groups(weights.rows),
        CubeDim::new_1d(group as u32),
        addresses(&[&weights.tensor, &gradient.tensor, &dx]),
        vector,
        weights.tensor.into_tensor_arg(),
        gradient.tensor.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        weights.rows,
        columns,
        weights.pitch / vector,
        gradient.pitch / vector,
        scale as f32,
        group,
        element,
    );
    dx
}

/// The gradients of a weight `[outputs, ..]` and of a factor for each output `[outputs]`, from that of their product.
pub(super) fn scale_backward(weight: CubeTensor, scale: CubeTensor, gradient: CubeTensor) -> (CubeTensor, CubeTensor) {
    let [of_weight, of_scale] = [&weight, &scale].map(|like| empty(like, like.meta.shape().clone()));
    let [weight, scale, gradient] = [weight, scale, gradient].map(into_contiguous);
    let rows = scale.meta.num_elements();
    let columns = weight.meta.num_elements() / rows.max(1);
    let vector = vector_of(&[columns]);
    let (columns, element) = (columns / vector, element_type(&of_weight));
    let group = group_of(columns);
    scaled_backward::launch(
        &of_weight.client.clone(),
        groups(rows),
        CubeDim::new_1d(group as u32),
        addresses(&[&weight]),
        vector,
        weight.into_tensor_arg(),
        gradient.into_tensor_arg(),
        scale.into_tensor_arg(),
        of_weight.clone().into_tensor_arg(),
        of_scale.clone().into_tensor_arg(),
        rows,
        columns,
        group,
        element,
    );
    (of_weight, of_scale)
}
