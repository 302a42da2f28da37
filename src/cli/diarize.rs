//! `diarist diarize`: speaker diarization of recordings, written as RTTM or JSON.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use diarist::api::CrossCache;
use diarist::diarize::{self, Diarization};
use diarist::output::{self, append_extension, rttm};
use diarist::pipeline::Speakers;
use diarist::types::Turn;
use diarist::{Error, Result};
use serde_json::{Value, json};

use super::enrol::enrol;
use super::inputs::{Inputs, OTHER_FOLDER};
use super::options::{Audio, Compute, ModelFiles, Voices};
use super::progress::ProgressBarWatch;
use super::values::{LogLevel, TurnFormat};
use super::{Failure, console, convert, engine, files, interrupt, log, stdin, wording};

/// Options of `diarize`.
#[derive(Args, Debug)]
#[command(after_help = "Prints RTTM, one line a turn: SPEAKER RECORDING 1 START LENGTH <NA> <NA> LABEL <NA> <NA>,
times in seconds. With -f json one object a recording: `turns`, which may overlap, `exclusive`, which do
not, and `diarization`, the pipeline and its revision. With -o they are written to RECORDING.rttm or RECORDING.speakers.json there.")]
pub struct DiarizeArgs {
    /// Recordings, of sound or video; - is stdin.
    #[arg(value_name = "AUDIO", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    voices: Voices,
    #[command(flatten)]
    model: ModelFiles,
    #[command(flatten)]
    compute: Compute,
    /// Folder for the results, created if missing [default: stdout].
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    output_dir: Option<PathBuf>,
    /// rttm or json.
    #[arg(long, short = 'f', value_enum, value_name = "FORMAT", default_value = "rttm", help_heading = "Output")]
    output_format: TurnFormat,
    /// Print progress in per cent to stdout.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = super::values::boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true, help_heading = "Output")]
    print_progress: bool,
    /// Least severe log messages shown on stderr [default: warning].
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true, help_heading = "Output")]
    pub log_level: Option<LogLevel>,
    #[command(flatten)]
    audio: Audio,
}

/// Diarizes all recordings; one that fails does not stop the others.
pub fn run(args: &DiarizeArgs) -> std::result::Result<(), Failure> {
    if args.voices.speaker_embeddings && args.output_format == TurnFormat::Rttm {
        return Err(Error::config(
            "speaker_embeddings",
            "given",
            "RTTM has no place for them; add `output_format` json",
        )
        .into());
    }
    let enrolment_files = args.voices.check(args.model.model_dir.clone())?;
    let options = diarize::Options { bounds: args.voices.bounds()?, ..Default::default() };
    let backend = engine::open(&args.compute, CrossCache::default())?;
    let folder = args.output_dir.as_deref();
    let stems = stdin::plan(&args.files, folder.unwrap_or(Path::new("")))?;
    let extension = args.extension();
    if folder.is_some() {
        let inputs = Inputs::default().with(enrolment_files.iter().map(|(_, file)| file)).with(&args.files);
        let inputs = inputs.with_models(args.voices.diarize_model.as_ref());
        inputs.spare(stems.iter().map(|stem| append_extension(stem, extension)), OTHER_FOLDER)?;
    }
    folder.map_or(Ok(()), files::writable)?;
    let (todo, mut failed) = files::those_readable(&args.files, &stems);
    if todo.is_empty() {
        return Err(Failure::Files);
    }
    let hub = super::hub(args.model.model_dir.clone(), args.model.model_cache_only, args.model.hf_token.clone());
    let diarizer = args.voices.load(&hub, |source| backend.diarizer(source))?;
    let gallery = enrol(diarizer.as_ref(), &enrolment_files, &args.audio)?;
    let speakers = Speakers { diarizer, gallery };
    let mut written = 0;
    for (file, stem) in todo {
        match one(args, &speakers, &options, file, stem) {
            Ok(()) => written += 1,
            Err(Error::Cancelled) => break,
            Err(error) => {
                console::error(&wording::of_recording(stdin::name(file), &error));
                failed = true;
            }
        }
    }
    if let (Some(folder), true) = (folder, written > 1) {
        console::line(&format!("wrote {written} files to {}", folder.display()));
    }
    if failed { Err(Failure::Files) } else { Ok(()) }
}

impl DiarizeArgs {
    /// The extension of the result files.
    fn extension(&self) -> &'static str {
        match self.output_format {
            TurnFormat::Rttm => "rttm",
            TurnFormat::Json => "speakers.json",
        }
    }
}

/// Diarizes one recording, and prints or writes its turns.
fn one(args: &DiarizeArgs, speakers: &Speakers, options: &diarize::Options, file: &Path, stem: &Path) -> Result<()> {
    let about = log::recording(stdin::name(file));
    let mut watch = ProgressBarWatch::new(
        "telling speakers apart in",
        super::progress::short(stdin::name(file)),
        args.print_progress,
    );
    let sound = stdin::decode(file, &convert::audio(&args.audio), |progress| {
        watch.show("reading", progress.decoded, progress.total.unwrap_or_default());
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut found = speakers.diarizer.diarize(&sound.samples, options, &mut watch)?;
    let labels = speakers.name(&mut found)?;
    log::warnings(&found.warnings);
    drop((watch, about));
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    let text = match args.output_format {
        TurnFormat::Rttm => rttm::rttm(&name, &found.turns)?,
        TurnFormat::Json => object(file, sound.duration().0, &found, labels, args.voices.speaker_embeddings),
    };
    match &args.output_dir {
        Some(_) => {
            let path = append_extension(stem, args.extension());
            output::write_atomically(&path, text.as_bytes())?;
            files::tell_written(&[path]);
            Ok(())
        }
        None => {
            text.lines().for_each(console::line);
            Ok(())
        }
    }
}

/// The diarization as a JSON object on one line.
fn object(file: &Path, duration: f64, found: &Diarization, labels: Vec<String>, embeddings: bool) -> String {
    let turn = |turn: &Turn| {
        let (start, end) = (turn.span.start.round_ms(), turn.span.end.round_ms());
        json!({"start": start, "end": end, "speaker": turn.speaker})
    };
    let turns = |turns: &[Turn]| turns.iter().map(turn).collect::<Vec<Value>>();
    let mut object = json!({
        "audio": stdin::name(file).display().to_string(),
        "duration": (duration * 1000.0).round() / 1000.0,
        "diarization": found.version,
        "turns": turns(&found.turns),
        "exclusive": turns(&found.exclusive),
    });
    if embeddings {
        object["speaker_embeddings"] = json!(found.embeddings_by_label(labels));
    }
    if !found.warnings.is_empty() {
        object["warnings"] = json!(found.warnings);
    }
    object.to_string() + "\n"
}
