//! Decoded buffers of any sample format and channel count to one channel of finite f32.

use symphonia::core::audio::GenericAudioBufferRef;

/// Which channel of a recording is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The mean of all channels.
    #[default]
    Mix,
    /// One channel, counted from 0 as in the file (0 is left in a stereo file).
    Pick(usize),
}

/// Most channels a recording may have: those that symphonia has names for.
pub const MAX_CHANNELS: usize = 26;

/// Largest sample accepted. Audio lies in -1..1; files written as float but scaled like 32-bit integers reach 2^31.
/// Beyond that it is not audio, and the resampler's sums might overflow.
const MAX_SAMPLE: f32 = 2_147_483_648.0;

/// Why a block could not be mixed.
pub(super) enum MixError {
    /// The reason, for the file as a whole.
    File(String),
    /// What was found at this frame of the block.
    Sample { frame: usize, value: f32 },
}

/// Mixes blocks down to one channel.
pub(super) struct Mixer {
    channel: Channel,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

impl Mixer {
    pub(super) fn new(channel: Channel) -> Self {
        Mixer { channel, interleaved: Vec::new(), mono: Vec::new() }
    }

    /// One channel of a decoded block, `[frames]` at the block's own rate.
    pub(super) fn mix(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<&[f32], MixError> {
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        mix_interleaved(&self.interleaved, buffer.num_planes(), self.channel, &mut self.mono)?;
        Ok(&self.mono)
    }
}

/// One channel of `[frames, channels]` interleaved samples, replacing what is in `mono`.
pub(super) fn mix_interleaved(
    samples: &[f32],
    channels: usize,
    channel: Channel,
    mono: &mut Vec<f32>,
) -> Result<(), MixError> {
    check_channels(channels, channel).map_err(MixError::File)?;
    mono.clear();
    match channel {
        Channel::Mix if channels == 1 => mono.extend_from_slice(samples),
        Channel::Mix => {
            let scale = 1.0 / channels as f32;
            mono.extend(samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * scale));
        }
        Channel::Pick(index) => mono.extend(samples.chunks_exact(channels).map(|frame| frame[index])),
    }
    // Written so that NaN is caught too.
    match mono.iter().position(|value| !(value.abs() <= MAX_SAMPLE)) {
        Some(frame) => Err(MixError::Sample { frame, value: mono[frame] }),
        None => Ok(()),
    }
}

/// Whether `channel` can be taken from a recording with that many channels; the error is the reason.
pub(super) fn check_channels(channels: usize, channel: Channel) -> Result<(), String> {
    match channel {
        _ if channels == 0 => Err("its header says it has no channels; the file is damaged".into()),
        _ if channels > MAX_CHANNELS => Err(format!(
            "its header says {channels} channels, more than the {MAX_CHANNELS} accepted; the file is probably damaged"
        )),
        Channel::Pick(index) if index >= channels => Err(format!(
            "channel {index} was asked for, but it has {channels} channel{}, counted from 0",
            if channels == 1 { "" } else { "s" }
        )),
        _ => Ok(()),
    }
}
