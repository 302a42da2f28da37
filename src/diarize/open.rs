//! Constants of the pipeline `open` (pyannote segmentation-3.0 and CAM++). A model folder without a `config.yaml` uses
//! them too.

use crate::units::Seconds;

/// Revision of these constants, incremented with every change. It is the first part of the pipeline's revision in
/// results.
pub const REVISION: u32 = 1;
/// Pauses of a speaker shorter than this do not end a turn.
pub const MIN_DURATION_OFF: Seconds = Seconds(0.3);
/// Activity threshold, for a segmentation network with a multi-label head.
pub const ONSET: f64 = 0.5;
