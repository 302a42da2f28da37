//! Selection of the audio track, and creation of its decoder.

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Result as Decoded;
use symphonia::core::formats::{FormatId, FormatReader, Track, TrackType, well_known as formats};

use super::DecoderKind;
use super::container::{ContainerInfo, Length, OpenError};
use super::ffmpeg::program;
use super::mkv::Encoding;
use super::timeline::Timeline;
use super::{DecodeOptions, aac, mkv, mp4, names, opus};

/// The selected track and its decoder.
pub(super) struct SelectedTrack {
    pub(super) track_id: u32,
    pub(super) decoder: Box<dyn AudioDecoder>,
    pub(super) params: AudioCodecParameters,
    /// Seconds per tick of the track's time stamps.
    pub(super) tick: f64,
    /// Seconds that the decoder drops at the start, if the time stamps include them; else 0.
    pub(super) delay: f64,
    /// Whether the container stores time stamps. For other containers symphonia counts them.
    pub(super) is_timed: bool,
    pub(super) timeline: Timeline,
    /// Matroska content encodings to undo before packets are decoded.
    pub(super) encodings: Vec<Encoding>,
    pub(super) length: Length,
}

/// An audio track of the file.
struct Candidate<'a> {
    id: u32,
    /// `None` if symphonia does not recognise the codec.
    track: Option<(&'a Track, &'a AudioCodecParameters)>,
    is_default: bool,
}

impl Candidate<'_> {
    fn channels(&self) -> usize {
        self.track.and_then(|(_, params)| params.channels.as_ref()).map_or(0, |channels| channels.count())
    }

    fn describe(&self) -> String {
        let Some((track, params)) = self.track else { return "an unknown codec".into() };
        let mut parts = vec![names::codec(params.codec)];
        match self.channels() {
            0 => {}
            1 => parts.push("1 channel".into()),
            more => parts.push(format!("{more} channels")),
        }
        parts.extend(track.language.clone().filter(|language| language != "und"));
        parts.extend(self.is_default.then(|| "default".into()));
        parts.join(", ")
    }
}

/// Selects the requested track. Default: of the tracks that the file marks as default, the one with the most channels,
/// then the first (ffmpeg 5.1 `ffmpeg_opt.c::open_output_file`). If that track cannot be decoded, the next in this
/// order.
pub(super) fn select_track(
    format: &dyn FormatReader,
    info: &ContainerInfo,
    options: &DecodeOptions,
) -> Result<SelectedTrack, OpenError> {
    let candidates = candidates(format, info);
    if let Some(number) = options.track {
        let chosen = number.checked_sub(1).and_then(|index| candidates.get(index));
        let Some(chosen) = chosen else { return Err(OpenError::Damaged(no_such_track(number, &candidates))) };
        return open_track(format, chosen, info, options);
    }
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by_key(|candidate| std::cmp::Reverse((candidate.is_default, candidate.channels())));
    let mut refused = None;
    for candidate in ranked {
        match open_track(format, candidate, info, options) {
            Ok(playing) => {
                if refused.is_some() {
                    tracing::warn!(track = candidate.describe(), "the default track cannot be read; another is taken");
                }
                return Ok(playing);
            }
            // Leave the default track to ffmpeg rather than take another track.
            Err(refusal @ OpenError::Unsupported(_))
                if candidate.is_default && options.decoder == DecoderKind::Auto && program::find().is_some() =>
            {
                return Err(refusal);
            }
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    let container = format.format_info().long_name;
    Err(match refused {
        Some(refusal) => refusal,
        None if format.first_track(TrackType::Video).is_some() => OpenError::Damaged(format!(
            "there is no audio track in it ({container} with video only); nothing to transcribe"
        )),
        None => OpenError::Unsupported(format!("there is no audio track in it ({container})")),
    })
}

/// The audio tracks in the order of the file.
fn candidates<'a>(format: &'a dyn FormatReader, info: &ContainerInfo) -> Vec<Candidate<'a>> {
    let audio = |track: &'a Track| match &track.codec_params {
        Some(CodecParameters::Audio(params)) => Some((track, params)),
        _ => None,
    };
    let mut ids = [info.movie.audio_tracks(), info.matroska.audio_tracks()].concat();
    // Symphonia may find tracks that this crate's header parsers did not.
    let known = format.tracks().iter().filter(|track| audio(track).is_some()).map(|track| track.id);
    ids.extend(known.filter(|id| !ids.contains(id)).collect::<Vec<_>>());
    let candidate = |id: u32| {
        let track = format.tracks().iter().find(|track| track.id == id);
        let is_default = info.movie.is_enabled(id).or(info.matroska.is_default(id)).unwrap_or(true);
        Candidate { id, track: track.and_then(audio), is_default }
    };
    ids.into_iter().map(candidate).collect()
}

fn no_such_track(number: usize, candidates: &[Candidate]) -> String {
    let listed: Vec<String> =
        candidates.iter().enumerate().map(|(index, track)| format!("{} ({})", index + 1, track.describe())).collect();
    let (count, plural) = (listed.len(), if listed.len() == 1 { "" } else { "s" });
    format!("audio track {number} was asked for, but it has {count} audio track{plural}: {}", listed.join(", "))
}

fn open_track(
    format: &dyn FormatReader,
    candidate: &Candidate,
    info: &ContainerInfo,
    options: &DecodeOptions,
) -> Result<SelectedTrack, OpenError> {
    let unreadable = |what: String| OpenError::Unsupported(format!("its audio {what}"));
    let Some((track, params)) = candidate.track else {
        return Err(unreadable("is in a codec that is not known".into()));
    };
    let encodings =
        info.matroska.encodings(candidate.id).map_err(|how| unreadable(format!("is {how}, which cannot be undone")))?;
    let mut params = params.clone();
    if let Some(header) = params.extra_data.as_deref().and_then(|header| mkv::decode(&encodings, header, true)) {
        params.with_extra_data(header);
    }
    let decoder = make_decoder(&params).map_err(|error| {
        let (codec, channels) = (names::codec(params.codec), candidate.channels());
        let channels = if channels > 2 { format!(" with {channels} channels") } else { String::new() };
        unreadable(format!("is in a codec that cannot be read ({codec}{channels}: {error})"))
    })?;
    let tick = track.time_base.map_or(0.0, f64::from);
    let container = format.format_info().format;
    let is_mp4 = container == formats::FORMAT_ID_ISOMP4;
    let delay = if is_mp4 && params.codec == CODEC_ID_OPUS { opus::delay(&params) } else { 0.0 };
    let is_timed = matches!(container, formats::FORMAT_ID_ISOMP4 | formats::FORMAT_ID_MKV | formats::FORMAT_ID_OGG);
    let edits = if is_mp4 { info.movie.edits(candidate.id, delay, tick) } else { Vec::new() };
    let timeline = Timeline::new(edits, options.sync && is_timed);
    let length = match track_length(format, track, tick, info) {
        Length::Stated(media) => Length::Stated(timeline.length(media - delay).unwrap_or(media)),
        other => other,
    };
    Ok(SelectedTrack { track_id: track.id, decoder, params, tick, delay, is_timed, timeline, encodings, length })
}

/// Creates the decoder of a track. For HE-AAC that symphonia rejects, decodes its AAC-LC core.
pub(super) fn make_decoder(params: &AudioCodecParameters) -> Decoded<Box<dyn AudioDecoder>> {
    let options = AudioDecoderOptions::default();
    if aac::is_surround(params) {
        return Ok(Box::new(aac::Surround::new(params)?));
    }
    opus::codecs().make_audio_decoder(params, &options).or_else(|error| {
        let core = params.extra_data.as_deref().filter(|_| params.codec == CODEC_ID_AAC).and_then(mp4::aac_core);
        let Some(core) = core else { return Err(error) };
        let mut core_params = params.clone();
        core_params.with_extra_data(core);
        opus::codecs().make_audio_decoder(&core_params, &options)
    })
}

/// The length of a track according to its container.
fn track_length(format: &dyn FormatReader, track: &Track, tick: f64, info: &ContainerInfo) -> Length {
    if let Some(length) = info.frames {
        return length;
    }
    let ticks = match (track.duration, track.num_frames) {
        (Some(duration), _) => duration.get(),
        (None, Some(frames)) => frames,
        (None, None) => return media_length(format),
    };
    // The length of Ogg Opus includes the pre-skip.
    let dropped = match format.format_info().format {
        formats::FORMAT_ID_OGG => u64::from(track.delay.unwrap_or(0)),
        _ => 0,
    };
    let seconds = ticks.saturating_sub(dropped) as f64 * tick;
    if ticks == 0 || tick == 0.0 {
        return Length::Unknown;
    }
    match info.wav {
        Some(Some(factor)) => return Length::Stated(seconds * factor),
        Some(None) => return Length::Estimated(seconds),
        None => {}
    }
    if states_length(format.format_info().format) { Length::Stated(seconds) } else { Length::Estimated(seconds) }
}

/// Length of the whole file. Matroska's is that of the longest track, so that it is reliable only for a single track.
fn media_length(format: &dyn FormatReader) -> Length {
    let info = format.media_info();
    match (info.time_base, info.duration) {
        (Some(base), Some(duration)) if duration.get() > 0 => {
            let seconds = duration.get() as f64 * f64::from(base);
            if format.tracks().len() == 1 { Length::Stated(seconds) } else { Length::Estimated(seconds) }
        }
        _ => Length::Unknown,
    }
}

/// Whether the container states its length. Ogg does not: symphonia derives it from the last page.
fn states_length(format: FormatId) -> bool {
    format != formats::FORMAT_ID_OGG
}
