//! Round-robin multiplexing of the clips of several recordings into one source, and routing of results.

use std::collections::{HashMap, VecDeque};

use super::recording::{Caller, Message, Recording};
use crate::asr::AsrOptions;
use crate::asr::language::Language;
use crate::asr::slots::{Decode, Decoded};
use crate::asr::source::{Clip, Source};
use crate::asr::token_times::{Text, TokenTimes};
use crate::asr::tokenizer::SpecialTokens;
use crate::error::Result;

/// A recording and its number.
struct Entry {
    number: usize,
    recording: Recording,
}

/// Recording and chunk of a clip.
struct ClipId {
    /// Number of the recording.
    number: usize,
    /// Its chunk.
    chunk: usize,
}

/// Provides new recordings.
pub(super) trait Arrivals {
    /// Recordings that were added since the last call.
    fn take(&self) -> Vec<Recording>;
    /// One recording has ended.
    fn leave(&self);
}

/// The recordings that share slots.
pub(super) struct Multiplexer<'a> {
    inbox: &'a dyn Arrivals,
    /// Most slots, and slots allocated for the current recordings.
    most: usize,
    planned: usize,
    /// In round-robin order; the next one first.
    recordings: VecDeque<Entry>,
    /// By clip id.
    places: HashMap<usize, ClipId>,
    /// Numbers of recordings and clips so far.
    numbers: usize,
    clips: usize,
    /// The end of the last recording. It is reported after the slots have been freed, because its caller may need their memory.
    last: Option<(Caller, Result<Option<Language>>)>,
}

impl<'a> Multiplexer<'a> {
    /// Without recordings, for up to `most` slots.
    pub fn new(inbox: &'a dyn Arrivals, most: usize) -> Self {
        Multiplexer {
            inbox,
            most,
            planned: 0,
            recordings: VecDeque::new(),
            places: HashMap::new(),
            numbers: 0,
            clips: 0,
            last: None,
        }
    }

    /// The number of slots for the current recordings, and the parameters to allocate them. `None` without recordings.
    pub fn plan(&mut self) -> Option<(usize, SpecialTokens, AsrOptions)> {
        self.let_in();
        self.planned = self.demand().clamp(1, self.most);
        let Entry { recording, .. } = self.recordings.front()?;
        Some((self.planned, recording.tokenizer().special, recording.options().clone()))
    }

    /// Whether there are recordings, and the allocated slots suffice.
    pub fn goes_on(&mut self) -> bool {
        self.let_in();
        !self.recordings.is_empty() && !self.wants_more_slots()
    }

    /// Number of clips so far.
    pub fn clips(&self) -> usize {
        self.clips
    }

    /// Ends all recordings, with an error if there was one, and reports the deferred end.
    pub fn close(mut self, result: Result<()>) {
        if let Err(error) = result {
            while let Some(Entry { number, .. }) = self.recordings.front() {
                self.end(*number, Err(error.clone()));
            }
        }
        self.tell_last();
    }

    fn demand(&self) -> usize {
        self.recordings.iter().map(|entry| entry.recording.demand()).sum()
    }

    /// Whether twice as many slots would be used. Then no new clip is started until the running ones are finished, and more slots are
    /// allocated.
    fn wants_more_slots(&self) -> bool {
        self.demand().min(self.most) >= 2 * self.planned
    }

    /// Appends new recordings, and removes abandoned ones.
    fn let_in(&mut self) {
        let arrived = self.inbox.take();
        if !arrived.is_empty() {
            self.tell_last();
        }
        for recording in arrived {
            self.numbers += 1;
            self.recordings.push_back(Entry { number: self.numbers, recording });
        }
        let left = |entry: &&Entry| entry.recording.is_abandoned();
        let left: Vec<usize> = self.recordings.iter().filter(left).map(|entry| entry.number).collect();
        for number in left {
            self.take_out(number);
            self.inbox.leave();
        }
    }

    fn take_out(&mut self, number: usize) -> Option<Recording> {
        self.places.retain(|_, place| place.number != number);
        let at = self.recordings.iter().position(|entry| entry.number == number)?;
        self.recordings.remove(at).map(|entry| entry.recording)
    }

    /// Ends a recording with its result.
    fn end(&mut self, number: usize, result: Result<Option<Language>>) {
        let Some(recording) = self.take_out(number) else { return };
        self.tell_last();
        self.last = Some((recording.caller, result));
        if !self.recordings.is_empty() {
            self.tell_last();
        }
    }

    fn tell_last(&mut self) {
        if let Some((caller, result)) = self.last.take() {
            self.inbox.leave();
            caller.tell(Message::End(result));
        }
    }

    fn entry(&self, number: usize) -> Option<&Recording> {
        self.recordings.iter().find(|entry| entry.number == number).map(|entry| &entry.recording)
    }

    fn recording(&self, id: usize) -> Option<&Recording> {
        self.entry(self.places.get(&id)?.number)
    }

    /// Calls `f` with the recording and chunk of a clip; an error ends that recording only.
    fn with<T>(&mut self, id: usize, f: impl FnOnce(&mut Recording, usize) -> Result<Option<T>>) -> Option<T> {
        let &ClipId { number, chunk } = self.places.get(&id)?;
        let recording = &mut self.recordings.iter_mut().find(|entry| entry.number == number)?.recording;
        match f(recording, chunk) {
            Err(error) => {
                self.end(number, Err(error));
                None
            }
            Ok(value) => {
                if recording.is_over() {
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
        self.let_in();
        if self.wants_more_slots() {
            return None;
        }
        for _ in 0..self.recordings.len() {
            let mut entry = self.recordings.pop_front()?;
            let (number, clip) = (entry.number, entry.recording.next());
            self.recordings.push_back(entry);
            if let Some(clip) = clip {
                self.clips += 1;
                self.places.insert(self.clips, ClipId { number, chunk: clip.id });
                return Some(Clip { id: self.clips, ..clip });
            }
        }
        None
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        Ok(self.with(id, |recording, chunk| recording.begin(chunk, logits)))
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        Ok(self.with(id, |recording, chunk| recording.finish(chunk, decoded)))
    }

    fn wants_times(&mut self, id: usize) -> Option<Text> {
        self.with(id, |recording, chunk| Ok(recording.wants_times(chunk)))
    }

    fn timed(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        self.with(id, |recording, chunk| recording.timed(chunk, times).map(Some));
        Ok(())
    }

    fn samples(&self, id: usize) -> Option<&[f32]> {
        // An abandoned recording has none: its clip is encoded as silence, and its result is dropped.
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
    use crate::asr::language::Spoken;
    use crate::asr::shared::recording::{DecodeSetup, Goal};
    use crate::asr::{Task, Tokenizer};
    use crate::types::{Chunk, Span};

    #[derive(Default)]
    struct Door {
        outside: RefCell<Vec<Recording>>,
        left: Cell<usize>,
    }

    impl Arrivals for Door {
        fn take(&self) -> Vec<Recording> {
            self.outside.take()
        }

        fn leave(&self) {
            self.left.set(self.left.get() + 1);
        }
    }

    impl Door {
        fn arrives(
            &self,
            tokenizer: &Arc<Tokenizer>,
            task: Task,
            chunks: usize,
        ) -> (Receiver<Message>, Arc<AtomicBool>) {
            let chunk = |i: usize| Chunk { span: Span::new(i as f64, i as f64 + 0.5), segments: Vec::new() };
            let known = DecodeSetup::new(tokenizer.clone(), AsrOptions { task, ..AsrOptions::default() }, 224);
            let (tell, hear) = channel();
            let gone = Arc::new(AtomicBool::new(false));
            let language = Language { code: "en", probability: None };
            let recording = Recording::new(
                known,
                Arc::new(vec![chunks as f32]),
                (0..chunks).map(chunk).collect(),
                Spoken::Known(Some(language)),
                Goal::Text,
                Caller { tell, gone: gone.clone() },
            );
            self.outside.borrow_mut().push(recording.unwrap());
            (hear, gone)
        }
    }

    fn tokenizer(json: &str) -> Arc<Tokenizer> {
        Arc::new(Tokenizer::from_bytes(Path::new("builtin"), json.as_bytes(), true).unwrap())
    }

    /// The next clip, by how many chunks its recording has and the number of its chunk.
    fn next(multiplexer: &mut Multiplexer) -> (usize, usize) {
        let clip = multiplexer.next().expect("a clip");
        (multiplexer.samples(clip.id).unwrap()[0] as usize, multiplexer.places[&clip.id].chunk)
    }

    #[test]
    fn recordings_take_turns() {
        let (door, tokenizer) = (Door::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&door, 4);
        let _long = door.arrives(&tokenizer, Task::Transcribe, 60);
        assert_eq!(multiplexer.plan().expect("somebody").0, 4);
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(60, 0), (60, 1)]);
        let _short = door.arrives(&tokenizer, Task::Transcribe, 2);
        let _other = door.arrives(&tokenizer, Task::Transcribe, 3);
        let turns: Vec<_> = (0..7).map(|_| next(&mut multiplexer)).collect();
        assert_eq!(turns, [(60, 2), (2, 0), (3, 0), (60, 3), (2, 1), (3, 1), (60, 4)]);
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(3, 2), (60, 5)]);
    }

    #[test]
    fn what_is_wrong_with_one_is_no_others_business() {
        let json = crate::assets::MODEL.tokenizer;
        let (good, bad) = (tokenizer(json), tokenizer(&json.replace("<|translate|>", "<|mistranslate|>")));
        let door = Door::default();
        let mut multiplexer = Multiplexer::new(&door, 4);
        let (bad, _) = door.arrives(&bad, Task::Translate, 3);
        let (good, _) = door.arrives(&good, Task::Transcribe, 1);
        multiplexer.plan().expect("somebody");
        let (first, second) = (multiplexer.next().unwrap().id, multiplexer.next().unwrap().id);
        assert!(multiplexer.begin(first, None).unwrap().is_none());
        assert!(multiplexer.is_abandoned(first) && !multiplexer.is_abandoned(second));
        let Ok(Message::End(Err(error))) = bad.try_recv() else { panic!("the caller hears of nothing") };
        assert!(error.to_string().contains("translate"), "{error}");
        assert!(multiplexer.begin(second, None).unwrap().is_some() && good.try_recv().is_err());
        assert_eq!((door.left.get(), multiplexer.next()), (1, None));
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let (door, tokenizer) = (Door::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&door, 4);
        let (_hear, gone) = door.arrives(&tokenizer, Task::Transcribe, 5);
        let _other = door.arrives(&tokenizer, Task::Transcribe, 3);
        multiplexer.plan().expect("somebody");
        let (first, second) = (multiplexer.next().unwrap().id, multiplexer.next().unwrap().id);
        gone.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(multiplexer.is_abandoned(first) && !multiplexer.is_abandoned(second));
        assert_eq!([next(&mut multiplexer), next(&mut multiplexer)], [(3, 1), (3, 2)]);
        assert_eq!((door.left.get(), multiplexer.next()), (1, None));
    }

    #[test]
    fn more_slots_are_made_for_twice_as_many() {
        let (door, tokenizer) = (Door::default(), tokenizer(crate::assets::MODEL.tokenizer));
        let mut multiplexer = Multiplexer::new(&door, 8);
        let _first = door.arrives(&tokenizer, Task::Transcribe, 2);
        assert_eq!(multiplexer.plan().expect("somebody").0, 2);
        next(&mut multiplexer);
        let _second = door.arrives(&tokenizer, Task::Transcribe, 1);
        assert!(multiplexer.goes_on(), "one more can wait for a slot");
        let _third = door.arrives(&tokenizer, Task::Transcribe, 30);
        assert_eq!((multiplexer.next(), multiplexer.goes_on()), (None, false));
        assert_eq!(multiplexer.plan().expect("somebody").0, 8);
        assert!(multiplexer.goes_on());
    }
}
