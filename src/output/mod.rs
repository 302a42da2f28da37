//! Output formats: txt, vtt, srt, tsv, json, Audacity labels and RTTM, as WhisperX and pyannote write them.
//!
//! | file | |
//! |---|---|
//! | [`text`] | txt, tsv, aud: one line per segment |
//! | [`subtitles`] | vtt, srt: cues from segments or words |
//! | [`mod@json`] | the whole transcript |
//! | [`mod@rttm`] | speaker turns |
//! | [`files`] | names of output files, atomic writes |
//!
//! The output is that of WhisperX 3.8, byte for byte, with these exceptions, where WhisperX has bugs:
//! - `-->` in the text of a cue becomes `->`, with word times as well as without; a blank line in a text, which would
//!   end the cue, is removed;
//! - `max_line_width` counts the spaces between words (m-bain/whisperX#1456), so that no line is longer unless a single
//!   word is; a broken line has no trailing space;
//! - Japanese and Chinese has spaces where the text has them, not between all characters; no line of it begins with
//!   closing punctuation, ends with an opening bracket, or ends within a Latin word;
//! - `<` and `&` are escaped in vtt, where they are markup;
//! - every cue, line and turn lasts at least one millisecond;
//! - if only some segments have words, each segment without words is a separate cue; WhisperX fails with a `KeyError`;
//! - tsv and aud have one line per segment even if the text has line breaks;
//! - a cue has the words of one speaker only, if speakers are known, also with `max_line_count`;
//! - a cue whose words have no times is shown between the adjacent cues, not for the whole duration of its segment;
//! - all times are rounded to milliseconds; WhisperX does not round times before alignment.

pub mod files;
pub mod json;
pub mod rttm;
pub mod subtitles;
pub mod text;

use crate::error::{Error, Result};
use crate::types::Transcript;

pub use files::{append_extension, plan, write_all, write_atomically};
pub use subtitles::SubtitleOptions;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// Plain text, one line per segment.
    Txt,
    /// WebVTT subtitles.
    Vtt,
    /// SubRip subtitles.
    Srt,
    /// Start and end in integer milliseconds, and the text, separated by tabs.
    Tsv,
    /// The whole transcript.
    Json,
    /// Labels for Audacity.
    Aud,
    /// Speaker turns without the words, in NIST's RTTM.
    Rttm,
}

impl OutputFormat {
    /// The formats that `all` stands for, in WhisperX's order. Audacity labels and RTTM are written only if named.
    pub const ALL: [OutputFormat; 5] =
        [OutputFormat::Txt, OutputFormat::Vtt, OutputFormat::Srt, OutputFormat::Tsv, OutputFormat::Json];

    /// The file name's extension, and the name on the command line.
    pub fn extension(self) -> &'static str {
        match self {
            OutputFormat::Txt => "txt",
            OutputFormat::Vtt => "vtt",
            OutputFormat::Srt => "srt",
            OutputFormat::Tsv => "tsv",
            OutputFormat::Json => "json",
            OutputFormat::Aud => "aud",
            OutputFormat::Rttm => "rttm",
        }
    }

    /// Parses `all`, one format, or several separated by commas. Returns each format once, in the order given.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown format.
    pub fn parse_list(names: &str) -> Result<Vec<OutputFormat>> {
        let mut formats = Vec::new();
        for name in names.split(',').map(str::trim) {
            let known =
                Self::ALL.into_iter().chain([OutputFormat::Aud, OutputFormat::Rttm]).find(|f| f.extension() == name);
            let chosen = match known {
                Some(format) => vec![format],
                None if name == "all" => Self::ALL.to_vec(),
                None => {
                    let rule = "must be all, txt, vtt, srt, tsv, json, aud or rttm, or several separated by commas";
                    return Err(Error::config("output_format", names, rule));
                }
            };
            for format in chosen {
                if !formats.contains(&format) {
                    formats.push(format);
                }
            }
        }
        Ok(formats)
    }
}

/// The contents of a file in this format. RTTM contains the name of the recording: here it is `recording`, in
/// [`write_all`] the name of the file.
///
/// # Errors
/// [`Error::Config`] for invalid options.
pub fn render(format: OutputFormat, transcript: &Transcript, options: &SubtitleOptions) -> Result<String> {
    options.check()?;
    Ok(match format {
        OutputFormat::Txt => text::txt(transcript),
        OutputFormat::Tsv => text::tsv(transcript),
        OutputFormat::Aud => text::aud(transcript),
        OutputFormat::Vtt => subtitles::vtt(transcript, options),
        OutputFormat::Srt => subtitles::srt(transcript, options),
        OutputFormat::Json => json::json(transcript)?,
        OutputFormat::Rttm => rttm::rttm("recording", &transcript.turns)?,
    })
}
