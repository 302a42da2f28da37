//! Compatibility with WhisperX's command line: every option either works or is refused with a reason.
//!
//! WhisperX parses some options and ignores them; none is ignored here. [`OPTIONS`] is the complete list, and a test
//! checks every entry.

use clap::Args;

/// How an option of WhisperX is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The option is supported. Contains an accepted value, or an empty text for a switch.
    Works(&'static str),
    /// The option is parsed and refused. Contains a value (empty for a switch) and the reason.
    Refused(&'static str, &'static str),
}

use Fate::{Refused, Works};

const RESOLUTION: &str = "WhisperX reads this and ignores it; segments are what the recogniser heard as one chunk";
const PYTHON: &str = "there is no Python in this program; --version prints its own";

/// Every option of WhisperX 3.8.7, in the order of its `--help`.
pub const OPTIONS: &[(&str, Fate)] = &[
    ("model", Works("builtin")),
    ("model_cache_only", Works("True")),
    ("model_dir", Works("models")),
    ("device", Works("cpu")),
    ("device_index", Works("0")),
    ("batch_size", Works("4")),
    ("compute_type", Works("float32")),
    ("output_dir", Works("out")),
    ("output_format", Works("srt")),
    ("verbose", Works("False")),
    ("log-level", Works("info")),
    ("task", Works("translate")),
    ("language", Works("en")),
    ("align_model", Works("WAV2VEC2_ASR_LARGE_LV60K_960H")),
    ("interpolate_method", Works("linear")),
    ("no_align", Works("")),
    ("return_char_alignments", Works("")),
    ("vad_method", Works("energy")),
    ("vad_onset", Works("0.6")),
    ("vad_offset", Works("0.4")),
    ("chunk_size", Works("20")),
    ("diarize", Works("")),
    ("min_speakers", Works("2")),
    ("max_speakers", Works("3")),
    ("diarize_model", Works("pyannote/speaker-diarization-community-1")),
    ("speaker_embeddings", Works("")),
    ("temperature", Works("0.2")),
    ("best_of", Works("3")),
    ("beam_size", Works("2")),
    ("patience", Works("2.0")),
    ("length_penalty", Works("0.9")),
    ("suppress_tokens", Works("-1,5")),
    ("suppress_numerals", Works("")),
    ("initial_prompt", Works("Hello.")),
    ("hotwords", Works("diarist")),
    ("condition_on_previous_text", Works("False")),
    ("fp16", Works("False")),
    ("temperature_increment_on_fallback", Works("None")),
    ("compression_ratio_threshold", Works("2.0")),
    ("logprob_threshold", Works("-0.5")),
    ("no_speech_threshold", Works("0.5")),
    ("max_line_width", Works("42")),
    ("max_line_count", Works("2")),
    ("highlight_words", Works("True")),
    ("segment_resolution", Refused("chunk", RESOLUTION)),
    ("threads", Works("2")),
    ("hf_token", Works("hf_x")),
    ("print_progress", Works("True")),
    ("python-version", Refused("", PYTHON)),
];

/// Options that are not supported. They are parsed so that the error can give the reason, and hidden from the help.
#[derive(Args, Debug)]
pub struct Elsewhere {
    #[arg(long, hide = true)]
    segment_resolution: Option<String>,
    #[arg(long, short = 'P', hide = true)]
    python_version: bool,
}

impl Elsewhere {
    /// The first option given that is refused, with the reason; `None` if there is none.
    pub fn refusal(&self) -> Option<(&'static str, &'static str)> {
        let given =
            [("segment_resolution", self.segment_resolution.is_some()), ("python-version", self.python_version)];
        let (name, _) = given.into_iter().find(|(_, given)| *given)?;
        OPTIONS.iter().find_map(|(option, fate)| match fate {
            Refused(_, reason) if *option == name => Some((name, *reason)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::argv;
    use super::super::options::Transcribe;
    use super::*;

    #[derive(Parser)]
    #[command(infer_long_args = true)]
    struct Line {
        #[command(flatten)]
        transcribe: Transcribe,
    }

    fn parse(args: &[&str]) -> Result<Transcribe, clap::Error> {
        let args = argv::normalise(args.iter().map(Into::into));
        Line::try_parse_from(args).map(|line| line.transcribe)
    }

    #[test]
    fn every_option_of_whisperx_works_or_is_refused_with_a_reason() {
        assert_eq!(OPTIONS.len(), 49);
        for (name, fate) in OPTIONS {
            let option = format!("--{name}");
            let (Works(value) | Refused(value, _)) = *fate;
            let line = ["x", "a.wav", &option, value];
            let parsed = parse(if value.is_empty() { &line[..3] } else { &line });
            let parsed = parsed.unwrap_or_else(|e| panic!("{name}: {e}"));
            match (fate, parsed.work.elsewhere.refusal()) {
                (Works(_), None) => {}
                (Refused(_, reason), Some((_, given))) => assert_eq!(*reason, given, "{name}"),
                (fate, refusal) => panic!("{name}: the table says {fate:?}, the program {refusal:?}"),
            }
        }
    }

    #[test]
    fn defaults_are_those_of_whisperx() {
        let bare = parse(&["x", "a.wav"]).unwrap();
        assert_eq!(bare.work.elsewhere.refusal(), None);
        assert_eq!((bare.work.model.model.as_str(), bare.work.model.batch_size), ("small", 8));
        assert_eq!((bare.work.decode.beam_size.0, bare.work.decode.best_of.0), (Some(5), Some(5)));
        assert_eq!((bare.work.vad.onset, bare.work.vad.offset, bare.work.vad.chunk_size), (0.5, 0.363, None));
        assert!(!bare.work.words.no_align && bare.work.words.align_method.is_none() && !bare.subtitles.highlight_words);
        assert!(bare.output.verbose && bare.output.output_format == "all" && !bare.output.print_progress);
    }

    #[test]
    fn a_bare_switch_does_not_swallow_the_file_after_it() {
        let line = parse(&["x", "--verbose", "a.wav", "--fp16", "False", "b.wav"]).unwrap();
        assert_eq!(line.files.len(), 2);
        assert!(line.output.verbose && line.work.model.compute.fp16 == Some(false));
    }

    #[test]
    fn booleans_are_known_to_the_normaliser() {
        use clap::CommandFactory;
        let command = Line::command();
        let optional: Vec<String> = command
            .get_arguments()
            .filter(|a| a.get_num_args().is_some_and(|n| n.min_values() == 0 && n.max_values() == 1))
            .filter_map(|a| a.get_long().map(|long| format!("--{long}")))
            .collect();
        for name in &optional {
            assert!(argv::BOOLEANS.contains(&name.as_str()), "{name}");
        }
        assert_eq!(optional.len(), argv::BOOLEANS.len());
    }
}
