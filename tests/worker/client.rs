//! A test client of the worker: writes requests, reads answers, sends signals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::dsl::Dir;

/// Options of a fast run with the built-in model.
pub const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

/// Time limit of one answer, generous enough for the slowest test machine.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// A worker process that is ready.
pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<Value>,
    pub err: PathBuf,
    /// Its first line of output.
    pub ready: Value,
}

impl Worker {
    /// Starts one with the built-in model, and waits until it is ready.
    pub fn start(dir: &Dir, args: &str) -> Self {
        Self::start_with(dir, &format!("{BUILTIN} {args}"))
    }

    /// Starts one with any model, and waits until it is ready.
    pub fn start_with(dir: &Dir, args: &str) -> Self {
        let (mut child, err) = dir.diarist(&format!("worker {args}")).start_with_pipes();
        let answers = listen(child.stdout.take().unwrap());
        let mut worker = Worker { stdin: child.stdin.take(), child, answers, err, ready: Value::Null };
        worker.ready = worker.answer();
        assert_eq!(worker.ready["ready"], true, "{}", worker.ready);
        worker
    }

    /// Starts one with the built-in model, and closes its stdout once it is ready.
    pub fn start_deaf(dir: &Dir, args: &str) -> Self {
        let (mut child, err) = dir.diarist(&format!("worker {BUILTIN} {args}")).start_with_pipes();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let (_, answers) = channel();
        Worker { stdin: child.stdin.take(), child, answers, err, ready: serde_json::from_str(&ready).unwrap() }
    }

    /// Writes lines to a worker that may have ended.
    pub fn write_if_there(&mut self, line: &str) {
        let _ = self.stdin.as_mut().unwrap().write_all(line.as_bytes());
    }

    /// Writes lines as they are.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Writes a request.
    pub fn send(&mut self, request: Value) {
        self.write(format!("{request}\n"));
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&self) -> Value {
        match self.answers.recv_timeout(TIME_LIMIT) {
            Ok(answer) => answer,
            Err(reason) => panic!("no answer: {reason}; {}", self.told()),
        }
    }

    /// The next `count` answers, by their ids as JSON text.
    #[track_caller]
    pub fn answers(&self, count: usize) -> BTreeMap<String, Value> {
        let answers: BTreeMap<String, Value> =
            (0..count).map(|_| self.answer()).map(|answer| (answer["id"].to_string(), answer)).collect();
        assert_eq!(answers.len(), count, "an id was answered twice");
        answers
    }

    /// Checks that the next answer is an error of this kind, and that its message contains `parts`.
    #[track_caller]
    pub fn refuses(&self, id: Value, kind: &str, parts: &[&str]) {
        let answer = self.answer();
        assert_eq!((&answer["id"], answer["error"]["kind"].as_str()), (&id, Some(kind)), "{}", short(&answer));
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} in {answer}");
    }

    /// Closes the worker's stdin.
    pub fn end(&mut self) {
        self.stdin = None;
    }

    /// Sends SIGTERM or another signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The contents of stderr.
    pub fn told(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    /// Waits until stderr contains `text`.
    #[track_caller]
    pub fn until_told(&self, text: &str) {
        let start = Instant::now();
        while !self.told().contains(text) {
            assert!(start.elapsed() < TIME_LIMIT, "{text} never came: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Peak resident memory, in MiB.
    #[cfg(target_os = "linux")]
    pub fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// Waits for the process to end and checks its exit status, and that no thread panicked. Returns the answers not
    /// read yet.
    #[track_caller]
    pub fn exits(mut self, code: i32) -> Vec<Value> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < TIME_LIMIT, "it does not end: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(!self.told().contains("panicked"), "{}", self.told());
        assert_eq!(status.code(), Some(code), "{}", self.told());
        self.answers.iter().collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads answers on a thread of its own, so that the worker never blocks on a full pipe.
fn listen(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            let answer = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let _ = sender.send(answer);
        }
    });
    receiver
}

/// The beginning of an answer, which may be long.
pub fn short(answer: &Value) -> String {
    answer.to_string().chars().take(500).collect()
}

/// Bytes in base64.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
