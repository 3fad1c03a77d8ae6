//! As much of the Hugging Face hub as a download needs, for one repository, on the loopback interface, with the faults
//! that networks and repositories have. It redirects large files to a store, as the hub does, and is its own HTTP
//! proxy.
//!
//! Stands alone, so that the tests of other crates can take it by path.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// The commit of all files.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// After so many bytes of an answer nothing comes any more, and the connection stays.
    Stall(usize),
    /// After so many bytes of an answer the connection is closed.
    Cut(usize),
    /// The first byte of an answer is another one.
    Garble,
    /// There is a byte more than was promised.
    Longer,
    /// Ranges are not known: every answer is the whole.
    NoRanges,
    /// This status instead.
    Status(u16),
    /// Half a second between the pieces of an answer.
    Slow,
}

/// What may be said of the repository as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Only with this token; without it the repository is gated.
    pub gated: Option<&'static str>,
    /// The listing has names only, as some mirrors answer.
    pub plain_listing: bool,
    /// Everything is answered with this status.
    pub broken: Option<u16>,
}

struct State {
    repository: String,
    files: BTreeMap<String, Vec<u8>>,
    faults: Vec<(String, Fault, usize)>,
    rules: Rules,
    /// `METHOD path`, in order.
    asked: Vec<String>,
    port: u16,
}

/// The hub; it ends with the process.
#[derive(Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    pub port: u16,
}

impl Hub {
    /// Serves `files` as `repository`.
    pub fn open(repository: &str, files: &[(&str, &[u8])]) -> Self {
        Self::serving(repository, files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect())
    }

    /// Serves a folder's files.
    pub fn of_folder(repository: &str, folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let files = entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()));
        Self::serving(repository, files.collect())
    }

    fn serving(repository: &str, files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (faults, rules, asked, repository) = (Vec::new(), Rules::default(), Vec::new(), repository.to_owned());
        let state = Arc::new(Mutex::new(State { repository, files, faults, rules, asked, port }));
        let hub = Self { state, port };
        let server = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        hub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn rules(&self, rules: Rules) {
        self.state().rules = rules;
    }

    /// The next `times` answers with bytes of `file` have this fault.
    pub fn fault(&self, file: &str, fault: Fault, times: usize) {
        self.state().faults.push((file.to_owned(), fault, times));
    }

    pub fn put(&self, file: &str, bytes: &[u8]) {
        self.state().files.insert(file.to_owned(), bytes.to_vec());
    }

    /// What was asked for since the last time, bytes only: `file` or `file@from`.
    pub fn taken(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state().asked);
        asked.iter().filter_map(|line| Some(line.strip_prefix("BYTES ")?.to_owned())).collect()
    }

    /// One connection, one request (after a CONNECT, whatever it leads to).
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        self.answer(&mut reader, &mut writer);
    }

    /// Reads a request and answers it.
    pub fn answer(&self, reader: &mut dyn BufRead, writer: &mut dyn Write) {
        let Some((method, mut path, headers)) = read_request(reader) else { return };
        if method == "CONNECT" {
            self.state().asked.push(format!("CONNECT {path}"));
            let _ = writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            return self.answer(reader, writer);
        }
        if let Some((_, rest)) = path.split_once("://") {
            path = rest[rest.find('/').unwrap_or(rest.len())..].to_owned();
        }
        let path = path.split('?').next().unwrap_or_default().to_owned();
        self.state().asked.push(format!("{method} {path}"));
        let rules = self.state().rules;
        let repository = self.state().repository.clone();
        if let Some(status) = rules.broken {
            return reply(writer, status, &[], b"");
        }
        let token = headers.get("authorization").map(String::as_str);
        let is_store = path.starts_with("/store/");
        if is_store {
            assert_eq!(token, None, "the token went to another host");
        } else if rules.gated.is_some_and(|word| token != Some(&format!("Bearer {word}"))) {
            let words = [("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access to model is restricted.")];
            return reply(writer, 401, &words, b"");
        }
        if path.starts_with(&format!("/api/models/{repository}/revision/")) {
            return reply(writer, 200, &[("Content-Type", "application/json")], self.listing(rules).as_bytes());
        }
        let file = path
            .strip_prefix(&format!("/{repository}/resolve/{COMMIT}/"))
            .or_else(|| path.strip_prefix("/store/"))
            .map(str::to_owned);
        let found = file.and_then(|file| Some((self.state().files.get(&file)?.clone(), file)));
        let Some((bytes, file)) = found else {
            let code = if path.contains("/resolve/") { "EntryNotFound" } else { "RepoNotFound" };
            return reply(writer, if code == "EntryNotFound" { 404 } else { 401 }, &[("X-Error-Code", code)], b"");
        };
        let tag = format!("\"{}\"", digest(&bytes));
        let length = bytes.len().to_string();
        if is_large(&bytes) && !is_store {
            // By its other name, so that it is another host.
            let place = format!("http://localhost:{}/store/{file}", self.port);
            let place = if headers.contains_key("x-through-proxy") { format!("/store/{file}") } else { place };
            let headers = [("Location", place.as_str()), ("X-Linked-Etag", &tag), ("X-Linked-Size", &length)];
            return reply(writer, 302, &headers, b"");
        }
        if method == "HEAD" {
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nETag: {tag}\r\nContent-Length: {length}\r\n\r\n");
            let _ = writer.write_all(head.as_bytes());
            return;
        }
        let range =
            headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        self.send(writer, &file, bytes, range, &tag);
    }

    fn send(&self, writer: &mut dyn Write, file: &str, mut bytes: Vec<u8>, range: Option<usize>, tag: &str) {
        let fault = self.next_fault(file);
        let from = range.filter(|_| fault != Some(Fault::NoRanges)).unwrap_or(0);
        self.state().asked.push(if from > 0 { format!("BYTES {file}@{from}") } else { format!("BYTES {file}") });
        match fault {
            Some(Fault::Status(status)) => return reply(writer, status, &[], b""),
            Some(Fault::Garble) => bytes[from] ^= 1,
            Some(Fault::Longer) => bytes.push(0),
            _ => {}
        }
        if from >= bytes.len() && from > 0 {
            return reply(writer, 416, &[], b"");
        }
        let part = &bytes[from..];
        let status = if from > 0 { 206 } else { 200 };
        let head = format!(
            "HTTP/1.1 {status} OK\r\nConnection: close\r\nETag: {tag}\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
            bytes.len() - 1,
            bytes.len(),
            part.len()
        );
        let _ = writer.write_all(head.as_bytes());
        match fault {
            Some(Fault::Cut(after)) => drop(writer.write_all(&part[..after.min(part.len())])),
            Some(Fault::Stall(after)) => {
                let _ = writer.write_all(&part[..after.min(part.len())]);
                let _ = writer.flush();
                std::thread::sleep(Duration::from_secs(60));
            }
            Some(Fault::Slow) => {
                for piece in part.chunks(part.len().div_ceil(4)) {
                    let _ = writer.write_all(piece);
                    let _ = writer.flush();
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
            _ => drop(writer.write_all(part)),
        }
    }

    fn next_fault(&self, file: &str) -> Option<Fault> {
        let mut state = self.state();
        let found = state.faults.iter_mut().find(|(name, _, times)| name == file && *times > 0)?;
        found.2 -= 1;
        Some(found.1)
    }

    fn listing(&self, rules: Rules) -> String {
        let state = self.state();
        let file = |(name, bytes): (&String, &Vec<u8>)| {
            let mut entry = serde_json::json!({"rfilename": name});
            if !rules.plain_listing {
                entry["size"] = bytes.len().into();
                entry["blobId"] = git_digest(bytes).into();
                if is_large(bytes) {
                    entry["lfs"] =
                        serde_json::json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
                }
            }
            entry
        };
        let files: Vec<_> = state.files.iter().map(file).collect();
        serde_json::json!({"sha": COMMIT, "siblings": files, "tags": ["license:mit", "whisper"]}).to_string()
    }
}

/// What the hub calls a file's bytes.
pub fn digest(bytes: &[u8]) -> String {
    if is_large(bytes) { sha256(bytes) } else { git_digest(bytes) }
}

fn is_large(bytes: &[u8]) -> bool {
    bytes.len() >= 1000
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// As long as git's, and as different for different bytes.
fn git_digest(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_owned()
}

fn read_request(reader: &mut dyn BufRead) -> Option<(String, String, BTreeMap<String, String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut words = lines.first()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some((method, path, lines[1..].iter().filter_map(header).collect()))
}

fn reply(writer: &mut dyn Write, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} Answer\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = writer.write_all(format!("{head}\r\n").as_bytes());
    let _ = writer.write_all(body);
}
