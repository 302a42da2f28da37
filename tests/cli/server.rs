//! A small model hub on a local port, with fault injection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// A fault in the answer to a request for the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Sends this many bytes, then closes the connection.
    CloseAfter(usize),
    /// Sends this many bytes without a Content-Length, then closes the connection.
    EndAfter(usize),
    /// Sends this many bytes, then stalls with the connection open.
    SilentAfter(usize),
    /// Sends all bytes, one of them changed.
    FlipByte,
    /// Answers with this status.
    Status(u16),
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// Pending faults of each file, in order.
    faults: HashMap<String, Vec<Fault>>,
    /// `(file, first byte of the range)` of every request for bytes.
    asked: Vec<(String, usize)>,
    /// `(file, revision)` of every request for a file of a repository.
    revisions: Vec<(String, String)>,
    requests: usize,
    tokens: Vec<String>,
    wants_token: bool,
    /// Pause after each piece of [`CHUNK_BYTES`] bytes.
    pause: Duration,
    /// Bytes sent of each file.
    sent: HashMap<String, usize>,
}

const CHUNK_BYTES: usize = 1 << 14;

/// The hub. It serves the same files under every repository name; `main` is the commit `c0ffee`. A file called
/// `organisation/name:file` exists only in that repository.
pub struct Server {
    /// The base URL, for `HF_ENDPOINT`.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().unwrap().files = files.iter().map(|(n, b)| (n.to_string(), b.to_vec())).collect();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { endpoint, state }
    }

    /// Injects these faults, one for each of the next requests for the bytes of `file`.
    pub fn fail(&self, file: &str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.insert(file.into(), faults.to_vec());
    }

    /// The start offsets of all requests for the bytes of `file`.
    pub fn offsets(&self, file: &str) -> Vec<usize> {
        self.state.lock().unwrap().asked.iter().filter(|(name, _)| name == file).map(|(_, from)| *from).collect()
    }

    /// Throttles the server: it pauses this long after each 16 KiB.
    pub fn slow_down(&self, pause: Duration) {
        self.state.lock().unwrap().pause = pause;
    }

    /// Bytes of `file` sent so far in all answers, without requests for the headers.
    pub fn sent(&self, file: &str) -> usize {
        self.state.lock().unwrap().sent.get(file).copied().unwrap_or(0)
    }

    /// Adds or replaces a file.
    pub fn put(&self, file: &str, bytes: &[u8]) {
        self.state.lock().unwrap().files.insert(file.into(), bytes.to_vec());
    }

    /// The revisions of all requests for `file`.
    pub fn revisions(&self, file: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.revisions.iter().filter(|(name, _)| name == file).map(|(_, revision)| revision.clone()).collect()
    }

    /// Refuses requests without an access token from now on.
    pub fn want_token(&self) {
        self.state.lock().unwrap().wants_token = true;
    }

    /// Number of requests so far.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// The authorization headers of all requests.
    pub fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().tokens.clone()
    }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    for line in reader.lines() {
        match line {
            Ok(line) if !line.is_empty() => head.push(line),
            _ => break,
        }
    }
    let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let header = |name: &str| {
        head.iter().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    };
    let mut state_now = state.lock().unwrap();
    state_now.requests += 1;
    state_now.tokens.extend(header("authorization").map(str::to_string));
    if state_now.wants_token && header("authorization").is_none() {
        let _ = write!(stream, "HTTP/1.1 401 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    if path.starts_with("/api/models/") {
        let files: Vec<String> = state_now.files.keys().map(|f| format!("{{\"rfilename\":\"{f}\"}}")).collect();
        let fault = state_now.faults.get_mut("api").and_then(|f| (!f.is_empty()).then(|| f.remove(0)));
        let body = format!("{{\"sha\":\"c0ffee\",\"siblings\":[{}]}}", files.join(","));
        let status = if let Some(Fault::Status(code)) = fault { code } else { 200 };
        let _ =
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        return;
    }
    // After the commit, a file may be in a subfolder. Bundles have no commit in their URL.
    let within = path.split_once("/resolve/").and_then(|(repo, rest)| Some((repo, rest.split_once('/')?)));
    let name = within.map(|(_, (_, file))| file).or(path.rsplit('/').next()).unwrap_or_default();
    let name_in_repo = within.map(|(repo, _)| format!("{}:{name}", repo.trim_start_matches('/')));
    let name = name_in_repo.filter(|name| state_now.files.contains_key(name)).unwrap_or_else(|| name.to_string());
    let commit = within.map_or("c0ffee", |(_, (revision, _))| revision).replace("main", "c0ffee");
    if within.is_some() {
        state_now.revisions.push((name.clone(), commit.clone()));
    }
    let Some(bytes) = state_now.files.get(&name).cloned() else {
        let _ = write!(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let range = header("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'));
    let (from, to) = range.unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(bytes.len(), |to: usize| (to + 1).min(bytes.len()));
    // The client requests the first byte alone to get the headers.
    let wants_bytes = to != 1;
    let fault = if wants_bytes {
        state_now.asked.push((name.clone(), from));
        state_now.faults.get_mut(&name).and_then(|f| (!f.is_empty()).then(|| f.remove(0)))
    } else {
        None
    };
    drop(state_now);
    send(&mut stream, state, (&name, &commit), &bytes, from..to, fault);
}

fn send(
    stream: &mut TcpStream,
    state: &Mutex<State>,
    (name, commit): (&str, &str),
    bytes: &[u8],
    range: std::ops::Range<usize>,
    fault: Option<Fault>,
) {
    let etag: String = if name.ends_with(".json") {
        "0123456789012345678901234567890123456789".into()
    } else {
        Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
    };
    let status = match fault {
        Some(Fault::Status(code)) => code,
        _ if range.start >= bytes.len() => 416,
        _ => 206,
    };
    let mut part = bytes.get(range.clone()).unwrap_or_default().to_vec();
    if fault == Some(Fault::FlipByte) {
        part[0] ^= 1;
    }
    let length = match fault {
        Some(Fault::EndAfter(_)) => String::new(),
        _ => format!("Content-Length: {}\r\n", part.len()),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\n{length}Content-Range: bytes {}-{}/{}\r\nETag: \"{etag}-{}\"\r\n\
         X-Linked-Etag: \"{}\"\r\nX-Repo-Commit: {commit}\r\nConnection: close\r\n\r\n",
        range.start,
        range.end.saturating_sub(1),
        bytes.len(),
        name.replace(['/', ':'], "-"),
        if name.ends_with(".json") { format!("{etag}-{}", name.replace(['.', '/', '_'], "-")) } else { etag.clone() },
    );
    let sent = match fault {
        Some(Fault::CloseAfter(n) | Fault::EndAfter(n) | Fault::SilentAfter(n)) => n.min(part.len()),
        _ => part.len(),
    };
    for piece in part[..sent].chunks(CHUNK_BYTES) {
        let gone = stream.write_all(piece).and_then(|()| stream.flush()).is_err();
        let mut state = state.lock().unwrap();
        // Requests for the headers are not counted.
        *state.sent.entry(name.into()).or_default() += if part.len() > 1 { piece.len() } else { 0 };
        let pause = state.pause;
        drop(state);
        if gone {
            return;
        }
        std::thread::sleep(pause);
    }
    if matches!(fault, Some(Fault::SilentAfter(_))) {
        std::thread::sleep(Duration::from_secs(20));
    }
}
