//! Rows of components at the image's own size. Where chroma is halved, values in between are
//! interpolated: three parts of the nearer sample and one of the farther, with libjpeg's rounding.

/// How a component's samples become as many as the image has pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upsampling {
    /// There are as many already.
    None,
    /// Twice as wide, interpolated.
    Wide,
    /// Twice as high, interpolated.
    High,
    /// Twice as wide and high, interpolated.
    Both,
    /// Any other whole ratio, repeated.
    Repeat(usize, usize),
}

impl Upsampling {
    /// For ratios of width and height, and the width of the component. libjpeg does not interpolate rows of
    /// one or two samples.
    pub fn new(across: usize, down: usize, width: usize) -> Self {
        match (across, down) {
            (1, 1) => Upsampling::None,
            (1, 2) => Upsampling::High,
            (2, 1) if width > 2 => Upsampling::Wide,
            (2, 2) if width > 2 => Upsampling::Both,
            (across, down) => Upsampling::Repeat(across, down),
        }
    }

    /// Which rows of the component row `y` of the image is made of: the nearer, and the farther, which may lie
    /// outside of the component and stands then for the row at its edge.
    #[inline(always)]
    pub fn rows(self, y: usize) -> (usize, usize) {
        match self {
            Upsampling::None | Upsampling::Wide => (y, y),
            Upsampling::High | Upsampling::Both if y.is_multiple_of(2) => (y / 2, (y / 2).saturating_sub(1)),
            Upsampling::High | Upsampling::Both => (y / 2, y / 2 + 1),
            Upsampling::Repeat(_, down) => (y / down, y / down),
        }
    }
}

/// Fills `out` with twice as many samples as `row` has.
#[inline(always)]
pub(crate) fn wide(row: &[u8], out: &mut [u8]) {
    let n = row.len();
    let out = &mut out[..2 * n];
    let pairs = out[2..2 * n - 2].as_chunks_mut::<2>().0;
    for (pair, at) in pairs.iter_mut().zip(row.windows(3)) {
        let near = 3 * u16::from(at[1]);
        pair[0] = ((near + u16::from(at[0]) + 1) >> 2) as u8;
        pair[1] = ((near + u16::from(at[2]) + 2) >> 2) as u8;
    }
    out[0] = row[0];
    out[1] = ((3 * u16::from(row[0]) + u16::from(row[1]) + 2) >> 2) as u8;
    out[2 * n - 2] = ((3 * u16::from(row[n - 1]) + u16::from(row[n - 2]) + 1) >> 2) as u8;
    out[2 * n - 1] = row[n - 1];
}

/// Fills `out` with a row between two; rows above and below the nearer one round differently.
#[inline(always)]
pub(crate) fn high(near: &[u8], far: &[u8], above: bool, out: &mut [u8]) {
    let rounding = if above { 1 } else { 2 };
    for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
        *out = ((3 * u16::from(*near) + u16::from(*far) + rounding) >> 2) as u8;
    }
}

/// Fills `out` with twice as many samples as the rows have, between two rows. `sums` is room for one row.
#[inline(always)]
pub(crate) fn both(near: &[u8], far: &[u8], sums: &mut [u16], out: &mut [u8]) {
    let n = near.len();
    let sums = &mut sums[..n];
    for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * u16::from(*near) + u16::from(*far);
    }
    let out = &mut out[..2 * n];
    let pairs = out[2..2 * n - 2].as_chunks_mut::<2>().0;
    for (pair, at) in pairs.iter_mut().zip(sums.windows(3)) {
        pair[0] = ((3 * at[1] + at[0] + 8) >> 4) as u8;
        pair[1] = ((3 * at[1] + at[2] + 7) >> 4) as u8;
    }
    out[0] = ((4 * sums[0] + 8) >> 4) as u8;
    out[1] = ((3 * sums[0] + sums[1] + 7) >> 4) as u8;
    out[2 * n - 2] = ((3 * sums[n - 1] + sums[n - 2] + 8) >> 4) as u8;
    out[2 * n - 1] = ((4 * sums[n - 1] + 7) >> 4) as u8;
}

/// Fills `out` with each sample `times` times.
#[inline(always)]
pub(crate) fn repeat(row: &[u8], times: usize, out: &mut [u8]) {
    for (out, sample) in out.chunks_exact_mut(times).zip(row) {
        out.fill(*sample);
    }
}
