//! Decoded buffers of any sample format and channel count to finite f32: one channel, or every channel by itself.

use symphonia::core::audio::GenericAudioBufferRef;

/// Which channel of a recording is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The mean of all channels.
    #[default]
    Mix,
    /// One channel, counted from 0 as in the file (0 is left in a stereo file).
    Pick(usize),
    /// Every channel by itself, of a recording with at most this many: each takes as much memory as a recording of one channel.
    Each(usize),
}

impl Channel {
    /// How many channels are heard of a recording with `channels` channels.
    pub(super) fn heard_of(self, channels: usize) -> usize {
        match self {
            Channel::Mix | Channel::Pick(_) => 1,
            Channel::Each(_) => channels,
        }
    }
}

/// The channels that are heard, `[channels][samples]`; all have the same length.
pub(super) type Planes = Vec<Vec<f32>>;

/// How many samples each channel has.
pub(super) fn samples_of(planes: &Planes) -> usize {
    planes.first().map_or(0, Vec::len)
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

/// Mixes blocks down to the channels that are heard.
pub(super) struct Mixer {
    channel: Channel,
    interleaved: Vec<f32>,
    planes: Planes,
}

impl Mixer {
    pub(super) fn new(channel: Channel) -> Self {
        Mixer { channel, interleaved: Vec::new(), planes: Vec::new() }
    }

    /// The channels that are heard of a decoded block, `[channels][frames]` at the block's own rate.
    pub(super) fn mix(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<Planes, MixError> {
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        let mut planes = std::mem::take(&mut self.planes);
        mix_interleaved(&self.interleaved, buffer.num_planes(), self.channel, &mut planes)?;
        Ok(planes)
    }

    /// Takes a block back, whose memory is used again.
    pub(super) fn give_back(&mut self, planes: Planes) {
        self.planes = planes;
    }
}

/// The channels that are heard of `[frames, channels]` interleaved samples, replacing what is in `planes`.
pub(super) fn mix_interleaved(
    samples: &[f32],
    channels: usize,
    channel: Channel,
    planes: &mut Planes,
) -> Result<(), MixError> {
    check_channels(channels, channel).map_err(MixError::File)?;
    planes.resize_with(channel.heard_of(channels), Vec::new);
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
        // Written so that NaN is caught too.
        if let Some(frame) = plane.iter().position(|value| !(value.abs() <= MAX_SAMPLE)) {
            return Err(MixError::Sample { frame, value: plane[frame] });
        }
    }
    Ok(())
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
        Channel::Each(most) if channels > most => Err(format!(
            "it has {channels} channels, and each is to be heard by itself, which is allowed for {most} at most; leave \
             channels out, or allow more"
        )),
        _ => Ok(()),
    }
}
