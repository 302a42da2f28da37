//! Options of word times (alignment, DTW) and of subtitles, with their checks.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use diarist::align::{AlignOptions, Interpolate};
use diarist::engine::ctc::CtcTopology;
use diarist::hub::Hub;
use diarist::hub::aligners::AlignerSource;
use diarist::output::SubtitleOptions;
use diarist::pipeline::WordTimes;
use diarist::pipeline::aligners::FindAligner;
use diarist::units::Seconds;
use diarist::{Error, Result};

use super::values::{Task, boolean};
use super::{engine, options};

/// Options of forced alignment.
#[derive(Args, Debug)]
#[command(next_help_heading = "Word times")]
pub struct Align {
    /// Alignment model: a name on the hub, a bundle of torchaudio, a folder, or builtin.
    ///
    /// organisation/name on the hub, or a bundle by its name or its file. The default depends on the language: see
    /// `diarist models`.
    #[arg(long, value_name = "MODEL", hide_short_help = true)]
    pub align_model: Option<String>,
    /// Times of words that the alignment cannot place [default: nearest].
    #[arg(long, value_enum, value_name = "METHOD", hide_short_help = true)]
    pub interpolate_method: Option<Interpolation>,
    /// Also write the times of characters (json).
    #[arg(long, hide_short_help = true)]
    pub return_char_alignments: bool,
    /// Topology of the alignment paths: ctc, as the networks were trained, or WhisperX's [default: ctc].
    #[arg(long, value_enum, value_name = "PATHS", hide_short_help = true)]
    pub align_topology: Option<Topology>,
}

/// Options of word times.
#[derive(Args, Debug)]
#[command(next_help_heading = "Word times")]
pub struct Words {
    #[command(flatten)]
    pub align: Align,
    /// Source of word times: ctc is forced alignment, dtw uses the recogniser's cross-attention [default: ctc].
    #[arg(long, value_enum, value_name = "METHOD", hide_short_help = true)]
    pub align_method: Option<Method>,
    /// Write no word times.
    #[arg(long)]
    pub no_align: bool,
}

/// Options of subtitles.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Subtitles (srt, vtt)")]
pub struct Subtitles {
    /// Maximum characters per line.
    #[arg(long, value_name = "N")]
    pub max_line_width: Option<usize>,
    /// Maximum lines per subtitle (with --max-line-width).
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_line_count: Option<usize>,
    /// Write a subtitle for each word, with that word underlined.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub highlight_words: bool,
    /// Balance the lengths of the lines of a subtitle (with --max-line-width).
    #[arg(long, hide_short_help = true)]
    pub balance_lines: bool,
    /// Maximum characters per second: subtitles start earlier or end later where there is silence.
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_cps: Option<f64>,
    /// Minimum duration of a subtitle, in seconds, where there is silence.
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub min_cue_duration: Option<f64>,
    /// Maximum duration of a subtitle, in seconds; longer ones are split between words.
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub max_cue_duration: Option<f64>,
    /// Minimum gap between two subtitles, in seconds.
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub min_cue_gap: Option<f64>,
}

/// See [`Interpolate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Interpolation {
    /// The times of the nearest aligned word.
    Nearest,
    /// Interpolated linearly between the aligned words around it.
    Linear,
    /// No times.
    Ignore,
}

/// See [`CtcTopology`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Topology {
    /// A letter may span several frames; two equal letters need a blank between them.
    Ctc,
    /// A letter spans one frame; the frames after it are blank.
    WhisperX,
}

/// See [`WordTimes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Method {
    /// Forced alignment.
    Ctc,
    /// Dynamic time warping of the recogniser's cross-attention.
    Dtw,
}

impl Align {
    /// The library's options.
    pub fn options(&self) -> AlignOptions {
        AlignOptions {
            topology: match self.align_topology {
                None | Some(Topology::Ctc) => CtcTopology::Ctc,
                Some(Topology::WhisperX) => CtcTopology::Trellis,
            },
            interpolate: match self.interpolate_method {
                None | Some(Interpolation::Nearest) => Interpolate::Nearest,
                Some(Interpolation::Linear) => Interpolate::Linear,
                Some(Interpolation::Ignore) => Interpolate::Ignore,
            },
            characters: self.return_char_alignments,
            ..AlignOptions::default()
        }
    }

    /// The first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("align_model", self.align_model.is_some()),
            ("interpolate_method", self.interpolate_method.is_some()),
            ("return_char_alignments", self.return_char_alignments),
            ("align_topology", self.align_topology.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// The method of word times for a task.
///
/// # Errors
/// [`Error::Config`] naming an option that would have no effect, and why.
pub fn word_times(words: &Words, subtitles: &Subtitles, task: Task) -> Result<WordTimes> {
    let dtw = words.align_method == Some(Method::Dtw);
    let (given, method) = (words.align.given(), words.align_method.map(|_| "align_method"));
    let refuse = |option: Option<&'static str>, rule: &str| match option {
        Some(option) => Err(Error::config(option, "given", rule)),
        None => Ok(()),
    };
    if words.no_align {
        refuse(given.or(method), "`no_align` asks for no word times; leave one of the two out")?;
        refuse(subtitles.of_words(), "needs word times, and `no_align` asks for none; leave one of the two out")?;
        return Ok(WordTimes::None);
    }
    if dtw {
        refuse(given, "`align_method` dtw aligns nothing; leave one of the two out")?;
        return Ok(WordTimes::Dtw);
    }
    if task == Task::Translate {
        let rule = "the translation's words are not those in the sound; only `align_method` dtw gives them times";
        refuse(given.or(method), rule)?;
        refuse(subtitles.of_words(), &format!("needs word times: {rule}"))?;
        return Ok(WordTimes::None);
    }
    Ok(WordTimes::Aligned(words.align.options()))
}

impl Subtitles {
    /// The library's options.
    ///
    /// # Errors
    /// [`Error::Config`] naming an option that is out of range, contradicts another, or would have no effect.
    pub fn options(&self) -> Result<SubtitleOptions> {
        let needs_width = [("max_line_count", self.max_line_count.is_some()), ("balance_lines", self.balance_lines)];
        if let Some((option, _)) = needs_width.into_iter().find(|(_, given)| *given && self.max_line_width.is_none()) {
            return Err(Error::config(option, "given", "has no effect without `max_line_width`"));
        }
        let options = SubtitleOptions {
            max_line_width: self.max_line_width,
            max_line_count: self.max_line_count,
            highlight_words: self.highlight_words,
            balance_lines: self.balance_lines,
            max_cps: self.max_cps,
            min_cue_duration: self.min_cue_duration.map(Seconds),
            max_cue_duration: self.max_cue_duration.map(Seconds),
            min_cue_gap: self.min_cue_gap.map(Seconds),
        };
        options.check()?;
        Ok(options)
    }

    /// The first option given that needs word times.
    fn of_words(&self) -> Option<&'static str> {
        let given = [
            ("max_line_width", self.max_line_width.is_some()),
            ("max_line_count", self.max_line_count.is_some()),
            ("highlight_words", self.highlight_words),
            ("balance_lines", self.balance_lines),
            ("max_cue_duration", self.max_cue_duration.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

/// A function that finds the aligner of a language: `--align-model` if given, else the default of the language. With
/// the built-in recogniser, the aligner for English is the built-in one.
pub fn diarizer(model: &options::Model, asked: Option<&str>) -> Box<FindAligner> {
    let (hub, asked) = (engine::hub_of(model), asked.map(str::to_string));
    let builtin = model.model == diarist::hub::BUILTIN;
    Box::new(move |language, load| match &asked {
        Some(model) => obtain_and_load(&hub, model, load),
        None if builtin && language == "en" => load(&AlignerSource::Builtin),
        None => obtain_and_load(&hub, hub.aligner_of(language)?, load),
    })
}

/// Loads an aligner, downloading it with a progress bar if it is not cached.
///
/// # Errors
/// Those of the hub and of `load`.
pub fn obtain_and_load<T>(hub: &Hub, model: &str, load: impl FnMut(&AlignerSource) -> Result<T>) -> Result<T> {
    engine::under_a_bar(|on_progress| hub.obtain_aligner_and_load(model, on_progress, load))
}

/// Refuses an unknown `--align-model` before anything is downloaded.
///
/// # Errors
/// [`Error::Config`] or [`Error::Model`] saying what would be accepted.
pub fn check_model(align: &Align, model_dir: Option<PathBuf>) -> Result<()> {
    match &align.align_model {
        Some(model) => super::hub(model_dir, true, None).find_aligner(model).map(|_| ()),
        None => Ok(()),
    }
}
