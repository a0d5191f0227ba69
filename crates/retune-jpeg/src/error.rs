/// Why a JPEG could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// A legal kind of JPEG that is not read, or more than anybody's decoder reads.
    #[error("{0}")]
    Unsupported(String),
    /// The file ends before its image does.
    #[error("the file ends before its image is complete")]
    EndsEarly,
    /// The file contradicts itself or the standard.
    #[error("{0}")]
    Damaged(&'static str),
}
