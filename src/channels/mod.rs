//! One speaker for each channel: the words of several channels to one transcript.
//!
//! | file | step |
//! |---|---|
//! | `mod.rs` | what can be asked for; channels that repeat another one |
//! | `gate.rs` | a channel that holds only another one's sound -> silence |
//! | `units.rs` | segments -> words with times, or whole segments where there are no words |
//! | `correlate.rs` | two channels and a span -> how much one is a delayed copy of the other |
//! | `crosstalk.rs` | words that were said on another channel |
//! | `pieces.rs` | segments without some of their words, or cut between words |
//! | `merge.rs` | the channels' segments -> one transcript in order of time |
//!
//! Products that transcribe channels (Amazon Transcribe, AssemblyAI, Deepgram, Google) name them by their number, as here, and write
//! a word once for each channel on which it is heard. Here it is written once.

mod correlate;
mod crosstalk;
mod gate;
mod merge;
mod pieces;
mod units;

use std::collections::HashSet;

pub use gate::mute_copies;

use crate::audio::{self, MAX_CHANNELS};
use crate::error::{Error, Result};
use crate::types::{Segment, Turn, Word};

/// What can be asked for where each channel is a speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSpeakers {
    /// Names of the speakers in the order of the channels; those that have none are called `CHANNEL_00` and so on.
    pub names: Vec<String>,
    /// Recordings with more channels are refused before they are decoded: every channel takes the memory and the time of a
    /// recording of its own.
    pub max_channels: usize,
}

impl Default for ChannelSpeakers {
    fn default() -> Self {
        ChannelSpeakers { names: Vec::new(), max_channels: MAX_CHANNELS }
    }
}

impl ChannelSpeakers {
    /// Checks what does not depend on the recording.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is empty or given twice.
    pub fn check(&self) -> Result<()> {
        if self.names.iter().any(|name| name.trim().is_empty()) {
            let rule = "a name is empty; give every channel one, or leave out those of the last channels";
            return Err(Error::config("channel_names", self.names.join(","), rule));
        }
        unique(&self.names)
    }

    /// Checks the options beside it: whether speakers are told apart as well, and whether the mean of all channels or one of
    /// them is heard otherwise.
    ///
    /// # Errors
    /// [`Error::Config`] for what contradicts it, and as [`check`](Self::check).
    pub fn check_beside(&self, diarizes: bool, channel: audio::Channel) -> Result<()> {
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

    /// The speakers of a recording with this many channels.
    ///
    /// # Errors
    /// [`Error::Config`] for a recording with one channel, more names than channels, and as [`check`](Self::check).
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
        unique(&labels)?;
        Ok(labels)
    }
}

fn unique(names: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.trim())) {
        Some(name) => Err(Error::config("channel_names", names.join(","), format!("`{name}` is given twice"))),
        None => Ok(()),
    }
}

/// `CHANNEL_00` for channel 0.
pub fn label(channel: usize) -> String {
    format!("CHANNEL_{channel:02}")
}

/// Largest share of a channel's energy that another one does not explain, where both are the same recording: -30 dB, more than the
/// difference that lossy codecs and analogue tapes make.
const SAME_RESIDUAL: f64 = 1e-3;
/// Most times that one of the two is stronger, in energy: 6 dB. What is quieter by more may be crosstalk, with words of its own.
const SAME_ENERGY: f64 = 4.0;

/// For each channel the first earlier one that holds the same signal, up to a gain; `None` for the others, silent ones among them.
pub fn repeated(channels: &[&[f32]]) -> Vec<Option<usize>> {
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

/// What was said on one channel.
#[derive(Debug)]
pub struct Channel<'a> {
    /// 16 kHz mono.
    pub samples: &'a [f32],
    /// In order of time, without speakers.
    pub segments: Vec<Segment>,
    /// The speaker.
    pub label: String,
}

/// What was said on all channels.
#[derive(Debug, Default)]
pub struct Merged {
    /// In order of time, each of one channel, cut where another channel speaks in a pause.
    pub segments: Vec<Segment>,
    /// The words of all of them in order of time.
    pub words: Vec<Word>,
    /// When the channels speak, in order of time.
    pub turns: Vec<Turn>,
    /// How many words, or segments without words, were left out of each channel because they were said on another one.
    pub crosstalk: Vec<usize>,
}

/// Merges channels by time. Words that are heard on a channel and were said on another one are left out.
///
/// # Errors
/// [`Error::Config`] if a Fourier transform cannot be planned: never, for its lengths.
pub fn merge(mut channels: Vec<Channel>) -> Result<Merged> {
    let crosstalk = crosstalk::leave_out(&mut channels)?;
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
    fn channels_without_a_name_have_their_number() {
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
    fn the_same_signal_is_seen_at_any_polarity_and_near_gain() {
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
        assert_eq!(repeated(&all), want);
    }
}
