//! The `--jsonl` output file: one line of JSON per finished recording, append-only, with recovery after a crash.
//!
//! Lines are appended one at a time and synced to disk. However the program ends, the file has complete lines and at
//! most one incomplete line at its end, which the next run truncates.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use diarist::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::results::Id;
use super::list::Entry;

/// The prefix of every line.
const LINE_PREFIX: &[u8] = b"{\"path\": \"";

/// The open output file. It is locked until this is dropped.
pub struct Out {
    file: File,
    path: PathBuf,
}

/// The recordings that have a line in the file.
#[derive(Default)]
pub struct Done {
    /// Id to path.
    paths: HashMap<Id, String>,
    /// Number of lines with an error.
    pub failed: usize,
}

/// A line of the file; the result itself is skipped.
#[derive(Deserialize)]
struct Record {
    path: String,
    id: Id,
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

impl Done {
    /// The entries of the list that have no line yet.
    ///
    /// # Errors
    /// [`Error::Config`] if an id has another path in the file than in the list.
    pub fn leave_out<'a>(&self, entries: &'a [Entry], out: &Path) -> Result<Vec<&'a Entry>> {
        let mut todo = Vec::new();
        for entry in entries {
            match self.paths.get(&entry.id) {
                None => todo.push(entry),
                Some(path) if *path == entry.path => {}
                Some(path) => {
                    let rule = format!(
                        "has a result of `{path}` under the id {}, which is `{}` in the list; give another --jsonl",
                        entry.id, entry.path
                    );
                    return Err(Error::config("jsonl", out.display(), rule));
                }
            }
        }
        Ok(todo)
    }
}

impl Out {
    /// Opens or creates the file, and truncates an incomplete last line. With `retry`, lines with an error are removed.
    ///
    /// # Errors
    /// [`Error::Config`] if another process has locked it, if it is the list, or if it has other contents;
    /// [`Error::Io`].
    pub fn open(path: &Path, list: &Path, retry: bool) -> Result<(Self, Done)> {
        let io = |error: io::Error| Error::io(path, error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        // Canonical paths: the two names may be links to one file.
        if path.canonicalize().ok() == list.canonicalize().ok() {
            return Err(Error::config("jsonl", path.display(), "is the list itself; give the results another file"));
        }
        lock(&file, path)?;
        let mut out = Out { file, path: path.into() };
        let mut done = out.read()?;
        if retry && done.failed > 0 {
            done = out.without_errors()?;
        }
        Ok((out, done))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line, which must end in a newline, and syncs it to disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::io(&self.path, error))
    }

    /// Reads all lines, truncates an incomplete last one, and seeks to the end.
    fn read(&mut self) -> Result<Done> {
        let mut done = Done::default();
        let mut complete_bytes = 0;
        let mut torn = Vec::new();
        self.each_line(|line, record| {
            match record {
                Some(record) => {
                    done.failed += usize::from(record.error.is_some());
                    done.paths.insert(record.id, record.path);
                    complete_bytes += line.len() as u64;
                }
                None => torn = line.to_vec(),
            }
            Ok(())
        })?;
        let io = |error: io::Error| Error::io(&self.path, error);
        if !torn.is_empty() {
            tracing::info!(bytes = torn.len(), "the last line is not whole, and is dropped");
            self.file.set_len(complete_bytes).and_then(|()| self.file.sync_data()).map_err(io)?;
        }
        self.file.seek(SeekFrom::Start(complete_bytes)).map_err(io)?;
        Ok(done)
    }

    /// Calls `each` with the bytes of every line and its record; the record is `None` for an incomplete last line.
    ///
    /// # Errors
    /// [`Error::Config`] for a line that this program did not write; [`Error::Io`].
    fn each_line(&mut self, mut each: impl FnMut(&[u8], Option<Record>) -> io::Result<()>) -> Result<()> {
        let io = |error: io::Error| Error::io(&self.path, error);
        self.file.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(io)? == 0 {
                break;
            }
            let record = serde_json::from_slice::<Record>(&line).ok();
            let record =
                record.filter(|record| line.ends_with(b"\n") && record.result.is_some() != record.error.is_some());
            // After a power cut the file may have grown without its data: the last line is then zeros.
            let has_prefix = line.iter().zip(LINE_PREFIX).all(|(a, b)| a == b) || line.starts_with(&[0]);
            let torn = has_prefix && !line.ends_with(b"\n");
            if record.is_none() && !torn {
                let rule =
                    format!("line {number} is no result of this program; give another --jsonl, or move the file away");
                return Err(Error::config("jsonl", self.path.display(), rule));
            }
            each(&line, record).map_err(io)?;
        }
        Ok(())
    }

    /// Replaces the file with a copy that lacks the lines with an error.
    fn without_errors(&mut self) -> Result<Done> {
        let io = |path: &Path, error: io::Error| Error::io(path, error);
        let name = format!(".diarist-{}.part", std::process::id());
        let temporary = self.path.with_file_name(name);
        let new = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let mut new = new.map_err(|error| io(&temporary, error))?;
        // Locked before the rename: afterwards another process could open it.
        lock(&new, &temporary)?;
        let mut writer = io::BufWriter::new(&mut new);
        let copied = self.each_line(|line, record| match record {
            Some(Record { result: Some(_), .. }) => writer.write_all(line),
            _ => Ok(()),
        });
        let copied = copied.and(writer.flush().map_err(|error| io(&temporary, error)));
        drop(writer);
        let replace = || new.sync_all().and_then(|()| std::fs::rename(&temporary, &self.path));
        copied.and_then(|()| replace().map_err(|error| io(&self.path, error))).inspect_err(|_| {
            // An error of this removal would hide the first error.
            let _ = std::fs::remove_file(&temporary);
        })?;
        self.file = new;
        self.read()
    }
}

/// Locks a file until it is closed. The operating system releases the lock when the process ends, also after a crash.
fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let rule = "another process is writing to it; wait for it, or give another --jsonl";
            Err(Error::config("jsonl", path.display(), rule))
        }
        Err(TryLockError::Error(reason)) => {
            tracing::warn!(file = %path.display(), %reason, "cannot be locked; see to it that only one process writes to it");
            Ok(())
        }
    }
}
