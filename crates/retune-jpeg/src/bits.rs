//! Bits out of entropy-coded data.

/// Reads the bits of one entropy-coded segment, up to the next marker. Past the end it gives zeros, and
/// [`BitReader::overran`] tells so.
#[derive(Clone, Copy)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    /// The next bits, from the highest down.
    bits: u64,
    /// How many of `bits` are valid.
    count: u32,
    /// How many zeros were appended to the data in all.
    appended: u64,
    /// How many codes were in no table.
    bad_codes: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(data: &'a [u8], position: usize) -> Self {
        BitReader { data, position, bits: 0, count: 0, appended: 0, bad_codes: 0 }
    }

    /// Makes sure of 32 bits, enough for a code and the bits after it.
    #[inline(always)]
    pub fn refill(&mut self) {
        if self.count < 32 {
            self.refill_now();
        }
    }

    #[inline(always)]
    fn refill_now(&mut self) {
        if let Some(next) = self.data.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            let next = u64::from_be_bytes(*next);
            // Whether a byte is 0xFF: adding 1 to it carries.
            let inverse = !next;
            let no_marker = inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080 == 0;
            if no_marker {
                self.bits |= next >> self.count;
                self.position += ((63 - self.count) >> 3) as usize;
                self.count |= 56;
                return;
            }
        }
        // By value, so that the reader can stay in registers.
        *self = self.refilled_by_byte();
    }

    #[cold]
    #[inline(never)]
    fn refilled_by_byte(mut self) -> Self {
        // What lies below the valid bits is the same as what is put there now, or is ended by a marker.
        self.bits &= !(u64::MAX >> self.count);
        while self.count <= 56 {
            let Some((byte, length)) = data_byte(&self.data[self.position..]) else {
                self.appended += u64::from(64 - self.count);
                self.count = 64;
                return self;
            };
            self.position += length;
            self.bits |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        self
    }

    /// The next bits as a number, without going on. `count` is from 1 to what [`Self::refill`] made sure of.
    #[inline(always)]
    pub fn peek(&self, count: u32) -> u64 {
        self.bits >> (64 - count)
    }

    #[inline(always)]
    pub fn consume(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    /// The next `count` bits, from 0 to 16, of those that [`Self::refill`] made sure of.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u32 {
        let value = (self.bits >> 32) as u32;
        self.consume(count);
        (u64::from(value) >> (32 - count)) as u32
    }

    #[inline(always)]
    pub fn bit(&mut self) -> bool {
        self.refill();
        self.take(1) == 1
    }

    /// The whole file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Whether more bits were taken than there are.
    pub fn overran(&self) -> bool {
        self.appended > u64::from(self.count)
    }

    /// Where the data goes on after the bits that were taken.
    pub fn end(&self) -> usize {
        self.position
    }

    /// Whether the file ends where the data does, so that no marker says that the data is complete.
    pub fn file_ended(&self) -> bool {
        self.data[self.position..].iter().all(|byte| *byte == 0xFF)
    }

    /// Whole bytes that were read ahead and not taken.
    pub fn ahead(&self) -> usize {
        (u64::from(self.count).saturating_sub(self.appended) / 8) as usize
    }

    /// Notes a code that is in no table.
    pub fn note_bad_code(&mut self) {
        self.bad_codes += 1;
    }

    /// How many codes were in no table.
    pub fn bad_codes(&self) -> usize {
        self.bad_codes
    }

    /// Goes on at another position, with no bits kept.
    pub fn restart(&mut self, position: usize) {
        *self = BitReader { bad_codes: self.bad_codes, ..BitReader::new(self.data, position) };
    }
}

/// The first byte of entropy-coded data and how many bytes of the file it takes; `None` at a marker and at the end
/// of the file. A zero follows a byte of 0xFF; as in libjpeg, any number of 0xFF before the zero counts as one.
pub(crate) fn data_byte(data: &[u8]) -> Option<(u8, usize)> {
    match *data.first()? {
        0xFF => {
            let fill = data.iter().take_while(|byte| **byte == 0xFF).count();
            (data.get(fill) == Some(&0)).then_some((0xFF, fill + 1))
        }
        byte => Some((byte, 1)),
    }
}
