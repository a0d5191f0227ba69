//! The files of a revision of a data set: as the hub lists them, and as the cache keeps that list.

use serde::{Deserialize, Serialize};

use super::is_plain;

/// What the hub answers; other fields are of no use here.
#[derive(Deserialize)]
pub(super) struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

/// What is known of a file in large-file storage.
#[derive(Deserialize)]
struct LargeFile {
    sha256: Option<String>,
    size: Option<u64>,
}

/// All files of a commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<ListedFile>,
}

/// A file, and what its content is known by, where the hub said so.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListedFile {
    /// With `/` between the parts.
    pub name: String,
    /// SHA-256 of a file in large-file storage, git's hash of another.
    #[serde(default)]
    pub etag: Option<String>,
    /// In bytes.
    #[serde(default)]
    pub size: Option<u64>,
}

impl Listing {
    /// Refuses an answer whose names would lead out of the cache; hidden files are left out.
    pub(super) fn from_answer(answer: Answer) -> Result<Self, String> {
        if !is_plain(&answer.sha) {
            return Err("a commit with odd characters".to_owned());
        }
        if let Some(odd) = answer.siblings.iter().find(|file| !is_inside(&file.rfilename)) {
            return Err(format!("a file with the name {:?}", odd.rfilename));
        }
        let visible = |file: &Sibling| !file.rfilename.split('/').any(|part| part.starts_with('.'));
        let files = answer.siblings.into_iter().filter(visible).map(|file| {
            let (large, size) = file.lfs.map_or((None, None), |large| (large.sha256, large.size));
            let etag = large.or(file.blob_id).filter(|etag| is_plain(etag));
            ListedFile { name: file.rfilename, etag, size: size.or(file.size) }
        });
        Ok(Self { commit: answer.sha, files: files.collect() })
    }

    /// The list that the cache keeps, if it is of that commit and names no file elsewhere.
    pub(super) fn from_cache(text: &[u8], commit: &str) -> Option<Self> {
        let listing: Self = serde_json::from_slice(text).ok()?;
        let is_sound = |file: &ListedFile| is_inside(&file.name) && file.etag.as_deref().is_none_or(is_plain);
        (listing.commit == commit && listing.files.iter().all(is_sound)).then_some(listing)
    }
}

/// Whether a name is one of a file below the folder that it is joined to, on every system.
fn is_inside(name: &str) -> bool {
    let is_safe = |part: &str| {
        let odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
        !part.is_empty() && part != "." && part != ".." && part.len() <= 255 && !part.contains(odd)
    };
    name.len() <= 4096 && name.split('/').all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Result<Listing, String> {
        Listing::from_answer(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn sizes_and_checksums_are_those_of_the_contents() {
        let read = listing(
            r#"{"sha": "abc", "private": false, "siblings": [
                {"rfilename": ".gitattributes", "size": 1, "blobId": "11"},
                {"rfilename": "a b/é.png", "size": 7, "blobId": "22"},
                {"rfilename": "x.parquet", "size": 134, "blobId": "33", "lfs": {"sha256": "44", "size": 9, "pointerSize": 134}},
                {"rfilename": "old"}]}"#,
        );
        let read = read.unwrap();
        let files: Vec<_> =
            read.files.iter().map(|file| (file.name.as_str(), file.etag.as_deref(), file.size)).collect();
        assert_eq!(
            files,
            [("a b/é.png", Some("22"), Some(7)), ("x.parquet", Some("44"), Some(9)), ("old", None, None)]
        );
        let text = serde_json::to_vec(&read).unwrap();
        assert_eq!(Listing::from_cache(&text, "abc").unwrap().files.len(), 3);
        assert!(Listing::from_cache(&text, "abd").is_none() && Listing::from_cache(b"", "abc").is_none());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../x", "/etc/x", "a//b", "a/..", "a\\b", "", "c:x", "a\u{0}"] {
            let text = serde_json::json!({"sha": "abc", "siblings": [{"rfilename": name}]}).to_string();
            assert!(listing(&text).unwrap_err().contains("a file with the name"), "{name:?}");
        }
        assert!(listing(r#"{"sha": "../abc"}"#).is_err());
    }
}
