//! A hub of a few lines, which answers on a local port as the real one does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(super) const CONFIG: &[u8] = b"{\"architecture\": \"resnet18\"}";
/// By `git hash-object`.
pub(super) const CONFIG_GIT_HASH: &str = "45788c980b08891d341232fa38bc22fbc06aeb75";
pub(super) const NAME: &str = "timm/tiny.test";
pub(super) const DATASET: &str = "some/pictures";

pub(super) fn weights() -> Vec<u8> {
    (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect()
}

/// What the hub holds and how it misbehaves.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) files: HashMap<&'static str, Vec<u8>>,
    /// The weights are cut off after so many bytes of each answer.
    pub(super) cut_after: Option<usize>,
    /// Answers with this status and `x-error-code` instead.
    pub(super) refusal: Option<(u16, &'static str)>,
    /// The token without which it answers 401 GatedRepo.
    pub(super) token: Option<&'static str>,
    /// Etag of large files, instead of their SHA-256.
    pub(super) wrong_checksum: bool,
    /// Etag of small files, instead of git's hash of them.
    pub(super) wrong_git_hash: bool,
    pub(super) ignores_ranges: bool,
    /// The repository was renamed from `timm/old.test`.
    pub(super) renamed: bool,
    /// The list of files says nothing of their sizes and checksums, as those of some mirrors.
    pub(super) bare_listing: bool,
}

impl Content {
    pub(super) fn tiny() -> Self {
        let files = HashMap::from([("config.json", CONFIG.to_vec()), ("model.safetensors", weights())]);
        Self { files, ..Self::default() }
    }
}

/// A request as the server saw it: `GET /path`, and its headers in lower case.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
}

pub(super) struct TinyHub {
    pub(super) content: Arc<Mutex<Content>>,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    pub(super) cache: TempDir,
    pub(super) endpoint: String,
}

impl TinyHub {
    pub(super) fn start(content: Content) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let content = Arc::new(Mutex::new(content));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, log) = (Arc::clone(&content), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = shared.lock().unwrap().clone();
                if let Some(request) = read_request(&stream) {
                    log.lock().unwrap().push(request.clone());
                    // A client that hangs up early is one of the things tested.
                    let _ = answer(&content, &request, stream);
                }
            }
        });
        Self { content, requests, cache: TempDir::new().unwrap(), endpoint }
    }

    pub(super) fn options(&self) -> HubOptions {
        HubOptions {
            cache_dir: self.cache.path().to_owned(),
            endpoint: self.endpoint.clone(),
            token: None,
            offline: false,
        }
    }

    pub(super) fn fetch(&self) -> Result<CachedModel, HubError> {
        fetch_with(NAME, &self.options())
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.content.lock().unwrap());
    }

    /// The requests since the last call, as `METHOD FILE`.
    pub(super) fn requests(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        let file = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        requests.into_iter().map(|r| format!("{} {}", r.method, file(&r.path))).collect()
    }

    pub(super) fn partial_bytes(&self) -> Vec<u64> {
        let blobs = self.cache.path().join("models--timm--tiny.test/blobs");
        let entries = fs::read_dir(blobs).unwrap().map(Result::unwrap);
        let partial = entries.filter(|e| e.path().to_string_lossy().ends_with(".incomplete"));
        partial.map(|entry| entry.metadata().unwrap().len()).collect()
    }
}

pub(super) fn fetch_with(name: &str, options: &HubOptions) -> Result<CachedModel, HubError> {
    fetch_model(&name.parse()?, options, |_| ControlFlow::Continue(()))
}

pub(super) fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_owned()))
        })
        .collect();
    Some(Request { method, path, headers })
}

pub(super) fn answer(content: &Content, request: &Request, mut stream: TcpStream) -> std::io::Result<()> {
    let mut send = |status: u16, headers: &str, body: &[u8]| {
        let body = if request.method == "HEAD" { &[] } else { body };
        write!(stream, "HTTP/1.1 {status} -\r\nConnection: close\r\n{headers}\r\n")?;
        stream.write_all(body)
    };
    if let Some((status, code)) = content.refusal {
        return send(status, &format!("X-Error-Code: {code}\r\nContent-Length: 0\r\n"), &[]);
    }
    let authorization = request.headers.get("authorization");
    if let Some(token) = content.token
        && authorization != Some(&format!("Bearer {token}"))
    {
        return send(401, "X-Error-Code: GatedRepo\r\nContent-Length: 0\r\n", &[]);
    }
    if content.renamed && request.path.starts_with("/timm/old.test/") {
        let location = request.path.replace("old.test", "tiny.test");
        return send(307, &format!("Location: {location}\r\nContent-Length: 0\r\n"), &[]);
    }
    if let Some(asked) = request.path.strip_prefix(&format!("/api/datasets/{DATASET}/revision/")) {
        let is_known = ["main", COMMIT].iter().any(|revision| asked == format!("{revision}?blobs=true"));
        let listing = listing(content);
        let length = format!("Content-Length: {}\r\n", listing.len());
        return match is_known {
            true => send(200, &length, listing.as_bytes()),
            false => send(404, "X-Error-Code: RevisionNotFound\r\nContent-Length: 0\r\n", &[]),
        };
    }
    let path = unescaped(&request.path);
    let stored = path.strip_prefix("/storage/");
    let file = stored.or_else(|| {
        let prefixes = ["/timm/tiny.test/resolve/".to_owned(), format!("/datasets/{DATASET}/resolve/")];
        let file = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix))?;
        let (revision, file) = file.split_once('/')?;
        ["main", COMMIT].contains(&revision).then_some(file)
    });
    let Some(file) = file else {
        return send(404, "X-Error-Code: RevisionNotFound\r\nContent-Length: 0\r\n", &[]);
    };
    let Some(bytes) = content.files.get(file) else {
        return send(404, "X-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n", &[]);
    };
    // Small files are answered at once; large ones redirect to a storage, and the redirect says what they are.
    if stored.is_none() && is_large(file) {
        let headers = format!(
            "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n\
             Location: /storage/{}\r\nContent-Length: 0\r\n",
            checksum(content, bytes),
            bytes.len(),
            escaped(file)
        );
        return send(302, &headers, &[]);
    }
    let range = request.headers.get("range").filter(|_| !content.ignores_ranges);
    let start = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let rest = &bytes[start.unwrap_or(0)..];
    let (status, range) = match start {
        Some(start) => {
            let (last, total) = (bytes.len() - 1, bytes.len());
            (206, format!("Content-Range: bytes {start}-{last}/{total}\r\n"))
        }
        None => (200, String::new()),
    };
    // The other is git's hash of nothing.
    let git_hash =
        if content.wrong_git_hash { "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391".to_owned() } else { git_hash(bytes) };
    let headers =
        format!("ETag: \"{git_hash}\"\r\nX-Repo-Commit: {COMMIT}\r\n{range}Content-Length: {}\r\n", rest.len());
    let cut = if stored.is_some() { content.cut_after.unwrap_or(usize::MAX) } else { usize::MAX };
    send(status, &headers, &rest[..rest.len().min(cut)])
}

/// Small files are kept in git, large ones in a storage of their own.
pub(super) fn is_large(file: &str) -> bool {
    !["config.json", "README.md", "metadata.csv"].contains(&file)
}

pub(super) fn hexadecimal(digest: &ring::digest::Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn checksum(content: &Content, bytes: &[u8]) -> String {
    match content.wrong_checksum {
        true => "0".repeat(64),
        false => hexadecimal(&ring::digest::digest(&ring::digest::SHA256, bytes)),
    }
}

pub(super) fn git_hash(bytes: &[u8]) -> String {
    let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
    hexadecimal(&ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &blob))
}

/// The files as the hub's answer lists them.
pub(super) fn listing(content: &Content) -> String {
    let file = |(name, bytes): (&&str, &Vec<u8>)| {
        let hash = git_hash(bytes);
        match (content.bare_listing, is_large(name)) {
            (true, _) => serde_json::json!({"rfilename": name}),
            (_, false) => serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": hash}),
            // In git there is a pointer in place of a large file.
            (_, true) => serde_json::json!({
                "rfilename": name, "size": bytes.len(), "blobId": git_hash(b"pointer"),
                "lfs": {"sha256": checksum(content, bytes), "size": bytes.len(), "pointerSize": 134},
            }),
        }
    };
    let siblings: Vec<_> = content.files.iter().map(file).collect();
    serde_json::json!({"id": DATASET, "sha": COMMIT, "siblings": siblings}).to_string()
}

pub(super) fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

/// A path without the escapes of an address.
pub(super) fn unescaped(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut left = path.as_bytes();
    while let Some((&first, rest)) = left.split_first() {
        let code =
            std::str::from_utf8(&rest[..rest.len().min(2)]).ok().and_then(|code| u8::from_str_radix(code, 16).ok());
        let (byte, skipped) = code.filter(|_| first == b'%').map_or((first, 0), |byte| (byte, 2));
        bytes.push(byte);
        left = &rest[skipped..];
    }
    String::from_utf8(bytes).unwrap()
}
