//! The pipeline `open`: segmentation-3.0 and CAM++, with the numbers below. They are the numbers of every folder of networks without a
//! `config.yaml`, too.

use crate::units::Seconds;

/// Number of this set of constants, the first part of the pipeline's revision in results: it goes up with every change of them.
pub const REVISION: u32 = 1;
/// Silences of a speaker shorter than this are part of the turn.
pub const MIN_DURATION_OFF: Seconds = Seconds(0.3);
/// Probability from which on a speaker of a segmentation network that is no powerset speaks.
pub const ONSET: f64 = 0.5;
