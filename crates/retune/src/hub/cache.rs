//! The cache's layout, as `huggingface_hub` documents it ("Understand caching"): contents by their etag in `blobs`, the
//! files of each commit as links to them in `snapshots`, what each branch or tag stands for in `refs`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::Listing;
use super::{HubError, RepositoryKind};

/// One repository's part of the cache.
pub(super) struct RepositoryCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepositoryCache {
    pub(super) fn new(cache_dir: &Path, kind: RepositoryKind, repository: &str) -> Self {
        let folder = format!("{}--{}", kind.cache_prefix(), repository.replace('/', "--"));
        Self { locks: cache_dir.join(".locks").join(&folder), folder: cache_dir.join(folder) }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The file's path, if it is there with its content.
    pub(super) fn snapshot_file(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(file);
        path.is_file().then_some(path)
    }

    /// Whether the commit is known to lack the file.
    pub(super) fn is_absent(&self, commit: &str, file: &str) -> bool {
        self.absence_path(commit, file).is_file()
    }

    /// Records that the commit lacks the file, as `huggingface_hub` does, so that it is not requested again.
    pub(super) fn note_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.absence_path(commit, file);
        create_parent(&path)?;
        File::create(&path).map(drop).map_err(cache_error(&path))
    }

    fn absence_path(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }

    /// The commit that a branch or tag stood for when it was last fetched.
    pub(super) fn reference(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.reference_path(revision)).ok()?;
        let commit = commit.trim();
        super::is_plain(commit).then(|| commit.to_owned())
    }

    pub(super) fn write_reference(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit {
            return Ok(());
        }
        write_whole(&self.reference_path(revision), commit.as_bytes())
    }

    fn reference_path(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// The files of a commit of a data set, as the hub listed them. `huggingface_hub` keeps no such list and ignores
    /// the folder.
    pub(super) fn listing(&self, commit: &str) -> Option<Listing> {
        Listing::from_cache(&fs::read(self.listing_path(commit)).ok()?, commit)
    }

    pub(super) fn write_listing(&self, listing: &Listing) -> Result<(), HubError> {
        let path = self.listing_path(&listing.commit);
        let text = serde_json::to_vec(listing).map_err(|error| cache_error(&path)(error.into()))?;
        write_whole(&path, &text)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join(".listings").join(format!("{commit}.json"))
    }

    /// The names of all files that a commit's snapshot has, with `/` between the parts, sorted.
    pub(super) fn snapshot_files(&self, commit: &str) -> Vec<String> {
        let root = self.snapshot(commit);
        let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.is_file()
                    && let Some(name) = path.strip_prefix(&root).ok().and_then(Path::to_str)
                {
                    files.push(name.replace(std::path::MAIN_SEPARATOR, "/"));
                }
            }
        }
        files.sort();
        files
    }

    fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(super) fn has_blob(&self, etag: &str) -> bool {
        self.blob(etag).is_file()
    }

    /// The file that collects content until it is complete; `huggingface_hub` continues from the same file.
    pub(super) fn partial_blob(&self, etag: &str) -> Result<PathBuf, HubError> {
        let path = self.folder.join("blobs").join(format!("{etag}.incomplete"));
        create_parent(&path)?;
        Ok(path)
    }

    /// Turns complete content into the blob of that etag.
    pub(super) fn complete_blob(&self, etag: &str) -> Result<(), HubError> {
        let (partial, blob) = (self.partial_blob(etag)?, self.blob(etag));
        fs::rename(&partial, &blob).map_err(cache_error(&blob))
    }

    pub(super) fn link_snapshot_file(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        // A link whose content was deleted from the cache is in the way of its successor.
        if path.is_symlink() && !path.exists() {
            fs::remove_file(&path).map_err(cache_error(&path))?;
        }
        match link(&self.blob(etag), &relative_blob(file, etag), &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            result => result.map_err(cache_error(&path)),
        }
    }

    /// Waits for, and holds, the lock that `huggingface_hub` takes for the same content. Dropping the file releases it.
    pub(super) fn lock(&self, etag: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::create(&path).map_err(cache_error(&path))?;
        // Some network file systems have no locks and fail in ways of their own. Two processes that mix their bytes there
        // end with a wrong checksum, which is refused.
        let _ = file.lock();
        Ok(file)
    }
}

/// A blob as a file of a snapshot sees it, from whatever folder of the repository the file lies in.
fn relative_blob(file: &str, etag: &str) -> PathBuf {
    let up = 2 + file.matches('/').count();
    std::iter::repeat_n("..", up).chain(["blobs", etag]).collect()
}

#[cfg(unix)]
fn link(_blob: &Path, relative: &Path, path: &Path) -> std::io::Result<()> {
    // Relative, so that the cache can be moved as a whole.
    std::os::unix::fs::symlink(relative, path)
}

#[cfg(not(unix))]
fn link(blob: &Path, _relative: &Path, path: &Path) -> std::io::Result<()> {
    // Symbolic links need a privilege on Windows; `huggingface_hub` moves the content instead, and a hard link does the
    // same without losing it.
    fs::hard_link(blob, path)
}

/// Writes a small file atomically.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), HubError> {
    create_parent(path)?;
    // A name of its own for each thread of each process.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{number}.incomplete", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(cache_error(&beside))?;
    fs::rename(&beside, path).map_err(cache_error(path))
}

fn create_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(cache_error(parent))
}

/// Adds the path to an error of the file system.
pub(super) fn cache_error(path: &Path) -> impl Fn(std::io::Error) -> HubError {
    move |source| HubError::Cache { path: path.to_owned(), source }
}
