//! Transcripts to files: txt, vtt, srt, tsv, json and Audacity labels, as WhisperX writes them.
//!
//! | file | |
//! |---|---|
//! | [`text`] | txt, tsv, aud: a line per segment |
//! | [`subtitles`] | vtt, srt: segments or words to cues |
//! | [`mod@json`] | everything |
//! | [`mod@rttm`] | who speaks when |
//! | [`files`] | names, and files that are there in full or not at all |
//!
//! The texts are WhisperX's (3.8), byte for byte, except where it has a bug that spoils the file:
//! - `-->` in the words of a cue ends up as `->`, with words as well as without; a blank line in a text, which would
//!   end the cue, is dropped;
//! - `max_line_width` counts the spaces between words (m-bain/whisperX#1456), so that no line is longer than asked
//!   unless a word is; there is no space at the end of a broken line;
//! - Japanese and Chinese has spaces where the text has them, not between all characters, and no line of it begins with closing
//!   punctuation, ends with an opening bracket, or ends within a Latin word;
//! - `<` and `&` are escaped in vtt, where they would be markup;
//! - no cue, line or turn is without a duration: it has a millisecond at least;
//! - a segment without words among others with words is a cue of its own; WhisperX stops with a `KeyError`;
//! - tsv and aud have one line per segment even if the text has more;
//! - a cue has the words of one speaker, where speakers are known, also with `max_line_count`;
//! - a cue whose words have no times is shown between its neighbours, not as long as its segment;
//! - all times are rounded to milliseconds. WhisperX's are already, except before alignment.

pub mod files;
pub mod json;
pub mod rttm;
pub mod subtitles;
pub mod text;

use crate::error::{Error, Result};
use crate::types::Transcript;

pub use files::{plan, with_ending, write_all, write_whole};
pub use subtitles::SubtitleOptions;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// Plain text, one segment a line.
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
    /// Who speaks when, without the words.
    Rttm,
}

impl OutputFormat {
    /// What `all` means, in WhisperX's order. Audacity's labels and turns are written only when asked for by name.
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

    /// `all`, one format, or several separated by commas; each once, in the order given.
    ///
    /// # Errors
    /// [`Error::Config`] if a name is none of them.
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

/// The contents of a file of this format; of the recording only RTTM tells the name, which [`files`] knows.
///
/// # Errors
/// [`Error::Config`] if an option cannot be honoured.
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
