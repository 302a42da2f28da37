//! `diarist align`: a text that is known, and when its words were said.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use diarist::align::AlignOptions;
use diarist::api::OpenDevice;
use diarist::asr::language_names;
use diarist::audio;
use diarist::engine::waveform::Waveform;
use diarist::hub::aligners::AlignerSource;
use diarist::output::{self, OutputFormat, SubtitleOptions};
use diarist::pipeline::aligners;
use diarist::types::{Segment, Transcript};
use diarist::units::Seconds;
use diarist::{Error, Result};

use super::console;
use super::engine;
use super::options::{Audio, Compute, ModelFiles, Output};
use super::watch::Shown;
use super::words::{self, Align, Subtitles};
use super::{interrupt, settings, transcribe};

/// Options of `align`.
#[derive(Args, Debug)]
#[command(after_help = "The text is found in the whole recording, whatever a recogniser would make of it.
Of a transcript in JSON (ours or WhisperX's) the segments are kept, and their words get new times.
Results are named after the recording, as those of `transcribe`.")]
pub struct AlignArgs {
    /// A recording.
    #[arg(value_name = "AUDIO", value_hint = ValueHint::FilePath)]
    audio_file: PathBuf,
    /// What is said in it: a text in UTF-8, or a transcript (.json).
    #[arg(value_name = "TEXTFILE", value_hint = ValueHint::FilePath)]
    text_file: PathBuf,
    /// The language spoken: a code (de) or its English name [default: the transcript's, else en].
    #[arg(long)]
    language: Option<String>,
    #[command(flatten)]
    align: Align,
    #[command(flatten)]
    files: ModelFiles,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    subtitles: Subtitles,
    #[command(flatten)]
    audio: Audio,
}

/// What to align.
enum Known {
    Text(String),
    Segments(Vec<Segment>),
}

/// Aligns one text.
///
/// # Errors
/// What reading the files or aligning them runs into.
pub fn run(args: &AlignArgs) -> Result<()> {
    let options = args.align.options();
    let subtitles = args.subtitles.options()?;
    let formats = OutputFormat::parse_list(&args.output.output_format)?;
    let asked = args.language.as_deref().map(language_names::code).transpose()?;
    words::check_model(&args.align, args.files.model_dir.clone())?;
    let stems = output::plan(std::slice::from_ref(&args.audio_file), &args.output.output_dir)?;
    transcribe::readable(&args.audio_file)?;
    let (known, of_transcript) = read(&args.text_file)?;
    let language = asked.map(str::to_string).or(of_transcript).unwrap_or_else(|| "en".into());
    let backend = engine::open(&args.compute)?;
    transcribe::writable(&args.output.output_dir)?;
    let hub = super::hub(args.files.model_dir.clone(), args.files.model_cache_only, args.files.hf_token.clone());
    let source = match &args.align.align_model {
        Some(model) => words::obtain(&hub, model)?,
        None => words::of_language(&hub, &language)?,
    };
    let name = args.audio_file.display().to_string();
    let mut watch = Shown::new("aligning", name, args.output.print_progress);
    let sound = audio::decode(&args.audio_file, &settings::audio(&args.audio), |progress| {
        watch.show("reading", progress.decoded, progress.total.unwrap_or(Seconds(0.0)));
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let work = Work { source: &source, sound: &sound.samples, language: &language, options: &options };
    let segments = match &backend {
        OpenDevice::Cpu(be) => work.on(be, known, &mut watch),
        OpenDevice::Half(be) => work.on(be, known, &mut watch),
        OpenDevice::Brain(be) => work.on(be, known, &mut watch),
    }?;
    drop(watch);
    let transcript = Transcript {
        word_segments: segments.iter().flat_map(|segment| segment.words.iter().flatten()).cloned().collect(),
        segments,
        language: Some(language),
        duration: sound.duration(),
        ..Transcript::default()
    };
    write(args, &formats, &transcript, &stems[0], &subtitles)
}

fn write(
    args: &AlignArgs,
    formats: &[OutputFormat],
    transcript: &Transcript,
    stem: &Path,
    subtitles: &SubtitleOptions,
) -> Result<()> {
    for segment in &transcript.segments {
        if let Some(reason) = &segment.unaligned {
            console::error(&format!("{:.2} to {:.2} s: not aligned: {reason}", segment.start.0, segment.end.0));
        }
        if args.output.verbose {
            console::line(&super::watch::line(segment));
        }
    }
    output::write_all(formats, transcript, stem, subtitles).map(|_| ())
}

/// One text in one recording.
struct Work<'a> {
    source: &'a AlignerSource,
    sound: &'a [f32],
    language: &'a str,
    options: &'a AlignOptions,
}

impl Work<'_> {
    fn on<B: Waveform>(&self, be: &B, known: Known, watch: &mut Shown) -> Result<Vec<Segment>> {
        let aligner = aligners::open(be, self.source)?;
        match known {
            Known::Text(text) => aligner.text(be, self.sound, &text, self.language, self.options, watch),
            Known::Segments(segments) => aligner.segments(be, self.sound, segments, self.language, self.options, watch),
        }
    }
}

/// The text, or the segments of a transcript and their language.
fn read(file: &Path) -> Result<(Known, Option<String>)> {
    let refuse = |reason: String| Error::model(file, reason);
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        refuse(format!("is not UTF-8 (byte {at}); save it as such, or convert it with iconv"))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if !file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        if text.trim().is_empty() {
            return Err(refuse("is empty: there is nothing to find".into()));
        }
        return Ok((Known::Text(text.to_string()), None));
    }
    let transcript: Transcript = serde_json::from_str(text)
        .map_err(|e| refuse(format!("is not a transcript of diarist or WhisperX ({e}); a plain text ends in .txt")))?;
    if transcript.segments.is_empty() {
        return Err(refuse("has no segments: there is nothing to find".into()));
    }
    let language = transcript.language.as_deref().map(language_names::code).transpose()?;
    Ok((Known::Segments(transcript.segments), language.map(str::to_string)))
}
