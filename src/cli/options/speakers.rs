//! Options of speaker diarization and of known speakers.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// The diarization pipeline, the number of speakers, and known speakers.
#[derive(Args, Debug)]
#[command(next_help_heading = "Speakers")]
pub struct Voices {
    /// Diarization pipeline: open, a pipeline on the hub, or a folder [default: auto].
    ///
    /// open is segmentation-3.0 and CAM++, which need no account. auto is pyannote/speaker-diarization-community-1 if
    /// it is on this machine or HF_TOKEN can download it, else open. A folder has a config.yaml, or its networks in
    /// segmentation/ and embedding/.
    #[arg(long, value_name = "MODEL", hide_short_help = true)]
    pub diarize_model: Option<String>,
    /// Number of speakers, if known.
    #[arg(long, value_name = "N", conflicts_with_all = ["min_speakers", "max_speakers"])]
    pub num_speakers: Option<usize>,
    /// Minimum number of speakers.
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub min_speakers: Option<usize>,
    /// Maximum number of speakers.
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_speakers: Option<usize>,
    /// Also write the speakers' embeddings (json).
    #[arg(long, hide_short_help = true)]
    pub speaker_embeddings: bool,
    /// Folder with recordings of known speakers, for their names.
    ///
    /// One file, or one folder of files, per person, named after the person, in which nobody else speaks.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub speakers: Option<PathBuf>,
}

/// Options of speakers in transcripts.
#[derive(Args, Debug)]
#[command(next_help_heading = "Speakers")]
pub struct Speakers {
    /// Speaker diarization: every word and segment gets its speaker.
    #[arg(long)]
    pub diarize: bool,
    #[command(flatten)]
    pub voices: Voices,
    /// Words outside all speaker turns get the nearest speaker.
    #[arg(long, hide_short_help = true)]
    pub fill_nearest: bool,
    /// All words of a sentence get the speaker of the majority of its words.
    #[arg(long, hide_short_help = true)]
    pub sentence_speakers: bool,
    /// Do not split segments where the speaker changes, as in WhisperX.
    #[arg(long, hide_short_help = true)]
    pub whole_segments: bool,
}
