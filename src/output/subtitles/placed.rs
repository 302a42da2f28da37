//! A word of a cue, with its times and the rules for spaces and line breaks around it.

use super::Spaces;
use crate::types::Word;
use crate::units::Seconds;

/// A word of a cue.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub text: &'a str,
    pub start: Option<Seconds>,
    pub end: Option<Seconds>,
    /// Whether a new line begins with this word.
    pub breaks_line: bool,
    /// Whether a space precedes this word within a line.
    pub space: bool,
    /// Whether no line break is allowed before this word.
    pub glued: bool,
}

impl<'a> Placed<'a> {
    /// A word without times.
    pub fn new(text: &'a str) -> Self {
        Placed { text, start: None, end: None, breaks_line: false, space: true, glued: false }
    }

    /// Width in characters.
    pub fn length(&self) -> usize {
        self.text.chars().count()
    }

    /// Width of the space before this word within a line, in characters.
    pub fn gap(&self, spaces: Spaces) -> usize {
        usize::from(self.space && spaces == Spaces::Counted)
    }
}

impl<'a> From<&'a Word> for Placed<'a> {
    fn from(word: &'a Word) -> Self {
        Placed { start: word.start, end: word.end, ..Placed::new(word.word.trim()) }
    }
}
