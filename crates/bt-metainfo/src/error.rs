//! Why a torrent is refused.
//!
//! Decides: the closed list of reasons, each with a stable code.
//! Must not know: how they are printed.
//! Invariant: a text quotes at most one short, printable part of the input.

use alloc::string::String;
use bt_bencoding::ScanError;
use bt_types::GeometryError;

/// Why bytes are not a torrent that we accept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetainfoError {
    /// Not well-formed bencode, or cut off, or too deep, or too large.
    #[error("it is not well-formed bencode: {0}")]
    Bencode(#[from] ScanError),
    /// The outermost value is not a dictionary.
    #[error("it is bencode, but not a torrent: the outermost value is not a dictionary")]
    NotATorrent,
    /// A key that every torrent has is missing.
    #[error("the key \"{0}\" is missing")]
    MissingKey(&'static str),
    /// The value of a key is of another type than the format says.
    #[error("the value of \"{0}\" is of the wrong type")]
    WrongType(&'static str),
    /// `info` is neither version 1 nor version 2 of the format.
    #[error("its format version {0} is newer than this program")]
    UnsupportedVersion(i64),
    /// The format does not allow this piece length.
    #[error("the piece length {0} is not allowed")]
    PieceLength(i64),
    /// The size of a file is negative, or the sizes add up to more than we accept.
    #[error("the size of a file is negative or too large")]
    FileSize,
    /// The pieces do not fit our limits.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The number of piece hashes does not fit the sizes.
    #[error("{found} bytes of piece hashes do not fit the {expected} pieces that the sizes make")]
    PieceHashes {
        /// Number of pieces by the file sizes.
        expected: u32,
        /// Length of the hashes in bytes.
        found: usize,
    },
    /// It lists no file.
    #[error("it lists no file")]
    NoFiles,
    /// It lists more files than we accept.
    #[error("it lists more than {0} files")]
    TooManyFiles(usize),
    /// A path that would lead out of the download directory.
    #[error("the file path \"{0}\" would lead out of the download directory")]
    UnsafePath(String),
    /// A path with too many components, too many bytes or none.
    #[error("the file path \"{0}\" is empty, too deep or too long")]
    PathLength(String),
    /// A v2 `info` whose dictionary keys are not sorted, or whose numbers are odd.
    #[error(
        "its version 2 \"info\" is not canonical: keys are not sorted, or numbers have leading zeros"
    )]
    NotCanonical,
    /// The two halves of a hybrid torrent list different files.
    #[error("it is a hybrid torrent whose two halves list different files")]
    HybridMismatch,
    /// The torrent is valid, but we cannot transfer it.
    #[error(
        "it is a version 2 torrent without a version 1 side, and getting those is not supported yet; a hybrid torrent works"
    )]
    V2Unsupported,
}

impl MetainfoError {
    /// Returns the code in `bt.error/1` objects: stable, in snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            MetainfoError::Bencode(_) => "invalid_bencode",
            MetainfoError::NotATorrent => "not_a_torrent",
            MetainfoError::MissingKey(_) => "missing_key",
            MetainfoError::WrongType(_) => "wrong_type",
            MetainfoError::UnsupportedVersion(_) => "unsupported_version",
            MetainfoError::PieceLength(_) => "invalid_piece_length",
            MetainfoError::FileSize => "invalid_file_size",
            MetainfoError::Geometry(_) => "invalid_geometry",
            MetainfoError::PieceHashes { .. } => "invalid_piece_hashes",
            MetainfoError::NoFiles => "no_files",
            MetainfoError::TooManyFiles(_) => "too_many_files",
            MetainfoError::UnsafePath(_) => "unsafe_path",
            MetainfoError::PathLength(_) => "invalid_path_length",
            MetainfoError::NotCanonical => "not_canonical",
            MetainfoError::HybridMismatch => "hybrid_mismatch",
            MetainfoError::V2Unsupported => "v2_unsupported",
        }
    }
}
