//! OUT: a line of JSON for each recording that is finished. It only grows, a line at a time, so that whatever ends the program
//! leaves whole lines and at most the beginning of one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use diarist::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::results::Id;
use super::list::Entry;

/// How every line begins.
const BEGINNING: &[u8] = b"{\"path\": \"";

/// The file, locked as long as this lives.
pub struct Out {
    file: File,
    path: PathBuf,
}

/// What the file has.
#[derive(Default)]
pub struct Done {
    /// The path of each recording by its id.
    paths: HashMap<Id, String>,
    /// How many of them have an error.
    pub failed: usize,
}

/// A line, without what was found.
#[derive(Deserialize)]
struct Record {
    path: String,
    id: Id,
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

impl Done {
    /// The recordings that are not done.
    ///
    /// # Errors
    /// [`Error::Config`] if an id stands for two recordings.
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
    /// Opens or makes the file, and repairs its end. With `retry`, lines with an error are taken out.
    ///
    /// # Errors
    /// [`Error::Config`] if another process writes to it, or if it is something else; [`Error::Io`].
    pub fn open(path: &Path, list: &Path, retry: bool) -> Result<(Self, Done)> {
        let io = |error: io::Error| Error::io(path, error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        // Of one file with two names, too.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, its end included; on return it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::io(&self.path, error))
    }

    /// Reads all lines, drops the beginning of one, and stands at the end.
    fn read(&mut self) -> Result<Done> {
        let mut done = Done::default();
        let mut whole = 0;
        let mut torn = Vec::new();
        self.each_line(|line, record| {
            match record {
                Some(record) => {
                    done.failed += usize::from(record.error.is_some());
                    done.paths.insert(record.id, record.path);
                    whole += line.len() as u64;
                }
                None => torn = line.to_vec(),
            }
            Ok(())
        })?;
        let io = |error: io::Error| Error::io(&self.path, error);
        if !torn.is_empty() {
            tracing::info!(bytes = torn.len(), "the last line is not whole, and is dropped");
            self.file.set_len(whole).and_then(|()| self.file.sync_data()).map_err(io)?;
        }
        self.file.seek(SeekFrom::Start(whole)).map_err(io)?;
        Ok(done)
    }

    /// Hands out the lines, and what they are about; of the beginning of a line, nothing.
    ///
    /// # Errors
    /// [`Error::Config`] for a line that is of something else.
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
            // A power cut may leave the length of a line without its bytes.
            let begun = line.iter().zip(BEGINNING).all(|(a, b)| a == b) || line.starts_with(&[0]);
            let torn = begun && !line.ends_with(b"\n");
            if record.is_none() && !torn {
                let rule =
                    format!("line {number} is no result of this program; give another --jsonl, or move the file away");
                return Err(Error::config("jsonl", self.path.display(), rule));
            }
            each(&line, record).map_err(io)?;
        }
        Ok(())
    }

    /// Puts a file without the errors in the place of this one.
    fn without_errors(&mut self) -> Result<Done> {
        let io = |path: &Path, error: io::Error| Error::io(path, error);
        let name = format!(".diarist-{}.part", std::process::id());
        let temporary = self.path.with_file_name(name);
        let new = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary);
        let mut new = new.map_err(|error| io(&temporary, error))?;
        // Before it has the name under which others look for it.
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
            // The error that matters is the first one.
            let _ = std::fs::remove_file(&temporary);
        })?;
        self.file = new;
        self.read()
    }
}

/// Locks a file until it is closed, at the latest by the end of the process, however that comes.
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
