//! Options of word times (alignment, DTW) and of subtitles.

use clap::{Args, ValueEnum};

use super::super::values::boolean;

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

/// See [`Interpolate`](diarist::align::Interpolate).
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

/// See [`CtcTopology`](diarist::engine::ctc::CtcTopology).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Topology {
    /// A letter may span several frames; two equal letters need a blank between them.
    Ctc,
    /// A letter spans one frame; the frames after it are blank.
    WhisperX,
}

/// See [`WordTimes`](diarist::pipeline::WordTimes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Method {
    /// Forced alignment.
    Ctc,
    /// Dynamic time warping of the recogniser's cross-attention.
    Dtw,
}
