//! Input sources: files, memory, and pipes. A pipe is copied to a temporary file first, because the readers need to
//! seek.

use std::fs::{self, File};
use std::io::{self, Cursor, IsTerminal, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::container::{self, OpenError};
use super::names;
use super::open::{self, Opened};
use super::recognise::{self, Content};
use super::{DecodeOptions, Progress};
use crate::error::{Error, Result};
use crate::units::Seconds;

/// Most bytes that are copied from a pipe.
const MAX_PIPED: u64 = 16 << 30;

/// Interval at which the caller is polled for cancellation while waiting for a pipe or for ffmpeg.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Bytes read from a pipe at once.
const CHUNK: usize = 65_536;

/// A progress callback that may cancel.
pub(super) type Watch<'w> = &'w mut dyn FnMut(Progress) -> ControlFlow<()>;

/// A recording that can be read from its start any number of times.
pub(super) struct Recording<'a> {
    /// Its name in errors.
    pub(super) name: PathBuf,
    pub(super) place: Place<'a>,
}

/// Storage of a recording's bytes.
pub(super) enum Place<'a> {
    /// The file at the path [`Recording::name`].
    Named,
    Memory(&'a [u8]),
    /// An unnamed temporary file, deleted when it is closed.
    Temporary(File),
}

impl<'a> Recording<'a> {
    /// From the path of a file or of a named pipe. A pipe is read to its end.
    pub(super) fn of_path(path: &Path, watch: Watch) -> Result<Recording<'static>> {
        let refuse = |reason: &str| Err(Error::audio(path, reason));
        // Check the type before opening, because opening a pipe blocks until it has a writer.
        let meta = fs::metadata(path).map_err(|error| Error::audio(path, container::io_reason(&error)))?;
        if is_pipe(&meta) {
            let pipe = path.to_path_buf();
            return Recording::of_pipe(path, move || File::open(pipe), watch);
        }
        if meta.is_dir() {
            return refuse("is a folder, not a recording; name the files inside it");
        }
        if !meta.is_file() {
            return refuse("is a device or a socket, not a recording; record from it into a file first");
        }
        if meta.len() == 0 {
            return refuse("the file is empty (0 bytes); record or copy it again");
        }
        // Such a path would mean another file to ffmpeg, which has its own standard input.
        if ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|stdin| path == Path::new(stdin)) {
            return Recording::of_stdin(watch);
        }
        Ok(Recording { name: path.into(), place: Place::Named })
    }

    /// From the standard input, which is read to its end.
    pub(super) fn of_stdin(watch: Watch) -> Result<Recording<'static>> {
        let name = Path::new("stdin");
        if io::stdin().is_terminal() {
            let reason = "is a terminal: pipe a recording into it, or redirect it from a file";
            return Err(Error::audio(name, reason));
        }
        Recording::of_pipe(name, || Ok(io::stdin()), watch)
    }

    pub(super) fn of_bytes(bytes: &'a [u8], name: &str) -> Result<Self> {
        let name = PathBuf::from(if name.is_empty() { "recording" } else { name });
        if bytes.is_empty() {
            return Err(Error::audio(name, "the recording is empty (0 bytes)"));
        }
        Ok(Recording { name, place: Place::Memory(bytes) })
    }

    /// Copies a pipe to a temporary file. `open` is called on another thread. If `watch` cancels, that thread is
    /// abandoned while it waits for the pipe.
    fn of_pipe<R: Read>(
        name: &Path,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
        watch: Watch,
    ) -> Result<Recording<'static>> {
        let cannot_read = |error: io::Error| Error::audio(name, container::io_reason(&error));
        let cannot_keep = |error: io::Error| {
            let cure = "make room in the folder for temporary files, or save the recording to a file first";
            Error::audio(name, format!("cannot be copied to a temporary file: {error}; {cure}"))
        };
        let mut file = tempfile::tempfile().map_err(cannot_keep)?;
        let chunks = read_in_background(open).map_err(cannot_read)?;
        let mut bytes = 0;
        let mut head = Vec::new();
        loop {
            let chunk = match chunks.recv_timeout(TICK) {
                Ok(chunk) => chunk.map_err(cannot_read)?,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            bytes += chunk.len() as u64;
            if bytes > MAX_PIPED {
                let gib = MAX_PIPED >> 30;
                return Err(Error::audio(
                    name,
                    format!("more than {gib} GiB came through the pipe; save it to a file"),
                ));
            }
            // Reject an endless stream of other data early.
            if head.len() < CHUNK {
                head.extend_from_slice(&chunk);
                if head.len() >= CHUNK {
                    check(&recognise::of_head(&head, false), name)?;
                }
            }
            file.write_all(&chunk).map_err(cannot_keep)?;
            if watch(Progress { decoded: Seconds(0.0), total: None }).is_break() {
                return Err(Error::Cancelled);
            }
        }
        if bytes == 0 {
            return Err(Error::audio(name, "the pipe is empty: the program that writes into it ended without a byte"));
        }
        Ok(Recording { name: name.into(), place: Place::Temporary(file) })
    }

    /// Recognises the file type.
    ///
    /// # Errors
    /// [`Error::Audio`] if it cannot be read or is not a recording.
    pub(super) fn content(&self) -> Result<Content> {
        let cannot_read = |error: io::Error| Error::audio(&self.name, container::io_reason(&error));
        let content = match &self.place {
            Place::Named => File::open(&self.name).and_then(|mut file| recognise::recognise(&mut file)),
            Place::Memory(bytes) => recognise::recognise(&mut Cursor::new(bytes)),
            Place::Temporary(file) => recognise::recognise(&mut &*file),
        };
        let content = content.map_err(cannot_read)?;
        check(&content, &self.name)?;
        Ok(content)
    }

    /// Opens it with the built-in reader.
    pub(super) fn open(&self, options: &DecodeOptions) -> Result<Opened<'a>, OpenError> {
        match &self.place {
            Place::Named => open::open_file(File::open(&self.name), &self.name, options),
            Place::Memory(bytes) => open::open_bytes(bytes, &self.name, options),
            Place::Temporary(file) => open::open_file(rewound(file), &self.name, options),
        }
    }

    /// The first codec in an MP4 file that [`names::mp4_entry`] knows, for error messages. Searches the first and the
    /// last MiB for sample description boxes (`stsd`) without parsing the box structure.
    pub(super) fn mp4_entry(&self) -> Option<&'static str> {
        const PIECE: u64 = 1 << 20;
        fn find(mut source: impl Read + Seek, bytes: u64) -> io::Result<Option<&'static str>> {
            for start in [0, bytes.saturating_sub(PIECE)] {
                let mut piece = Vec::new();
                source.seek(SeekFrom::Start(start))?;
                source.by_ref().take(PIECE).read_to_end(&mut piece)?;
                // After the box type: version and flags, number of entries, size of the first entry, 4 bytes each.
                let mut entries = piece.windows(20).filter(|window| window.starts_with(b"stsd"));
                if let Some(codec) = entries.find_map(|window| names::mp4_entry(&window[16..])) {
                    return Ok(Some(codec));
                }
            }
            Ok(None)
        }
        let found = match &self.place {
            Place::Named => find(File::open(&self.name).ok()?, self.bytes()),
            Place::Memory(bytes) => find(Cursor::new(bytes), self.bytes()),
            Place::Temporary(file) => find(file, self.bytes()),
        };
        found.ok().flatten()
    }

    /// The recording as an open file for another program; `None` for [`Place::Named`], which has a path.
    ///
    /// # Errors
    /// [`Error::Audio`] if memory cannot be copied to a temporary file.
    pub(super) fn handle(&self) -> Result<Option<File>> {
        let copied = |bytes: &[u8]| {
            let mut file = tempfile::tempfile()?;
            file.write_all(bytes)?;
            file.rewind().map(|()| file)
        };
        let handle = match &self.place {
            Place::Named => return Ok(None),
            Place::Memory(bytes) => copied(bytes),
            Place::Temporary(file) => rewound(file),
        };
        let reason =
            |error| Error::audio(&self.name, format!("cannot be copied to a temporary file for ffmpeg: {error}"));
        handle.map(Some).map_err(reason)
    }

    /// Size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match &self.place {
            Place::Named => fs::metadata(&self.name).map_or(0, |meta| meta.len()),
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Temporary(file) => file.metadata().map_or(0, |meta| meta.len()),
        }
    }
}

/// Rejects a file of a type that is not a recording.
fn check(content: &Content, name: &Path) -> Result<()> {
    match content {
        Content::NotAudio(what) => Err(Error::audio(name, format!("is {what}, not a recording"))),
        _ => Ok(()),
    }
}

fn rewound(file: &File) -> io::Result<File> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

#[cfg(unix)]
fn is_pipe(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

/// Reads a source on a new thread and sends its bytes in chunks, so that the receiver can wait with a timeout. The
/// channel is closed at the end. The thread ends when the receiver is dropped.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn read_in_background<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = sync_channel(4);
    let work = move || {
        if let Err(error) = open().and_then(|source| forward(source, &sender)) {
            // Fails only if the receiver was dropped.
            let _ = sender.send(Err(error));
        }
    };
    thread::Builder::new().name("audio pipe".into()).spawn(work)?;
    Ok(receiver)
}

fn forward(mut source: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK];
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => chunk.truncate(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}
