//! `diarist transcribe`: transcribes recordings one by one and writes the results of each as it is finished. A
//! recording that fails does not stop the others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use diarist::config::Options;
use diarist::output::{self, OutputFormat, SubtitleOptions, append_extension};
use diarist::pipeline::{Observer, Prepared};
use diarist::{Engine, Error, Result};

use super::inputs::OTHER_FOLDER;
use super::opening::Opening;
use super::options::Transcribe;
use super::progress::{Lines, Watch, print};
use super::{Failure, console, convert, files, interrupt, log, manifest, stdin, wording};

/// Transcribes all recordings.
pub fn run(args: &Transcribe) -> std::result::Result<(), Failure> {
    // All checks of options come before a model is downloaded or a recording is decoded.
    convert::check(&args.work, &args.subtitles)?;
    let options = convert::all(&args.work, &args.subtitles)?;
    convert::warn(&args.work, &options);
    if let (Some(list), Some(out)) = (&args.many.manifest, &args.many.jsonl) {
        return manifest::run(args, list, out);
    }
    manifest::none_given(&args.many)?;
    let job = Job {
        options,
        formats: formats(args)?,
        verbose: args.output.verbose,
        print_progress: args.output.print_progress,
        subtitles: args.subtitles.options()?,
        written: Default::default(),
    };
    let opening = Opening::check(&args.work)?;
    let stems = stdin::plan(&args.files, &args.output.output_dir)?;
    let results =
        stems.iter().flat_map(|stem| job.formats.iter().map(|format| append_extension(stem, format.extension())));
    opening.inputs().with(&args.files).spare(results, OTHER_FOLDER)?;
    files::writable(&args.output.output_dir)?;
    let (todo, failed) = files::those_readable(&args.files, &stems);
    if todo.is_empty() {
        return Err(Failure::Files);
    }
    let all_ok = job.all(&opening.load()?, &todo);
    job.print_totals(&args.output.output_dir);
    if failed || !all_ok { Err(Failure::Files) } else { Ok(()) }
}

/// The output formats of `--output-format`.
fn formats(args: &Transcribe) -> Result<Vec<OutputFormat>> {
    let formats = OutputFormat::parse_list(&args.output.output_format)?;
    let has_speakers = args.work.speakers.diarize || args.work.channels.channel_speakers;
    if formats.contains(&OutputFormat::Rttm) && !has_speakers {
        return Err(Error::config(
            "output_format",
            "rttm",
            "says who speaks when; add `diarize` or `channel_speakers`",
        ));
    }
    Ok(formats)
}

/// Options and counters shared by all recordings.
struct Job {
    options: Options,
    formats: Vec<OutputFormat>,
    verbose: bool,
    print_progress: bool,
    subtitles: SubtitleOptions,
    /// Number of files written, and number of recordings finished.
    written: [AtomicUsize; 2],
}

impl Job {
    /// Transcribes all recordings in order; returns whether none failed. On a GPU, the next recording is decoded on
    /// another thread (prefetch) while the current one is transcribed.
    fn all(&self, engine: &Engine, todo: &[(&PathBuf, &PathBuf)]) -> bool {
        let prefetch_cancelled = AtomicBool::new(false);
        let read = |file: &Path, watch: &mut dyn Observer| {
            let _about = log::recording(stdin::name(file));
            engine.prepare(stdin::input(file), &self.options, watch)
        };
        std::thread::scope(|scope| {
            let mut all_ok = true;
            let mut prefetch: Option<ScopedJoinHandle<Result<Prepared>>> = None;
            for (i, &(file, stem)) in todo.iter().enumerate() {
                let mut watch = self.watch(file);
                let prepared = match prefetch.take() {
                    Some(reading) => reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    None => read(file, &mut watch),
                };
                let next = todo.get(i + 1).filter(|_| engine.uses_gpu());
                prefetch = next.map(|&(next, _)| scope.spawn(|| read(next, &mut CancelOnly(&prefetch_cancelled))));
                let error = match prepared.and_then(|prepared| self.one(engine, &prepared, file, stem, watch)) {
                    Ok(complete) => {
                        all_ok &= complete;
                        continue;
                    }
                    Err(error) => error,
                };
                let fatal = matches!(error, Error::Cancelled) || error.is_of_device();
                if !matches!(error, Error::Cancelled) {
                    console::error(&wording::of_recording(stdin::name(file), &error));
                    all_ok = false;
                }
                if fatal {
                    prefetch_cancelled.store(true, Ordering::Relaxed);
                    report_not_tried(&error, &todo[i + 1..]);
                    break;
                }
            }
            all_ok
        })
    }

    fn watch(&self, file: &Path) -> Watch {
        // Speakers are known only after diarization, so segments are then printed at the end.
        let at_once = self.verbose && !self.names_speakers();
        let lines = if at_once { Lines::WhisperX } else { Lines::Silent };
        Watch::new(stdin::name(file), lines, self.print_progress)
    }

    /// Whether words get speakers.
    fn names_speakers(&self) -> bool {
        self.options.speakers.is_some() || self.options.channel_speakers.is_some()
    }

    /// Transcribes one decoded recording and writes its results. Returns false if the speakers are missing.
    fn one(&self, engine: &Engine, prepared: &Prepared, file: &Path, stem: &Path, mut watch: Watch) -> Result<bool> {
        let about = log::recording(stdin::name(file));
        let transcript = engine.finish(prepared, &self.options, &mut watch)?;
        log::warnings(&transcript.warnings);
        let complete = !watch.without_speakers;
        drop((watch, about));
        if transcript.segments.is_empty() {
            console::error(&format!(
                "{}: no speech was found in it; its results are empty",
                stdin::name(file).display()
            ));
        }
        if self.verbose && self.names_speakers() {
            print(&transcript.segments);
        }
        let written = output::write_all(&self.formats, &transcript, stem, &self.subtitles)?;
        if self.verbose {
            files::tell_written(&written);
        }
        self.written[0].fetch_add(written.len(), Ordering::Relaxed);
        self.written[1].fetch_add(1, Ordering::Relaxed);
        Ok(complete)
    }

    /// Prints the totals if there was more than one recording.
    fn print_totals(&self, folder: &Path) {
        let [files, recordings] = [0, 1].map(|of| self.written[of].load(Ordering::Relaxed));
        if self.verbose && recordings > 1 {
            console::line(&format!("wrote {files} files of {recordings} recordings to {}", folder.display()));
        }
    }
}

/// Observer of a prefetched recording: shows nothing, and only reports cancellation.
struct CancelOnly<'a>(&'a AtomicBool);

impl Observer for CancelOnly<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) || interrupt::asked()
    }
}

/// After a device failure, prints a message for each recording that was not started.
fn report_not_tried(error: &Error, files: &[(&PathBuf, &PathBuf)]) {
    if error.is_of_device() {
        for (file, _) in files {
            console::error(&format!("{}: not tried, since the device has failed", stdin::name(file).display()));
        }
    }
}
