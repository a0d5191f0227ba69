//! Which source row each tap of a window reads, for every destination row.

/// Positions of a map that counts as small.
const SMALL_MAP: usize = 256;

/// One spatial direction of a window: for each tap and destination position, the source position.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// `taps × length`; negative where the tap reads padding.
    sources: Vec<isize>,
    length: usize,
    /// The positions in the order in which they are computed: those that read the same taps together.
    order: Vec<usize>,
}

impl Axis {
    /// The direction of a convolution's forward pass: the output position `o` reads
    /// `o · stride + tap − padding` of `input` positions.
    pub fn forward(output: usize, input: usize, taps: usize, stride: usize, padding: usize) -> Self {
        Self::new(output, taps, |at, tap| {
            let source = at * stride + tap;
            (source >= padding && source - padding < input).then(|| source - padding)
        })
    }

    /// The direction of its gradient: the input position `i` reads the output position whose tap lay
    /// on it, if there is one.
    pub fn backward(output: usize, input: usize, taps: usize, stride: usize, padding: usize) -> Self {
        let mut axis = Self::new(input, taps, |at, tap| {
            let shifted = (at + padding).checked_sub(tap)?;
            (shifted.is_multiple_of(stride) && shifted / stride < output).then(|| shifted / stride)
        });
        axis.order.sort_by_key(|at| (at + padding) % stride);
        axis
    }

    /// Positions that lie `stride` apart, each with a single tap.
    pub fn strided(length: usize, stride: usize) -> Self {
        Self::new(length, 1, |at, _| Some(at * stride))
    }

    fn new(length: usize, taps: usize, source: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let at = |index: usize| source(index % length, index / length).map_or(-1, |source| source as isize);
        let sources: Vec<isize> = (0..taps * length).map(at).collect();
        Self { sources, length, order: (0..length).collect() }
    }

    /// Whether most positions read all taps.
    fn is_even(&self) -> bool {
        self.sources.iter().filter(|source| **source < 0).count() * 4 <= self.sources.len()
    }

    fn scaled(mut self, step: usize) -> Self {
        self.sources.iter_mut().filter(|source| **source >= 0).for_each(|source| *source *= step as isize);
        self
    }

    fn taps(&self) -> usize {
        self.sources.len() / self.length.max(1)
    }

    /// The source of a tap at a position; negative for padding.
    pub fn source(&self, tap: usize, at: usize) -> isize {
        self.sources[tap * self.length + at]
    }

    /// Number of positions.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// For every destination row `(image, y, x)` and tap, the offset of its source row in values.
///
/// Rows of small maps are counted with the images innermost: neighboring rows are the same place of
/// different images, where a tap lies on the padding for all or for none of them and is skipped.
/// Rows of large maps are counted as they lie in memory.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    images: usize,
    image_stride: usize,
    vertical: Axis,
    horizontal: Axis,
    start: usize,
    images_innermost: bool,
    /// Whether most positions read all taps.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only a matrix unit asks"))]
    is_even: bool,
    /// Number and distance of the rows of a matrix, which has no axes.
    matrix: Option<(usize, usize)>,
}

/// The rows of a tile: for each its place.
pub(crate) struct Places<const ROWS: usize> {
    /// Number of each row in the destination, which has the images outermost.
    pub destination: [usize; ROWS],
    image_offset: [isize; ROWS],
    y: [usize; ROWS],
    x: [usize; ROWS],
}

impl Gather {
    /// Source rows of `row_stride` values, `columns` of them to a line, `image_stride` values to an
    /// image; the first value read of a row is `start` values into it.
    pub fn new(
        images: usize,
        image_stride: usize,
        (vertical, line_stride): (Axis, usize),
        (horizontal, row_stride): (Axis, usize),
        start: usize,
    ) -> Self {
        let positions = vertical.length * horizontal.length;
        // Where neighbors do not read the same taps, as in the gradient of a convolution that
        // strides, only the same place of other images does.
        let is_even = vertical.is_even() && horizontal.is_even();
        let images_innermost = images > 1 && (positions <= SMALL_MAP || !is_even);
        let (vertical, horizontal) = (vertical.scaled(line_stride), horizontal.scaled(row_stride));
        Self { images, image_stride, vertical, horizontal, start, images_innermost, is_even, matrix: None }
    }

    /// The rows of a matrix, `stride` values apart, the first of which begins at `start`.
    pub fn matrix(rows: usize, stride: usize, start: usize) -> Self {
        let axis = || Axis { sources: Vec::new(), length: 0, order: Vec::new() };
        Self {
            images: 1,
            image_stride: 0,
            vertical: axis(),
            horizontal: axis(),
            start,
            images_innermost: false,
            is_even: true,
            matrix: Some((rows, stride)),
        }
    }

    pub fn rows(&self) -> usize {
        if let Some((rows, _)) = self.matrix {
            return rows;
        }
        self.images * self.vertical.length * self.horizontal.length
    }

    pub fn taps(&self) -> usize {
        if self.matrix.is_some() {
            return 1;
        }
        self.vertical.taps() * self.horizontal.taps()
    }

    /// Whether most rows read all taps.
    #[cfg(target_arch = "x86_64")]
    pub fn is_even(&self) -> bool {
        self.is_even
    }

    /// The largest offset of any source row.
    pub fn largest_offset(&self) -> usize {
        if let Some((rows, stride)) = self.matrix {
            return self.start + rows.saturating_sub(1) * stride;
        }
        let largest = |axis: &Axis| axis.sources.iter().copied().max().unwrap_or(0).max(0) as usize;
        self.start
            + self.images.saturating_sub(1) * self.image_stride
            + largest(&self.vertical)
            + largest(&self.horizontal)
    }

    /// The places of `count` rows from `row` on.
    #[inline(always)]
    pub fn places<const ROWS: usize>(&self, row: usize, count: usize) -> Places<ROWS> {
        let mut places = Places { destination: [0; ROWS], image_offset: [-1; ROWS], y: [0; ROWS], x: [0; ROWS] };
        if let Some((_, stride)) = self.matrix {
            for index in 0..count.min(ROWS) {
                places.destination[index] = row + index;
                places.image_offset[index] = (self.start + (row + index) * stride) as isize;
            }
            return places;
        }
        let (lines, columns) = (self.vertical.length, self.horizontal.length);
        let positions = lines * columns;
        let (mut image, position) = match self.images_innermost {
            true => (row % self.images, row / self.images),
            false => (row / positions, row % positions),
        };
        let (mut y, mut x) = (position / columns, position % columns);
        for index in 0..ROWS {
            if index >= count {
                break;
            }
            let (place_y, place_x) = (self.vertical.order[y], self.horizontal.order[x]);
            places.destination[index] = image * positions + place_y * columns + place_x;
            places.image_offset[index] = (self.start + image * self.image_stride) as isize;
            (places.y[index], places.x[index]) = (place_y, place_x);
            if self.images_innermost {
                image += 1;
                if image < self.images {
                    continue;
                }
                image = 0;
            }
            x += 1;
            if x == columns {
                (x, y) = (0, y + 1);
                if y == lines {
                    (y, image) = (0, image + 1);
                }
            }
        }
        places
    }

    /// The source offsets of a tile's rows at a tap, negative for padding and idle rows; nothing if
    /// all are.
    #[inline(always)]
    pub fn offsets<const ROWS: usize>(&self, places: &Places<ROWS>, tap: usize) -> Option<[isize; ROWS]> {
        if self.matrix.is_some() {
            return Some(places.image_offset);
        }
        let columns = self.horizontal.taps();
        let vertical = &self.vertical.sources[tap / columns * self.vertical.length..][..self.vertical.length];
        let horizontal = &self.horizontal.sources[tap % columns * self.horizontal.length..][..self.horizontal.length];
        let mut offsets = [-1; ROWS];
        let mut any = false;
        for index in 0..ROWS {
            let (line, column) = (vertical[places.y[index]], horizontal[places.x[index]]);
            if line >= 0 && column >= 0 && places.image_offset[index] >= 0 {
                offsets[index] = places.image_offset[index] + line + column;
                any = true;
            }
        }
        any.then_some(offsets)
    }
}
