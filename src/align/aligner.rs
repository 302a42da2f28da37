//! Forced alignment with wav2vec2 ([`Aligner`]): segments with text in, sentences with word times out.

use std::path::Path;

use super::assemble::{CtcResult, assemble};
use super::ctc_paths::{LabelSpan, Utterance, ctc_paths};
use super::dictionary::Dictionary;
use super::long::{Limits, LongSearch};
use super::monotonic::make_monotonic;
use super::options::AlignOptions;
use super::prepare::{Plan, prepare};
use super::windows::{WINDOW, batches, windows};
use crate::engine::ctc::CtcTopology;
use crate::engine::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::models::wav2vec2::{Clip, Wav2Vec2};
use crate::types::Segment;
use crate::units::{SAMPLE_RATE, Seconds};
use crate::watch::Watch;

/// A wav2vec2 CTC network and its dictionary.
pub struct Aligner<B: Backend> {
    network: Wav2Vec2<B>,
    dictionary: Dictionary,
}

impl<B: Backend> Aligner<B> {
    /// Loads a model folder in the Hugging Face layout: the network's files, and `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] naming the file that is missing or wrong.
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        let network = Wav2Vec2::open(be, folder)?;
        let config = network.config();
        let dictionary = Dictionary::read(folder, config.pad_token_id, config.vocab_size)?;
        Ok(Self::new(network, dictionary))
    }

    /// An aligner from a loaded network and the dictionary of its classes.
    pub fn new(network: Wav2Vec2<B>, dictionary: Dictionary) -> Self {
        Aligner { network, dictionary }
    }

    /// The network.
    pub fn network(&self) -> &Wav2Vec2<B> {
        &self.network
    }

    /// The characters of the network's classes.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Aligns the words of `segments` to `audio` (16 kHz mono in `[-1, 1]`). `language` is the code of the spoken
    /// language.
    ///
    /// Returns segments in order of time. Each input segment is split into its sentences; every sentence keeps the
    /// recogniser's fields of its segment. If a segment cannot be aligned, [`Segment::unaligned`] has the reason, and
    /// the times of its words are interpolated over the segment (see [`AlignOptions::interpolate`]).
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid option; [`Error::Cancelled`]; errors of the device.
    pub fn segments(
        &self,
        be: &B,
        audio: &[f32],
        segments: Vec<Segment>,
        language: &str,
        options: &AlignOptions,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Segment>> {
        options.check()?;
        let plans = prepare(segments, audio.len(), language, &self.dictionary, options);
        let mut paths: Vec<CtcResult> =
            plans.iter().map(|plan| Err(plan.refusal.clone().unwrap_or_default())).collect();
        let alignable = (0..plans.len()).filter(|i| plans[*i].refusal.is_none());
        let (long, short): (Vec<usize>, Vec<usize>) = alignable.partition(|i| plans[*i].samples.len() > WINDOW);
        let total = long.iter().chain(&short).map(|i| plans[*i].duration()).fold(Seconds(0.0), |a, b| a + b);
        let mut alignment = Alignment { aligner: self, be, audio, options, watch, done: Seconds(0.0), total };
        let lengths: Vec<usize> = short.iter().map(|i| plans[*i].samples.len()).collect();
        for batch in batches(&lengths, alignment.batch_limit()) {
            let batch: Vec<usize> = batch.into_iter().map(|i| short[i]).collect();
            let batch_paths = alignment.batch(&batch.iter().map(|i| &plans[*i]).collect::<Vec<_>>())?;
            for (i, path) in batch.into_iter().zip(batch_paths) {
                paths[i] = path;
            }
        }
        for i in long {
            paths[i] = alignment.long(&plans[i])?;
        }
        let sentences = plans.iter().zip(paths).flat_map(|(plan, path)| assemble(plan, path, language, options));
        let mut segments: Vec<Segment> = sentences.collect();
        make_monotonic(&mut segments);
        Ok(segments)
    }

    /// Aligns a text to a whole recording, without a recogniser: its sentences with word times.
    ///
    /// # Errors
    /// As [`segments`](Self::segments).
    pub fn text(
        &self,
        be: &B,
        audio: &[f32],
        text: &str,
        language: &str,
        options: &AlignOptions,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Segment>> {
        let whole = Segment { end: Seconds::from_samples(audio.len()), text: text.into(), ..Segment::default() };
        self.segments(be, audio, vec![whole], language, options, watch)
    }
}

/// The state of one call of [`Aligner::segments`].
struct Alignment<'a, B: Backend> {
    aligner: &'a Aligner<B>,
    be: &'a B,
    audio: &'a [f32],
    options: &'a AlignOptions,
    watch: &'a mut dyn Watch,
    /// Seconds of speech aligned, and in total.
    done: Seconds,
    total: Seconds,
}

impl<B: Backend> Alignment<'_, B> {
    /// Most samples per batch, padding included: the option, limited to the batch size at which the backend is fastest.
    /// (A CPU is not faster with more clips than fit in its caches.)
    fn batch_limit(&self) -> usize {
        let requested = self.options.batch_seconds.to_samples_floor();
        requested.min(self.be.encoder_batch().saturating_mul(WINDOW))
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.watch.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Reports that `part` more seconds are aligned.
    fn advance(&mut self, part: Seconds) {
        self.done = self.done + part;
        self.watch.progress(self.done, self.total);
    }

    /// Aligns a batch of segments, each at most one window long.
    fn batch(&mut self, plans: &[&Plan]) -> Result<Vec<CtcResult>> {
        self.check_cancelled()?;
        let clips: Vec<&[f32]> = plans.iter().map(|plan| &self.audio[plan.samples.clone()]).collect();
        let emissions = self.aligner.network.emissions(self.be, &clips)?;
        let stride = emissions.log_probs.rows() / clips.len().max(1);
        let utterances = plans
            .iter()
            .zip(&emissions.frames)
            .enumerate()
            .map(|(i, (plan, rows))| Utterance { rows: i * stride..i * stride + rows, labels: &plan.labels.labels });
        let utterances: Vec<Utterance> = utterances.collect();
        let blank = self.aligner.dictionary.blank;
        let paths = ctc_paths(self.be, &emissions.log_probs, &utterances, blank, self.options.topology)?;
        plans.iter().for_each(|plan| self.advance(plan.duration()));
        let paths = paths.into_iter().zip(emissions.frames);
        Ok(paths.map(|(path, rows)| path.map(|labels| (labels, rows)).map_err(|r| r.to_string())).collect())
    }

    /// Aligns a segment that is longer than a window.
    fn long(&mut self, plan: &Plan) -> Result<CtcResult> {
        let rows = self.aligner.network.config().frames(plan.samples.len());
        let blank = self.aligner.dictionary.blank;
        let path = match self.options.topology {
            CtcTopology::Ctc => match LongSearch::new(&plan.labels.labels, blank, rows, Limits::default()) {
                Ok(mut search) => {
                    self.windows(plan, |rows, classes| search.rows(rows, classes))?;
                    search.finish()
                }
                Err(refusal) => Err(refusal),
            },
            CtcTopology::Trellis => {
                let mut values = Vec::new();
                self.windows(plan, |rows, _| values.extend_from_slice(rows))?;
                let log_probs = Tensor::from_host(self.be, &[rows, values.len() / rows.max(1)], &values)?;
                let utterance = [Utterance { rows: 0..rows, labels: &plan.labels.labels }];
                let paths = ctc_paths(self.be, &log_probs, &utterance, blank, self.options.topology)?;
                paths.into_iter().next().unwrap_or_else(|| Ok(Vec::new()))
            }
        };
        Ok(path.map(|labels: Vec<LabelSpan>| (labels, rows)).map_err(|refusal| refusal.to_string()))
    }

    /// Computes the emissions of a segment in overlapping windows, in batches. `take` gets the rows to keep (log
    /// probabilities `[R, V + 1]`) and their width, in order of time.
    fn windows(&mut self, plan: &Plan, mut take: impl FnMut(&[f32], usize)) -> Result<()> {
        let recording = &self.audio[plan.samples.clone()];
        let level = self.aligner.network.level(recording);
        let windows = windows(self.aligner.network.config(), recording.len());
        let longest = windows.iter().map(|window| window.samples.len()).max().unwrap_or(1);
        let hop = self.aligner.network.config().hop();
        for windows in windows.chunks((self.batch_limit() / longest).max(1)) {
            self.check_cancelled()?;
            let clips = windows.iter().map(|window| Clip { samples: &recording[window.samples.clone()], level });
            let emissions = self.aligner.network.emissions_of_clips(self.be, &clips.collect::<Vec<_>>())?;
            let classes = emissions.log_probs.width();
            let stride = emissions.log_probs.rows() / windows.len();
            let log_probs = emissions.log_probs.to_host(self.be)?;
            for (i, window) in windows.iter().enumerate() {
                let first = i * stride + window.rows.start;
                take(&log_probs[first * classes..(first + window.rows.len()) * classes], classes);
                self.advance(Seconds((window.rows.len() * hop) as f64 / SAMPLE_RATE as f64));
            }
        }
        Ok(())
    }
}
