//! Channel selection and downmix: decoded buffers of any sample format and channel count to planes of finite f32.

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
}

impl Mixer {
    pub(super) fn new(channel: Channel) -> Self {
        Mixer { channel, interleaved: Vec::new(), planes: Vec::new() }
    }

    /// The selected channels of a decoded block, `[channels][frames]` at the block's sample rate.
    pub(super) fn mix(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<Planes, MixError> {
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        let mut planes = std::mem::take(&mut self.planes);
        mix_interleaved(&self.interleaved, buffer.num_planes(), self.channel, &mut planes)?;
        Ok(planes)
    }

    /// Returns a block, so that its memory is reused.
    pub(super) fn give_back(&mut self, planes: Planes) {
        self.planes = planes;
    }
}

/// Writes the selected channels of `[frames, channels]` interleaved samples to `planes`, replacing its contents.
pub(super) fn mix_interleaved(
    samples: &[f32],
    channels: usize,
    channel: Channel,
    planes: &mut Planes,
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
