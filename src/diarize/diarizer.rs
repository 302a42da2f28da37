//! The diarization stage: segmentation network, embedding network, clustering; samples in, turns with speakers out.
//!
//! | step | output |
//! |---|---|
//! | segment | segmentation network over all windows: active speakers `[W, F, S]`, probability of speech `[T]` |
//! | embed | embedding network over windows with speech, `[W, S, D]`, or over the [`segments`], `[N, D]` |
//! | cluster, reconstruct | turns, by [`diarize_on`] or [`SegmentClustering::diarize`], on the same device |
//!
//! Windows are processed in batches. What grows with the recording: the decisions (one byte per speaker and frame of
//! each window) or the probabilities (four bytes per class and frame of each window), and the embeddings (four bytes
//! per component).
//!
//! Source: pyannote.audio 4.0 `pipelines/speaker_diarization.py::SpeakerDiarization.apply`.

mod embed;
mod on_device;

use std::path::Path;

pub use on_device::{DynDiarizer, OnDevice};

use self::embed::Wanted;
use super::cluster::Clustering;
use super::plda::Plda;
use super::recipe::{self, CONFIG, Location, Recipe};
use super::segmentation::{Segmentation, WindowGrid};
use super::segments::{self, Posteriors, SegmentClustering};
use super::{Diarization, Options, diarize_on, multilabel, powerset};
use crate::assets;
use crate::engine::Backend;

use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::models::embedding::{self, SpeakerEmbedding};
use crate::models::pyannet::{Head, PyanNet, Specification, SpeechScores};
use crate::types::{PipelineVersion, Span};
use crate::units::{FrameGrid, SAMPLE_RATE, Seconds};
use crate::watch::{Half, Watch};

/// A shorter recording has no turns: a syllable takes longer, and the window would be almost all padding.
pub const SHORTEST: Seconds = Seconds(0.25);

/// Output of the segmentation network for a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationOutput {
    /// Active speakers of each window.
    pub segmentation: Segmentation,
    /// Probability of speech in each frame of the recording, `[T]`; see [`SpeechScores`].
    pub speech: Vec<f32>,
    /// Times of the frames of [`speech`](Self::speech).
    pub grid: FrameGrid,
    /// Powerset probabilities; `Some` if the pipeline clusters [`segments`].
    posteriors: Option<Posteriors>,
}

/// Clustering method of a pipeline: what the embeddings are computed from, and how they are clustered.
#[derive(Clone, Debug)]
pub enum Method {
    /// One embedding per speaker and window, as in pyannote's pipelines.
    Windows(Clustering),
    /// One embedding per segment; see [`segments`].
    Segments(SegmentClustering),
}

impl From<Clustering> for Method {
    fn from(clustering: Clustering) -> Self {
        Method::Windows(clustering)
    }
}

/// The networks and the clustering of a pipeline, on a device.
pub struct Diarizer<B: Backend> {
    segmentation: PyanNet<B>,
    embedding: Box<dyn SpeakerEmbedding<B>>,
    method: Method,
    exclude_overlap: bool,
    min_duration_off: Seconds,
    /// Activity threshold, for a segmentation network with a multi-label head.
    onset: f32,
    version: PipelineVersion,
}

impl<B: Backend> Diarizer<B> {
    /// Opens the folder of a pyannote pipeline: `config.yaml` and the networks; see [`Recipe`]. Nothing in it is
    /// executed.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] with the file that is missing, invalid or not supported. A pipeline whose
    /// `config.yaml` names hub repositories is opened with [`Hub::obtain_diarizer`](crate::hub::Hub::obtain_diarizer).
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        Self::load(be, &Recipe::open(folder)?)
    }

    /// Loads a recipe whose networks are all local files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(be: &B, recipe: &Recipe) -> Result<Self> {
        let segmentation = PyanNet::open(be, local_path(&recipe.segmentation)?)?;
        let embedding = embedding::open(be, local_path(&recipe.embedding)?)?;
        let plda = |place: &Location| {
            let folder = local_path(place)?;
            let plda = Plda::open(folder)?;
            if plda.embedding_size() != embedding.size() {
                let (embedding, size) = (plda.embedding_size(), embedding.size());
                let reason = format!("is for embeddings of {embedding} numbers, and the embedding has {size}");
                return Err(Error::model(folder, reason));
            }
            Ok(plda)
        };
        let method = method(&recipe.method, plda)?;
        if matches!(method, Method::Segments(_)) && !matches!(segmentation.specification().head, Head::Powerset(_)) {
            let reason = "is a network without a powerset; expected one like pyannote/segmentation-3.0";
            return Err(Error::model(local_path(&recipe.segmentation)?, reason));
        }
        Ok(Self::new(segmentation, embedding, method, recipe))
    }

    /// Loads the pipeline whose weights are compiled into the program.
    ///
    /// # Errors
    /// Only those of the device, such as [`Error::OutOfMemory`].
    pub fn builtin(be: &B) -> Result<Self> {
        let name = "builtin";
        let files = &assets::DIARIZER;
        let version = PipelineVersion { pipeline: name.into(), revision: Some(env!("CARGO_PKG_VERSION").into()) };
        let recipe = Recipe { version, ..Recipe::parse(files.config, Path::new(name))? };
        let method = method(&recipe.method, |_| Plda::parse(files.transform, files.plda))?;
        let weights = Weights::from_static("builtin segmentation", files.segmentation)?;
        let segmentation = PyanNet::load(be, Specification::read(&weights)?, &weights)?;
        let weights = Weights::from_static("builtin embedding", files.embedding)?;
        Ok(Self::new(segmentation, embedding::load(be, &weights)?, method, &recipe))
    }

    /// From loaded networks. Only the constants of `recipe` are used, not its locations.
    pub fn new(
        segmentation: PyanNet<B>,
        embedding: Box<dyn SpeakerEmbedding<B>>,
        method: impl Into<Method>,
        recipe: &Recipe,
    ) -> Self {
        Diarizer {
            segmentation,
            embedding,
            method: method.into(),
            exclude_overlap: recipe.exclude_overlap,
            min_duration_off: recipe.min_duration_off,
            onset: recipe.onset as f32,
            version: recipe.version.clone(),
        }
    }

    /// Diarizes `samples` (16 kHz mono). Digital silence and recordings shorter than [`SHORTEST`] have no turns. No
    /// turn extends past the end of the recording.
    ///
    /// # Errors
    /// [`Error::Diarization`] for a sample that is not finite, [`Error::Cancelled`], and those of the device.
    pub fn diarize(&self, be: &B, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization> {
        let output = self.segment(be, samples, &mut Half { watch, second: false })?;
        self.cluster_speakers(be, samples, &output, &[], options, &mut Half { watch, second: true })
    }

    /// First step: runs the segmentation network over all windows.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize).
    pub fn segment(&self, be: &B, samples: &[f32], watch: &mut dyn Watch) -> Result<SegmentationOutput> {
        if let Some(bad) = samples.iter().position(|sample| !sample.is_finite()) {
            let reason = format!("sample {bad} is {}; is the recording damaged?", samples[bad]);
            return Err(Error::diarization("recording", reason));
        }
        let (network, clock) = (&self.segmentation, self.clock());
        let (frames, specification) = (network.frames(), network.specification());
        let speakers = specification.classes.len();
        let mut segmentation = Segmentation::new(clock, frames, speakers, Vec::new())?;
        let mut posteriors = match (&self.method, specification.head) {
            (Method::Segments(_), Head::Powerset(most)) => Some(Posteriors::new(clock, frames, speakers, most)?),
            _ => None,
        };
        let step = self.step();
        let mut curve = SpeechScores::new(network, samples.len(), step);
        let total = Seconds::from_samples(samples.len());
        let is_silent = samples.iter().all(|sample| *sample == 0.0);
        if !is_silent && total >= SHORTEST {
            stop_if(watch)?;
            network.slide(be, samples, step, |windows| {
                let decided = match specification.head {
                    Head::Powerset(most) => powerset::decide(clock, windows.scores, frames, speakers, most),
                    Head::MultiLabel => multilabel::decide(clock, windows.scores, frames, speakers, self.onset),
                }?;
                segmentation.append(decided);
                if let Some(posteriors) = &mut posteriors {
                    posteriors.append(windows.scores)?;
                }
                curve.add(&windows);
                let done = clock.window + (segmentation.windows - 1) as f64 * clock.step;
                watch.progress(Seconds(done.min(total.0)), total);
                stop_if(watch)
            })?;
        }
        Ok(SegmentationOutput { segmentation, speech: curve.mean(), grid: network.grid(), posteriors })
    }

    /// Second step: embeddings, clustering and turns. `output` is the result of [`segment`](Self::segment). `words` are
    /// the spans of recognised words, which a pipeline that clusters [`segments`] uses; empty without a transcript.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize).
    pub fn cluster_speakers(
        &self,
        be: &B,
        samples: &[f32],
        output: &SegmentationOutput,
        words: &[Span],
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization> {
        let Options { bounds, min_duration_off, end } = *options;
        let options = Options {
            bounds,
            min_duration_off: Seconds(min_duration_off.0.max(self.min_duration_off.0)),
            end: end.or(Some(Seconds::from_samples(samples.len()))),
        };
        let found = match (&self.method, &output.posteriors) {
            (Method::Segments(method), Some(posteriors)) => {
                let runs = method.segments(posteriors);
                let embeddings = self.embeddings(be, samples, posteriors, &runs, watch)?;
                method.diarize(be, posteriors, runs, &embeddings, words, &options)?
            }
            (Method::Windows(clustering), _) => {
                let embeddings = || self.window_embeddings(be, samples, &output.segmentation, watch);
                diarize_on(be, &output.segmentation, embeddings, clustering, &options)?
            }
            (Method::Segments(_), None) => {
                return Err(Error::diarization("segmentation", "comes from another pipeline: it has no probabilities"));
            }
        };
        Ok(Diarization { version: Some(self.version.clone()), ..found })
    }

    /// Name and revision of the pipeline in results.
    pub fn version(&self) -> &PipelineVersion {
        &self.version
    }

    /// Name of the embedding network, and the dimension D of its embeddings.
    pub fn network(&self) -> (&'static str, usize) {
        (self.embedding.name(), self.embedding.size())
    }

    /// Embedding `[D]` of the only speaker of a recording: the mean over windows, weighted by their number of frames
    /// with exactly one active speaker.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize); [`Error::Diarization`] if there is no frame with one speaker.
    pub fn embed_speaker(&self, be: &B, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>> {
        let segmentation = self.segment(be, samples, &mut Half { watch, second: false })?.segmentation;
        let (windows, frames) = (segmentation.windows, segmentation.frames);
        let mut watch = Half { watch, second: true };
        let is_single = |window: usize, frame: usize| segmentation.together(window, frame) == 1;
        let single_frames = |window: usize| (0..frames).filter(|&frame| is_single(window, frame)).count();
        let usable: Vec<usize> = (0..windows).filter(|&window| single_frames(window) > 0).collect();
        let mut sum = vec![0.0f64; self.embedding.size()];
        let mut weight = 0.0;
        let mask = |window: usize, masks: &mut Vec<bool>| {
            masks.extend((0..frames).map(|frame| is_single(window, frame)));
        };
        let wanted = Wanted { windows: &usable, speakers: 1, mask: &mask };
        self.in_batches(be, samples, &wanted, &mut watch, |window, embedding| {
            // Not finite: the window has too little speech for an embedding.
            if embedding.iter().any(|x| !x.is_finite()) {
                return;
            }
            let frames = single_frames(window) as f64;
            weight += frames;
            sum.iter_mut().zip(embedding).for_each(|(sum, x)| *sum += frames * f64::from(*x));
        })?;
        if weight == 0.0 {
            return Err(Error::diarization("recording", "nobody is heard in it who speaks alone"));
        }
        Ok(sum.iter().map(|sum| (sum / weight) as f32).collect())
    }

    /// Step between windows, in samples.
    fn step(&self) -> usize {
        match &self.method {
            Method::Windows(_) => self.segmentation.step(),
            Method::Segments(options) => segments::step_of(self.segmentation.specification().window, options),
        }
    }

    /// Times of the windows and their frames.
    fn clock(&self) -> WindowGrid {
        let (network, grid) = (&self.segmentation, self.segmentation.grid());
        let step = self.step() as f64 / SAMPLE_RATE as f64;
        WindowGrid { window: network.duration(), step, frame_step: grid.step, frame: grid.duration }
    }
}

/// The clustering method of a recipe; `plda` opens its PLDA.
fn method(method: &recipe::Method, plda: impl FnOnce(&Location) -> Result<Plda>) -> Result<Method> {
    Ok(match method {
        &recipe::Method::Vbx { threshold, options, plda: ref place } => {
            Method::Windows(Clustering::Vbx { plda: Box::new(plda(place)?), threshold, options })
        }
        &recipe::Method::Centroid { threshold, min_size } => {
            Method::Windows(Clustering::Centroid { threshold, min_size })
        }
        recipe::Method::Segments(options) => Method::Segments(*options),
    })
}

/// Path of a network or PLDA folder, which must be local.
fn local_path(place: &Location) -> Result<&Path> {
    match place {
        Location::Local(path) if path.exists() => Ok(path),
        Location::Local(path) => Err(Error::model(path, format!("no such file or folder, and {CONFIG} names it"))),
        Location::Repository(name) => {
            let reason = format!("is named by {CONFIG} and is on the hub; fetch it, and name its folder there");
            Err(Error::model(name, reason))
        }
    }
}

fn stop_if(watch: &dyn Watch) -> Result<()> {
    if watch.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}
