//! Enrolment: the embeddings of known speakers, from recordings of each.

use std::ops::ControlFlow;
use std::path::PathBuf;

use diarist::audio;
use diarist::diarize::Gallery;
use diarist::diarize::diarizer::DynDiarizer;
use diarist::{Error, Result};

use super::options::Audio;
use super::progress::ProgressBarWatch;
use super::{convert, interrupt, log};

/// Computes the embeddings of known speakers; `None` without recordings.
///
/// # Errors
/// [`Error::Audio`] naming a recording that cannot be read, or that has no stretch with a single speaker;
/// [`Error::Cancelled`].
pub fn enrol(
    diarizer: &dyn DynDiarizer,
    enrolment_recordings: &[(String, PathBuf)],
    options: &Audio,
) -> Result<Option<Gallery>> {
    let mut voices = Vec::new();
    for (name, file) in enrolment_recordings {
        let _about = log::recording(file);
        let mut watch = ProgressBarWatch::new("learning the voice of", name.clone(), false);
        let sound = audio::decode(file, &convert::audio(options), |_| {
            if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let voice = diarizer.embed_speaker(&sound.samples, &mut watch).map_err(|error| match error {
            Error::Diarization { reason, .. } => Error::audio(file, reason),
            other => other,
        })?;
        voices.push((name.clone(), voice));
    }
    if voices.is_empty() {
        return Ok(None);
    }
    Ok(Some(Gallery::new(voices)?.with_network(diarizer.network().0)))
}
