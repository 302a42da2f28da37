//! The stage: samples to who speaks when.
//!
//! | step | |
//! |---|---|
//! | hear | the segmentation network over all windows: who speaks in each, `[W, F, S]`, and how likely speech is, `[T]` |
//! | cut | the speakers of a window at their pauses, for a pipeline that asks for it; see [`pieces`] |
//! | voices | the embedding network over the windows in which somebody speaks, once for all speakers of a window, `[W, S, D]` |
//! | cluster, turns | see [`diarize_on`]; on the same device |
//!
//! Windows pass a few at a time. What grows with the recording are the decisions, a byte for each speaker and frame of each
//! window, the same of pieces where speakers are cut, and the voices, four bytes for each number of them.
//!
//! Source: pyannote.audio 4.0 `pipelines/speaker_diarization.py::SpeakerDiarization.apply`.

use std::path::Path;

use super::cluster::Clustering;
use super::folder::{CONFIG, Method, Place, Recipe};
use super::plda::Plda;
use super::windows::{Clock, Segmentation, Voices};
use super::{Diarization, Options, diarize_on, multilabel, pieces, powerset};
use crate::assets;
use crate::engine::cluster::Cluster;
use crate::engine::residual::Residual;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::models::pyannet::{Head, PyanNet, Specification, SpeechCurve};
use crate::models::resnet34::ResNet34;
use crate::units::{FrameGrid, SAMPLE_RATE, Seconds};
use crate::watch::Watch;

/// Windows whose voices are heard together; those that follow each other share features.
const BATCH: usize = 64;
/// In a shorter recording nobody is told apart: it holds no syllable, and next to nothing of it is not the window's filling.
pub const SHORTEST: Seconds = Seconds(0.25);

/// What the segmentation network hears in a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Who speaks in each window.
    pub segmentation: Segmentation,
    /// How likely it is that anybody speaks, in each frame of the recording, `[T]`; see [`SpeechCurve`].
    pub speech: Vec<f32>,
    /// When those frames are.
    pub grid: FrameGrid,
}

/// The networks and the clustering of a pipeline, on a device.
pub struct Diarizer<B: Residual> {
    segmentation: PyanNet<B>,
    embedding: ResNet34<B>,
    clustering: Clustering,
    /// At which the speakers of windows are cut, if at all.
    pause: Option<Seconds>,
    exclude_overlap: bool,
    min_duration_off: Seconds,
    /// Of a network that is no powerset.
    onset: f32,
}

impl<B: Residual + Cluster> Diarizer<B> {
    /// Opens a pipeline of pyannote: a folder with a `config.yaml` and the networks; see [`Recipe`]. Nothing in it is executed.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] naming the file that is missing, wrong, or asks for what is not done; one that
    /// names repositories is for the [`Hub`](crate::hub::Hub::obtain_diarizer).
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        Self::load(be, &Recipe::open(folder)?)
    }

    /// The pipeline of a recipe whose parts are all on this machine.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(be: &B, recipe: &Recipe) -> Result<Self> {
        let segmentation = PyanNet::open(be, here(&recipe.segmentation)?)?;
        let embedding = ResNet34::open(be, here(&recipe.embedding)?)?;
        let plda = |place: &Place| {
            let folder = here(place)?;
            let plda = Plda::open(folder)?;
            if plda.voice_size() != embedding.size() {
                let (voice, size) = (plda.voice_size(), embedding.size());
                let reason = format!("is for voices of {voice} numbers, and the embedding has {size}");
                return Err(Error::model(folder, reason));
            }
            Ok(plda)
        };
        let clustering = clustering(&recipe.method, plda)?;
        Ok(Self::new(segmentation, embedding, clustering, recipe))
    }

    /// Loads the pipeline that is compiled into the program.
    ///
    /// # Errors
    /// None, unless the device has no room.
    pub fn builtin(be: &B) -> Result<Self> {
        let name = "builtin";
        let files = &assets::DIARIZER;
        let recipe = Recipe::parse(files.config, Path::new(name))?;
        let clustering = clustering(&recipe.method, |_| Plda::parse(files.transform, files.plda))?;
        let weights = Weights::from_static("builtin segmentation", files.segmentation)?;
        let segmentation = PyanNet::load(be, Specification::read(&weights)?, &weights)?;
        let weights = Weights::from_static("builtin embedding", files.embedding)?;
        Ok(Self::new(segmentation, ResNet34::load(be, &weights)?, clustering, &recipe))
    }

    /// From networks that are loaded already; of the recipe, its numbers count.
    pub fn new(segmentation: PyanNet<B>, embedding: ResNet34<B>, clustering: Clustering, recipe: &Recipe) -> Self {
        Diarizer {
            segmentation,
            embedding,
            clustering,
            pause: recipe.pause,
            exclude_overlap: recipe.exclude_overlap,
            min_duration_off: recipe.min_duration_off,
            onset: recipe.onset as f32,
        }
    }

    /// Who speaks when in `samples` (16 kHz mono). No turns where nobody speaks: in silence, and in a recording that is
    /// shorter than [`SHORTEST`]. Turns end with the recording.
    ///
    /// # Errors
    /// [`Error::Audio`] for a sample that is no number, [`Error::Config`] for bounds that the recording cannot meet,
    /// [`Error::Cancelled`], and those of the device.
    pub fn diarize(&self, be: &B, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization> {
        let heard = self.hear(be, samples, &mut Half { watch, second: false })?;
        self.tell_apart(be, samples, &heard, options, &mut Half { watch, second: true })
    }

    /// The first half of the work: what the segmentation network hears.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize).
    pub fn hear(&self, be: &B, samples: &[f32], watch: &mut dyn Watch) -> Result<Heard> {
        if let Some(bad) = samples.iter().position(|sample| !sample.is_finite()) {
            let reason = format!("sample {bad} is {}; is the recording damaged?", samples[bad]);
            return Err(Error::diarization("recording", reason));
        }
        let (network, clock) = (&self.segmentation, self.clock());
        let (frames, specification) = (network.frames(), network.specification());
        let speakers = specification.classes.len();
        let mut segmentation = Segmentation::new(clock, frames, speakers, Vec::new())?;
        let mut curve = SpeechCurve::new(network, samples.len());
        let total = Seconds::from_samples(samples.len());
        let is_silent = samples.iter().all(|sample| *sample == 0.0);
        if !is_silent && total >= SHORTEST {
            stop_if(watch)?;
            network.slide(be, samples, |windows| {
                let decided = match specification.head {
                    Head::Powerset(most) => powerset::decide(clock, windows.scores, frames, speakers, most),
                    Head::MultiLabel => multilabel::decide(clock, windows.scores, frames, speakers, self.onset),
                }?;
                segmentation.append(decided);
                curve.add(&windows);
                let done = clock.window + (segmentation.windows - 1) as f64 * clock.step;
                watch.progress(Seconds(done.min(total.0)), total);
                stop_if(watch)
            })?;
        }
        Ok(Heard { segmentation, speech: curve.mean(), grid: network.grid() })
    }

    /// The second half: whose voices they are.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize).
    pub fn tell_apart(
        &self,
        be: &B,
        samples: &[f32],
        heard: &Heard,
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization> {
        let Options { bounds, min_duration_off, end } = *options;
        let options = Options {
            bounds,
            min_duration_off: Seconds(min_duration_off.0.max(self.min_duration_off.0)),
            end: end.or(Some(Seconds::from_samples(samples.len()))),
        };
        let cut = self.pause.map(|pause| pieces::cut_at_pauses(&heard.segmentation, pause));
        let segmentation = cut.as_ref().unwrap_or(&heard.segmentation);
        let voices = || self.voices(be, samples, segmentation, watch);
        diarize_on(be, segmentation, voices, &self.clustering, &options)
    }

    /// The voice `[D]` of the one who speaks in a recording: the mean over its windows, weighted by how long somebody is
    /// heard alone in them.
    ///
    /// # Errors
    /// As [`diarize`](Self::diarize); [`Error::Diarization`] where nobody is heard alone.
    pub fn voice(&self, be: &B, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>> {
        let heard = self.hear(be, samples, &mut Half { watch, second: false })?.segmentation;
        let mut watch = Half { watch, second: true };
        let alone = |window: usize| (0..heard.frames).filter(|&frame| heard.together(window, frame) == 1).count();
        let told: Vec<usize> = (0..heard.windows).filter(|&window| alone(window) > 0).collect();
        let mut sum = vec![0.0f64; self.embedding.size()];
        let mut weight = 0.0;
        let mask = |window: usize, masks: &mut Vec<bool>| {
            masks.extend((0..heard.frames).map(|frame| heard.together(window, frame) == 1));
        };
        let wanted = Wanted { windows: &told, speakers: 1, mask: &mask };
        self.in_batches(be, samples, &wanted, &mut watch, |window, voice| {
            weight += alone(window) as f64;
            sum.iter_mut().zip(voice).for_each(|(sum, x)| *sum += alone(window) as f64 * f64::from(*x));
        })?;
        if weight == 0.0 {
            return Err(Error::diarization("recording", "nobody is heard in it who speaks alone"));
        }
        Ok(sum.iter().map(|sum| (sum / weight) as f32).collect())
    }

    /// How the windows and their frames lie.
    fn clock(&self) -> Clock {
        let (network, grid) = (&self.segmentation, self.segmentation.grid());
        let step = network.step() as f64 / SAMPLE_RATE as f64;
        Clock { window: network.duration(), step, frame_step: grid.step, frame: grid.duration }
    }

    /// The voices of all windows; zeros where nobody speaks.
    fn voices(&self, be: &B, samples: &[f32], heard: &Segmentation, watch: &mut dyn Watch) -> Result<Voices> {
        let (speakers, size) = (heard.speakers, self.embedding.size());
        let window = self.segmentation.specification().window;
        // Without the exclusion no number of frames alone is enough.
        let least = if self.exclude_overlap { ResNet34::<B>::min_frames(heard.frames, window) } else { usize::MAX };
        let speaks = |window: &usize| (0..speakers).any(|speaker| heard.active_frames(*window, speaker) > 0);
        let spoken: Vec<usize> = (0..heard.windows).filter(speaks).collect();
        let mut values = vec![0.0; heard.windows * speakers * size];
        let mask = |window: usize, masks: &mut Vec<bool>| {
            (0..speakers).for_each(|speaker| masks.extend(heard.voice_mask(window, speaker, least)));
        };
        let wanted = Wanted { windows: &spoken, speakers, mask: &mask };
        self.in_batches(be, samples, &wanted, watch, |window, voices| {
            values[window * speakers * size..][..speakers * size].copy_from_slice(voices);
        })?;
        Voices::new(speakers, size, values)
    }

    /// Hears the voices of some windows; `each` is given a window and its voices `[S, D]`.
    fn in_batches(
        &self,
        be: &B,
        samples: &[f32],
        wanted: &Wanted<'_>,
        watch: &mut dyn Watch,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        let Wanted { windows, speakers, mask } = *wanted;
        let (length, step) = (self.segmentation.specification().window, self.segmentation.step());
        let total = Seconds::from_samples(samples.len());
        for (i, batch) in windows.chunks(BATCH).enumerate() {
            stop_if(watch)?;
            let starts: Vec<usize> = batch.iter().map(|window| window * step).collect();
            let mut masks = Vec::new();
            batch.iter().for_each(|window| mask(*window, &mut masks));
            let voices = self.embedding.voices(be, samples, &starts, length, &masks, speakers)?;
            for (window, voices) in batch.iter().zip(voices.chunks_exact(speakers * self.embedding.size())) {
                each(*window, voices);
            }
            let share = (i * BATCH + batch.len()) as f64 / windows.len() as f64;
            watch.progress(Seconds(share * total.0), total);
        }
        Ok(())
    }
}

/// Voices to be heard.
struct Wanted<'a> {
    windows: &'a [usize],
    /// Speakers S of a window.
    speakers: usize,
    /// Adds the frames `[S, F]` of a window in which each of them is to be heard.
    mask: &'a dyn Fn(usize, &mut Vec<bool>),
}

/// The clustering that a recipe asks for; `plda` opens what it needs.
fn clustering(method: &Method, plda: impl FnOnce(&Place) -> Result<Plda>) -> Result<Clustering> {
    Ok(match method {
        &Method::Vbx { threshold, contact, options, plda: ref place } => {
            Clustering::Vbx { plda: Box::new(plda(place)?), threshold, contact, options }
        }
        Method::Centroid { threshold, min_size } => Clustering::Centroid { threshold: *threshold, min_size: *min_size },
    })
}

/// A part that is on this machine.
fn here(place: &Place) -> Result<&Path> {
    match place {
        Place::Here(path) if path.exists() => Ok(path),
        Place::Here(path) => Err(Error::model(path, format!("no such file or folder, and {CONFIG} names it"))),
        Place::Repository(name) => {
            let reason = format!("is named by {CONFIG} and is on the hub; fetch it, and name its folder there");
            Err(Error::model(name, reason))
        }
    }
}

fn stop_if(watch: &dyn Watch) -> Result<()> {
    if watch.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

/// One half of a work that is watched as a whole.
struct Half<'a> {
    watch: &'a mut dyn Watch,
    second: bool,
}

impl Watch for Half<'_> {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        let done = 0.5 * done.0 + if self.second { 0.5 * total.0 } else { 0.0 };
        self.watch.progress(Seconds(done), total);
    }

    fn is_cancelled(&self) -> bool {
        self.watch.is_cancelled()
    }
}

/// A diarizer on some device: the device is known to whoever opened it. See the methods of [`Diarizer`].
pub trait FindSpeakers: Send + Sync {
    /// See [`Diarizer::diarize`].
    ///
    /// # Errors
    /// As there.
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization>;
    /// See [`Diarizer::hear`].
    ///
    /// # Errors
    /// As there.
    fn hear(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Heard>;
    /// See [`Diarizer::tell_apart`].
    ///
    /// # Errors
    /// As there.
    fn tell_apart(
        &self,
        samples: &[f32],
        heard: &Heard,
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization>;
    /// See [`Diarizer::voice`].
    ///
    /// # Errors
    /// As there.
    fn voice(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>>;
}

/// A diarizer and its device.
pub struct OnDevice<B: Residual> {
    /// The device.
    pub be: B,
    /// The diarizer, which was loaded on it.
    pub diarizer: Diarizer<B>,
}

impl<B: Residual + Cluster> FindSpeakers for OnDevice<B> {
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization> {
        self.diarizer.diarize(&self.be, samples, options, watch)
    }

    fn hear(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Heard> {
        self.diarizer.hear(&self.be, samples, watch)
    }

    fn tell_apart(
        &self,
        samples: &[f32],
        heard: &Heard,
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization> {
        self.diarizer.tell_apart(&self.be, samples, heard, options, watch)
    }

    fn voice(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>> {
        self.diarizer.voice(&self.be, samples, watch)
    }
}
