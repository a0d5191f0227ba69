//! Data sets of the hub: their names, and their download into the cache.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cache::RepositoryCache;
use super::client::{Client, RemoteFile};
use super::listing::{ListedFile, Listing};
use super::selection::{self, NoSelection, Selection};
use super::{DownloadProgress, HubError, HubOptions, RepositoryKind, download, is_plain};

/// The prefix that distinguishes the name of a data set from a path.
const PREFIX: &str = "hf:";

/// Number of simultaneous downloads; a request for a small file takes longer than its transfer.
const CONNECTIONS: usize = 8;

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// The branch on which the hub keeps Parquet copies of data sets in other forms.
const PARQUET_BRANCH: &str = "refs/convert/parquet";

/// A data set of the hub and a revision.
///
/// Written `hf:OWNER/NAME`, `hf:OWNER/NAME/CONFIGURATION` or `hf:OWNER/NAME#REVISION`, where the configuration is one
/// of several data sets in a repository and the revision is a branch, a tag or a commit. The prefix may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetName {
    repository: String,
    configuration: Option<String>,
    revision: String,
}

impl DatasetName {
    /// `OWNER/NAME`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The one of several data sets in the repository.
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// Branch, tag, or commit; `main` by default.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for DatasetName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let invalid = |reason| HubError::InvalidName { kind: RepositoryKind::Dataset, name: text.to_owned(), reason };
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        let (path, revision) = bare.split_once('#').unwrap_or((bare, "main"));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err(invalid("it needs an owner and a name, as in hf:ylecun/mnist"));
        };
        if !is_plain(owner) || !is_plain(name) {
            return Err(invalid("owner and name may contain only letters, digits, '-', '_', and '.'"));
        }
        let configuration = parts.next();
        if configuration
            .is_some_and(|configuration| configuration.split('/').any(|part| matches!(part, "" | "." | "..")))
        {
            return Err(invalid("the part after the name must be the name of a configuration"));
        }
        if !revision.split('/').all(is_plain) {
            return Err(invalid("the part after '#' must be a branch, a tag, or a commit"));
        }
        Ok(Self {
            repository: format!("{owner}/{name}"),
            configuration: configuration.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", self.repository)?;
        if let Some(configuration) = &self.configuration {
            write!(formatter, "/{configuration}")?;
        }
        if self.revision == "main" { Ok(()) } else { write!(formatter, "#{}", self.revision) }
    }
}

/// A data set of the hub in the local cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedDataset {
    /// The folder that holds its files and no other data, for [`crate::sources::DataSource::open`]. It is named by the
    /// commit, so that its content never changes.
    pub directory: PathBuf,
    /// The commit that the revision stands for.
    pub commit: String,
}

/// Finds a data set in the cache, or downloads its Parquet files or images; of several configurations, those of the one
/// that is named or called `default`.
///
/// A revision that is completely in the cache is used without a request to the network. The next call continues an
/// interrupted download. A file enters the cache only when it is complete and has the checksum that the hub names.
/// `on_progress` is called some twenty times a second with the bytes of all files together and can stop the download by
/// returning [`ControlFlow::Break`].
///
/// # Errors
/// [`HubError`], which says what to do about it.
pub fn fetch_dataset(
    name: &DatasetName,
    options: &HubOptions,
    on_progress: impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
) -> Result<CachedDataset, HubError> {
    let cache = RepositoryCache::new(&options.cache_dir, RepositoryKind::Dataset, name.repository());
    // A commit needs no reference; it names its snapshot itself.
    let known = cache.reference(name.revision()).unwrap_or_else(|| name.revision().to_owned());
    if let Some(listing) = cache.listing(&known) {
        let chosen = Chosen::of(name, &listing)?;
        match chosen.missing(&cache) {
            None => return Ok(chosen.cached(&cache)),
            Some(missing) if options.offline => return Err(not_in_cache(options, format!("{missing} of {name}"))),
            Some(_) => {}
        }
    } else if options.offline {
        return by_other_tools(name, &cache, &known, options);
    }
    let client = Client::new(options, RepositoryKind::Dataset, name.repository());
    let listing = client.list(name.revision())?;
    let chosen = Chosen::of(name, &listing)?;
    // With the list, a revision whose files are not all there is known as such.
    cache.write_listing(&listing)?;
    cache.write_reference(name.revision(), &listing.commit)?;
    chosen.download(&client, &cache, on_progress)?;
    Ok(chosen.cached(&cache))
}

/// A data set that another tool has downloaded, of which nothing but the file names tells whether all of it is there.
fn by_other_tools(
    name: &DatasetName,
    cache: &RepositoryCache,
    commit: &str,
    options: &HubOptions,
) -> Result<CachedDataset, HubError> {
    let files = cache.snapshot_files(commit).into_iter().map(|name| ListedFile { name, etag: None, size: None });
    let listing = Listing { commit: commit.to_owned(), files: files.collect() };
    let chosen = match Chosen::of(name, &listing) {
        Err(HubError::NoImages { .. }) => return Err(not_in_cache(options, name.to_string())),
        chosen => chosen?,
    };
    let names: Vec<&str> = chosen.files().map(|file| file.name.as_str()).collect();
    match selection::missing_shard(&names) {
        Some(missing) => Err(not_in_cache(options, format!("{missing} of {name}"))),
        None => Ok(chosen.cached(cache)),
    }
}

fn not_in_cache(options: &HubOptions, what: String) -> HubError {
    HubError::NotInCache { what, cache_dir: options.cache_dir.clone() }
}

/// The files of a listing that are wanted.
struct Chosen<'a> {
    name: &'a DatasetName,
    listing: &'a Listing,
    selection: Selection,
}

impl<'a> Chosen<'a> {
    fn of(name: &'a DatasetName, listing: &'a Listing) -> Result<Self, HubError> {
        let names: Vec<&str> = listing.files.iter().map(|file| file.name.as_str()).collect();
        let repository = name.repository().to_owned();
        let selection = selection::select(&names, name.configuration());
        let selection = selection.map_err(|problem| match problem {
            NoSelection::Several(configurations) => HubError::SeveralConfigurations { repository, configurations },
            NoSelection::NoSuch(configurations) => {
                let configuration = name.configuration().unwrap_or_default().to_owned();
                HubError::NoSuchConfiguration { repository, configuration, configurations }
            }
            NoSelection::NoImages(found) => {
                let advice = match name.revision() {
                    PARQUET_BRANCH => String::new(),
                    _ => format!("; the hub may keep a Parquet copy, {PREFIX}{repository}#{PARQUET_BRANCH}"),
                };
                HubError::NoImages { repository, found, advice }
            }
        })?;
        Ok(Self { name, listing, selection })
    }

    fn files(&self) -> impl Iterator<Item = &'a ListedFile> {
        let listing = self.listing;
        self.selection.files.iter().map(|&index| &listing.files[index])
    }

    /// The first file that the cache lacks.
    fn missing(&self, cache: &RepositoryCache) -> Option<&'a str> {
        let is_missing = |file: &&ListedFile| cache.snapshot_file(&self.listing.commit, &file.name).is_none();
        self.files().find(is_missing).map(|file| file.name.as_str())
    }

    fn cached(&self, cache: &RepositoryCache) -> CachedDataset {
        let snapshot = cache.snapshot(&self.listing.commit);
        let directory = match self.selection.folder.as_str() {
            "" => snapshot,
            folder => snapshot.join(folder),
        };
        CachedDataset { directory, commit: self.listing.commit.clone() }
    }

    /// Downloads what the cache lacks, several files at a time.
    fn download(
        &self,
        client: &Client<'_>,
        cache: &RepositoryCache,
        mut on_progress: impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let is_missing = |file: &&ListedFile| cache.snapshot_file(&self.listing.commit, &file.name).is_none();
        let crew = Crew {
            commit: &self.listing.commit,
            client,
            cache,
            received: self.files().filter(is_missing).map(|file| (file, AtomicU64::new(0))).collect(),
            next: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        let task = self.name.to_string();
        std::thread::scope(|scope| {
            let workers = CONNECTIONS.min(crew.received.len());
            crew.working.store(workers, Ordering::SeqCst);
            for _ in 0..workers {
                scope.spawn(|| crew.work());
            }
            while crew.working.load(Ordering::SeqCst) > 0 {
                if on_progress(crew.progress(&task)).is_break() {
                    crew.stopped.store(true, Ordering::Relaxed);
                }
                std::thread::sleep(PROGRESS_INTERVAL);
            }
            // That all has arrived; there is nothing left to stop.
            let _ = on_progress(crew.progress(&task));
        });
        match crew.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if crew.stopped.into_inner() => Err(HubError::Interrupted),
            None => Ok(()),
        }
    }
}

/// The threads that download the files of one commit.
struct Crew<'a> {
    client: &'a Client<'a>,
    cache: &'a RepositoryCache,
    commit: &'a str,
    /// Each file with the number of bytes that have arrived.
    received: Vec<(&'a ListedFile, AtomicU64)>,
    /// The first file that no thread has taken.
    next: AtomicUsize,
    working: AtomicUsize,
    stopped: AtomicBool,
    /// The first one.
    failure: Mutex<Option<HubError>>,
}

impl Crew<'_> {
    fn work(&self) {
        let _counted = Leaving(&self.working);
        while !self.stopped.load(Ordering::Relaxed) {
            let Some((file, received)) = self.received.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            if let Err(error) = self.fetch(file, received) {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                // Those that are interrupted because of a failure are none themselves.
                if !self.stopped.swap(true, Ordering::Relaxed) {
                    *failure = Some(error);
                }
            }
        }
    }

    fn fetch(&self, file: &ListedFile, received: &AtomicU64) -> Result<(), HubError> {
        let remote = match (&file.etag, file.size) {
            (Some(etag), Some(size)) => {
                RemoteFile { name: file.name.clone(), etag: etag.clone(), size, commit: self.commit.to_owned() }
            }
            _ => self.client.find(&file.name, self.commit)?.ok_or_else(|| self.client.lacks(&file.name))?,
        };
        download(self.client, self.cache, &remote, self.commit, &mut |progress: DownloadProgress<'_>| {
            received.store(progress.received, Ordering::Relaxed);
            if self.stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    /// Of all files together.
    fn progress<'t>(&self, task: &'t str) -> DownloadProgress<'t> {
        let received = self.received.iter().map(|(_, received)| received.load(Ordering::Relaxed)).sum();
        let total: u64 = self.received.iter().filter_map(|(file, _)| file.size).sum();
        DownloadProgress { file: task, received, total: total.max(received) }
    }
}

/// Decrements the number of running threads when dropped.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
