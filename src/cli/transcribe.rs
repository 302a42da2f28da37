//! `diarist transcribe`: each recording's results are written as it is finished; one that fails does not stop the
//! others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use diarist::api::OpenDevice;
use diarist::api::compute::Beside;
use diarist::config::Options;
use diarist::hub::Hub;
use diarist::output::{self, OutputFormat, SubtitleOptions};
use diarist::pipeline::{Input, Observer, Prepared, Speakers};
use diarist::vad::Detector;
use diarist::{Engine, Error, Result};

use super::engine;
use super::options::Transcribe;
use super::speakers::enrol;
use super::watch::{Lines, Watch, short};
use super::{Failure, console, interrupt, settings, words};

/// Transcribes every recording that can be.
pub fn run(args: &Transcribe) -> std::result::Result<(), Failure> {
    // Everything that can be refused is refused before a model is fetched or a recording decoded.
    settings::check(args)?;
    let job = Job {
        options: settings::all(args)?,
        formats: OutputFormat::parse_list(&args.output.output_format)?,
        lines: if args.output.verbose { Lines::WhisperX } else { Lines::Silent },
        print_progress: args.output.print_progress,
        subtitles: args.subtitles.options()?,
    };
    super::hub(args.model.files.model_dir.clone(), true, None).find(&args.model.model)?;
    words::check_model(&args.words.align, args.model.files.model_dir.clone())?;
    let known = match args.speakers.diarize {
        true => args.speakers.voices.check(Some(&args.model.model), args.model.files.model_dir.clone())?,
        false => Vec::new(),
    };
    let backend = engine::open(&args.model.compute)?;
    let stems = output::plan(&args.files, &args.output.output_dir)?;
    writable(&args.output.output_dir)?;
    let (todo, mut failed) = those_readable(&args.files, &stems);
    if todo.is_empty() {
        return Err(Failure::Files);
    }
    let hub = engine::hub_of(&args.model);
    let detector = match settings::by_diarizer(args) {
        true => Detector::Diarizer,
        false => backend.detector(settings::method(&args.vad), &settings::network(&args.vad, &hub)?)?,
    };
    // An aligner that was asked for by name is needed, whatever the language.
    let asked = args.words.align.align_model.as_deref();
    asked.map(|aligner| words::obtain(&hub, aligner)).transpose()?;
    let speakers = job.options.speakers.map(|_| speakers(args, &backend, &hub, &known)).transpose()?;
    let beside = Beside { aligners: Some(words::finder(&args.model, asked)), speakers };
    let engine = backend.engine(&engine::obtain(&args.model)?, detector, beside)?;
    if let (Some(model), Some(reason)) = (asked, asked.map(|_| engine.load_aligner("")).transpose()?.flatten()) {
        return Err(Error::config("align_model", model, reason).into());
    }
    failed |= !job.all(&engine, &todo);
    if failed { Err(Failure::Files) } else { Ok(()) }
}

/// What tells speakers apart, with the voices of these recordings.
fn speakers(args: &Transcribe, backend: &OpenDevice, hub: &Hub, known: &[(String, PathBuf)]) -> Result<Speakers> {
    let finder = backend.diarizer(&args.speakers.voices.obtain(hub, Some(&args.model.model))?)?;
    let gallery = enrol(finder.as_ref(), known, &args.audio)?;
    Ok(Speakers { finder, gallery })
}

/// What is done with each recording.
struct Job {
    options: Options,
    formats: Vec<OutputFormat>,
    lines: Lines,
    print_progress: bool,
    subtitles: SubtitleOptions,
}

impl Job {
    /// All recordings, one after another; whether all went well. While a GPU works on one, the next one is read.
    fn all(&self, engine: &Engine, todo: &[(&PathBuf, &PathBuf)]) -> bool {
        let unwanted = AtomicBool::new(false);
        let read = |file: &Path, watch: &mut dyn Observer| engine.prepare(Input::Path(file), &self.options, watch);
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
                    console::error(&naming(file, &error));
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
        Watch::new(short(file), self.lines, self.print_progress)
    }

    /// One recording; whether nothing of its transcript is missing.
    fn one(&self, engine: &Engine, prepared: &Prepared, file: &Path, stem: &Path, mut watch: Watch) -> Result<bool> {
        let transcript = engine.finish(prepared, &self.options, &mut watch)?;
        let in_full = !watch.without_speakers;
        drop(watch);
        if transcript.segments.is_empty() {
            console::error(&format!("{}: no speech was found in it; its results are empty", file.display()));
        }
        output::write_all(&self.formats, &transcript, stem, &self.subtitles)?;
        Ok(in_full)
    }
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
            console::error(&format!("{}: not tried, since the device has failed", file.display()));
        }
    }
}

/// Whether a device failed, which does not recover within a process. Running out of memory is no such failure.
fn is_of_device(error: &Error) -> bool {
    match error {
        Error::Stage { source, .. } => is_of_device(source),
        Error::Device { .. } => true,
        _ => false,
    }
}

/// The error, with the recording's name unless it is there already.
pub(super) fn naming(file: &Path, error: &Error) -> String {
    let (text, name) = (error.to_string(), file.display().to_string());
    if text.contains(&name) { text } else { format!("{name}: {text}") }
}

/// Those recordings that are files, with where their results go, and whether there are others: they are told about.
pub(super) fn those_readable<'a>(
    files: &'a [PathBuf],
    stems: &'a [PathBuf],
) -> (Vec<(&'a PathBuf, &'a PathBuf)>, bool) {
    let told = |file: &PathBuf| readable(file).inspect_err(|error| console::error(&error.to_string())).is_ok();
    let todo: Vec<_> = files.iter().zip(stems).filter(|(file, _)| told(file)).collect();
    let failed = todo.len() < files.len();
    (todo, failed)
}

/// Refuses what is no file, before the model is loaded.
pub(super) fn readable(file: &Path) -> Result<()> {
    let reason = match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => "is a directory; name the recordings in it".to_string(),
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let pattern = file.to_string_lossy().contains(['*', '?', '[']);
            let hint = match () {
                () if pattern => "; the shell hands on a pattern that matches nothing",
                () if file == Path::new("-") => "; recordings are read from files, not from a pipe",
                () => "",
            };
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
