//! Scoring a hypothesis against a reference: WER, cpWER, DER and word boundary errors.
//!
//! | file | |
//! |---|---|
//! | [`mod@text`] | WER: substitutions, deletions and insertions of words |
//! | [`speakers`] | cpWER: word errors per speaker, with the best assignment of speakers |
//! | [`time`] | DER: missed speech, false alarms and speaker confusion |
//! | [`mod@boundaries`] | differences between the times of equal words |
//! | [`report`] | all of these, for every recording of two files |
//! | [`files`] | references and hypotheses from transcripts (JSON), STM, CTM, RTTM, SegLST and text |

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
