//! Loading a speaker embedding network; the names of the weights determine the architecture.

use std::path::Path;

use super::SpeakerEmbedding;
use crate::engine::Backend;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::models::campplus::CamPlus;
use crate::models::files;
use crate::models::resnet34::{ResNet34, named_by_pyannote};

/// Opens an embedding network of any supported architecture. `path` is the file with the weights, or its folder.
///
/// # Errors
/// [`Error::Weights`] for weights of another network, or damaged ones.
pub fn open<B: Backend>(be: &B, path: &Path) -> Result<Box<dyn SpeakerEmbedding<B>>> {
    load(be, &named_by_pyannote(files::open(path)?))
}

/// Loads the embedding network with these weights.
///
/// # Errors
/// As [`open`].
pub fn load<B: Backend>(be: &B, weights: &Weights) -> Result<Box<dyn SpeakerEmbedding<B>>> {
    if weights.contains("resnet.conv1.weight") {
        return Ok(Box::new(ResNet34::load(be, weights)?));
    }
    if weights.contains("xvector.tdnn.linear.weight") {
        return Ok(Box::new(CamPlus::load(be, weights)?));
    }
    let reason = "missing, and so is `xvector.tdnn.linear.weight`; expected WeSpeaker's ResNet34 or 3D-Speaker's CAM++";
    Err(Error::weights(weights.origin(), "resnet.conv1.weight", reason))
}
