//! Voice activity detection with Silero (`--vad silero`): the probabilities of
//! [`models::silero`](crate::models::silero) to spans.

use crate::models::silero::{Silero, WINDOW};
use crate::types::Span;
use crate::units::{SAMPLE_RATE, Seconds};

/// Where speech that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongSpeech {
    /// In the longest silence: the default of Silero 6, and of WhisperX.
    LongestSilence,
    /// In the last silence: older versions of Silero, and faster-whisper 1.2.
    LastSilence,
}

/// Options of [`spans`]. [`new`](Self::new) has the defaults of the published function. As in WhisperX, `threshold` is
/// `--vad_onset`, `max_speech` is `--chunk_size`, and `--vad_offset` is not used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SileroOptions {
    /// Speech begins at a probability at or above this.
    pub threshold: f64,
    /// Silence begins at a probability below this.
    pub neg_threshold: f64,
    /// Speech up to this length is dropped.
    pub min_speech: Seconds,
    /// Speech ends if silence lasts this long.
    pub min_silence: Seconds,
    /// Padding at both ends of speech; half of the silence between two spans if that is shorter than two paddings.
    pub speech_pad: Seconds,
    /// Longest speech, padding included. Longer speech is cut in a silence, or at this length if there is none.
    pub max_speech: Seconds,
    /// Speech longer than `max_speech` is cut only in silences longer than this.
    pub min_silence_at_max_speech: Seconds,
    /// Which silence is cut.
    pub long_speech: LongSpeech,
}

impl SileroOptions {
    /// The published defaults, for this threshold and longest speech.
    pub fn new(threshold: f64, max_speech: Seconds) -> Self {
        SileroOptions {
            threshold,
            neg_threshold: (threshold - 0.15).max(0.01),
            min_speech: Seconds(0.25),
            min_silence: Seconds(0.1),
            speech_pad: Seconds(0.03),
            max_speech,
            min_silence_at_max_speech: Seconds(0.098),
            long_speech: LongSpeech::LongestSilence,
        }
    }
}

/// Spans of speech in `samples` (16 kHz), in order, without overlap, none longer than `options.max_speech`.
pub fn speech(samples: &[f32], network: &Silero, options: &SileroOptions) -> Vec<Span> {
    spans(&network.probabilities(samples), samples.len(), options)
}

/// A span of speech, in samples.
#[derive(Clone, Copy)]
struct Region {
    start: i64,
    end: i64,
}

/// Spans of speech from one probability per [`WINDOW`] of a recording of `num_samples` samples. They are the published
/// function's sample indices, converted to seconds.
///
/// Source: silero-vad 6.2 `utils_vad.py::get_speech_timestamps_from_probs` with `use_max_poss_sil_at_max_speech`
/// (snakers4/silero-vad, MIT).
pub fn spans(probabilities: &[f32], num_samples: usize, options: &SileroOptions) -> Vec<Span> {
    let num_samples = num_samples as i64;
    let mut regions = unpadded(probabilities, num_samples, options);
    pad(&mut regions, num_samples, samples_of(options.speech_pad));
    let time = |sample: i64| Seconds(sample as f64 / SAMPLE_RATE as f64);
    regions.iter().map(|r| Span { start: time(r.start), end: time(r.end) }).collect()
}

fn samples_of(time: Seconds) -> f64 {
    SAMPLE_RATE as f64 * time.0
}

/// A silence within speech, in samples: its start, and its end if it has ended.
type Silence = (i64, Option<i64>);

/// Regions of speech without padding.
fn unpadded(probabilities: &[f32], num_samples: i64, options: &SileroOptions) -> Vec<Region> {
    let max_speech = samples_of(options.max_speech) - WINDOW as f64 - 2.0 * samples_of(options.speech_pad);
    let (min_speech, min_silence) = (samples_of(options.min_speech), samples_of(options.min_silence));
    let long_silence = samples_of(options.min_silence_at_max_speech);
    let longest = options.long_speech == LongSpeech::LongestSilence;
    let mut regions = Vec::new();
    let mut speech_start: Option<i64> = None;
    // Start of the current silence, as long as it is too short to end the speech.
    let mut silence_start: Option<i64> = None;
    let mut silences: Vec<Silence> = Vec::new();
    for (index, &probability) in probabilities.iter().enumerate() {
        let now = (index * WINDOW) as i64;
        let probability = f64::from(probability);
        let is_speech = probability >= options.threshold;
        if is_speech && let Some(start) = silence_start.take() {
            if !longest {
                silences.iter_mut().for_each(|(_, end)| *end = end.or(Some(now)));
            } else if (now - start) as f64 > long_silence {
                silences.push((start, Some(now)));
            }
        }
        let Some(start) = speech_start else {
            speech_start = is_speech.then_some(now);
            continue;
        };
        if (now - start) as f64 > max_speech {
            let silence = silence_to_cut(&silences);
            regions.push(Region { start, end: silence.map_or(now, |(start, _)| start) });
            speech_start = silence.and_then(|(_, end)| end);
            silence_start = None;
            silences.clear();
        }
        let Some(start) = speech_start else { continue };
        if probability < options.neg_threshold {
            let end = *silence_start.get_or_insert(now);
            if !longest && (now - end) as f64 > long_silence {
                silences = vec![(end, None)];
            }
            if (now - end) as f64 >= min_silence {
                if (end - start) as f64 > min_speech {
                    regions.push(Region { start, end });
                }
                (speech_start, silence_start) = (None, None);
                silences.clear();
            }
        }
    }
    if let Some(start) = speech_start.filter(|start| (num_samples - start) as f64 > min_speech) {
        regions.push(Region { start, end: num_samples });
    }
    regions
}

/// The longest silence. Ties: the first wins. (With [`LongSpeech::LastSilence`] there is at most one.)
fn silence_to_cut(silences: &[Silence]) -> Option<Silence> {
    let length = |silence: Silence| silence.1.map_or(0, |end| end - silence.0);
    silences.iter().copied().reduce(|best, next| if length(next) > length(best) { next } else { best })
}

/// Pads each region by `pad` samples at both ends, or by half of the silence between two regions if it is shorter than
/// two paddings.
fn pad(regions: &mut [Region], num_samples: i64, pad: f64) {
    if let Some(first) = regions.first_mut() {
        first.start = (first.start as f64 - pad).max(0.0) as i64;
    }
    for i in 0..regions.len() {
        let end = regions[i].end;
        let padded_end = (end as f64 + pad).min(num_samples as f64) as i64;
        let Some(next) = regions.get_mut(i + 1) else {
            regions[i].end = padded_end;
            break;
        };
        let silence = next.start - end;
        if (silence as f64) < 2.0 * pad {
            next.start = (next.start - silence / 2).max(0);
            regions[i].end = end + silence / 2;
        } else {
            next.start = (next.start as f64 - pad).max(0.0) as i64;
            regions[i].end = padded_end;
        }
    }
}
