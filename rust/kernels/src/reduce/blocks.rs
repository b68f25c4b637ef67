//! How `[reduced, inner]` is cut into blocks whose partial results are combined in order.

/// Elements of a running result; longer rows are cut into chunks of columns of this size.
pub(crate) const CHUNK: usize = 512;

/// Blocks of rows times chunks of columns. Rows that are shorter than a chunk are combined several
/// at a time.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) reduced: usize,
    pub(crate) inner: usize,
    /// Columns of a chunk, and chunks.
    pub(crate) chunk: usize,
    pub(crate) chunks: usize,
    /// Rows that are combined side by side.
    pub(crate) group: usize,
    /// Rows of a block, and blocks.
    pub(crate) rows: usize,
    pub(crate) blocks: usize,
}

impl Blocks {
    /// Blocks of `depth` rows, or of `depth` groups of rows that together fill a chunk.
    pub(crate) fn new(reduced: usize, inner: usize, depth: usize) -> Blocks {
        let chunk = inner.clamp(1, CHUNK);
        let group = CHUNK / chunk;
        let rows = group * depth;
        Blocks {
            reduced,
            inner,
            chunk,
            chunks: inner.div_ceil(chunk),
            group,
            rows,
            blocks: reduced.div_ceil(rows),
        }
    }

    /// The rows of block `b`.
    #[inline]
    pub(crate) fn rows_of(&self, b: usize) -> std::ops::Range<usize> {
        b * self.rows..((b + 1) * self.rows).min(self.reduced)
    }

    /// The columns of chunk `c`.
    #[inline]
    pub(crate) fn columns_of(&self, c: usize) -> std::ops::Range<usize> {
        c * self.chunk..((c + 1) * self.chunk).min(self.inner)
    }
}
