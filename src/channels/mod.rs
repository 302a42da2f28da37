//! Multichannel transcription with one speaker per channel: crosstalk removal, and merging into one transcript.
//!
//! | file | step |
//! |---|---|
//! | `mod.rs` | options; detection of duplicate channels |
//! | `gate.rs` | mutes the parts of a channel that hold only crosstalk |
//! | `units.rs` | segments -> words with times, or whole segments if there are no words |
//! | `correlate.rs` | two channels and a span -> how much one is a delayed copy of the other |
//! | `crosstalk.rs` | drops words that were said on another channel |
//! | `pieces.rs` | removes words from segments, and splits segments between words |
//! | `merge.rs` | segments of all channels -> one transcript ordered by time |
//!
//! Services that transcribe channels (Amazon Transcribe, AssemblyAI, Deepgram, Google) label them by number, as this
//! module does. They write a word once for each channel on which it is audible; this module writes it once.

mod correlate;
mod crosstalk;
mod gate;
mod merge;
mod pieces;
mod units;

use std::collections::HashSet;

pub use gate::gate_crosstalk;

use crate::audio::{self, MAX_CHANNELS};
use crate::error::{Error, Result};
use crate::types::{Segment, Turn, Word};

/// Options for recordings in which each channel is one speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSpeakers {
    /// Names of the speakers in the order of the channels. Channels without a name get [`label`]: `CHANNEL_00` and so
    /// on.
    pub names: Vec<String>,
    /// Recordings with more channels are refused before they are decoded, because each channel takes the memory and the
    /// time of a whole recording.
    pub max_channels: usize,
}

impl Default for ChannelSpeakers {
    fn default() -> Self {
        ChannelSpeakers { names: Vec::new(), max_channels: MAX_CHANNELS }
    }
}

impl ChannelSpeakers {
    /// Checks the names, independently of a recording.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is empty or given twice.
    pub fn check(&self) -> Result<()> {
        if self.names.iter().any(|name| name.trim().is_empty()) {
            let rule = "a name is empty; give every channel one, or leave out those of the last channels";
            return Err(Error::config("channel_names", self.names.join(","), rule));
        }
        check_unique(&self.names)
    }

    /// Checks these options together with others: `diarizes` is whether diarization is on, `channel` the channel that
    /// is to be decoded.
    ///
    /// # Errors
    /// [`Error::Config`] if diarization is on or a single channel is chosen, and as [`check`](Self::check).
    pub fn check_compatible(&self, diarizes: bool, channel: audio::Channel) -> Result<()> {
        let refuse = |rule: &str| Err(Error::config("channel_speakers", "given", rule));
        if diarizes {
            return refuse(
                "each channel is one speaker, whom `diarize` would tell apart again; leave one of the two out",
            );
        }
        if channel != audio::Channel::Mix {
            return refuse("needs all channels, and `channel` takes one; leave one of the two out");
        }
        self.check()
    }

    /// The names of the speakers of a recording with this many channels, one per channel.
    ///
    /// # Errors
    /// [`Error::Config`] for a recording with one channel, for more names than channels, for a name that is equal to
    /// the default label of another channel, and as [`check`](Self::check).
    pub fn labels(&self, channels: usize) -> Result<Vec<String>> {
        self.check()?;
        if channels < 2 {
            let rule = "it has one channel, so that its speakers cannot be told apart by channels; use `diarize`";
            return Err(Error::config("channel_speakers", "given", rule));
        }
        if self.names.len() > channels {
            let rule = format!("{} names for {channels} channels; leave out the last ones", self.names.len());
            return Err(Error::config("channel_names", self.names.join(","), rule));
        }
        let name = |channel| self.names.get(channel).map_or_else(|| label(channel), |name| name.trim().to_string());
        let labels: Vec<String> = (0..channels).map(name).collect();
        check_unique(&labels)?;
        Ok(labels)
    }
}

fn check_unique(names: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.trim())) {
        Some(name) => Err(Error::config("channel_names", names.join(","), format!("`{name}` is given twice"))),
        None => Ok(()),
    }
}

/// The default name of a channel's speaker: `CHANNEL_00` for channel 0.
pub fn label(channel: usize) -> String {
    format!("CHANNEL_{channel:02}")
}

/// Duplicate channels: largest share of a channel's energy that the other one does not explain. -30 dB is more than the
/// difference that lossy codecs and analogue tapes make.
const SAME_RESIDUAL: f64 = 1e-3;
/// Duplicate channels: largest ratio of energies, 6 dB. A channel that is quieter by more may be crosstalk, with words
/// of its own.
const SAME_ENERGY: f64 = 4.0;

/// For each channel, the index of the first earlier channel with the same signal up to a gain of 6 dB and the polarity;
/// `None` if there is none, or if the channel is silent.
pub fn duplicate_channels(channels: &[&[f32]]) -> Vec<Option<usize>> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let energies: Vec<f64> = channels.iter().map(|samples| dot(samples, samples)).collect();
    let mut repeated: Vec<Option<usize>> = Vec::with_capacity(channels.len());
    for (at, samples) in channels.iter().enumerate() {
        let same = |&before: &usize| {
            let (own, other) = (energies[at], energies[before]);
            let near = own > 0.0 && other > 0.0 && own <= SAME_ENERGY * other && other <= SAME_ENERGY * own;
            near && {
                let both = dot(samples, channels[before]);
                1.0 - both * both / (own * other) <= SAME_RESIDUAL
            }
        };
        let first = (0..at).filter(|&before| repeated[before].is_none()).find(same);
        repeated.push(first);
    }
    repeated
}

/// The transcribed segments of one channel, and its samples.
#[derive(Debug)]
pub struct Channel<'a> {
    /// 16 kHz mono.
    pub samples: &'a [f32],
    /// In order of time, without speakers.
    pub segments: Vec<Segment>,
    /// Name of the speaker.
    pub label: String,
}

/// The merged transcript of all channels.
#[derive(Debug, Default)]
pub struct Merged {
    /// In order of time. Each belongs to one channel, and is split where another channel speaks in one of its pauses.
    pub segments: Vec<Segment>,
    /// The words of all segments, in order of time.
    pub words: Vec<Word>,
    /// The turns of all channels, in order of time.
    pub turns: Vec<Turn>,
    /// For each channel, how many words (or segments without words) were dropped as crosstalk.
    pub crosstalk: Vec<usize>,
}

/// Merges channels into one transcript ordered by time, without the words of a channel that are crosstalk from another
/// one.
///
/// # Errors
/// [`Error::Config`] if a Fourier transform cannot be planned, which does not happen for the lengths used here.
pub fn merge(mut channels: Vec<Channel>) -> Result<Merged> {
    let crosstalk = crosstalk::remove_crosstalk(&mut channels)?;
    let spoken = channels.into_iter().map(|channel| (channel.label, channel.segments)).collect();
    Ok(Merged { crosstalk, ..merge::by_time(spoken) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> ChannelSpeakers {
        ChannelSpeakers { names: names.iter().map(|name| name.to_string()).collect(), ..ChannelSpeakers::default() }
    }

    #[test]
    fn channels_without_a_name_are_labelled_by_number() {
        assert_eq!(named(&[]).labels(2).unwrap(), ["CHANNEL_00", "CHANNEL_01"]);
        assert_eq!(named(&["Agent", " Customer "]).labels(3).unwrap(), ["Agent", "Customer", "CHANNEL_02"]);
        for (names, channels, part) in [
            (&["A", "B", "C"][..], 2, "3 names for 2 channels"),
            (&["A", ""], 2, "empty"),
            (&["A", " A"], 2, "given twice"),
            (&["CHANNEL_01"], 2, "given twice"),
            (&[], 1, "`diarize`"),
        ] {
            let error = named(names).labels(channels).unwrap_err().to_string();
            assert!(error.contains(part), "{names:?}: {error}");
        }
    }

    #[test]
    fn duplicate_channels_are_found_at_any_polarity_and_similar_gain() {
        let noise = |seed: u32| -> Vec<f32> {
            let next = |x: &u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
            let states = std::iter::successors(Some(seed), next);
            states.skip(8).take(8000).map(|x| (x >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
        };
        let (a, b) = (noise(1), noise(2));
        let scaled = |gain: f32| a.iter().map(|x| x * gain).collect::<Vec<f32>>();
        let dirty: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + 0.02 * b).collect();
        let other: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + 0.1 * b).collect();
        let (inverted, near, far, silent) = (scaled(-0.9), scaled(0.6), scaled(0.1), vec![0.0; 8000]);
        let all = [&a[..], &b, &inverted, &near, &far, &silent, &silent, &dirty, &other, &b];
        let want = [None, None, Some(0), Some(0), None, None, None, Some(0), None, Some(1)];
        assert_eq!(duplicate_channels(&all), want);
    }
}
