//! Starts the program, and speaks HTTP to it without the help of a library that would be too polite.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub const TOKEN: &str = "a-token-for-tests";
/// No answer takes this long, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A running service; killed when it goes out of scope.
pub struct Rest {
    child: Child,
    pub address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diarist-rest"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DIARIST_")) {
        command.env_remove(name);
    }
    command.env("DIARIST_LOG", "error");
    command.args(["--address", "127.0.0.1:0", "--device", "cpu", "--drain-delay", "0.1"]);
    command.args(["--model", "builtin", "--diarize-model", "builtin"]);
    command
}

impl Rest {
    /// Starts it with the built-in models and these flags, and waits until it is ready.
    pub fn start(flags: &[&str]) -> Rest {
        let mut command = program();
        command.env("DIARIST_TOKENS", TOKEN).args(flags);
        let rest = Rest::run(command);
        rest.wait_until("ready", || rest.get("/ready").status == 200);
        rest
    }

    /// Starts it as it is; it listens.
    pub fn run(mut command: Command) -> Rest {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        Rest { address: address.unwrap_or_else(|| panic!("it said `{line}`: {:?}", child.wait())), child }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes on a connection of their own, and reads the answer.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // One that is refused early may not take everything.
        let _ = stream.write_all(bytes);
        answer(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\n{}\r\n", headers(TOKEN)).as_bytes())
    }

    /// Posts a body of this type.
    pub fn post(&self, kind: &str, body: &[u8]) -> Answer {
        self.raw(&posted(TOKEN, kind, body))
    }

    /// Posts a recording with options, as JSON.
    pub fn transcribe(&self, audio: &[u8], options: Value) -> Answer {
        self.post("application/json", &body(audio, options))
    }

    /// The value of a metric, with its labels; 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let told = self.get("/metrics").body;
        let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Waits for a condition.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "never {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A number of the process's status, in KiB: `VmHWM` is the most memory it ever held.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    }

    /// Files and sockets that are open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It is a refusal with this status, and says why in the form that is promised.
    #[track_caller]
    pub fn refuses(&self, status: u16, kind: &str, parts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        let error = &self.json()["error"];
        assert_eq!(error["kind"], kind, "{self:?}");
        let message = error["message"].as_str().unwrap();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    /// It is a transcript; its text.
    #[track_caller]
    pub fn transcript(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["transcript"].as_str().unwrap().to_owned()
    }
}

fn headers(token: &str) -> String {
    format!("Host: here\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n")
}

/// A whole POST request.
pub fn posted(token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\n{}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n", headers(token));
    [head.as_bytes(), body].concat()
}

/// The beginning of a POST request, of which the body is still to come.
pub fn begun(framing: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\n{}Content-Type: application/json\r\n{framing}\r\n\r\n", headers(TOKEN)).into_bytes()
}

/// The tutorial's body.
pub fn body(audio: &[u8], options: Value) -> Vec<u8> {
    let mut body = json!({ "audio_file": STANDARD.encode(audio) });
    let options = options.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(options);
    body.to_string().into_bytes()
}

/// Reads an answer to its end, which is that of the connection.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {read:?}, `{text}`"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}
