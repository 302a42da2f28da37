//! Conversion of command-line options into the library's options, with the checks that can refuse them.

use std::path::{Path, PathBuf};

use diarist::asr::{AsrOptions, Task};
use diarist::audio::{Channel, DecodeOptions};
use diarist::config::Options;
use diarist::diarize::recipe;
use diarist::engine::weights::LAYOUTS;
use diarist::hub::Hub;
use diarist::pipeline::WordTimes;
use diarist::units::Seconds;
use diarist::vad::{VadMethod, VadOptions};
use diarist::{Error, Result};

use super::options::{Audio, Decode, Subtitles, Vad, Work};
use super::{console, engine, values, words};

/// Checks all options of `transcribe` or `worker` before any work starts.
///
/// # Errors
/// [`Error::Config`] naming the option and the reason.
pub fn check(args: &Work, subtitles: &Subtitles) -> Result<()> {
    if let Some((option, reason)) = args.elsewhere.refusal() {
        return Err(Error::config(option, "given", reason));
    }
    vad_of_work(args)?;
    args.speakers.options()?;
    args.channels.options(args.speakers.diarize, audio(&args.audio).channel)?;
    words::word_times(&args.words, subtitles, args.decode.task)?;
    subtitles.options()?;
    if args.decode.condition_on_previous_text && method(&args.vad) != VadMethod::None {
        let rule = "chunks found by a VAD are decoded side by side and have no text before them; add `vad_method` none";
        return Err(Error::config("condition_on_previous_text", "True", rule));
    }
    Ok(())
}

/// Prints a warning for each combination of options whose results are probably not what was meant.
pub fn warn(args: &Work, options: &Options) {
    if args.speakers.diarize && options.words == WordTimes::None {
        let cure = match args.words.no_align {
            true => "leave out --no-align",
            false => "add --align-method dtw",
        };
        console::error(&format!(
            "each segment gets one speaker, since words have no times; {cure} for speakers of words"
        ));
    }
}

/// The VAD method: `--vad-method`; else the one that fits the network of `--vad-model`; else energy.
pub fn method(vad: &Vad) -> VadMethod {
    let of_model = |model: &Path| {
        if hub_repository(model).is_some() { VadMethod::Pyannote } else { VadMethod::of_network(model) }
    };
    vad.method.unwrap_or_else(|| vad.model.as_deref().map_or(VadMethod::Energy, of_model))
}

/// Whether VAD uses the diarization pipeline's segmentation network. This is the default with `--diarize`: the network
/// runs anyway, so its VAD output is free.
pub fn by_diarizer(args: &Work) -> bool {
    args.speakers.diarize && args.vad.model.is_none() && matches!(args.vad.method, None | Some(VadMethod::Pyannote))
}

/// The VAD options of `transcribe` and `worker`.
fn vad_of_work(args: &Work) -> Result<VadOptions> {
    let defaults = Options::of_model(&args.model.model).vad;
    if by_diarizer(args) { checked_thresholds(&args.vad, defaults) } else { vad(&args.vad, defaults) }
}

/// The hub repository that `--vad-model` names; `None` for a file or folder that exists, and for other names.
fn hub_repository(model: &Path) -> Option<&str> {
    model.to_str().filter(|name| !model.exists() && diarist::hub::names::is_repo_id(name))
}

/// The file or folder of the VAD network, downloaded with a progress bar if it is not cached. For a diarization
/// pipeline's folder it is the pipeline's segmentation network. An empty path without `--vad-model`.
///
/// # Errors
/// Those of the hub, and of a pipeline's configuration.
pub fn network(vad: &Vad, hub: &Hub) -> Result<PathBuf> {
    let Some(model) = &vad.model else { return Ok(PathBuf::new()) };
    if let Some(name) = hub_repository(model) {
        return engine::under_a_bar(|on_progress| hub.obtain_network(name, on_progress));
    }
    let is_network = LAYOUTS.iter().any(|(file, _)| model.join(file).is_file());
    let is_pipeline = !is_network && (model.join(recipe::CONFIG).is_file() || model.join(recipe::PARTS[0]).is_dir());
    match is_pipeline.then(|| recipe::Recipe::open(model)).transpose()?.map(|recipe| recipe.segmentation) {
        Some(recipe::Location::Local(network)) => Ok(network),
        Some(recipe::Location::Repository(name)) => {
            engine::under_a_bar(|on_progress| hub.obtain_network(&name, on_progress))
        }
        None => Ok(model.clone()),
    }
}

/// The VAD options; `defaults` supplies the chunk size if `--chunk-size` is not given.
///
/// # Errors
/// [`Error::Config`] for values out of range, and for a network that is missing or would not be used.
pub fn vad(vad: &Vad, defaults: VadOptions) -> Result<VadOptions> {
    match (method(vad), &vad.model) {
        (VadMethod::Silero, None) => {
            let rule = "needs its network: `vad_model` FILE, silero_vad.onnx or the safetensors file of Silero VAD v6";
            return Err(Error::config("vad_method", "silero", rule));
        }
        (VadMethod::Pyannote, None) => {
            let rule = "needs its network: `vad_model` MODEL, pyannote/segmentation-3.0 or the pytorch_model.bin of WhisperX; `diarize` has one";
            return Err(Error::config("vad_method", "pyannote", rule));
        }
        (VadMethod::None | VadMethod::Energy, Some(file)) => {
            let rule = "only `vad_method` pyannote and silero read a network; leave one of the two out";
            return Err(Error::config("vad_model", file.display(), rule));
        }
        _ => {}
    }
    checked_thresholds(vad, defaults)
}

fn checked_thresholds(vad: &Vad, defaults: VadOptions) -> Result<VadOptions> {
    let chunk_size = vad.chunk_size.map_or(defaults.chunk_size, Seconds);
    let options = VadOptions { onset: vad.onset, offset: vad.offset, chunk_size };
    options.check()?;
    Ok(options)
}

/// The options of every stage.
///
/// # Errors
/// [`Error::Config`] naming the option that cannot be honoured.
pub fn all(args: &Work, subtitles: &Subtitles) -> Result<Options> {
    Ok(Options {
        audio: audio(&args.audio),
        vad: vad_of_work(args)?,
        asr: asr(&args.decode, args.model.batch_size, method(&args.vad))?,
        words: words::word_times(&args.words, subtitles, args.decode.task)?,
        speakers: args.speakers.options()?,
        channel_speakers: args.channels.options(args.speakers.diarize, audio(&args.audio).channel)?,
    })
}

/// Audio decoding options: channel, track and limits.
pub fn audio(audio: &Audio) -> DecodeOptions {
    let channel = audio.channel.map_or(Channel::Mix, Channel::Pick);
    let max_duration = audio.max_duration.map_or(DecodeOptions::MAX_DURATION, Seconds);
    DecodeOptions {
        channel,
        track: audio.track.map(usize::from),
        sync: !audio.no_sync,
        allow_truncated: audio.allow_truncated,
        max_duration: Some(max_duration),
        decoder: audio.decoder,
    }
}

/// Speech recognition options.
///
/// # Errors
/// [`Error::Config`] naming the option that cannot be honoured.
pub fn asr(decode: &Decode, batch_size: u32, method: VadMethod) -> Result<AsrOptions> {
    let options = AsrOptions {
        language: decode.language.clone(),
        task: match decode.task {
            values::Task::Transcribe => Task::Transcribe,
            values::Task::Translate => Task::Translate,
        },
        batch_size: batch_size as usize,
        beam_size: decode.beam_size.0.unwrap_or(1),
        best_of: decode.best_of.0.unwrap_or(1),
        patience: decode.patience,
        length_penalty: decode.length_penalty,
        repetition_penalty: decode.repetition_penalty,
        no_repeat_ngram_size: decode.no_repeat_ngram_size,
        temperatures: temperatures(decode.temperature, decode.temperature_increment_on_fallback.0)?,
        compression_ratio_threshold: decode.compression_ratio_threshold.0,
        log_prob_threshold: decode.logprob_threshold.0,
        no_speech_threshold: decode.no_speech_threshold.0,
        condition_on_previous_text: decode.condition_on_previous_text,
        initial_prompt: decode.initial_prompt.clone(),
        hotwords: decode.hotwords.clone(),
        prefix: decode.prefix.clone(),
        suppress_tokens: token_ids(&decode.suppress_tokens)?,
        suppress_numerals: decode.suppress_numerals,
        // The sequential mode advances its windows by the predicted timestamps, so it needs them.
        without_timestamps: decode.without_timestamps.unwrap_or(method != VadMethod::None),
        max_initial_timestamp: decode.max_initial_timestamp,
        max_new_tokens: decode.max_new_tokens,
        multilingual: decode.multilingual,
        language_detection_segments: decode.language_detection_segments,
        seed: decode.seed,
        ..AsrOptions::default()
    };
    options.check()?;
    if let Some(language) = &options.language {
        diarist::asr::language_names::code(language)?;
    }
    Ok(options)
}

/// The temperatures of the fallback, tried in this order: from `first` to 1 in steps of `increment`.
fn temperatures(first: f64, increment: Option<f64>) -> Result<Vec<f64>> {
    let Some(step) = increment else { return Ok(vec![first]) };
    // Smaller steps would repeat nearly the same attempt.
    if !(0.01..=10.0).contains(&step) {
        let rule = "expected 0.01 or more, or None for a single attempt";
        return Err(Error::config("temperature_increment_on_fallback", step, rule));
    }
    // Computed from the index and rounded; adding up 0.2 three times does not give 0.6.
    let nth = |index: u32| ((first + f64::from(index) * step) * 1e6).round() / 1e6;
    let mut all: Vec<f64> = (0..).map(nth).take_while(|t| *t <= 1.0 + 1e-6).collect();
    if all.is_empty() {
        all.push(first);
    }
    Ok(all)
}

fn token_ids(list: &str) -> Result<Vec<i64>> {
    let parse = |id: &str| {
        id.trim().parse().map_err(|_| Error::config("suppress_tokens", list, "expected token ids separated by commas"))
    };
    list.split(',').filter(|id| !id.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_those_of_whisperx() {
        assert_eq!(temperatures(0.0, Some(0.2)).unwrap(), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(temperatures(0.5, Some(0.3)).unwrap(), [0.5, 0.8]);
        assert_eq!(temperatures(0.0, None).unwrap(), [0.0]);
        assert_eq!(temperatures(1.5, Some(0.2)).unwrap(), [1.5]);
        assert!(temperatures(0.0, Some(0.0)).is_err() && temperatures(0.0, Some(f64::NAN)).is_err());
    }

    #[test]
    fn token_ids_may_be_negative_and_empty() {
        assert_eq!(token_ids("-1, 5").unwrap(), [-1, 5]);
        assert!(token_ids("").unwrap().is_empty());
        assert!(token_ids("a").is_err());
    }
}
