//! Options for recordings in which each channel holds one speaker.

use clap::Args;

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
