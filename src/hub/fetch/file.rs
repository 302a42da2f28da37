//! Downloads a single file by URL, without the hub's API. Interrupted transfers are resumed with HTTP range requests.
//! The file is renamed to its final name once it is complete. One process or thread downloads it; others wait.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{ATTEMPTS, Error, Event, Reporter, Result, lock, watched};
use crate::engine::weights::Weights;
use crate::hub::{Hub, OnProgress};

/// Downloads a checkpoint from `url` to `target`. No checksum of it is published: the file is accepted if its length
/// matches and every tensor that it lists lies within it.
pub(in crate::hub) fn fetch(hub: &Hub, url: &str, target: &Path, on_progress: &mut OnProgress<'_>) -> Result<()> {
    let name = target.file_name().map_or_else(String::new, |name| name.display().to_string());
    let _lock = lock::acquire(&target.with_file_name(".locks").join(format!("{name}.lock")), &name, on_progress)?;
    // The previous holder of the lock may have downloaded it.
    if target.is_file() {
        return Ok(());
    }
    let (events, progress) = channel();
    let abandoned = Arc::new(AtomicBool::new(false));
    let mut part = target.as_os_str().to_os_string();
    part.push(".part");
    let job = Job {
        url: url.to_string(),
        part: PathBuf::from(part),
        target: target.to_path_buf(),
        reporter: Reporter { events, abandoned: abandoned.clone() },
        pause: hub.retry_pause,
    };
    watched(move || job.run(), &progress, &abandoned, hub.stall, on_progress)
}

struct Job {
    url: String,
    part: PathBuf,
    target: PathBuf,
    reporter: Reporter,
    pause: Duration,
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Interrupted(String),
    /// Another attempt would fail, too.
    Final(Error),
}

impl Job {
    fn run(self) -> Result<()> {
        let unusable = |e: std::io::Error| {
            Error::Other(format!(
                "{} cannot be written: {e}; make room or give another --model-dir",
                self.part.display()
            ))
        };
        if let Some(folder) = self.part.parent() {
            std::fs::create_dir_all(folder).map_err(unusable)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.part).map_err(unusable)?;
        for attempt in 1.. {
            match self.attempt(&mut file) {
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Interrupted(why)) if attempt == ATTEMPTS => {
                    return Err(Error::Unreachable(format!("{why}; run the same command again to continue")));
                }
                Err(Failure::Interrupted(_)) => std::thread::sleep(self.pause * attempt),
            }
        }
        file.sync_all().map_err(unusable)?;
        if let Err(damage) = Weights::open_file(&self.part) {
            let _ = std::fs::remove_file(&self.part);
            return Err(Error::Other(format!("{} brought no checkpoint: {damage}", self.url)));
        }
        std::fs::rename(&self.part, &self.target).map_err(unusable)
    }

    /// One attempt: requests the bytes after those on disk and appends them.
    fn attempt(&self, file: &mut File) -> std::result::Result<(), Failure> {
        let local =
            |e: std::io::Error| Failure::Final(Error::Other(format!("{} cannot be written: {e}", self.part.display())));
        self.reporter.send(Event::Bytes(0));
        let mut on_disk = file.metadata().map_err(local)?.len();
        let mut request = ureq::get(&self.url).header("User-Agent", concat!("diarist/", env!("CARGO_PKG_VERSION")));
        if on_disk > 0 {
            request = request.header("Range", format!("bytes={on_disk}-"));
        }
        let response = match request.call() {
            // Range Not Satisfiable: the part on disk is as long as the file or longer. Start again.
            Err(ureq::Error::StatusCode(416)) => {
                file.set_len(0).map_err(local)?;
                return Err(Failure::Interrupted("it had another length".into()));
            }
            Err(ureq::Error::StatusCode(code @ (429 | 500..))) => {
                return Err(Failure::Interrupted(format!("{} answers {code}", self.url)));
            }
            Err(ureq::Error::StatusCode(code)) => {
                let why = format!("{} answers {code}; is it still published there?", self.url);
                return Err(Failure::Final(Error::Other(why)));
            }
            Err(ureq::Error::Io(e)) if e.kind() != std::io::ErrorKind::ConnectionRefused => {
                return Err(Failure::Interrupted(e.to_string()));
            }
            Err(error) => return Err(Failure::Final(Error::Unreachable(error.to_string()))),
            Ok(response) => response,
        };
        if response.status().as_u16() != 206 {
            // The server ignored the range and sends the whole file.
            file.set_len(0).map_err(local)?;
            on_disk = 0;
        }
        let rest = response.body().content_length();
        let name = self.target.file_name().map_or_else(String::new, |name| name.display().to_string());
        self.reporter.send(Event::File(name, on_disk + rest.unwrap_or(0)));
        self.reporter.send(Event::Bytes(on_disk));
        let mut body = response.into_body().into_reader();
        let (mut buffer, mut arrived) = (vec![0; 1 << 16], 0);
        loop {
            let count = body.read(&mut buffer).map_err(|e| Failure::Interrupted(e.to_string()))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(local)?;
            arrived += count as u64;
            self.reporter.send(Event::Bytes(count as u64));
        }
        match rest {
            Some(rest) if arrived < rest => Err(Failure::Interrupted("the connection was closed early".into())),
            _ => Ok(()),
        }
    }
}
