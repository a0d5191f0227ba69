//! How much a Parquet file may expand to. Run lengths let a hundred bytes stand for billions of values, in files that
//! break no rule of the format; no file of images or features comes near these bounds.

use ::parquet::basic::Compression;
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result as ParquetResult};

use super::{decompress, delta};

/// What any file may expand to, in values or bytes.
const ALWAYS_ALLOWED: u64 = 1 << 24;

/// Values, or bytes of text and images, for each byte of the file.
const EXPANSION: u64 = 64;

/// Rows of any file, and rows for each byte of a larger one: less than a bit for each is no data set.
const ALWAYS_ALLOWED_ROWS: u64 = 1 << 16;
const ROWS_FOR_BYTE: u64 = 8;

/// The most values of a column, or bytes of text or of neighboring images, that a file of `length` bytes may hold.
pub(crate) fn most_values(length: u64) -> u64 {
    length.saturating_mul(EXPANSION).max(ALWAYS_ALLOWED)
}

/// The most rows that a file of `length` bytes may have.
pub(crate) fn most_rows(length: u64) -> u64 {
    length.saturating_mul(ROWS_FOR_BYTE).max(ALWAYS_ALLOWED_ROWS)
}

/// The decompressed pages of a column, as long as they have no more values or bytes together than the file can hold, no
/// more values than they say, and repeat no more of the text before.
pub(super) struct BoundedPages<P> {
    /// As they lie in the file.
    pages: P,
    codec: Compression,
    left_values: u64,
    left_bytes: u64,
    left_repeated: u64,
    /// Kinds of levels that the column has, 0 to 2.
    level_kinds: usize,
}

impl<P: PageReader> BoundedPages<P> {
    /// Of pages that `codec` compressed; `most` values, bytes, and bytes of repeated text.
    pub(super) fn new(pages: P, codec: Compression, most: u64, level_kinds: usize) -> Self {
        Self { pages, codec, left_values: most, left_bytes: most, left_repeated: most, level_kinds }
    }

    fn counted(&mut self, page: Option<Page>) -> ParquetResult<Option<Page>> {
        let Some(page) = page else { return Ok(None) };
        let refused = || ParquetError::General("it announces more values than it can hold".to_owned());
        self.left_values = self.left_values.checked_sub(u64::from(page.num_values())).ok_or_else(refused)?;
        let (page, bytes) = decompress::page(page, self.codec, self.left_bytes)?;
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        let repeated = delta::repeated_bytes(&page, self.level_kinds).ok_or_else(refused)?;
        self.left_repeated = self.left_repeated.checked_sub(repeated).ok_or_else(|| {
            ParquetError::General("its texts repeat more of one another than such a file can hold".to_owned())
        })?;
        Ok(Some(page))
    }
}

impl<P: PageReader> Iterator for BoundedPages<P> {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<P: PageReader> PageReader for BoundedPages<P> {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        self.counted(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.take_deferred_dictionary()?;
        self.counted(page)
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}
