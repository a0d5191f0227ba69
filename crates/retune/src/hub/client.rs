//! The part of the hub's protocol that downloads files: `HEAD` and `GET` of `/OWNER/NAME/resolve/REVISION/FILE`, and
//! `GET` of `/api/datasets/OWNER/NAME/revision/REVISION`, which lists the files of a data set.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::cache::cache_error;
use super::listing::{Answer as ListingAnswer, Listing};
use super::{DownloadProgress, HubError, HubOptions, RepositoryKind, is_plain};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest silence of a connection before it counts as dead.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 256 * 1024;
/// Maximum size of a list of files; a file takes about 200 bytes.
const MAX_LISTING_BYTES: u64 = 256 << 20;
/// Maximum number of redirects within the hub; a renamed repository takes one.
const MAX_REDIRECTS: usize = 5;

/// A client for one repository of a hub.
pub(super) struct Client<'a> {
    agent: Agent,
    options: &'a HubOptions,
    kind: RepositoryKind,
    repository: &'a str,
}

/// Information of the hub about a file.
pub(super) struct RemoteFile {
    pub name: String,
    /// Names the content; the SHA-256 of files in large-file storage.
    pub etag: String,
    pub size: u64,
    pub commit: String,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a HubOptions, kind: RepositoryKind, repository: &'a str) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("retune/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // The token is for the hub, not for the storage that it redirects to.
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .build()
            .new_agent();
        Self { agent, options, kind, repository }
    }

    /// Asks for a file's size and etag; `None` when the revision has no such file.
    pub(super) fn find(&self, name: &str, revision: &str) -> Result<Option<RemoteFile>, HubError> {
        let mut address = self.address(name, revision);
        for _ in 0..MAX_REDIRECTS {
            let request = self.agent.head(&address).header("Accept-Encoding", "identity");
            // The first answer of the hub carries the headers; the storage behind it knows nothing of commits.
            let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
            let response = self.authorized(request).call().map_err(network_error(&address))?;
            let status = response.status();
            if status.is_redirection() && !response.headers().contains_key("x-repo-commit") {
                let location = header(response.headers(), "location");
                address = self.within_hub(&address, location.unwrap_or_default())?;
                continue;
            }
            if status.is_success() || status.is_redirection() {
                return self.remote_file(name, &address, response.headers()).map(Some);
            }
            return match self.refusal(&address, revision, &response) {
                HubError::FileNotFound { .. } => Ok(None),
                error => Err(error),
            };
        }
        Err(unexpected(&address, "too many redirects"))
    }

    /// Asks for the files of a revision of a data set.
    pub(super) fn list(&self, revision: &str) -> Result<Listing, HubError> {
        let endpoint = &self.options.endpoint;
        // With `blobs`, the answer has the size and checksum of each file.
        let address = format!("{endpoint}/api/datasets/{}/revision/{}?blobs=true", self.repository, escaped(revision));
        let response = self.authorized(self.agent.get(&address)).call().map_err(network_error(&address))?;
        if !response.status().is_success() {
            return Err(self.refusal(&address, revision, &response));
        }
        let mut text = Vec::new();
        let body = response.into_body().into_reader().take(MAX_LISTING_BYTES).read_to_end(&mut text);
        body.map_err(|error| HubError::Network { address: address.clone(), reason: error.to_string() })?;
        let answer = serde_json::from_slice::<ListingAnswer>(&text);
        let answer = answer.map_err(|error| unexpected(&address, &format!("no list of files: {error}")))?;
        Listing::from_answer(answer).map_err(|reason| unexpected(&address, &reason))
    }

    /// The error of a listed file that is not there.
    pub(super) fn lacks(&self, name: &str) -> HubError {
        unexpected(&self.options.endpoint, &format!("{} lists {name} and has no such file", self.repository))
    }

    fn address(&self, name: &str, revision: &str) -> String {
        let name: Vec<String> = name.split('/').map(escaped).collect();
        let (endpoint, prefix) = (&self.options.endpoint, self.kind.address_prefix());
        format!("{endpoint}/{prefix}{}/resolve/{}/{}", self.repository, escaped(revision), name.join("/"))
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.options.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// The address that a redirect names, which must stay on the hub since it is sent the token.
    fn within_hub(&self, address: &str, location: &str) -> Result<String, HubError> {
        let endpoint = &self.options.endpoint;
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{endpoint}{location}"));
        }
        match location.strip_prefix(endpoint.as_str()) {
            Some(path) if path.starts_with('/') => Ok(location.to_owned()),
            _ => Err(unexpected(address, "a redirect to another host without x-repo-commit")),
        }
    }

    fn remote_file(&self, name: &str, address: &str, headers: &HeaderMap) -> Result<RemoteFile, HubError> {
        let needed = |value: Option<&str>, what: &str| {
            value.map(str::to_owned).ok_or_else(|| unexpected(address, &format!("no {what}")))
        };
        let commit = needed(header(headers, "x-repo-commit"), "x-repo-commit")?;
        let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
        let etag = needed(etag, "etag")?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        // Both become names of files.
        if !is_plain(&etag) || !is_plain(&commit) {
            return Err(unexpected(address, "an etag or commit with odd characters"));
        }
        let size = header(headers, "x-linked-size").or_else(|| header(headers, "content-length"));
        let size = size.and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| unexpected(address, "no content-length"))?;
        Ok(RemoteFile { name: name.to_owned(), etag, size, commit })
    }

    /// The error for a status other than success, which the hub explains in `x-error-code`.
    fn refusal(&self, address: &str, revision: &str, response: &Response<Body>) -> HubError {
        let endpoint = self.options.endpoint.clone();
        let (kind, repository) = (self.kind, self.repository.to_owned());
        let status = response.status().as_u16();
        match (status, header(response.headers(), "x-error-code").unwrap_or_default()) {
            (_, "GatedRepo") => HubError::Gated { kind, endpoint, repository },
            (404, "RevisionNotFound") => HubError::RevisionNotFound { kind, repository, revision: revision.to_owned() },
            (404, "EntryNotFound") if kind == RepositoryKind::Dataset => self.lacks(address),
            (404, "EntryNotFound") => HubError::FileNotFound { repository, file: address.to_owned() },
            (401 | 403, _) if self.options.token.is_some() => {
                HubError::TokenRefused { kind, endpoint, repository, status }
            }
            (403, _) => HubError::Gated { kind, endpoint, repository },
            // To those without a token the hub does not tell a private repository from none.
            (401 | 404, _) => {
                let suggestion = if kind == RepositoryKind::Model { suggestion(&repository) } else { String::new() };
                HubError::RepositoryNotFound { kind, endpoint, repository, suggestion }
            }
            _ => HubError::Status { address: address.to_owned(), status },
        }
    }
}

/// A component of a URL, with all special bytes escaped.
fn escaped(component: &str) -> String {
    let mut escaped = String::with_capacity(component.len());
    for byte in component.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Users who forget the owner, or name a wrong one, usually mean timm's weights.
fn suggestion(repository: &str) -> String {
    match repository.split_once('/') {
        Some((owner, name)) if owner != "timm" => format!(" (did you mean timm/{name}?)"),
        _ => " (timm's names end in a tag, as in timm/resnet18.a1_in1k)".to_owned(),
    }
}

/// One file on its way into the cache.
pub(super) struct Transfer<'a> {
    pub client: &'a Client<'a>,
    pub file: &'a RemoteFile,
    pub commit: &'a str,
    /// The file that collects the bytes; bytes that are already there are kept.
    pub partial: &'a Path,
}

impl Transfer<'_> {
    /// Downloads what is missing, then checks length and checksum. Only a complete, correct file returns `Ok`.
    pub(super) fn run(
        &self,
        on_progress: &mut impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let mut output =
            OpenOptions::new().create(true).append(true).open(self.partial).map_err(cache_error(self.partial))?;
        let mut received = output.metadata().map_err(cache_error(self.partial))?.len();
        if received > self.file.size {
            self.restart(&output)?;
            received = 0;
        }
        if received < self.file.size {
            received = self.receive(&mut output, received, on_progress)?;
        }
        output.sync_all().map_err(cache_error(self.partial))?;
        drop(output);
        if received != self.file.size {
            return Err(self.truncated(received));
        }
        self.verify()
    }

    fn receive(
        &self,
        output: &mut File,
        mut received: u64,
        on_progress: &mut impl FnMut(DownloadProgress<'_>) -> ControlFlow<()>,
    ) -> Result<u64, HubError> {
        let (file, total) = (self.file.name.as_str(), self.file.size);
        let mut body = match self.request(received)? {
            Answer::Rest(body) => body,
            Answer::Whole(body) => {
                self.restart(output)?;
                received = 0;
                body
            }
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if on_progress(DownloadProgress { file, received, total }).is_break() {
                return Err(HubError::Interrupted);
            }
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(received),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(self.truncated(received)),
            };
            output.write_all(&buffer[..count]).map_err(cache_error(self.partial))?;
            received += count as u64;
            if received > total {
                self.restart(output)?;
                return Err(self.corrupt());
            }
        }
    }

    fn request(&self, received: u64) -> Result<Answer, HubError> {
        let client = self.client;
        let address = client.address(&self.file.name, self.commit);
        let mut request = client.agent.get(&address).header("Accept-Encoding", "identity");
        if received > 0 {
            request = request.header("Range", format!("bytes={received}-"));
        }
        let response = client.authorized(request).call().map_err(network_error(&address))?;
        match response.status().as_u16() {
            206 => {
                let range = header(response.headers(), "content-range").unwrap_or_default();
                if !range.starts_with(&format!("bytes {received}-")) {
                    return Err(unexpected(&address, "another range of bytes than was asked for"));
                }
                Ok(Answer::Rest(response.into_body().into_reader()))
            }
            200 => Ok(Answer::Whole(response.into_body().into_reader())),
            _ => Err(client.refusal(&address, self.commit, &response)),
        }
    }

    fn restart(&self, output: &File) -> Result<(), HubError> {
        output.set_len(0).map_err(cache_error(self.partial))
    }

    /// Files in large-file storage have their SHA-256 as etag; others (a small `config.json`) have git's hash of them.
    /// With any other etag, only the length is checked.
    fn verify(&self) -> Result<(), HubError> {
        let etag = self.file.etag.to_ascii_lowercase();
        if !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(());
        }
        let context = match etag.len() {
            64 => Context::new(&SHA256),
            40 => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", self.file.size).as_bytes());
                context
            }
            _ => return Ok(()),
        };
        if digest(context, self.partial).map_err(cache_error(self.partial))? == etag {
            return Ok(());
        }
        std::fs::remove_file(self.partial).map_err(cache_error(self.partial))?;
        Err(self.corrupt())
    }

    fn truncated(&self, received: u64) -> HubError {
        let repository = self.client.repository.to_owned();
        HubError::Truncated { repository, file: self.file.name.clone(), received, total: self.file.size }
    }

    fn corrupt(&self) -> HubError {
        let repository = self.client.repository.to_owned();
        HubError::Corrupt { repository, file: self.file.name.clone() }
    }
}

enum Answer {
    /// The bytes after those that are there.
    Rest(ureq::BodyReader<'static>),
    /// All bytes.
    Whole(ureq::BodyReader<'static>),
}

/// A file's digest after what `context` has seen, in hexadecimal.
fn digest(mut context: Context, path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn network_error(address: &str) -> impl Fn(ureq::Error) -> HubError {
    move |error| HubError::Network { address: address.to_owned(), reason: error.to_string() }
}

fn unexpected(address: &str, reason: &str) -> HubError {
    HubError::UnexpectedAnswer { address: address.to_owned(), reason: reason.to_owned() }
}
