//! A result against a reference: words wrong, words given to the wrong speaker, time given to the wrong speaker, times
//! of words.
//!
//! | file | |
//! |---|---|
//! | [`mod@text`] | WER: words substituted, left out and added |
//! | [`speakers`] | cpWER: the same for every speaker, with the best naming of the speakers |
//! | [`time`] | DER: missed, false and confused speech |
//! | [`mod@boundaries`] | how far the times of equal words lie apart |
//! | [`report`] | all of these, of every recording of two files |
//! | [`files`] | references and results from transcripts (JSON), STM, CTM, RTTM, SegLST and text |

pub mod boundaries;
pub mod files;
mod lines;
pub mod report;
pub mod speakers;
pub mod text;
pub mod time;

pub use boundaries::{Boundaries, boundaries};
pub use report::{COLLARS, Report, reports};
pub use speakers::cp_errors;
pub use text::{Errors, errors, normalised};
pub use time::{TimeErrors, time_errors, time_errors_within};
