//! Errors of the hub, each in one sentence.

use std::path::PathBuf;

use thiserror::Error;

use super::RepositoryKind;

/// Why a model or data set could not be fetched from the hub. Every message is one sentence that says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not a name of the form `OWNER/NAME[@REVISION]`.
    #[error("\"{name}\" is not a valid {kind} name of the hub: {reason}")]
    InvalidName {
        /// What it should name.
        kind: RepositoryKind,
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing says where the cache is.
    #[error("there is no home directory to cache files in; set HF_HOME to a folder")]
    NoHome,
    /// Offline, and the cache lacks a file.
    #[error(
        "{lacks} is not in the cache {} and HF_HUB_OFFLINE is set; unset it, or download the model once while online",
        cache_dir.display(), lacks = lacking(model, *file)
    )]
    NotCached {
        /// The model wanted.
        model: String,
        /// The file that is not there, where others of the model are.
        file: Option<&'static str>,
        /// The cache searched.
        cache_dir: PathBuf,
    },
    /// Offline, and the cache lacks a file of a data set, or all of it.
    #[error("{what} is not in the cache {} and HF_HUB_OFFLINE is set; unset it, or run the command once while online", cache_dir.display())]
    NotInCache {
        /// The data set, or a file of it.
        what: String,
        /// The cache searched.
        cache_dir: PathBuf,
    },
    /// A data set of several configurations, of which none was named.
    #[error(
        "{repository} holds several data sets, {}; name one, as in hf:{repository}/{}",
        configurations.join(", "), configurations.first().map_or("NAME", String::as_str)
    )]
    SeveralConfigurations {
        /// `OWNER/NAME`.
        repository: String,
        /// Their names.
        configurations: Vec<String>,
    },
    /// A data set has no such configuration.
    #[error("{repository} has no data set {configuration}; it has {}", if configurations.is_empty() { "one without a name".to_owned() } else { configurations.join(", ") })]
    NoSuchConfiguration {
        /// `OWNER/NAME`.
        repository: String,
        /// The one wanted.
        configuration: String,
        /// Those there are.
        configurations: Vec<String>,
    },
    /// A data set in another form than images or Parquet files.
    #[error("{repository} has no Parquet files, images, or tar archives{found}{advice}")]
    NoImages {
        /// `OWNER/NAME`.
        repository: String,
        /// What it holds instead, in words.
        found: String,
        /// What to try, in words.
        advice: String,
    },
    /// The repository does not exist, or is private.
    #[error(
        "{endpoint} has no {kind} {repository} that you may read; check the name{suggestion}, or set HF_TOKEN if it is private"
    )]
    RepositoryNotFound {
        /// What was looked for.
        kind: RepositoryKind,
        /// Address of the hub.
        endpoint: String,
        /// `OWNER/NAME`.
        repository: String,
        /// ` (did you mean …?)`, or nothing.
        suggestion: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no revision {revision}; leave out \"{}{revision}\" to use its main branch", kind.revision_mark())]
    RevisionNotFound {
        /// What was looked for.
        kind: RepositoryKind,
        /// `OWNER/NAME`.
        repository: String,
        /// The revision wanted.
        revision: String,
    },
    /// The repository lacks a file that a model needs.
    #[error(
        "{repository} has no {file}, so it is not a model in timm's format; choose a repository that `retune models` lists"
    )]
    FileNotFound {
        /// `OWNER/NAME`.
        repository: String,
        /// The file or files looked for.
        file: String,
    },
    /// The terms of a gated repository are not accepted, or no token was sent.
    #[error(
        "{repository} is gated; accept its terms at {endpoint}/{}{repository} and set HF_TOKEN to a token of that account",
        kind.address_prefix()
    )]
    Gated {
        /// What was asked for.
        kind: RepositoryKind,
        /// Address of the hub.
        endpoint: String,
        /// `OWNER/NAME`.
        repository: String,
    },
    /// The hub refuses the token.
    #[error(
        "{endpoint} refuses the access token for {repository} (status {status}); set HF_TOKEN to a valid token, or unset it for a public {kind}"
    )]
    TokenRefused {
        /// What was asked for.
        kind: RepositoryKind,
        /// Address of the hub.
        endpoint: String,
        /// `OWNER/NAME`.
        repository: String,
        /// 401 or 403.
        status: u16,
    },
    /// Any other status than success.
    #[error("{address} answered with status {status}; try again later")]
    Status {
        /// The address asked.
        address: String,
        /// The status of its answer.
        status: u16,
    },
    /// No connection, or it broke.
    #[error(
        "{address} could not be reached ({reason}); check the network, or set HF_HUB_OFFLINE=1 to use the cache only"
    )]
    Network {
        /// The address asked.
        address: String,
        /// What the connection reported.
        reason: String,
    },
    /// An answer that is not as the hub gives it.
    #[error("{address} does not answer as a Hugging Face hub does ({reason}); check HF_ENDPOINT")]
    UnexpectedAnswer {
        /// The address asked.
        address: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Fewer bytes arrived than the file has. They are kept, and the next try continues after them.
    #[error(
        "the download of {file} of {repository} broke off after {received} of {total} bytes; run the command again to continue it"
    )]
    Truncated {
        /// `OWNER/NAME`.
        repository: String,
        /// The file.
        file: String,
        /// Bytes received.
        received: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// The bytes that arrived are not those of the file.
    #[error(
        "the download of {file} of {repository} does not have the checksum that the hub names and was discarded; run the command again"
    )]
    Corrupt {
        /// `OWNER/NAME`.
        repository: String,
        /// The file.
        file: String,
    },
    /// The cache cannot be read or written.
    #[error("the cache cannot be used: {}: {source}; check its permissions and free space, or set HF_HOME to another folder", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// The caller's progress function asked to stop; what has arrived is kept for the next try.
    #[error("the download was interrupted; run the command again to continue it")]
    Interrupted,
}

fn lacking(model: &str, file: Option<&str>) -> String {
    file.map_or_else(|| model.to_owned(), |file| format!("{file} of {model}"))
}
