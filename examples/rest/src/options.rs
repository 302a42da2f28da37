//! The options of one request, by the names they have on the command line, as the engine's.

use diarist::align::AlignOptions;
use diarist::asr::{AsrOptions, Task, language_names};
use diarist::audio::{Channel, DecodeOptions, DecoderKind};
use diarist::channels::ChannelSpeakers;
use diarist::config::Options;
use diarist::diarize::words::WordOptions;
use diarist::diarize::{self, Bounds};
use diarist::output::OutputFormat;
use diarist::pipeline::{SpeakerOptions, WordTimes};
use diarist::units::Seconds;
use diarist::vad::VadOptions;

use crate::errors::Fault;
use crate::fields::Fields;

/// What a request can be told, for those who ask for something else.
const KNOWN: &str = "`format`, `language`, `task`, `initial_prompt`, `hotwords`, `prefix`, `beam_size`, `best_of`, \
    `seed`, `multilingual`, `suppress_numerals`, `without_timestamps`, `chunk_size`, `vad_onset`, `vad_offset`, `channel`, \
    `track`, `no_sync`, `allow_truncated`, `no_align`, `return_char_alignments`, `diarize`, `num_speakers`, `min_speakers`, `max_speakers`, \
    `fill_nearest`, `sentence_speakers`, `whole_segments`, `speaker_embeddings`, `channel_speakers`, `channel_names`";

/// What a request has that says nothing about it.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Longest piece heard at once.
    pub chunk_size: Seconds,
    /// Chunks decoded side by side.
    pub batch_size: usize,
    /// Longer recordings are refused.
    pub max_duration: Seconds,
    /// Who decodes.
    pub decoder: DecoderKind,
    /// Whether there is something that tells speakers apart.
    pub diarizes: bool,
    /// Recordings with more channels are refused where each is a speaker.
    pub max_channels: usize,
}

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `{"transcript": "[SPEAKER_00]: text\n..."}`.
    Text,
    /// The object that the command line writes into `.json`.
    Json,
}

impl Answer {
    /// What the engine calls it.
    pub fn format(self) -> OutputFormat {
        match self {
            Answer::Text => OutputFormat::Txt,
            Answer::Json => OutputFormat::Json,
        }
    }
}

/// Reads all of them.
///
/// # Errors
/// 422 naming an option that is unknown, has a value that cannot be honoured, or would have no effect.
pub fn read(mut given: Fields, defaults: &Defaults) -> Result<(Options, Answer), Fault> {
    let answer = match given.take::<String>("format")?.as_deref() {
        None | Some("text") => Answer::Text,
        Some("json") => Answer::Json,
        Some(other) => return Err(Fault::options(format!("option `format` = `{other}`: expected text or json"))),
    };
    let audio = DecodeOptions {
        channel: given.take("channel")?.map_or(Channel::Mix, Channel::Pick),
        track: given.take::<std::num::NonZeroUsize>("track")?.map(usize::from),
        sync: !given.switch("no_sync")?,
        allow_truncated: given.switch("allow_truncated")?,
        max_duration: Some(defaults.max_duration),
        decoder: defaults.decoder,
    };
    let vad = vad(&mut given, defaults)?;
    let asr = asr(&mut given, defaults)?;
    let words = words(&mut given, asr.task)?;
    let channel_speakers = channels(&mut given, defaults)?;
    let speakers = speakers(&mut given, defaults, channel_speakers.is_none())?;
    if let Some(channels) = &channel_speakers {
        channels.check_compatible(speakers.is_some(), audio.channel)?;
    }
    given.finish(KNOWN)?;
    Ok((Options { audio, vad, asr, words, speakers, channel_speakers }, answer))
}

fn vad(given: &mut Fields, defaults: &Defaults) -> Result<VadOptions, Fault> {
    let usual = VadOptions::default();
    let vad = VadOptions {
        onset: given.take("vad_onset")?.unwrap_or(usual.onset),
        offset: given.take("vad_offset")?.unwrap_or(usual.offset),
        chunk_size: given.take("chunk_size")?.map_or(defaults.chunk_size, Seconds),
    };
    vad.check()?;
    Ok(vad)
}

fn asr(given: &mut Fields, defaults: &Defaults) -> Result<AsrOptions, Fault> {
    let usual = AsrOptions::default();
    let language: Option<String> = given.take("language")?;
    language.as_deref().map(language_names::code).transpose()?;
    let asr = AsrOptions {
        language,
        task: match given.take::<String>("task")?.as_deref() {
            None | Some("transcribe") => Task::Transcribe,
            Some("translate") => Task::Translate,
            Some(other) => {
                return Err(Fault::options(format!("option `task` = `{other}`: expected transcribe or translate")));
            }
        },
        batch_size: defaults.batch_size,
        initial_prompt: given.take("initial_prompt")?,
        hotwords: given.take("hotwords")?,
        prefix: given.take("prefix")?,
        beam_size: given.take("beam_size")?.unwrap_or(usual.beam_size),
        best_of: given.take("best_of")?.unwrap_or(usual.best_of),
        seed: given.take("seed")?.unwrap_or(usual.seed),
        multilingual: given.switch("multilingual")?,
        suppress_numerals: given.switch("suppress_numerals")?,
        without_timestamps: given.take("without_timestamps")?.unwrap_or(usual.without_timestamps),
        ..usual
    };
    asr.check()?;
    Ok(asr)
}

fn words(given: &mut Fields, task: Task) -> Result<WordTimes, Fault> {
    let (none, characters) = (given.switch("no_align")?, given.switch("return_char_alignments")?);
    // The words of a translation are not those in the sound.
    if none || task == Task::Translate {
        let rule = "option `return_char_alignments`: nothing is aligned with `no_align`, or in a translation";
        return if characters { Err(Fault::options(rule)) } else { Ok(WordTimes::None) };
    }
    Ok(WordTimes::Aligned(AlignOptions { characters, ..AlignOptions::default() }))
}

/// Whether each channel is a speaker, and their names, separated by commas.
fn channels(given: &mut Fields, defaults: &Defaults) -> Result<Option<ChannelSpeakers>, Fault> {
    let (asked, names) = (given.switch("channel_speakers")?, given.take::<String>("channel_names")?);
    if !asked {
        let rule = "option `channel_names` has no effect without `channel_speakers`";
        return if names.is_some() { Err(Fault::options(rule)) } else { Ok(None) };
    }
    let names = names.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect();
    Ok(Some(ChannelSpeakers { names, max_channels: defaults.max_channels }))
}

/// `usual` says whether speakers are told apart where a request does not say.
fn speakers(given: &mut Fields, defaults: &Defaults, usual: bool) -> Result<Option<SpeakerOptions>, Fault> {
    let diarize = given.take("diarize")?.unwrap_or(defaults.diarizes && usual);
    let counts = [given.take("num_speakers")?, given.take("min_speakers")?, given.take("max_speakers")?];
    let embeddings = given.switch("speaker_embeddings")?;
    // What people read is better with a speaker for every word, and one for each sentence.
    let words = WordOptions {
        fill_nearest: given.take("fill_nearest")?.unwrap_or(true),
        smooth: given.take("sentence_speakers")?.unwrap_or(true),
        split: !given.switch("whole_segments")?,
        ..WordOptions::default()
    };
    if diarize && !defaults.diarizes {
        return Err(Fault::options("option `diarize`: this service has nothing that tells speakers apart"));
    }
    if !diarize {
        let asked = embeddings || counts.iter().any(Option::is_some);
        let rule = "options about speakers have no effect without `diarize`";
        return if asked { Err(Fault::options(rule)) } else { Ok(None) };
    }
    let [num, min, max] = counts;
    let diarize = diarize::Options { bounds: Bounds::new(num, min, max)?, ..Default::default() };
    Ok(Some(SpeakerOptions { diarize, words, embeddings }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn defaults(diarizes: bool) -> Defaults {
        Defaults {
            chunk_size: Seconds(5.0),
            batch_size: 8,
            max_duration: Seconds(60.0),
            decoder: DecoderKind::Builtin,
            diarizes,
            max_channels: 2,
        }
    }

    fn parse(given: Value) -> Result<(Options, Answer), Fault> {
        let mut fields = Fields::default();
        given.as_object().unwrap().iter().for_each(|(name, value)| fields.insert(name, value.clone()).unwrap());
        read(fields, &defaults(true))
    }

    /// The values that names stand for, one by one, seen in what the engine is told.
    #[test]
    fn every_known_option_changes_what_the_engine_is_told() {
        let told = |given: Value| {
            let (options, answer) = parse(given.clone()).unwrap_or_else(|fault| panic!("{given}: {fault}"));
            format!("{options:?} {answer:?}")
        };
        let usual = told(json!({}));
        let names: Vec<&str> = KNOWN.split(',').map(|name| name.trim().trim_matches('`')).collect();
        assert_eq!(names.len(), 31);
        for name in names {
            let value = match name {
                "format" => json!("json"),
                "language" => json!("en"),
                "task" => json!("translate"),
                "initial_prompt" | "hotwords" | "prefix" => json!("Diarist"),
                "chunk_size" => json!(20),
                "vad_onset" | "vad_offset" => json!(0.4),
                "beam_size" | "best_of" | "seed" | "channel" | "track" | "num_speakers" | "min_speakers"
                | "max_speakers" => {
                    json!(3)
                }
                "diarize" | "fill_nearest" | "sentence_speakers" | "without_timestamps" => json!(false),
                _ => json!(true),
            };
            // Names alone have no effect.
            let (given, usual) = match name {
                "channel_names" => {
                    let without = told(json!({"channel_speakers": true}));
                    (json!({"channel_speakers": true, "channel_names": "Agent,Customer"}), without)
                }
                _ => (json!({ name: value }), usual.clone()),
            };
            assert_ne!(told(given), usual, "{name}");
        }
    }

    #[test]
    fn channels_take_the_place_of_the_diarizer() {
        let (options, _) = parse(json!({"channel_speakers": true, "channel_names": " Agent, Customer"})).unwrap();
        assert!(options.speakers.is_none());
        let channels = options.channel_speakers.unwrap();
        assert_eq!((channels.names, channels.max_channels), (vec!["Agent".into(), "Customer".into()], 2));
        let told = parse(json!({"channel_speakers": true, "diarize": true})).unwrap_err().to_string();
        assert!(told.starts_with("422") && told.contains("channel_speakers") && told.contains("`diarize`"), "{told}");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_named() {
        for (given, part) in [
            (json!({"format": "srt"}), "format"),
            (json!({"task": "sing"}), "task"),
            (json!({"language": "klingon"}), "klingon"),
            (json!({"beam_size": 1000}), "beam_size"),
            (json!({"chunk_size": 0}), "chunk_size"),
            (json!({"channel": -1}), "channel"),
            (json!({"num_speakers": 0}), "num_speakers"),
            (json!({"min_speakers": 3, "max_speakers": 2}), "min_speakers"),
            (json!({"diarize": false, "num_speakers": 2}), "diarize"),
            (json!({"no_align": true, "return_char_alignments": true}), "no_align"),
            (json!({"channel_names": "Agent"}), "channel_speakers"),
            (json!({"channel_speakers": true, "channel_names": "Agent,"}), "channel_names"),
            (json!({"channel_speakers": true, "channel": 1}), "`channel`"),
            (json!({"channel_speakers": true, "num_speakers": 2}), "diarize"),
            (json!({"model": "large-v3", "device": "cuda"}), "`device`, `model`"),
        ] {
            let told = parse(given.clone()).unwrap_err().to_string();
            assert!(told.starts_with("422") && told.contains(part), "{given}: {told}");
        }
        let mut fields = Fields::default();
        fields.insert("diarize", json!(true)).unwrap();
        assert!(read(fields, &defaults(false)).is_err());
    }

    #[test]
    fn without_a_diarizer_nobody_is_told_apart() {
        let (options, _) = read(Fields::default(), &defaults(false)).unwrap();
        assert!(options.speakers.is_none());
        assert_eq!(options.audio.max_duration, Some(Seconds(60.0)));
    }
}
