//! The pipeline `open`: segmentation-3.0 and CAM++, with the numbers below. They are the numbers of every folder of networks without a
//! `config.yaml`, too.

use std::path::Path;

use super::recipe::{Location, Method, Recipe};
use super::segments::SegmentClustering;
use crate::types::PipelineVersion;
use crate::units::Seconds;

/// Number of this set of constants, the first part of the pipeline's revision in results: it goes up with every change of them.
pub const REVISION: u32 = 1;
/// Silences of a speaker shorter than this are part of the turn.
pub const MIN_DURATION_OFF: Seconds = Seconds(0.3);
/// Probability from which on a speaker of a segmentation network that is no powerset speaks.
pub const ONSET: f64 = 0.5;

/// The pipeline with these networks.
pub fn recipe(segmentation: Location, embedding: Location, version: PipelineVersion) -> Recipe {
    Recipe {
        version,
        segmentation,
        embedding,
        method: Method::Segments(SegmentClustering::default()),
        exclude_overlap: true,
        min_duration_off: MIN_DURATION_OFF,
        onset: ONSET,
    }
}

/// The pipeline of a folder without a `config.yaml`: its networks are in `segmentation/` and `embedding/`.
pub(super) fn of_folder(folder: &Path) -> Recipe {
    let part = |name: &str| Location::Here(folder.join(name));
    recipe(part("segmentation"), part("embedding"), super::recipe::version(folder))
}
