//! Recordings with one speaker per channel: runs the stages on all channels in parallel, as separate recordings, and
//! merges the results.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{Input, Observer, Pipeline, Prepared, Run, WordTimeFallback};
use crate::asr::{AsrResult, Recognizer};
use crate::audio::{Audio, Channel};
use crate::channels::{self, ChannelSpeakers};
use crate::config::Options;
use crate::engine::Backend;
use crate::error::{Error, Result};
use crate::types::{Chunk, Transcript};
use crate::units::Seconds;

/// Interval at which the observer is polled for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The options for decoding a recording: with channel speakers, every channel is decoded separately.
///
/// # Errors
/// [`Error::Config`] for options that cannot be combined with channel speakers.
pub(super) fn reading<'a>(input: Input, options: &'a Options) -> Result<Cow<'a, Options>> {
    let Some(speakers) = &options.channel_speakers else { return Ok(Cow::Borrowed(options)) };
    speakers.check_compatible(options.speakers.is_some(), options.audio.channel)?;
    if let Input::Samples(_) = input {
        let rule = "the samples are those of one channel; give a recording with several";
        return Err(Error::config("channel_speakers", "given", rule));
    }
    let mut options = options.clone();
    options.audio.channel = Channel::Each(speakers.max_channels);
    Ok(Cow::Owned(options))
}

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Voice activity detection in each channel. A channel with the same samples as an earlier one is skipped and keeps
    /// no samples.
    pub(super) fn prepare_channels(&self, audio: Audio, options: &Options, run: &mut Run) -> Result<Prepared> {
        let mut channels = vec![audio.samples];
        channels.extend(audio.others);
        let repeated = channels::duplicate_channels(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let repeats = channels.iter_mut().zip(&repeated).filter(|(_, repeats)| repeats.is_some());
        repeats.for_each(|(samples, _)| *samples = Vec::new());
        let observer = &*run.observer;
        let muted = channels::gate_crosstalk(&mut channels, &|| observer.is_cancelled())?;
        tracing::info!(?muted, "share of each channel that is the sound of another one");
        let mut prepared = Vec::with_capacity(channels.len());
        for (samples, repeats) in channels.into_iter().zip(repeated) {
            if repeats.is_some() {
                prepared.push(Prepared { repeats, ..Prepared::default() });
                continue;
            }
            if run.observer.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let heard = self.segmentation(&samples, run)?;
            let chunks = self.chunks(&samples, heard.as_ref(), &options.vad)?;
            prepared.push(Prepared { samples: Arc::new(samples), chunks, ..Prepared::default() });
        }
        let others = prepared.split_off(1);
        Ok(prepared.pop().map_or_else(Prepared::default, |first| Prepared { others, ..first }))
    }

    /// Runs the stages after voice activity detection on all channels in parallel, and merges their segments in order
    /// of time.
    pub(super) fn finish_channels(
        &self,
        prepared: &Prepared,
        speakers: &ChannelSpeakers,
        options: &Options,
        run: &mut Run,
    ) -> Result<Transcript> {
        let parts: Vec<&Prepared> = std::iter::once(prepared).chain(&prepared.others).collect();
        let labels = speakers.labels(parts.len())?;
        let repeated = labels.iter().zip(&parts).filter_map(|(label, part)| Some((label, &labels[part.repeats?])));
        let warning = |(label, first): (&String, &String)| {
            format!(
                "{label} holds the same sound as {first}, to whom all of its words are given; the speakers of such a recording are \
                 told apart by `diarize`"
            )
        };
        let mut warnings: Vec<String> = repeated.map(warning).collect();
        let found = run.in_parallel(&parts, |part, run| {
            let choice = self.choose_word_times(part, options, run)?;
            let found = self.recognise(part, &choice, run)?;
            self.align_words(part, choice, found, run)
        })?;
        let (language, language_probability) = language_of(&found, &labels, &mut warnings);
        let merged = run.stage("channels", |_| {
            let channels = found.into_iter().zip(&parts).zip(labels);
            let channels = channels.map(|((found, part), label)| channels::Channel {
                samples: &part.samples,
                segments: found.segments,
                label,
            });
            channels::merge(channels.collect())
        })?;
        tracing::info!(crosstalk = ?merged.crosstalk, "words left out of each channel");
        run.observer.segments(&merged.segments);
        Ok(Transcript {
            duration: prepared.duration(),
            language,
            language_probability,
            word_segments: merged.words,
            segments: merged.segments,
            turns: merged.turns,
            warnings,
            ..Transcript::default()
        })
    }
}

/// The language of the channel with the most text; adds a warning if other channels have another language.
fn language_of(found: &[AsrResult], labels: &[String], warnings: &mut Vec<String>) -> (Option<String>, Option<f64>) {
    let length = |found: &AsrResult| found.segments.iter().map(|segment| segment.text.len()).sum::<usize>();
    let spoken: Vec<(&AsrResult, &String)> = found.iter().zip(labels).filter(|(found, _)| length(found) > 0).collect();
    // Ties: the first channel wins (`max_by_key` returns the last maximum, hence `rev`).
    let Some((most, _)) = spoken.iter().rev().max_by_key(|(found, _)| length(found)) else { return (None, None) };
    if spoken.iter().any(|(found, _)| found.language != most.language) {
        let each: Vec<String> = spoken.iter().map(|(found, label)| format!("{label}: {}", found.language)).collect();
        warnings.push(format!(
            "the channels were taken for different languages ({}), and the transcript names {}; `language` sets one for all",
            each.join(", "),
            most.language
        ));
    }
    (Some(most.language.clone()), most.language_probability)
}

/// An observer event from a channel's thread.
enum Event {
    Progress(&'static str, Seconds, Option<Seconds>),
    Unaligned(String, String, WordTimeFallback),
    Finished(&'static str, Duration),
}

/// The observer of one channel: sends its events to the thread that called the pipeline. Segments are not forwarded,
/// because they are reported after the merge.
struct ChannelObserver<'a> {
    channel: usize,
    events: Sender<(usize, Event)>,
    stop: &'a AtomicBool,
}

impl ChannelObserver<'_> {
    fn send(&self, event: Event) {
        // Fails only if the receiving thread is unwinding.
        let _ = self.events.send((self.channel, event));
    }
}

impl Observer for ChannelObserver<'_> {
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        self.send(Event::Progress(stage, done, total));
    }

    fn unaligned(&mut self, language: &str, reason: &str, instead: WordTimeFallback) {
        self.send(Event::Unaligned(language.into(), reason.into(), instead));
    }

    fn finished(&mut self, stage: &'static str, took: Duration) {
        self.send(Event::Finished(stage, took));
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Combines the events of all channels into those of one recording.
struct CombinedEvents {
    /// Stages in the order in which they began, each with the seconds done per channel.
    stages: Vec<(&'static str, Vec<f64>)>,
    /// For each channel: index of its current stage in `stages`.
    current: Vec<usize>,
    /// For each stage: the longest time that a channel took.
    took: BTreeMap<&'static str, Duration>,
    /// Languages without an aligner that have been reported.
    unaligned: Vec<String>,
}

impl CombinedEvents {
    fn new(channels: usize) -> Self {
        CombinedEvents { stages: Vec::new(), current: vec![0; channels], took: BTreeMap::new(), unaligned: Vec::new() }
    }

    /// Records an event and reports what is new to `observer`. Progress is the mean over all channels; it is reported
    /// only for the stage of the slowest channel.
    fn add(&mut self, channel: usize, event: Event, observer: &mut dyn Observer) {
        match event {
            Event::Progress(stage, done, total) => {
                let at = self.stages.iter().position(|(name, _)| *name == stage).unwrap_or_else(|| {
                    self.stages.push((stage, vec![0.0; self.current.len()]));
                    self.stages.len() - 1
                });
                self.current[channel] = at;
                let channels = &mut self.stages[at].1;
                channels[channel] = done.0;
                let mean = channels.iter().sum::<f64>() / channels.len() as f64;
                if self.current.iter().all(|other| *other >= at) {
                    observer.progress(stage, Seconds(mean), total);
                }
            }
            Event::Unaligned(language, reason, instead) => {
                if !self.unaligned.contains(&language) {
                    observer.unaligned(&language, &reason, instead);
                    self.unaligned.push(language);
                }
            }
            Event::Finished(stage, took) => {
                let longest = self.took.entry(stage).or_default();
                *longest = took.max(*longest);
            }
        }
    }
}

impl Run<'_> {
    /// Runs `work` on every channel, each in its own thread, so that their chunks share the decoder's slots. Silent and
    /// duplicate channels are skipped. The first error stops all channels.
    fn in_parallel(
        &mut self,
        parts: &[&Prepared],
        work: impl Fn(&Prepared, &mut Run) -> Result<AsrResult> + Sync,
    ) -> Result<Vec<AsrResult>> {
        let (stop, mut combined) = (AtomicBool::new(false), CombinedEvents::new(parts.len()));
        let span = tracing::Span::current();
        let (sender, receiver) = channel();
        let results: Vec<Result<AsrResult>> = std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(parts.len());
            for (channel, &part) in parts.iter().enumerate() {
                let mut observer = ChannelObserver { channel, events: sender.clone(), stop: &stop };
                let (work, span, stop) = (&work, &span, &stop);
                threads.push(scope.spawn(move || {
                    let _entered = span.enter();
                    // Whisper hallucinates text on silence. Also skips duplicates, which have no samples.
                    if part.samples.iter().all(|sample| *sample == 0.0) {
                        return Ok(AsrResult::default());
                    }
                    let found = work(part, &mut Run { observer: &mut observer });
                    found.inspect_err(|_| stop.store(true, Ordering::Relaxed))
                }));
            }
            drop(sender);
            loop {
                match receiver.recv_timeout(POLL_INTERVAL) {
                    Ok((channel, event)) => combined.add(channel, event, self.observer),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if self.observer.is_cancelled() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            let join = |thread: std::thread::ScopedJoinHandle<Result<AsrResult>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        combined.took.iter().for_each(|(stage, took)| self.observer.finished(stage, *took));
        // The first failure sets `stop`, which makes the other channels return `Cancelled`. Report the cause.
        let mut errors = results.iter().filter_map(|result| result.as_ref().err());
        match errors.find(|error| !matches!(error, Error::Cancelled)) {
            Some(error) => Err(error.clone()),
            None => results.into_iter().collect(),
        }
    }
}

impl Prepared {
    /// The chunks of all channels, in order of time.
    pub(super) fn all_chunks(self) -> Vec<Chunk> {
        let mut chunks = self.chunks;
        chunks.extend(self.others.into_iter().flat_map(|other| other.chunks));
        chunks.sort_by(|a, b| a.span.start.0.total_cmp(&b.span.start.0));
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Segment;

    /// Records the events it receives.
    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl Observer for Recorder {
        fn progress(&mut self, stage: &'static str, done: Seconds, _: Option<Seconds>) {
            self.0.push(format!("{stage} {}", done.0));
        }

        fn unaligned(&mut self, language: &str, _: &str, _: WordTimeFallback) {
            self.0.push(format!("no {language}"));
        }
    }

    #[test]
    fn progress_is_that_of_all_channels() {
        let (mut combined, mut recorder) = (CombinedEvents::new(2), Recorder::default());
        let at = |stage, done| Event::Progress(stage, Seconds(done), None);
        for (channel, event) in [
            (0, at("asr", 4.0)),
            (1, at("asr", 2.0)),
            (0, at("align", 4.0)),
            (1, at("asr", 4.0)),
            (1, at("align", 2.0)),
            (0, Event::Unaligned("cy".into(), "none".into(), WordTimeFallback::Nothing)),
            (1, Event::Unaligned("cy".into(), "none".into(), WordTimeFallback::Nothing)),
        ] {
            combined.add(channel, event, &mut recorder);
        }
        assert_eq!(recorder.0, ["asr 2", "asr 3", "asr 4", "align 3", "no cy"]);
    }

    #[test]
    fn the_language_is_that_of_most_of_the_text() {
        let found = |language: &str, text: &str| AsrResult {
            segments: vec![Segment { text: text.into(), ..Segment::default() }],
            language: language.into(),
            language_probability: Some(0.5),
        };
        let labels = ["A", "B", "C"].map(String::from);
        let (mut warnings, silent) = (Vec::new(), AsrResult::default());
        let all = [found("en", "Yes."), found("de", "Jawohl."), silent.clone()];
        assert_eq!(language_of(&all, &labels, &mut warnings), (Some("de".into()), Some(0.5)));
        assert!(warnings[0].contains("A: en, B: de") && warnings[0].contains("`language`"), "{warnings:?}");
        let all = [found("en", "Yes."), found("en", "Yes, I do.")];
        assert_eq!(language_of(&all, &labels, &mut warnings).0.as_deref(), Some("en"));
        assert_eq!((language_of(&[silent], &labels, &mut warnings), warnings.len()), ((None, None), 1));
    }
}
