//! Requests to the hub: what a repository holds, what a file's bytes are called and how many there are, and the bytes
//! from a place on.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use super::{HubError, Missing, Repository, Settings};
use crate::address::{self, shown};

/// The longest chain of redirections: a renamed repository, a mirror, a store.
const REDIRECTIONS: usize = 8;

/// The hub, with a way to it.
pub(crate) struct Client {
    agent: Agent,
    pub(crate) endpoint: String,
    token: Option<String>,
    /// Whether it may be sent from https to http: what comes is compared with a checksum that somebody told.
    pub(crate) plain: bool,
}

/// What a repository holds.
#[derive(Debug)]
pub(crate) struct Info {
    /// The commit that its revision is at.
    pub(crate) commit: String,
    pub(crate) licence: Option<String>,
    pub(crate) files: Vec<RemoteFile>,
}

/// A file of a repository, as far as the listing tells; mirrors may leave out all but the name.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    /// What the hub's cache calls the file's bytes: their SHA-256 (64 digits), or git's checksum of a small file (40).
    pub(crate) digest: Option<String>,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection, or one that broke or fell silent.
    Network(String),
    /// It is sent where it does not go.
    Elsewhere(String),
    /// An answer that is no success.
    Status { status: StatusCode, code: String, message: String },
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        Self::Network(match error {
            ureq::Error::Timeout(ureq::Timeout::PerRead) => "it sends nothing any more".to_owned(),
            ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
            ureq::Error::HostNotFound => "no such host is known".to_owned(),
            ureq::Error::ConnectProxyFailed(reason) => format!("the proxy says no: {reason}"),
            other => other.to_string(),
        })
    }
}

#[derive(Deserialize)]
struct RawInfo {
    sha: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HubError> {
        let config = Agent::config_builder()
            // Read with their words.
            .http_status_as_error(false)
            // Followed here: what the hub says of a file stands in the answer that sends elsewhere, and the token is
            // not for other hosts.
            .max_redirects(0)
            .proxy(proxy(settings)?)
            .tls_config(TlsConfig::builder().root_certs(trusted(settings)?).build())
            .timeout_resolve(Some(settings.patience))
            .timeout_connect(Some(settings.patience))
            .timeout_recv_response(Some(settings.patience.max(Duration::from_secs(1))))
            .timeout_per_read(Some(settings.patience))
            .user_agent(concat!("undertone/", env!("CARGO_PKG_VERSION")))
            .build();
        let (endpoint, token) = (settings.endpoint.clone(), settings.token.clone());
        // A hub's listing has a digest of each file, which is compared; a company's mirror may keep files behind http.
        Ok(Self { agent: config.into(), endpoint, token, plain: true })
    }

    /// What `repository` holds.
    pub(crate) fn info(&self, repository: &Repository) -> Result<Info, HubError> {
        let Repository { name, revision, .. } = repository;
        let url = format!("{}/api/models/{name}/revision/{}?blobs=true", self.endpoint, revision.replace('/', "%2F"));
        let words = |failure| self.words(repository, "the list of files", failure);
        let mut response = self.get(&url, None).map_err(words)?;
        let text = response.body_mut().read_to_string().map_err(|error| words(error.into()))?;
        let unreadable = |reason: String| HubError::Refused {
            repository: repository.to_string(),
            what: "the list of files".into(),
            answer: reason,
        };
        let raw: RawInfo = serde_json::from_str(&text).map_err(|error| unreadable(format!("no list ({error})")))?;
        let commit = raw.sha.filter(|sha| is_plain_name(sha)).ok_or_else(|| unreadable("no commit".into()))?;
        let licence = raw.tags.iter().find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned);
        let file = |raw: RawFile| {
            let lfs = raw.lfs;
            let size = lfs.as_ref().and_then(|lfs| lfs.size).or(raw.size);
            let digest = lfs.map_or(raw.blob_id, |lfs| lfs.sha256).filter(|digest| is_plain_name(digest));
            RemoteFile { name: raw.rfilename, size, digest }
        };
        // A name with `..` would leave the cache.
        let inside = |file: &RemoteFile| file.name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let files = raw.siblings.into_iter().map(file).filter(inside).collect();
        Ok(Info { commit, licence, files })
    }

    /// The address of a file at a commit.
    pub(crate) fn address(&self, repository: &Repository, commit: &str, file: &str) -> String {
        let file: Vec<String> = file.split('/').map(escaped).collect();
        format!("{}/{}/resolve/{commit}/{}", self.endpoint, repository.name, file.join("/"))
    }

    /// Size and digest of the file at `url`.
    pub(crate) fn look(&self, url: &str) -> Result<(Option<u64>, Option<String>), Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTIONS {
            let response = match self.send("HEAD", &url, None)? {
                // It gives the file, and does not speak of it.
                response if matches!(response.status().as_u16(), 405 | 501) => self.send("GET", &url, None)?,
                response => response,
            };
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let linked = header("x-linked-etag");
            let next = header("location").filter(|_| response.status().is_redirection());
            // The hub says it of a file that stands elsewhere in the answer that sends there.
            if let (Some(next), None) = (&next, &linked) {
                url = self.redirected(&url, next)?;
                continue;
            }
            if next.is_none() && !response.status().is_success() {
                return Err(status(response));
            }
            let size = header("x-linked-size").or_else(|| header("content-length").filter(|_| next.is_none()));
            let digest =
                linked.or_else(|| header("etag")).map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
            return Ok((size.and_then(|size| size.parse().ok()), digest.filter(|digest| is_plain_name(digest))));
        }
        Err(Failure::Network("it sends from one address to the next without end".into()))
    }

    /// The bytes at `url`, from `from` on if the server can.
    pub(crate) fn get(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTIONS {
            let response = self.send("GET", &url, from)?;
            let next = response.headers().get("location").and_then(|next| next.to_str().ok());
            match next {
                Some(next) if response.status().is_redirection() => url = self.redirected(&url, next)?,
                _ if response.status().is_success() => return Ok(response),
                _ => return Err(status(response)),
            }
        }
        Err(Failure::Network("it sends from one address to the next without end".into()))
    }

    fn redirected(&self, url: &str, next: &str) -> Result<String, Failure> {
        address::redirected(url, next, self.plain).map_err(|reason| Failure::Elsewhere(format!("it {reason}")))
    }

    fn send(&self, method: &str, url: &str, from: Option<u64>) -> Result<Response<Body>, Failure> {
        let request = if method == "HEAD" { self.agent.head(url) } else { self.agent.get(url) };
        let request = match &self.token {
            Some(token) if same_host(url, &self.endpoint) => request.header("authorization", format!("Bearer {token}")),
            _ => request,
        };
        let request = match from {
            Some(from) => request.header("range", format!("bytes={from}-")),
            None => request,
        };
        Ok(request.call()?)
    }

    /// A failure in the user's terms.
    pub(crate) fn words(&self, repository: &Repository, what: &str, failure: Failure) -> HubError {
        let (name, endpoint) = (repository.to_string(), shown(&self.endpoint));
        let refused = if self.token.is_some() { "; the present token does not open it" } else { "" };
        match failure {
            Failure::Network(reason) | Failure::Elsewhere(reason) => {
                HubError::Unreachable { repository: name, missing: Missing::NotAsked, endpoint, reason }
            }
            Failure::Status { code, .. } if code == "GatedRepo" => {
                HubError::Gated { repository: repository.name.clone(), endpoint, refused }
            }
            Failure::Status { status: StatusCode::FORBIDDEN, .. } => {
                HubError::Gated { repository: repository.name.clone(), endpoint, refused }
            }
            Failure::Status { status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND, code, .. }
                if code != "EntryNotFound" =>
            {
                HubError::NotFound { repository: name, refused }
            }
            Failure::Status { status, message, .. } => {
                let words = if message.is_empty() { String::new() } else { format!(" ({message})") };
                HubError::Refused { repository: name, what: what.to_owned(), answer: format!("{status}{words}") }
            }
        }
    }
}

fn status(response: Response<Body>) -> Failure {
    let header = |name: &str| {
        let text = response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.lines().next().unwrap_or_default().chars().take(200).collect::<String>()
    };
    Failure::Status { status: response.status(), code: header("x-error-code"), message: header("x-error-message") }
}

/// The proxy that the settings name, if there is one.
fn proxy(settings: &Settings) -> Result<Option<Proxy>, HubError> {
    let Some(text) = &settings.proxy else { return Ok(None) };
    let wrong = |error: ureq::Error| HubError::Setting(format!("the proxy '{}' cannot be used: {error}", shown(text)));
    let plain = Proxy::new(text).map_err(wrong)?;
    let Some(hosts) = &settings.no_proxy else { return Ok(Some(plain)) };
    let mut builder = Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(name) = plain.username() {
        builder = builder.username(name);
    }
    if let Some(word) = plain.password() {
        builder = builder.password(word);
    }
    if matches!(plain.protocol(), ProxyProtocol::Socks5) {
        builder = builder.resolve_target(plain.resolve_target());
    }
    for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(wrong)
}

/// The system's certificates and the named ones; those built in where the system has none.
fn trusted(settings: &Settings) -> Result<RootCerts, HubError> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!("a certificate of the system is left out: {error}");
    }
    let mut certificates: Vec<Certificate<'static>> =
        system.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    for path in &settings.certificates {
        let unusable = |reason: String| HubError::Setting(format!("the certificates in {}: {reason}", path.display()));
        let files: Vec<_> = if path.is_dir() {
            std::fs::read_dir(path).map_err(|error| unusable(error.to_string()))?.flatten().map(|f| f.path()).collect()
        } else {
            vec![path.clone()]
        };
        for file in files.iter().filter(|file| file.is_file() || !path.is_dir()) {
            let text = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
            for item in parse_pem(&text) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                    Ok(_) => {}
                    Err(error) => return Err(unusable(error.to_string())),
                }
            }
        }
    }
    Ok(if certificates.is_empty() { RootCerts::WebPki } else { certificates.into_iter().into() })
}

/// Whether a commit or a digest can be a file's name: the cache makes files and folders of what the hub says.
fn is_plain_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn escaped(part: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    part.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn same_host(url: &str, endpoint: &str) -> bool {
    let parts = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_owned()))
    };
    parts(url).is_some_and(|parts_of_url| parts(endpoint) == Some(parts_of_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert!(same_host("https://hub.example/a", "https://hub.example"));
        for other in ["https://store.example/a", "http://hub.example/a", "https://hub.example:8443/a", "nonsense"] {
            assert!(!same_host(other, "https://hub.example"), "{other}");
        }
        assert_eq!(escaped("a b%ü"), "a%20b%25%C3%BC");
    }

    #[test]
    fn names_that_may_become_files() {
        for name in ["0123456789abcdef", "35-7", "a_b.c"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", "..", "../x", "a/b", "a\\b", ".hidden", "a b"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }
}
