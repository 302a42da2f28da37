//! `--vad silero`: the network of [`models::silero`](crate::models::silero), and from its probabilities to spans.

use crate::models::silero::{Silero, WINDOW};
use crate::types::Span;
use crate::units::{SAMPLE_RATE, Seconds};

/// Where speech that runs too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongSpeech {
    /// In its longest silence. Silero 6's default, and so WhisperX's.
    LongestSilence,
    /// In its last silence: older Silero, and faster-whisper 1.2.
    LastSilence,
}

/// Settings of [`spans`]. [`new`](Self::new) gives those of the published function; WhisperX sets `threshold` to
/// `--vad_onset` and `max_speech` to `--chunk_size`, and never uses `--vad_offset` here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SileroOptions {
    /// A probability at or above this is speech.
    pub threshold: f64,
    /// Within speech, a probability below this may end it.
    pub neg_threshold: f64,
    /// Speech not longer than this is dropped.
    pub min_speech: Seconds,
    /// Speech ends only with this much silence after it.
    pub min_silence: Seconds,
    /// Added to both ends of speech, or half of the silence to its neighbour where there is less of it.
    pub speech_pad: Seconds,
    /// Speech that runs longer, pads included, is cut in a silence, or where it stands if it has none.
    pub max_speech: Seconds,
    /// A silence within speech counts for `max_speech` only if it is longer than this.
    pub min_silence_at_max_speech: Seconds,
    /// In which silence.
    pub long_speech: LongSpeech,
}

impl SileroOptions {
    /// The published settings for this threshold.
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

/// Spans of speech in `samples` (16 kHz), in order, apart, none longer than `options.max_speech`.
pub fn speech(samples: &[f32], network: &Silero, options: &SileroOptions) -> Vec<Span> {
    spans(&network.probabilities(samples), samples.len(), options)
}

/// Speech in samples.
#[derive(Clone, Copy)]
struct Region {
    start: i64,
    end: i64,
}

/// Spans of speech from one probability per [`WINDOW`] of a recording of `num_samples` samples.
///
/// Same integers as the published function gives, as seconds.
///
/// Source: silero-vad 6.2 `utils_vad.py::get_speech_timestamps_from_probs` with `use_max_poss_sil_at_max_speech`
/// (snakers4/silero-vad, MIT).
pub fn spans(probabilities: &[f32], num_samples: usize, options: &SileroOptions) -> Vec<Span> {
    let num_samples = num_samples as i64;
    let mut regions = find(probabilities, num_samples, options);
    pad(&mut regions, num_samples, samples_of(options.speech_pad));
    let time = |sample: i64| Seconds(sample as f64 / SAMPLE_RATE as f64);
    regions.iter().map(|r| Span { start: time(r.start), end: time(r.end) }).collect()
}

fn samples_of(time: Seconds) -> f64 {
    SAMPLE_RATE as f64 * time.0
}

/// A silence within speech, in samples: its start, and its end unless we are still in it.
type Silence = (i64, Option<i64>);

/// Speech without its pads.
fn find(probabilities: &[f32], num_samples: i64, options: &SileroOptions) -> Vec<Region> {
    let max_speech = samples_of(options.max_speech) - WINDOW as f64 - 2.0 * samples_of(options.speech_pad);
    let (min_speech, min_silence) = (samples_of(options.min_speech), samples_of(options.min_silence));
    let long_silence = samples_of(options.min_silence_at_max_speech);
    let longest = options.long_speech == LongSpeech::LongestSilence;
    let mut regions = Vec::new();
    let mut speech_start: Option<i64> = None;
    // Where the silence we are in began, while it is too short to end the speech.
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

/// The longest silence; the first of equals. (For [`LongSpeech::LastSilence`] there is only the last one.)
fn silence_to_cut(silences: &[Silence]) -> Option<Silence> {
    let length = |silence: Silence| silence.1.map_or(0, |end| end - silence.0);
    silences.iter().copied().reduce(|best, next| if length(next) > length(best) { next } else { best })
}

/// Widens each region by `pad` samples, or by half of the silence between two where that is less.
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
