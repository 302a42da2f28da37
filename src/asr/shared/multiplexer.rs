//! Round-robin multiplexing of the clips of several recordings into one source, and routing of results.

use std::collections::{HashMap, VecDeque};

use super::recording::{Caller, Message, Recording};
use crate::asr::AsrOptions;
use crate::asr::language::Language;
use crate::asr::slots::{Decode, Decoded};
use crate::asr::source::{Clip, Source};
use crate::asr::token_times::{KnownText, TokenTimes};
use crate::asr::tokenizer::SpecialTokens;
use crate::error::Result;

/// A recording with the number that identifies it.
struct Entry {
    number: usize,
    recording: Recording,
}

/// The recording and chunk of a clip.
struct Origin {
    /// Number of the recording.
    number: usize,
    /// Index of the chunk in the recording.
    chunk: usize,
}

/// The queue of new recordings.
pub(super) trait RecordingQueue {
    /// Removes and returns the recordings that were added since the last call.
    fn take_new(&self) -> Vec<Recording>;
    /// Called when a recording has ended.
    fn recording_ended(&self);
}

/// The [`Source`] of the clips of all recordings that share slots.
pub(super) struct Multiplexer<'a> {
    inbox: &'a dyn RecordingQueue,
    /// Most slots.
    max_slots: usize,
    /// Slots allocated for the current recordings.
    planned: usize,
    /// In round-robin order; the next one is first.
    recordings: VecDeque<Entry>,
    /// By clip id.
    origins: HashMap<usize, Origin>,
    /// Number of recordings so far.
    numbers: usize,
    /// Number of clips so far.
    clips: usize,
    /// The deferred end message of the last recording. It is sent after the slots have been freed, because its caller
    /// may need their memory.
    deferred_end: Option<(Caller, Result<Option<Language>>)>,
}

impl<'a> Multiplexer<'a> {
    /// A multiplexer without recordings, for up to `max_slots` slots.
    pub fn new(inbox: &'a dyn RecordingQueue, max_slots: usize) -> Self {
        Multiplexer {
            inbox,
            max_slots,
            planned: 0,
            recordings: VecDeque::new(),
            origins: HashMap::new(),
            numbers: 0,
            clips: 0,
            deferred_end: None,
        }
    }

    /// Plans the slots for the current recordings: their number, and the parameters to allocate them. `None` without
    /// recordings.
    pub fn plan(&mut self) -> Option<(usize, SpecialTokens, AsrOptions)> {
        self.update_recordings();
        self.planned = self.demand().clamp(1, self.max_slots);
        let Entry { recording, .. } = self.recordings.front()?;
        Some((self.planned, recording.tokenizer().special, recording.options().clone()))
    }

    /// Whether to continue with the allocated slots: there are recordings, and they would not use twice as many slots.
    pub fn can_continue(&mut self) -> bool {
        self.update_recordings();
        !self.recordings.is_empty() && !self.wants_more_slots()
    }

    /// Number of clips so far.
    pub fn clips(&self) -> usize {
        self.clips
    }

    /// Sends the deferred end message. If `result` is an error, ends all recordings with it.
    pub fn close(mut self, result: Result<()>) {
        if let Err(error) = result {
            while let Some(Entry { number, .. }) = self.recordings.front() {
                self.end(*number, Err(error.clone()));
            }
        }
        self.send_deferred_end();
    }

    /// Number of slots that the recordings could use.
    fn demand(&self) -> usize {
        self.recordings.iter().map(|entry| entry.recording.demand()).sum()
    }

    /// Whether the recordings could use twice as many slots. If so, no new clip is started until the running ones are
    /// finished, and then more slots are allocated.
    fn wants_more_slots(&self) -> bool {
        self.demand().min(self.max_slots) >= 2 * self.planned
    }

    /// Appends new recordings, and removes abandoned ones.
    fn update_recordings(&mut self) {
        let added = self.inbox.take_new();
        if !added.is_empty() {
            self.send_deferred_end();
        }
        for recording in added {
            self.numbers += 1;
            self.recordings.push_back(Entry { number: self.numbers, recording });
        }
        let abandoned = |entry: &&Entry| entry.recording.is_abandoned();
        let abandoned: Vec<usize> = self.recordings.iter().filter(abandoned).map(|entry| entry.number).collect();
        for number in abandoned {
            self.remove(number);
            self.inbox.recording_ended();
        }
    }

    fn remove(&mut self, number: usize) -> Option<Recording> {
        self.origins.retain(|_, origin| origin.number != number);
        let at = self.recordings.iter().position(|entry| entry.number == number)?;
        self.recordings.remove(at).map(|entry| entry.recording)
    }

    /// Ends a recording with its result. Defers the end message if it was the last recording.
    fn end(&mut self, number: usize, result: Result<Option<Language>>) {
        let Some(recording) = self.remove(number) else { return };
        self.send_deferred_end();
        self.deferred_end = Some((recording.caller, result));
        if !self.recordings.is_empty() {
            self.send_deferred_end();
        }
    }

    fn send_deferred_end(&mut self) {
        if let Some((caller, result)) = self.deferred_end.take() {
            self.inbox.recording_ended();
            caller.send(Message::End(result));
        }
    }

    fn by_number(&self, number: usize) -> Option<&Recording> {
        self.recordings.iter().find(|entry| entry.number == number).map(|entry| &entry.recording)
    }

    /// The recording of clip `id`.
    fn recording(&self, id: usize) -> Option<&Recording> {
        self.by_number(self.origins.get(&id)?.number)
    }

    /// Calls `f` with the recording and chunk of a clip; an error ends that recording only.
    fn dispatch<T>(&mut self, id: usize, f: impl FnOnce(&mut Recording, usize) -> Result<Option<T>>) -> Option<T> {
        let &Origin { number, chunk } = self.origins.get(&id)?;
        let recording = &mut self.recordings.iter_mut().find(|entry| entry.number == number)?.recording;
        match f(recording, chunk) {
            Err(error) => {
                self.end(number, Err(error));
                None
            }
            Ok(value) => {
                if recording.is_finished() {
                    let language = recording.language();
                    self.end(number, Ok(language));
                }
                value
            }
        }
    }
}

impl Source for Multiplexer<'_> {
    /// The next clip in round-robin order.
    fn next(&mut self) -> Option<Clip> {
        self.update_recordings();
        if self.wants_more_slots() {
            return None;
        }
        for _ in 0..self.recordings.len() {
            let mut entry = self.recordings.pop_front()?;
            let (number, clip) = (entry.number, entry.recording.next());
            self.recordings.push_back(entry);
            if let Some(clip) = clip {
                self.clips += 1;
                self.origins.insert(self.clips, Origin { number, chunk: clip.id });
                return Some(Clip { id: self.clips, ..clip });
            }
        }
        None
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        Ok(self.dispatch(id, |recording, chunk| recording.begin(chunk, logits)))
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        Ok(self.dispatch(id, |recording, chunk| recording.finish(chunk, decoded)))
    }

    fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        self.dispatch(id, |recording, chunk| Ok(recording.text_to_align(chunk)))
    }

    fn set_token_times(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        self.dispatch(id, |recording, chunk| recording.set_token_times(chunk, times).map(Some));
        Ok(())
    }

    fn samples(&self, id: usize) -> Option<&[f32]> {
        // The clip of an abandoned recording is encoded as silence, and its result is dropped.
        Some(self.recording(id).map_or(&[], Recording::samples))
    }

    fn options(&self, id: usize) -> Option<&AsrOptions> {
        self.recording(id).map(Recording::options)
    }

    fn is_abandoned(&self, id: usize) -> bool {
        self.recording(id).is_none_or(Recording::is_abandoned)
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::asr::language::RequestedLanguage;
    use crate::asr::shared::recording::{DecodeSetup, Goal};
    use crate::asr::{Task, Tokenizer};
    use crate::types::{Chunk, Span};

    #[derive(Default)]
    struct TestQueue {
        recordings: RefCell<Vec<Recording>>,
        /// Number of recordings that have ended.
        ended: Cell<usize>,
    }

    impl RecordingQueue for TestQueue {
        fn take_new(&self) -> Vec<Recording> {
            self.recordings.take()
        }

        fn recording_ended(&self) {
            self.ended.set(self.ended.get() + 1);
        }
    }

    impl TestQueue {
        /// Adds a recording. Returns the caller's end of the channel, and its flag of abandonment.
        fn add(&self, tokenizer: &Arc<Tokenizer>, task: Task, chunks: usize) -> (Receiver<Message>, Arc<AtomicBool>) {
            let chunk = |i: usize| Chunk { span: Span::new(i as f64, i as f64 + 0.5), segments: Vec::new() };
            let setup = DecodeSetup::new(tokenizer.clone(), AsrOptions { task, ..AsrOptions::default() }, 224);
            let (sender, messages) = channel();
            let gone = Arc::new(AtomicBool::new(false));
            let language = Language { code: "en", probability: None };
            let recording = Recording::new(
                setup,
                Arc::new(vec![chunks as f32]),
                (0..chunks).map(chunk).collect(),
                RequestedLanguage::Known(Some(language)),
                Goal::Text,
                Caller { sender, abandoned: gone.clone() },
            );
            self.recordings.borrow_mut().push(recording.unwrap());
            (messages, gone)
        }
    }

    fn tokenizer(json: &str) -> Arc<Tokenizer> {
        Arc::new(Tokenizer::from_bytes(Path::new("builtin"), json.as_bytes(), true).unwrap())
    }

    /// The next clip, as the number of chunks of its recording and the index of its chunk.
    fn next(multiplexer: &mut Multiplexer) -> (usize, usize) {
        let clip = multiplexer.next().expect("a clip");
        (multiplexer.samples(clip.id).unwrap()[0] as usize, multiplexer.origins[&clip.id].chunk)
    }

    #[test]
    fn clips_are_selected_round_robin() {
        let (queue, tokenizer) = (TestQueue::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&queue, 4);
        let _long = queue.add(&tokenizer, Task::Transcribe, 60);
        assert_eq!(multiplexer.plan().expect("somebody").0, 4);
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(60, 0), (60, 1)]);
        let _short = queue.add(&tokenizer, Task::Transcribe, 2);
        let _other = queue.add(&tokenizer, Task::Transcribe, 3);
        let turns: Vec<_> = (0..7).map(|_| next(&mut multiplexer)).collect();
        assert_eq!(turns, [(60, 2), (2, 0), (3, 0), (60, 3), (2, 1), (3, 1), (60, 4)]);
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(3, 2), (60, 5)]);
    }

    #[test]
    fn an_error_ends_only_its_own_recording() {
        let json = crate::assets::MODEL.tokenizer;
        let (good, bad) = (tokenizer(json), tokenizer(&json.replace("<|translate|>", "<|mistranslate|>")));
        let queue = TestQueue::default();
        let mut multiplexer = Multiplexer::new(&queue, 4);
        let (bad, _) = queue.add(&bad, Task::Translate, 3);
        let (good, _) = queue.add(&good, Task::Transcribe, 1);
        multiplexer.plan().expect("somebody");
        let (first, second) = (multiplexer.next().unwrap().id, multiplexer.next().unwrap().id);
        assert!(multiplexer.begin(first, None).unwrap().is_none());
        assert!(multiplexer.is_abandoned(first) && !multiplexer.is_abandoned(second));
        let Ok(Message::End(Err(error))) = bad.try_recv() else { panic!("the caller hears of nothing") };
        assert!(error.to_string().contains("translate"), "{error}");
        assert!(multiplexer.begin(second, None).unwrap().is_some() && good.try_recv().is_err());
        assert_eq!((queue.ended.get(), multiplexer.next()), (1, None));
    }

    #[test]
    fn abandoned_recordings_are_removed() {
        let (queue, tokenizer) = (TestQueue::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&queue, 4);
        let (_hear, gone) = queue.add(&tokenizer, Task::Transcribe, 5);
        let _other = queue.add(&tokenizer, Task::Transcribe, 3);
        multiplexer.plan().expect("somebody");
        let (first, second) = (multiplexer.next().unwrap().id, multiplexer.next().unwrap().id);
        gone.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(multiplexer.is_abandoned(first) && !multiplexer.is_abandoned(second));
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(3, 1), (3, 2)]);
        assert_eq!((queue.ended.get(), multiplexer.next()), (1, None));
    }

    #[test]
    fn more_slots_are_allocated_for_twice_the_demand() {
        let (queue, tokenizer) = (TestQueue::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&queue, 8);
        let _first = queue.add(&tokenizer, Task::Transcribe, 2);
        assert_eq!(multiplexer.plan().expect("somebody").0, 2);
        next(&mut multiplexer);
        let _second = queue.add(&tokenizer, Task::Transcribe, 1);
        assert!(multiplexer.can_continue(), "one more can wait for a slot");
        let _third = queue.add(&tokenizer, Task::Transcribe, 30);
        assert_eq!((multiplexer.next(), multiplexer.can_continue()), (None, false));
        assert_eq!(multiplexer.plan().expect("somebody").0, 8);
        assert!(multiplexer.can_continue());
    }
}
