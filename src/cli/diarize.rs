//! `diarist diarize`: who speaks when.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use diarist::diarize::{self, Diarization};
use diarist::output::{self, rttm};
use diarist::pipeline::Speakers;
use diarist::types::Turn;
use diarist::{Error, Result, audio};
use serde_json::{Value, json};

use super::options::{Audio, Compute, ModelFiles};
use super::speakers::{Voices, enrol};
use super::values::{LogLevel, TurnFormat};
use super::watch::Shown;
use super::{Failure, console, engine, interrupt, settings, transcribe};

/// Options of `diarize`.
#[derive(Args, Debug)]
#[command(after_help = "Prints RTTM, one line a turn: SPEAKER RECORDING 1 START LENGTH <NA> <NA> LABEL <NA> <NA>,
times in seconds. With -f json one object a recording: `turns`, which may overlap, and `exclusive`,
which do not. With -o they are written to RECORDING.rttm or RECORDING.speakers.json there.")]
pub struct DiarizeArgs {
    /// Recordings: any container and codec that can be read, with or without picture.
    #[arg(value_name = "AUDIO", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    voices: Voices,
    #[command(flatten)]
    model: ModelFiles,
    #[command(flatten)]
    compute: Compute,
    /// Folder for the results, made if need be [default: stdout].
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    output_dir: Option<PathBuf>,
    /// rttm or json.
    #[arg(long, short = 'f', value_enum, value_name = "FORMAT", default_value = "rttm", help_heading = "Output")]
    output_format: TurnFormat,
    /// Print the share done to stdout, in per cent.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = super::values::boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true, help_heading = "Output")]
    print_progress: bool,
    /// What is told on stderr about the inner workings [default: warning].
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true, help_heading = "Output")]
    pub log_level: Option<LogLevel>,
    #[command(flatten)]
    audio: Audio,
}

/// Diarizes every recording that can be.
pub fn run(args: &DiarizeArgs) -> std::result::Result<(), Failure> {
    if args.voices.speaker_embeddings && args.output_format == TurnFormat::Rttm {
        return Err(Error::config("speaker_embeddings", "given", "RTTM has no place for them; add -f json").into());
    }
    let known = args.voices.check(None, args.model.model_dir.clone())?;
    let options = diarize::Options { bounds: args.voices.bounds()?, ..Default::default() };
    let backend = engine::open(&args.compute)?;
    let folder = args.output_dir.as_deref();
    let stems = output::plan(&args.files, folder.unwrap_or(Path::new("")))?;
    folder.map_or(Ok(()), transcribe::writable)?;
    let (todo, mut failed) = transcribe::those_readable(&args.files, &stems);
    if todo.is_empty() {
        return Err(Failure::Files);
    }
    let hub = super::hub(args.model.model_dir.clone(), args.model.model_cache_only, args.model.hf_token.clone());
    let finder = backend.diarizer(&args.voices.obtain(&hub, None)?)?;
    let gallery = enrol(finder.as_ref(), &known, &args.audio)?;
    let speakers = Speakers { finder, gallery };
    for (file, stem) in todo {
        match one(args, &speakers, &options, file, stem) {
            Ok(()) => {}
            Err(Error::Cancelled) => break,
            Err(error) => {
                console::error(&transcribe::naming(file, &error));
                failed = true;
            }
        }
    }
    if failed { Err(Failure::Files) } else { Ok(()) }
}

fn one(args: &DiarizeArgs, speakers: &Speakers, options: &diarize::Options, file: &Path, stem: &Path) -> Result<()> {
    let mut watch = Shown::new("telling speakers apart in", super::watch::short(file), args.print_progress);
    let sound = audio::decode(file, &settings::audio(&args.audio), |progress| {
        watch.show("reading", progress.decoded, progress.total.unwrap_or_default());
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut found = speakers.finder.diarize(&sound.samples, options, &mut watch)?;
    let labels = speakers.name(&mut found)?;
    drop(watch);
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    let (text, ending) = match args.output_format {
        TurnFormat::Rttm => (rttm::rttm(&name, &found.turns)?, "rttm"),
        TurnFormat::Json => {
            (object(file, sound.duration().0, &found, labels, args.voices.speaker_embeddings), "speakers.json")
        }
    };
    match &args.output_dir {
        Some(folder) => output::write_whole(&folder.join(format!("{name}.{ending}")), text.as_bytes()),
        None => {
            text.lines().for_each(console::line);
            Ok(())
        }
    }
}

/// What was found, as JSON on one line.
fn object(file: &Path, duration: f64, found: &Diarization, labels: Vec<String>, embeddings: bool) -> String {
    let turn = |turn: &Turn| {
        let (start, end) = (turn.span.start.round_ms(), turn.span.end.round_ms());
        json!({"start": start, "end": end, "speaker": turn.speaker})
    };
    let turns = |turns: &[Turn]| turns.iter().map(turn).collect::<Vec<Value>>();
    let mut object = json!({
        "audio": file.display().to_string(),
        "duration": (duration * 1000.0).round() / 1000.0,
        "turns": turns(&found.turns),
        "exclusive": turns(&found.exclusive),
    });
    if embeddings {
        let voice = |voice: &Vec<f64>| voice.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let voices: BTreeMap<String, Vec<f32>> = labels.into_iter().zip(found.voices.iter().map(voice)).collect();
        object["speaker_embeddings"] = json!(voices);
    }
    object.to_string() + "\n"
}
