//! `diarist align`: forced alignment of a known text with a recording.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use diarist::align::AlignOptions;
use diarist::api::{CrossCache, OpenDevice};
use diarist::asr::language_names;
use diarist::engine::Backend;
use diarist::hub::Hub;
use diarist::output::{self, OutputFormat, SubtitleOptions, append_extension};
use diarist::pipeline::aligners;
use diarist::types::{Segment, Transcript};
use diarist::units::Seconds;
use diarist::{Error, Result};

use super::console;
use super::engine;
use super::inputs::{Inputs, OTHER_FOLDER};
use super::options::{Align, Audio, Compute, ModelFiles, Output, Subtitles};
use super::progress::{ProgressBarWatch, short};
use super::script::{self, KnownText};
use super::words;
use super::{convert, files, interrupt, log, stdin};

/// Mean score of words below which a warning is printed. With the built-in model it is 0.00 for silence and noise, 0.04
/// for a tone, 0.19 for another text than the one that is spoken, and 0.26 to 0.70 for the right one.
const MIN_PLAUSIBLE_SCORE: f64 = 0.1;

/// Options of `align`.
#[derive(Args, Debug)]
#[command(after_help = "The text is found in the whole recording, whatever a recogniser would make of it.
Of subtitles only the text is used, not the times.
Of a transcript in JSON (ours or WhisperX's) the segments are kept, and their words get new times.
Results are named after the recording, as those of `transcribe`.")]
pub struct AlignArgs {
    /// A recording; - reads it from stdin.
    #[arg(value_name = "AUDIO", value_hint = ValueHint::FilePath)]
    audio_file: PathBuf,
    /// The text spoken in it: plain text, subtitles (SubRip, WebVTT), or a transcript (.json).
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

/// Aligns one text with one recording, and writes the results.
///
/// # Errors
/// [`Error::Config`] for options that cannot be honoured; errors of reading the files, of the hub, the device and the
/// alignment.
pub fn run(args: &AlignArgs) -> Result<()> {
    let options = args.align.options();
    let subtitles = args.subtitles.options()?;
    let formats = OutputFormat::parse_list(&args.output.output_format)?;
    if formats.contains(&OutputFormat::Rttm) {
        return Err(Error::config("output_format", "rttm", "says who speaks when, which `align` does not find out"));
    }
    let requested_language = args.language.as_deref().map(language_names::code).transpose()?;
    words::check_model(&args.align, args.files.model_dir.clone())?;
    let stems = stdin::plan(std::slice::from_ref(&args.audio_file), &args.output.output_dir)?;
    files::readable(&args.audio_file)?;
    let inputs =
        Inputs::default().with([&args.audio_file, &args.text_file]).with_models(args.align.align_model.as_ref());
    let results = formats.iter().map(|format| append_extension(&stems[0], format.extension()));
    inputs.spare(results, OTHER_FOLDER)?;
    let (known, transcript_language) = script::read(&args.text_file)?;
    let language = requested_language.map(str::to_string).or(transcript_language).unwrap_or_else(|| "en".into());
    let backend = engine::open(&args.compute, CrossCache::default())?;
    files::writable(&args.output.output_dir)?;
    let hub = super::hub(args.files.model_dir.clone(), args.files.model_cache_only, args.files.hf_token.clone());
    let model = match &args.align.align_model {
        Some(model) => model.as_str(),
        None => hub.aligner_of(&language)?,
    };
    let work = AlignJob { args, hub: &hub, model, language: &language, options: &options };
    let (segments, duration) = match &backend {
        OpenDevice::Cpu(be) => work.on(be, known),
        OpenDevice::Cuda(be) => work.on(be, known),
    }?;
    report(&args.audio_file, &segments)?;
    let transcript = Transcript {
        word_segments: segments.iter().flat_map(|segment| segment.words.iter().flatten()).cloned().collect(),
        segments,
        language: Some(language),
        duration,
        ..Transcript::default()
    };
    write(args, &formats, &transcript, &stems[0], &subtitles)
}

/// Prints which segments were not aligned, and whether the words are probably not those that are spoken.
///
/// # Errors
/// [`Error::Audio`] if no segment was aligned.
fn report(file: &Path, segments: &[Segment]) -> Result<()> {
    let name = stdin::name(file);
    for segment in segments {
        if let Some(reason) = &segment.unaligned {
            let (start, end) = (segment.start.0, segment.end.0);
            console::error(&format!("{}: {start:.2} to {end:.2} s: not aligned: {reason}", name.display()));
        }
    }
    if segments.iter().all(|segment| segment.unaligned.is_some()) {
        return Err(Error::audio(name, "nothing of the text was aligned, so no results are written"));
    }
    let scores: Vec<f64> = segments.iter().flat_map(|s| s.words.iter().flatten()).filter_map(|w| w.score).collect();
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    if mean < MIN_PLAUSIBLE_SCORE {
        let reason = "the text is probably not what is spoken, or in a language that the alignment model does not know";
        console::error(&format!("{}: the mean score of the words is {mean:.2}: {reason}", name.display()));
    }
    Ok(())
}

fn write(
    args: &AlignArgs,
    formats: &[OutputFormat],
    transcript: &Transcript,
    stem: &Path,
    subtitles: &SubtitleOptions,
) -> Result<()> {
    if args.output.verbose {
        transcript.segments.iter().for_each(|segment| console::line(&super::progress::line(segment)));
    }
    let written = output::write_all(formats, transcript, stem, subtitles)?;
    if args.output.verbose {
        files::tell_written(&written);
    }
    Ok(())
}

/// The alignment of one text with one recording.
struct AlignJob<'a> {
    args: &'a AlignArgs,
    hub: &'a Hub,
    /// Name of the alignment model.
    model: &'a str,
    language: &'a str,
    options: &'a AlignOptions,
}

impl AlignJob<'_> {
    /// Loads the model, decodes the recording and aligns the text. Returns the segments with their words, and the
    /// recording's duration.
    fn on<B: Backend>(&self, be: &B, known: KnownText) -> Result<(Vec<Segment>, Seconds)> {
        let aligner = words::obtain_and_load(self.hub, self.model, |source| aligners::open(be, source))?;
        let name = &self.args.audio_file;
        let _about = log::recording(stdin::name(name));
        let mut watch = ProgressBarWatch::new("aligning", short(stdin::name(name)), self.args.output.print_progress);
        let sound = stdin::decode(name, &convert::audio(&self.args.audio), |progress| {
            watch.show("reading", progress.decoded, progress.total.unwrap_or(Seconds(0.0)));
            if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let (language, options) = (self.language, self.options);
        let segments = match known {
            KnownText::Text(text) => aligner.text(be, &sound.samples, &text, language, options, &mut watch),
            KnownText::Segments(segments) => {
                aligner.segments(be, &sound.samples, segments, language, options, &mut watch)
            }
        };
        Ok((segments?, sound.duration()))
    }
}
