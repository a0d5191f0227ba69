//! Copies of the lines that windows see.

use std::ops::Range;

use super::STRIP;
use crate::workspace::Workspace;

/// Copies of the last lines of an image that were read, `[strips, lines, columns, STRIP]`.
pub(super) struct Lines<'a> {
    image: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    pub strips: Range<usize>,
    /// Of the copies, inside the image or not.
    pub columns: Range<isize>,
    /// How many lines are kept.
    kept: usize,
    /// The line that is read next.
    next: isize,
    values: Workspace,
    /// Where the copies begin: at a cache line.
    start: usize,
}

impl<'a> Lines<'a> {
    pub fn new(
        image: &'a [f32],
        (height, width): (usize, usize),
        channels: usize,
        strips: Range<usize>,
        columns: Range<isize>,
        kept: usize,
    ) -> Self {
        let values = Workspace::new((strips.len() * kept * columns.len() + 1) * STRIP);
        let start = values.as_ptr().align_offset(STRIP * size_of::<f32>()).min(STRIP);
        Self { image, height, width, channels, strips, columns, kept, next: isize::MIN, values, start }
    }

    /// Where the copy of a line begins in each strip. Not for inner loops: it divides.
    #[inline(always)]
    pub fn place(&self, line: isize) -> usize {
        line.rem_euclid(self.kept as isize) as usize * self.columns.len() * STRIP
    }

    /// The copies of a strip, the strips being counted from the first of these.
    #[inline(always)]
    pub fn strip(&self, strip: usize) -> &[f32] {
        let len = self.kept * self.columns.len() * STRIP;
        &self.values[self.start + strip * len..][..len]
    }

    /// Reads lines up to `last`. Then the last `kept` lines are there.
    #[inline(always)]
    pub fn read_to(&mut self, last: isize) {
        for line in self.next.max(last + 1 - self.kept as isize)..last + 1 {
            self.read(line);
        }
        self.next = self.next.max(last + 1);
    }

    #[inline(always)]
    fn read(&mut self, line: isize) {
        let row = self.width * self.channels;
        let from = match usize::try_from(line).ok().filter(|line| *line < self.height) {
            Some(line) => &self.image[line * row..][..row],
            None => &[],
        };
        let width = (from.len() / self.channels.max(1)) as isize;
        let inside = self.columns.start.clamp(0, width)..self.columns.end.clamp(0, width);
        let at = |column: isize| (column - self.columns.start).clamp(0, self.columns.len() as isize) as usize * STRIP;
        let (before, after) = (at(inside.start), at(inside.end).max(at(inside.start)));
        let len = self.columns.len() * STRIP;
        let (first, apart) = (self.start + self.place(line), self.kept * len);
        for strip in 0..self.strips.len() {
            let to = &mut self.values[first + strip * apart..][..len];
            to[..before].fill(0.0);
            to[after..].fill(0.0);
        }
        let pixels = inside.start as usize..inside.end.max(inside.start) as usize;
        let from = from[pixels.start * self.channels..pixels.end * self.channels].chunks_exact(self.channels.max(1));
        for (pixel, from) in from.enumerate() {
            let channels = self.strips.start * STRIP..self.channels.min(self.strips.end * STRIP);
            let (whole, rest) = from[channels].as_chunks::<STRIP>();
            let mut place = first + before + pixel * STRIP;
            for from in whole {
                self.values[place..][..STRIP].copy_from_slice(from);
                place += apart;
            }
            if !rest.is_empty() {
                let to = &mut self.values[place..][..STRIP];
                to[..rest.len()].copy_from_slice(rest);
                to[rest.len()..].fill(0.0);
            }
        }
    }
}
