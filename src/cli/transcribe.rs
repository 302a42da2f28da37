//! `diarist transcribe`: each recording's results are written as it is finished; one that fails does not stop the
//! others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use diarist::config::Options;
use diarist::output::{self, OutputFormat, SubtitleOptions, with_ending};
use diarist::pipeline::{Observer, Prepared};
use diarist::{Engine, Error, Result};

use super::inputs::{OTHER_FOLDER, shown};
use super::opening::Opening;
use super::options::Transcribe;
use super::progress::{Lines, Watch, print};
use super::{Failure, console, convert, interrupt, log, manifest, stdin, wording};

/// Transcribes every recording that can be.
pub fn run(args: &Transcribe) -> std::result::Result<(), Failure> {
    // Everything that can be refused is refused before a model is fetched or a recording decoded.
    convert::check(&args.work, &args.subtitles)?;
    if let (Some(list), Some(out)) = (&args.many.manifest, &args.many.jsonl) {
        return manifest::run(args, list, out);
    }
    manifest::none_given(&args.many)?;
    let job = Job {
        options: convert::all(&args.work, &args.subtitles)?,
        formats: formats(args)?,
        verbose: args.output.verbose,
        print_progress: args.output.print_progress,
        subtitles: args.subtitles.options()?,
        written: Default::default(),
    };
    let opening = Opening::check(&args.work)?;
    let stems = stdin::plan(&args.files, &args.output.output_dir)?;
    let results = stems.iter().flat_map(|stem| job.formats.iter().map(|format| with_ending(stem, format.extension())));
    opening.inputs().with(&args.files).spare(results, OTHER_FOLDER)?;
    writable(&args.output.output_dir)?;
    let (todo, failed) = those_readable(&args.files, &stems);
    if todo.is_empty() {
        return Err(Failure::Files);
    }
    let well = job.all(&opening.load()?, &todo);
    job.tell_all(&args.output.output_dir);
    if failed || !well { Err(Failure::Files) } else { Ok(()) }
}

/// The formats asked for.
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

/// What is done with each recording.
struct Job {
    options: Options,
    formats: Vec<OutputFormat>,
    verbose: bool,
    print_progress: bool,
    subtitles: SubtitleOptions,
    /// How many files were written, of how many recordings.
    written: [AtomicUsize; 2],
}

impl Job {
    /// All recordings, one after another; whether all went well. While a GPU works on one, the next one is read.
    fn all(&self, engine: &Engine, todo: &[(&PathBuf, &PathBuf)]) -> bool {
        let unwanted = AtomicBool::new(false);
        let read = |file: &Path, watch: &mut dyn Observer| {
            let _about = log::recording(stdin::name(file));
            engine.prepare(stdin::input(file), &self.options, watch)
        };
        std::thread::scope(|scope| {
            let mut well = true;
            let mut ahead: Option<ScopedJoinHandle<Result<Prepared>>> = None;
            for (i, &(file, stem)) in todo.iter().enumerate() {
                let mut watch = self.watch(file);
                let prepared = match ahead.take() {
                    Some(reading) => reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    None => read(file, &mut watch),
                };
                let next = todo.get(i + 1).filter(|_| engine.spares_the_processor());
                ahead = next.map(|&(next, _)| scope.spawn(|| read(next, &mut Quiet(&unwanted))));
                let error = match prepared.and_then(|prepared| self.one(engine, &prepared, file, stem, watch)) {
                    Ok(in_full) => {
                        well &= in_full;
                        continue;
                    }
                    Err(error) => error,
                };
                let fatal = matches!(error, Error::Cancelled) || is_of_device(&error);
                if !matches!(error, Error::Cancelled) {
                    console::error(&wording::of_recording(stdin::name(file), &error));
                    well = false;
                }
                if fatal {
                    unwanted.store(true, Ordering::Relaxed);
                    not_tried(&error, &todo[i + 1..]);
                    break;
                }
            }
            well
        })
    }

    fn watch(&self, file: &Path) -> Watch {
        // Who speaks is known only at the end.
        let at_once = self.verbose && !self.names_speakers();
        let lines = if at_once { Lines::WhisperX } else { Lines::Silent };
        Watch::new(stdin::name(file), lines, self.print_progress)
    }

    /// Whether words get speakers.
    fn names_speakers(&self) -> bool {
        self.options.speakers.is_some() || self.options.channel_speakers.is_some()
    }

    /// One recording; whether nothing of its transcript is missing.
    fn one(&self, engine: &Engine, prepared: &Prepared, file: &Path, stem: &Path, mut watch: Watch) -> Result<bool> {
        let about = log::recording(stdin::name(file));
        let transcript = engine.finish(prepared, &self.options, &mut watch)?;
        log::warnings(&transcript.warnings);
        let in_full = !watch.without_speakers;
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
            tell_written(&written);
        }
        self.written[0].fetch_add(written.len(), Ordering::Relaxed);
        self.written[1].fetch_add(1, Ordering::Relaxed);
        Ok(in_full)
    }

    /// Says how much was written, where that was more than one line.
    fn tell_all(&self, folder: &Path) {
        let [files, recordings] = [0, 1].map(|of| self.written[of].load(Ordering::Relaxed));
        if self.verbose && recordings > 1 {
            console::line(&format!("wrote {files} files of {recordings} recordings to {}", folder.display()));
        }
    }
}

/// Says which files were written.
pub(super) fn tell_written(files: &[PathBuf]) {
    let names: Vec<String> = files.iter().map(|file| shown(file)).collect();
    console::line(&format!("wrote {}", names.join(", ")));
}

/// Watches over a recording that is read in advance: it is shown when its turn comes.
struct Quiet<'a>(&'a AtomicBool);

impl Observer for Quiet<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) || interrupt::asked()
    }
}

/// Names the recordings that a failure has cost, besides the one it happened in.
fn not_tried(error: &Error, files: &[(&PathBuf, &PathBuf)]) {
    if is_of_device(error) {
        for (file, _) in files {
            console::error(&format!("{}: not tried, since the device has failed", stdin::name(file).display()));
        }
    }
}

/// Whether a device failed, which does not recover within a process. Running out of memory is no such failure.
pub(super) fn is_of_device(error: &Error) -> bool {
    match error {
        Error::Stage { source, .. } => is_of_device(source),
        Error::Device { .. } => true,
        _ => false,
    }
}

/// Those recordings that are files, with where their results go, and whether there are others: they are told about.
pub(super) fn those_readable<'a>(
    files: &'a [PathBuf],
    stems: &'a [PathBuf],
) -> (Vec<(&'a PathBuf, &'a PathBuf)>, bool) {
    let told = |file: &PathBuf| readable(file).inspect_err(|error| console::error(&wording::error(error))).is_ok();
    let todo: Vec<_> = files.iter().zip(stems).filter(|(file, _)| told(file)).collect();
    let failed = todo.len() < files.len();
    (todo, failed)
}

/// Refuses what is no file, before the model is loaded.
pub(super) fn readable(file: &Path) -> Result<()> {
    if stdin::check(file)? {
        return Ok(());
    }
    let reason = match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => "is a directory; name the recordings in it".to_string(),
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let pattern = file.to_string_lossy().contains(['*', '?', '[']);
            let hint = if pattern { "; the shell hands on a pattern that matches nothing" } else { "" };
            format!("no such file{hint}")
        }
        Err(e) => format!("cannot be read: {e}"),
    };
    Err(Error::audio(file, reason))
}

/// Makes the folder for the results, and tries whether it can be written to: better now than after hours of work.
pub(super) fn writable(folder: &Path) -> Result<()> {
    let refuse = |e: std::io::Error| {
        let text = format!("results cannot be written here: {e}; give another --output-dir");
        Error::io(folder, std::io::Error::new(e.kind(), text))
    };
    if folder.exists() && !folder.is_dir() {
        return Err(refuse(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    std::fs::create_dir_all(folder).map_err(refuse)?;
    let probe: PathBuf = folder.join(format!(".diarist-{}.probe", std::process::id()));
    std::fs::File::create_new(&probe).map_err(refuse)?;
    std::fs::remove_file(&probe).map_err(refuse)
}
