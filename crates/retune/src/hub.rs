//! Models and data sets on the Hugging Face hub, such as `timm/resnet18.a1_in1k`.
//!
//! Files go where Hugging Face's own tools keep them (`models--OWNER--NAME/{blobs,refs,snapshots}` below the cache
//! folder, or `datasets--OWNER--NAME`), so that retune finds what timm has downloaded, and the other way around. The
//! rules for the folder, the token and the environment variables are those of the Python package `huggingface_hub`
//! (<https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>). A revision that is
//! completely in the cache is used without a request to the network.

use std::ffi::OsString;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod cache;
mod client;
mod dataset;
mod error;
mod listing;
mod selection;

use cache::RepositoryCache;
use client::{Client, RemoteFile, Transfer};
pub use dataset::{CachedDataset, DatasetName, fetch_dataset};
pub use error::HubError;

const CONFIG_FILE: &str = "config.json";
/// The preprocessing of a model of transformers; timm's models have it in `config.json`.
const PREPROCESSOR_FILE: &str = "preprocessor_config.json";
/// In order of preference.
const WEIGHT_FILES: [(&str, WeightFormat); 2] =
    [("model.safetensors", WeightFormat::Safetensors), ("pytorch_model.bin", WeightFormat::PytorchPickle)];

/// A model repository of the hub and a revision.
///
/// Written `OWNER/NAME` or `OWNER/NAME@REVISION`, where the revision is a branch, a tag or a commit; `hf:` or timm's
/// prefix `hf-hub:` may precede it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    repository: String,
    revision: String,
}

impl ModelName {
    /// `OWNER/NAME`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag, or commit; `main` by default.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let invalid = |reason| HubError::InvalidName { kind: RepositoryKind::Model, name: text.to_owned(), reason };
        let bare = ["hf:", "hf-hub:", "hf_hub:"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let bare = bare.unwrap_or(text);
        let (repository, revision) = bare.split_once('@').unwrap_or((bare, "main"));
        let Some((owner, name)) = repository.split_once('/') else {
            return Err(invalid("it needs an owner and a name, as in timm/resnet18.a1_in1k"));
        };
        if !is_plain(owner) || !is_plain(name) {
            return Err(invalid("owner and name may contain only letters, digits, '-', '_', and '.'"));
        }
        if !revision.split('/').all(is_plain) {
            return Err(invalid("the part after '@' must be a branch, a tag, or a commit"));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.repository)?;
        if self.revision == "main" { Ok(()) } else { write!(formatter, "@{}", self.revision) }
    }
}

/// Whether a word is safe as a component of a path and of a URL.
fn is_plain(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !word.is_empty() && word.len() <= 96 && word.bytes().all(allowed) && !word.starts_with('.')
}

/// The kind of a repository of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl RepositoryKind {
    /// The prefix of `OWNER/NAME` in a URL.
    fn address_prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }

    /// The first part of its folder's name in the cache.
    fn cache_prefix(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// The separator between a name and a revision.
    fn revision_mark(self) -> char {
        match self {
            Self::Model => '@',
            Self::Dataset => '#',
        }
    }
}

impl fmt::Display for RepositoryKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Model => "model",
            Self::Dataset => "data set",
        })
    }
}

/// The hub's address, and the cache for its files.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The folder that holds one `models--OWNER--NAME` or `datasets--OWNER--NAME` folder for each repository.
    pub cache_dir: PathBuf,
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Access token, for gated and private repositories.
    pub token: Option<String>,
    /// Use only the cache.
    pub offline: bool,
}

impl fmt::Debug for HubOptions {
    /// Leaves out the token, so that it does not appear in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HubOptions")
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("offline", &self.offline)
            .finish()
    }
}

impl HubOptions {
    /// The options from the environment, by the rules of `huggingface_hub`:
    ///
    /// - the cache is `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME`, which is itself
    ///   `huggingface` in `XDG_CACHE_HOME` or in `~/.cache` unless it is set;
    /// - the token is `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the content of the file `HF_TOKEN_PATH`, which is
    ///   `token` in `HF_HOME` unless it is set;
    /// - the address is `HF_ENDPOINT`, else `https://huggingface.co`;
    /// - `HF_HUB_OFFLINE` or, if that is unset, `TRANSFORMERS_OFFLINE` set to `1`, `true`, `yes` or `on` means offline.
    ///
    /// # Errors
    /// [`HubError::NoHome`] when neither these variables nor a home directory say where the cache is.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let path = |name: &str| set(name).map(|value| expand_home(value.into(), home.as_deref()));

        let hub_home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME");
            let caches = caches.or_else(|| home.as_ref().map(|home| home.join(".cache")));
            caches.map(|caches| caches.join("huggingface"))
        });
        let cache_dir = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hub_home.as_ref().map(|home| home.join("hub")))
            .ok_or(HubError::NoHome)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| hub_home.as_ref().map(|home| home.join("token")));
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| std::fs::read_to_string(token_file?).ok())
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE"));
        let offline =
            offline.is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Self { cache_dir, endpoint, token, offline })
    }
}

fn expand_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// The format of a repository's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// `model.safetensors`
    Safetensors,
    /// `pytorch_model.bin`, a pickled state dictionary; taken only where there is no `model.safetensors`.
    PytorchPickle,
}

/// A model of the hub in the local cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// The folder that holds both files.
    pub directory: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its weights.
    pub weights: PathBuf,
    /// How the weights are kept.
    pub weight_format: WeightFormat,
    /// The commit that the revision stands for.
    pub commit: String,
}

/// The progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadProgress<'a> {
    /// Name of the file within its repository; of a data set, whose files arrive together, its own name.
    pub file: &'a str,
    /// Bytes received so far, those of an earlier, interrupted download included.
    pub received: u64,
    /// Bytes of the whole file, or of all files of a data set.
    pub total: u64,
}

/// Finds a model in the cache, or downloads it: its `config.json` and its `model.safetensors`, or, where a repository
/// has none of the latter, its `pytorch_model.bin`; of a model of transformers, its `preprocessor_config.json` too.
///
/// The next call continues an interrupted download. A file enters the cache only when it is complete and has the hash
/// that the hub names it by (SHA-256 for weights, git's for small files). `on_progress` is called as bytes arrive and
/// can stop the download by returning [`ControlFlow::Break`].
///
/// # Errors
/// [`HubError`], which says what to do about it.
pub fn fetch_model(
    name: &ModelName,
    options: &HubOptions,
    mut on_progress: impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
) -> Result<CachedModel, HubError> {
    let cache = RepositoryCache::new(&options.cache_dir, RepositoryKind::Model, name.repository());
    let file = match cached_model(&cache, name.revision()) {
        Ok(model) => {
            if !options.offline {
                // transformers fetches a model and its preprocessing apart from each other.
                let client = Client::new(options, RepositoryKind::Model, name.repository());
                download_preprocessor(&client, &cache, &model.commit, &mut on_progress)?;
            }
            return Ok(model);
        }
        Err(file) => file,
    };
    if options.offline {
        let cache_dir = options.cache_dir.clone();
        return Err(HubError::NotCached { model: name.to_string(), file, cache_dir });
    }
    let client = Client::new(options, RepositoryKind::Model, name.repository());
    let config = client.find(CONFIG_FILE, name.revision())?.ok_or_else(|| HubError::FileNotFound {
        repository: name.repository().to_owned(),
        file: CONFIG_FILE.to_owned(),
    })?;
    // From here on by commit: a push between the two files must not mix two models.
    let commit = config.commit.clone();
    let (weights, weight_format) = find_weights(&client, name, &commit)?;
    download(&client, &cache, &config, &commit, &mut on_progress)?;
    download_preprocessor(&client, &cache, &commit, &mut on_progress)?;
    download(&client, &cache, &weights, &commit, &mut on_progress)?;
    // Last, so that the revision never names a commit whose files are not there.
    cache.write_reference(name.revision(), &commit)?;
    Ok(model_at(&cache, commit, &weights.name, weight_format))
}

/// Downloads `preprocessor_config.json`, where the model is one of transformers and its repository has the file.
fn download_preprocessor(
    client: &Client<'_>,
    cache: &RepositoryCache,
    commit: &str,
    on_progress: &mut impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
) -> Result<(), HubError> {
    let is_cached = cache.snapshot_file(commit, PREPROCESSOR_FILE).is_some();
    if is_cached || cache.is_absent(commit, PREPROCESSOR_FILE) || !is_of_transformers(cache, commit) {
        return Ok(());
    }
    match client.find(PREPROCESSOR_FILE, commit)? {
        Some(file) => download(client, cache, &file, commit, on_progress),
        None => cache.note_absent(commit, PREPROCESSOR_FILE),
    }
}

/// Whether the cached `config.json` is one of transformers.
fn is_of_transformers(cache: &RepositoryCache, commit: &str) -> bool {
    let text = cache.snapshot_file(commit, CONFIG_FILE).and_then(|path| std::fs::read_to_string(path).ok());
    let config = text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    config.is_some_and(|config| config.get("architecture").is_none() && config.get("model_type").is_some())
}

/// The model in the cache; where it is not, the file that it lacks, if other files of the commit are there.
fn cached_model(cache: &RepositoryCache, revision: &str) -> Result<CachedModel, Option<&'static str>> {
    // A commit needs no reference; it names its snapshot itself.
    let commit = cache.reference(revision).unwrap_or_else(|| revision.to_owned());
    let lacks = |file| cache.snapshot(&commit).is_dir().then_some(file);
    cache.snapshot_file(&commit, CONFIG_FILE).ok_or_else(|| lacks(CONFIG_FILE))?;
    let weights = WEIGHT_FILES.into_iter().find(|(file, _)| cache.snapshot_file(&commit, file).is_some());
    let (weights, format) = weights.ok_or_else(|| lacks(WEIGHT_FILES[0].0))?;
    Ok(model_at(cache, commit, weights, format))
}

fn model_at(cache: &RepositoryCache, commit: String, weights: &str, weight_format: WeightFormat) -> CachedModel {
    let directory = cache.snapshot(&commit);
    CachedModel {
        config: directory.join(CONFIG_FILE),
        weights: directory.join(weights),
        directory,
        weight_format,
        commit,
    }
}

fn find_weights(client: &Client<'_>, name: &ModelName, commit: &str) -> Result<(RemoteFile, WeightFormat), HubError> {
    for (file, format) in WEIGHT_FILES {
        if let Some(found) = client.find(file, commit)? {
            return Ok((found, format));
        }
    }
    Err(HubError::FileNotFound {
        repository: name.repository().to_owned(),
        file: WEIGHT_FILES.map(|(file, _)| file).join(" and no "),
    })
}

fn download(
    client: &Client<'_>,
    cache: &RepositoryCache,
    file: &RemoteFile,
    commit: &str,
    on_progress: &mut impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
) -> Result<(), HubError> {
    if cache.snapshot_file(commit, &file.name).is_some() {
        return Ok(());
    }
    // Held until the file is in place: of two processes that want it, the second finds it there.
    let _lock = cache.lock(&file.etag)?;
    if !cache.has_blob(&file.etag) {
        let partial = cache.partial_blob(&file.etag)?;
        Transfer { client, file, commit, partial: &partial }.run(on_progress)?;
        cache.complete_blob(&file.etag)?;
    }
    cache.link_snapshot_file(commit, &file.name, &file.etag)
}

#[cfg(test)]
mod tests;
