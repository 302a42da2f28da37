//! `diarist transcribe --manifest LIST --jsonl OUT`: transcribes many recordings into one JSON lines file. The same
//! command resumes an interrupted run: recordings that have a line in OUT are skipped.

mod list;
mod out;

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use diarist::config::Options;
use diarist::pipeline::Input;
use diarist::{Engine, Error, Result};

use super::console::{self, Bar};
use super::inputs::shown;
use super::opening::Opening;
use super::options::{Many, Transcribe};
use super::progress::Notes;
use super::results::{Line, Refusal};
use super::{Failure, convert, interrupt, log, wording};
use list::Entry;
use out::Out;

/// Default of `--jobs`: while one recording is read or written, another one keeps the device busy.
const DEFAULT_JOBS: usize = 2;

/// Refuses the options of `--manifest` if it is not given.
///
/// # Errors
/// [`Error::Config`] naming the first that was given.
pub fn none_given(many: &Many) -> Result<()> {
    let given = [("jsonl", many.jsonl.is_some()), ("jobs", many.jobs.is_some()), ("retry_failed", many.retry_failed)];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Error::config(option, "given", "has no effect without `manifest`")),
        None => Ok(()),
    }
}

/// Transcribes every recording of the list that has no line in the file at `path` yet.
pub fn run(args: &Transcribe, list: &Path, path: &Path) -> std::result::Result<(), Failure> {
    let options = convert::all(&args.work, &args.subtitles)?;
    let opening = Opening::check(&args.work)?;
    let entries = list::read(list)?;
    let inputs = opening.inputs().with([list]).with(entries.iter().map(|entry| &entry.path));
    inputs.spare([path], "give the results another file with `jsonl`")?;
    let (out, done) = Out::open(path, list, args.many.retry_failed)?;
    let todo = done.leave_out(&entries, out.path())?;
    if done.failed > 0 {
        let text = "of its lines have an error; --retry-failed tries those recordings again";
        console::error(&format!("{}: {} {text}", out.path().display(), done.failed));
    }
    let job = Job {
        options,
        out: Mutex::new(out),
        verbose: args.output.verbose,
        bar: Bar::recordings(),
        already: entries.len() - todo.len(),
        all: entries.len(),
        next: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
        failed: AtomicBool::new(done.failed > 0),
    };
    if !todo.is_empty() {
        job.all(&opening.load()?, &todo, args.many.jobs.map_or(DEFAULT_JOBS, |jobs| jobs as usize))?;
    }
    if job.verbose {
        let written = job.written.load(Ordering::Relaxed);
        console::line(&format!("wrote {written} lines to {}, {} were there", shown(path), job.already));
    }
    if job.failed.load(Ordering::Relaxed) { Err(Failure::Files) } else { Ok(()) }
}

/// State shared by the threads that thread through the list.
struct Job {
    options: Options,
    out: Mutex<Out>,
    /// Whether to print a line for each recording.
    verbose: bool,
    bar: Bar,
    /// Number of recordings of the list that had a line in OUT at the start.
    already: usize,
    /// Number of recordings in the list.
    all: usize,
    /// Index of the next recording to start.
    next: AtomicUsize,
    written: AtomicUsize,
    /// Whether a recording failed or has no speakers.
    failed: AtomicBool,
}

impl Job {
    /// Transcribes all recordings with `at_once` threads. An error that is not about one recording stops all threads.
    fn all(&self, engine: &Engine, todo: &[&Entry], at_once: usize) -> Result<()> {
        let fatal = AtomicBool::new(false);
        self.show();
        std::thread::scope(|scope| {
            let threads = (0..at_once.min(todo.len())).map(|_| scope.spawn(|| self.some(engine, todo, &fatal)));
            let threads: Vec<_> = threads.collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            // Any one of several errors will do. A cancellation is reported by the exit status.
            ended.collect::<Vec<_>>().into_iter().find(|ended| !matches!(ended, Ok(()) | Err(Error::Cancelled)))
        })
        .unwrap_or(Ok(()))
    }

    /// One thread: transcribes recordings until none are left.
    fn some(&self, engine: &Engine, todo: &[&Entry], fatal: &AtomicBool) -> Result<()> {
        while let Some(entry) = todo.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let done = self.one(engine, entry, || fatal.load(Ordering::Relaxed) || interrupt::asked());
            done.inspect_err(|_| fatal.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    /// Transcribes one recording and appends its line. If the recording fails, the error is its result.
    fn one(&self, engine: &Engine, entry: &Entry, stop: impl Fn() -> bool) -> Result<()> {
        let mut notes = Notes::new(stop);
        let about = log::recording(Path::new(&entry.path));
        let found = engine.transcribe_with_observer(Input::Path(Path::new(&entry.path)), &self.options, &mut notes);
        if let Ok(transcript) = &found {
            notes.of_result(Path::new(&entry.path), transcript);
        }
        drop(about);
        let line = Line::new().put("path", &entry.path).put("id", &entry.id);
        let (line, told) = match found {
            Ok(transcript) => {
                let told = format!("{:.1} s, {} segments", transcript.duration.0, transcript.segments.len());
                self.failed.fetch_or(notes.without_speakers, Ordering::Relaxed);
                (line.put_transcript("result", &transcript)?.put_warnings(&notes.warnings), told)
            }
            Err(error) if matches!(error, Error::Cancelled) || error.is_of_device() => return Err(error),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                console::error(&wording::of_recording(Path::new(&entry.path), &error));
                let refusal = Refusal::new(error.kind(), wording::error(&error));
                (line.put_refusal("error", &refusal), "no result".to_string())
            }
        };
        // A poisoned lock is harmless: the thread that panicked had written its line completely or not at all.
        self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&line.end())?;
        self.written.fetch_add(1, Ordering::Relaxed);
        if self.verbose {
            console::line(&format!("{}: {told}", entry.path));
        }
        self.show();
        Ok(())
    }

    /// Updates the progress bar.
    fn show(&self) {
        let done = self.already + self.written.load(Ordering::Relaxed);
        self.bar.set("recordings", done as u64, self.all as u64);
    }
}
