//! The clips of several recordings as one source: whose clip is next, and whose a finished one is.

use std::collections::{HashMap, VecDeque};

use super::lane::Inbox;
use super::recording::{Caller, Recording, Told};
use crate::asr::AsrOptions;
use crate::asr::language::Language;
use crate::asr::listener::{Text, TokenTimes};
use crate::asr::scheduler::{Clip, Source};
use crate::asr::slots::{Decode, Decoded};
use crate::asr::tokenizer::SpecialTokens;
use crate::engine::Backend;
use crate::error::Result;

/// A recording, by the number it got here.
struct Entry {
    number: usize,
    recording: Recording,
}

/// Whose a clip is.
struct Place {
    /// Number of the recording.
    number: usize,
    /// Its chunk.
    chunk: usize,
}

/// The recordings that share slots.
pub(super) struct Mix<'a, B: Backend> {
    inbox: &'a Inbox<B>,
    /// Most slots there may be, and slots planned for those that were there.
    most: usize,
    planned: usize,
    /// The one whose turn it is first.
    recordings: VecDeque<Entry>,
    /// By the clip's id here.
    places: HashMap<usize, Place>,
    /// Recordings and clips so far.
    numbers: usize,
    clips: usize,
    /// The end of the last recording, which is not told before the slots have been given back: its caller will want their
    /// memory.
    last: Option<(Caller, Result<Option<Language>>)>,
}

impl<'a, B: Backend> Mix<'a, B> {
    /// Nobody yet, for up to `most` slots.
    pub fn new(inbox: &'a Inbox<B>, most: usize) -> Self {
        Mix {
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

    /// Plans slots for all who are there: their number, and what else making them takes. `None` if nobody is.
    pub fn plan(&mut self) -> Option<(usize, SpecialTokens, AsrOptions)> {
        self.let_in();
        self.planned = self.demand().clamp(1, self.most);
        let Entry { recording, .. } = self.recordings.front()?;
        Some((self.planned, recording.tokenizer().special, recording.options().clone()))
    }

    /// Whether somebody is there, and well served with the slots that were planned.
    pub fn goes_on(&mut self) -> bool {
        self.let_in();
        !self.recordings.is_empty() && !self.wants_more_slots()
    }

    /// Ends all recordings with an error, if there was one, and tells the last end.
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

    /// Slots are made for those who are there. If twice as many come to be of use, nothing new begins until what runs is
    /// finished, and more are made.
    fn wants_more_slots(&self) -> bool {
        self.demand().min(self.most) >= 2 * self.planned
    }

    /// Those who arrived come last, those who left are forgotten.
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

    /// A recording is finished, or cannot be.
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
            caller.tell(Told::End(result));
        }
    }

    fn entry(&self, number: usize) -> Option<&Recording> {
        self.recordings.iter().find(|entry| entry.number == number).map(|entry| &entry.recording)
    }

    fn recording(&self, id: usize) -> Option<&Recording> {
        self.entry(self.places.get(&id)?.number)
    }

    /// Lets the recording of a clip do something with its chunk; what goes wrong is the end of that recording only.
    fn with<T>(&mut self, id: usize, f: impl FnOnce(&mut Recording, usize) -> Result<Option<T>>) -> Option<T> {
        let &Place { number, chunk } = self.places.get(&id)?;
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

impl<B: Backend> Source for Mix<'_, B> {
    /// The next clip of the recording whose turn it is, or of the next one that has a clip.
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
                self.places.insert(self.clips, Place { number, chunk: clip.id });
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
        // Of one who has just left, none: the clip is encoded as silence, and nobody hears of it.
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
