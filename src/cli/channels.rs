//! Conversion and checks of the options of channel speakers.

use diarist::audio::Channel;
use diarist::channels::ChannelSpeakers;
use diarist::{Error, Result};

use super::options::Channels;

impl Channels {
    /// The library's options; `None` without `--channel-speakers`. `diarize` and `channel` are the values of the
    /// options of these names.
    ///
    /// # Errors
    /// [`Error::Config`] naming an option that contradicts another, or would have no effect.
    pub fn options(&self, diarize: bool, channel: Channel) -> Result<Option<ChannelSpeakers>> {
        if !self.channel_speakers {
            return match self.channel_names {
                Some(_) => Err(Error::config("channel_names", "given", "has no effect without `channel_speakers`")),
                None => Ok(None),
            };
        }
        let names = self.channel_names.iter().flat_map(|names| names.split(','));
        let names = names.map(|name| name.trim().to_string()).collect();
        let channels = ChannelSpeakers { names, ..ChannelSpeakers::default() };
        channels.check_compatible(diarize, channel)?;
        Ok(Some(channels))
    }
}
