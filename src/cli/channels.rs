//! Command-line options for recordings in which each channel holds one speaker.

use clap::Args;
use diarist::channels::ChannelSpeakers;
use diarist::{Error, Result};

use super::convert;
use super::options::Audio;
use super::speakers::Speakers;

/// Options of channel speakers: each channel is one speaker.
#[derive(Args, Debug)]
#[command(next_help_heading = "Speakers")]
pub struct Channels {
    /// Treat each channel of the recording as one speaker, as in recorded calls.
    ///
    /// Each channel is transcribed on its own, and the words are merged by time. Words that leak from one channel into
    /// another are written once. The speakers are called CHANNEL_00 and so on.
    #[arg(long, hide_short_help = true)]
    pub channel_speakers: bool,
    /// Comma-separated names of these speakers in the order of the channels: Agent,Customer.
    #[arg(long, value_name = "NAMES", hide_short_help = true)]
    pub channel_names: Option<String>,
}

impl Channels {
    /// The library's options; `None` without `--channel-speakers`.
    ///
    /// # Errors
    /// [`Error::Config`] naming an option that contradicts another, or would have no effect.
    pub fn options(&self, speakers: &Speakers, audio: &Audio) -> Result<Option<ChannelSpeakers>> {
        if !self.channel_speakers {
            return match self.channel_names {
                Some(_) => Err(Error::config("channel_names", "given", "has no effect without `channel_speakers`")),
                None => Ok(None),
            };
        }
        let names = self.channel_names.iter().flat_map(|names| names.split(','));
        let names = names.map(|name| name.trim().to_string()).collect();
        let channels = ChannelSpeakers { names, ..ChannelSpeakers::default() };
        channels.check_beside(speakers.diarize, convert::audio(audio).channel)?;
        Ok(Some(channels))
    }
}
