//! The alignment stage: segments with text in, sentences with word times out.

use std::path::Path;

use super::assemble::{CtcResult, assemble};
use super::ctc_paths::{LabelSpan, Utterance, ctc_paths};
use super::dictionary::Dictionary;
use super::long::{Limits, LongSearch};
use super::monotonic::make_monotonic;
use super::options::AlignOptions;
use super::prepare::{Plan, prepare};
use super::windows::{WINDOW, batches, windows};
use crate::engine::Tensor;
use crate::engine::ctc::CtcTopology;
use crate::engine::wav2vec2_ops::Wav2Vec2Ops;
use crate::error::{Error, Result};
use crate::models::wav2vec2::{Clip, Wav2Vec2};
use crate::types::Segment;
use crate::units::{SAMPLE_RATE, Seconds};
use crate::watch::Watch;

/// A wav2vec2 CTC network and its dictionary.
pub struct Aligner<B: Wav2Vec2Ops> {
    network: Wav2Vec2<B>,
    dictionary: Dictionary,
}

impl<B: Wav2Vec2Ops> Aligner<B> {
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

    /// A network and its dictionary.
    pub fn new(network: Wav2Vec2<B>, dictionary: Dictionary) -> Self {
        Aligner { network, dictionary }
    }

    /// The network.
    pub fn network(&self) -> &Wav2Vec2<B> {
        &self.network
    }

    /// The characters of its classes.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Aligns the words of `segments` to `audio` (16 kHz mono in `[-1, 1]`), `language` is the code of the spoken language.
    /// Segments are returned in order of time, each split into its sentences, with the recogniser's fields of the segment. If a segment
    /// cannot be aligned, [`Segment::unaligned`] has the reason, and its words are interpolated over its time.
    ///
    /// # Errors
    /// [`Error::Config`] for an option that cannot be honoured; [`Error::Cancelled`]; whatever the device reports.
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
        let mut heard: Vec<CtcResult> =
            plans.iter().map(|plan| Err(plan.refusal.clone().unwrap_or_default())).collect();
        let to_hear = (0..plans.len()).filter(|i| plans[*i].refusal.is_none());
        let (long, short): (Vec<usize>, Vec<usize>) = to_hear.partition(|i| plans[*i].samples.len() > WINDOW);
        let all = long.iter().chain(&short).map(|i| plans[*i].duration()).fold(Seconds(0.0), |a, b| a + b);
        let mut hearing = Alignment { aligner: self, be, audio, options, watch, done: Seconds(0.0), all };
        let lengths: Vec<usize> = short.iter().map(|i| plans[*i].samples.len()).collect();
        for batch in batches(&lengths, hearing.limit()) {
            let batch: Vec<usize> = batch.into_iter().map(|i| short[i]).collect();
            let found = hearing.batch(&batch.iter().map(|i| &plans[*i]).collect::<Vec<_>>())?;
            for (i, found) in batch.into_iter().zip(found) {
                heard[i] = found;
            }
        }
        for i in long {
            heard[i] = hearing.long(&plans[i])?;
        }
        let placed = plans.iter().zip(heard).flat_map(|(plan, heard)| assemble(plan, heard, language, options));
        let mut segments: Vec<Segment> = placed.collect();
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

/// A call of [`Aligner::segments`].
struct Alignment<'a, B: Wav2Vec2Ops> {
    aligner: &'a Aligner<B>,
    be: &'a B,
    audio: &'a [f32],
    options: &'a AlignOptions,
    watch: &'a mut dyn Watch,
    /// Seconds of speech aligned, and in total.
    done: Seconds,
    all: Seconds,
}

impl<B: Wav2Vec2Ops> Alignment<'_, B> {
    /// Samples per batch, padding included. A CPU gains nothing from more clips than fit in its caches.
    fn limit(&self) -> usize {
        let asked = self.options.batch_seconds.to_samples_floor();
        asked.min(self.be.encoder_batch().saturating_mul(WINDOW))
    }

    fn begin(&self) -> Result<()> {
        if self.watch.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn finished(&mut self, part: Seconds) {
        self.done = self.done + part;
        self.watch.progress(self.done, self.all);
    }

    /// A batch of segments that fit in one window each.
    fn batch(&mut self, plans: &[&Plan]) -> Result<Vec<CtcResult>> {
        self.begin()?;
        let clips: Vec<&[f32]> = plans.iter().map(|plan| &self.audio[plan.samples.clone()]).collect();
        let emissions = self.aligner.network.emissions(self.be, &clips)?;
        let most = emissions.log_probs.rows() / clips.len().max(1);
        let utterances = plans
            .iter()
            .zip(&emissions.frames)
            .enumerate()
            .map(|(i, (plan, rows))| Utterance { rows: i * most..i * most + rows, labels: &plan.labels.labels });
        let utterances: Vec<Utterance> = utterances.collect();
        let blank = self.aligner.dictionary.blank;
        let found = ctc_paths(self.be, &emissions.log_probs, &utterances, blank, self.options.topology)?;
        plans.iter().for_each(|plan| self.finished(plan.duration()));
        let heard = found.into_iter().zip(emissions.frames);
        Ok(heard.map(|(found, rows)| found.map(|labels| (labels, rows)).map_err(|r| r.to_string())).collect())
    }

    /// A segment that is longer than a window.
    fn long(&mut self, plan: &Plan) -> Result<CtcResult> {
        let rows = self.aligner.network.config().frames(plan.samples.len());
        let blank = self.aligner.dictionary.blank;
        let found = match self.options.topology {
            CtcTopology::Ctc => match LongSearch::new(&plan.labels.labels, blank, rows, Limits::default()) {
                Ok(mut search) => {
                    self.windows(plan, |rows, classes| search.rows(rows, classes))?;
                    search.finish()
                }
                Err(refusal) => Err(refusal),
            },
            CtcTopology::Trellis => {
                let mut all = Vec::new();
                self.windows(plan, |rows, _| all.extend_from_slice(rows))?;
                let log_probs = Tensor::from_host(self.be, &[rows, all.len() / rows.max(1)], &all)?;
                let utterance = [Utterance { rows: 0..rows, labels: &plan.labels.labels }];
                let found = ctc_paths(self.be, &log_probs, &utterance, blank, self.options.topology)?;
                found.into_iter().next().unwrap_or_else(|| Ok(Vec::new()))
            }
        };
        Ok(found.map(|labels: Vec<LabelSpan>| (labels, rows)).map_err(|refusal| refusal.to_string()))
    }

    /// Computes the emissions of a segment in windows, in batches; `take` gets the rows to keep, `[R, V + 1]`.
    fn windows(&mut self, plan: &Plan, mut take: impl FnMut(&[f32], usize)) -> Result<()> {
        let recording = &self.audio[plan.samples.clone()];
        let level = self.aligner.network.level(recording);
        let windows = windows(self.aligner.network.config(), recording.len());
        let longest = windows.iter().map(|window| window.samples.len()).max().unwrap_or(1);
        let hop = self.aligner.network.config().hop();
        for windows in windows.chunks((self.limit() / longest).max(1)) {
            self.begin()?;
            let clips = windows.iter().map(|window| Clip { samples: &recording[window.samples.clone()], level });
            let emissions = self.aligner.network.emissions_of_clips(self.be, &clips.collect::<Vec<_>>())?;
            let classes = emissions.log_probs.width();
            let most = emissions.log_probs.rows() / windows.len();
            let log_probs = emissions.log_probs.to_host(self.be)?;
            for (i, window) in windows.iter().enumerate() {
                let first = i * most + window.rows.start;
                take(&log_probs[first * classes..(first + window.rows.len()) * classes], classes);
                self.finished(Seconds((window.rows.len() * hop) as f64 / SAMPLE_RATE as f64));
            }
        }
        Ok(())
    }
}
