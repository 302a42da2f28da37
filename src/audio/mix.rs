//! Channel selection and downmix: decoded buffers of any sample format and channel count to planes of finite f32.

use std::path::Path;

use symphonia::core::audio::GenericAudioBufferRef;

/// Channel selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The mean of all channels.
    #[default]
    Mix,
    /// One channel, counted from 0 in the order of the file (0 is left in a stereo file).
    Pick(usize),
    /// All channels, separately. Recordings with more than this many channels are rejected, because each channel takes
    /// as much memory as a mono recording.
    Each(usize),
}

impl Channel {
    /// Number of output channels for a recording with `channels` channels.
    pub(super) fn output_channels(self, channels: usize) -> usize {
        match self {
            Channel::Mix | Channel::Pick(_) => 1,
            Channel::Each(_) => channels,
        }
    }
}

/// Planar samples of the selected channels, `[channels][samples]`; all channels have the same length.
pub(super) type Planes = Vec<Vec<f32>>;

/// Number of samples per channel.
pub(super) fn plane_len(planes: &Planes) -> usize {
    planes.first().map_or(0, Vec::len)
}

/// Largest number of channels accepted: the number of channel positions that symphonia defines.
pub const MAX_CHANNELS: usize = 26;

/// Largest absolute sample value accepted. Audio lies in -1..1; 32-bit integers stored as floats reach 2^31. Larger
/// values are not audio, and the resampler's sums might overflow.
const MAX_SAMPLE: f32 = 2_147_483_648.0;

/// If the mix of a recording has less than this share of its channels' energy (20 dB below), the channels cancel each
/// other. Of uncorrelated channels the mix has at least `1 / MAX_CHANNELS` (14 dB below).
const MIN_MIX_SHARE: f64 = 0.01;

/// Energy of a recording before and after mixing: sums of squared samples over all blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct MixEnergy {
    /// Mean over the channels.
    channels: f64,
    mix: f64,
}

impl MixEnergy {
    /// Adds a block of `[frames, channels]` interleaved samples and its mix `[frames]`.
    fn add(&mut self, samples: &[f32], channels: usize, mix: &[f32]) {
        let energy = |samples: &[f32]| samples.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        self.channels += energy(samples) / channels as f64;
        self.mix += energy(mix);
    }

    fn is_cancelled(&self) -> bool {
        self.mix < MIN_MIX_SHARE * self.channels
    }

    /// Logs a warning if the channels cancel each other: speech would be missed without any other sign.
    pub(super) fn warn_if_cancelled(&self, name: &Path) {
        if self.is_cancelled() {
            tracing::warn!(
                file = %name.display(),
                "its channels are in antiphase and cancel each other in the mix; select one of them with `channel`"
            );
        }
    }
}

/// Why a block could not be mixed.
pub(super) enum MixError {
    /// The channel count does not fit the options; the reason.
    File(String),
    /// An invalid sample (not finite, or too large) at this frame of the block.
    Sample { frame: usize, value: f32 },
}

/// Converts decoded blocks to the selected channels.
pub(super) struct Mixer {
    channel: Channel,
    interleaved: Vec<f32>,
    planes: Planes,
    energy: MixEnergy,
}

impl Mixer {
    pub(super) fn new(channel: Channel) -> Self {
        Mixer { channel, interleaved: Vec::new(), planes: Vec::new(), energy: MixEnergy::default() }
    }

    /// Energy of the blocks so far.
    pub(super) fn energy(&self) -> MixEnergy {
        self.energy
    }

    /// The selected channels of a decoded block, `[channels][frames]` at the block's sample rate.
    pub(super) fn mix(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<Planes, MixError> {
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        let mut planes = std::mem::take(&mut self.planes);
        mix_interleaved(&self.interleaved, buffer.num_planes(), self.channel, &mut planes, &mut self.energy)?;
        Ok(planes)
    }

    /// Returns a block, so that its memory is reused.
    pub(super) fn give_back(&mut self, planes: Planes) {
        self.planes = planes;
    }
}

/// Writes the selected channels of `[frames, channels]` interleaved samples to `planes`, replacing its contents. With
/// [`Channel::Mix`] of several channels, adds the block to `energy`.
pub(super) fn mix_interleaved(
    samples: &[f32],
    channels: usize,
    channel: Channel,
    planes: &mut Planes,
    energy: &mut MixEnergy,
) -> Result<(), MixError> {
    check_channels(channels, channel).map_err(MixError::File)?;
    planes.resize_with(channel.output_channels(channels), Vec::new);
    for (index, plane) in planes.iter_mut().enumerate() {
        plane.clear();
        match channel {
            Channel::Mix | Channel::Each(_) if channels == 1 => plane.extend_from_slice(samples),
            Channel::Mix => {
                let scale = 1.0 / channels as f32;
                plane.extend(samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * scale));
            }
            Channel::Pick(picked) => plane.extend(samples.chunks_exact(channels).map(|frame| frame[picked])),
            Channel::Each(_) => plane.extend(samples.chunks_exact(channels).map(|frame| frame[index])),
        }
        // Negated comparison, so that NaN is rejected, too.
        if let Some(frame) = plane.iter().position(|value| !(value.abs() <= MAX_SAMPLE)) {
            return Err(MixError::Sample { frame, value: plane[frame] });
        }
        if channel == Channel::Mix && channels > 1 {
            energy.add(samples, channels, plane);
        }
    }
    Ok(())
}

/// Checks that `channel` can be selected from a recording with `channels` channels. The error is the reason why not.
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
        Channel::Each(most) if channels > most => Err(format!(
            "it has {channels} channels, and each is to be heard by itself, which is allowed for {most} at most; leave \
             channels out, or allow more"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_cancelled(channel: Channel, channels: usize, sample: impl Fn(usize, usize) -> f32) -> bool {
        let samples: Vec<f32> = (0..16_000 * channels).map(|i| sample(i / channels, i % channels)).collect();
        let (mut planes, mut energy) = (Planes::new(), MixEnergy::default());
        for block in samples.chunks(1000 * channels) {
            assert!(mix_interleaved(block, channels, channel, &mut planes, &mut energy).is_ok());
        }
        energy.is_cancelled()
    }

    #[test]
    fn only_a_mix_20_db_below_its_channels_is_cancelled() {
        let tone = |frame: usize, hz: usize| {
            (0.3 * (frame as f64 * hz as f64 / 16_000.0 * std::f64::consts::TAU).sin()) as f32
        };
        // Two channels in antiphase, the second with this gain: the mix has (1 - gain)^2 / 2 / (1 + gain^2).
        let antiphase = |gain: f32| move |frame, at| if at == 0 { tone(frame, 440) } else { -gain * tone(frame, 440) };
        assert!(is_cancelled(Channel::Mix, 2, antiphase(1.0)));
        assert!(is_cancelled(Channel::Mix, 2, antiphase(0.83)));
        assert!(!is_cancelled(Channel::Mix, 2, antiphase(0.8)));
        // Nothing is mixed.
        assert!(!is_cancelled(Channel::Pick(0), 2, antiphase(1.0)));
        assert!(!is_cancelled(Channel::Each(2), 2, antiphase(1.0)));
        // Silence, one channel of the most that are accepted, and different channels.
        assert!(!is_cancelled(Channel::Mix, 2, |_, _| 0.0));
        assert!(!is_cancelled(Channel::Mix, MAX_CHANNELS, |frame, at| if at == 3 { tone(frame, 440) } else { 0.0 }));
        assert!(!is_cancelled(Channel::Mix, MAX_CHANNELS, |frame, at| tone(frame, 200 + 100 * at)));
    }
}
