//! [`DecoderKind`]: the built-in reader or ffmpeg.

use std::str::FromStr;

/// The decoder to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DecoderKind {
    /// The built-in reader, which starts no other program. Unsupported formats are an error that names the format.
    #[default]
    Builtin,
    /// The built-in reader; for containers and codecs that it does not support, `ffmpeg` from PATH. There is no second
    /// attempt if the built-in reader decodes a part of a recording and finds the rest damaged.
    Auto,
    /// `ffmpeg` from PATH, for every recording.
    Ffmpeg,
}

impl FromStr for DecoderKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "builtin" => Ok(DecoderKind::Builtin),
            "auto" => Ok(DecoderKind::Auto),
            "ffmpeg" => Ok(DecoderKind::Ffmpeg),
            _ => Err("expected auto, builtin or ffmpeg".into()),
        }
    }
}
