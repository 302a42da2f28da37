//! A word of a cue, with its place on the line.

use super::Spaces;
use crate::types::Word;
use crate::units::Seconds;

/// A word, and whether a new line begins with it.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub text: &'a str,
    pub start: Option<Seconds>,
    pub end: Option<Seconds>,
    pub breaks_line: bool,
    /// Whether a space stands in front of it, where it does not begin a line.
    pub space: bool,
    /// Whether it must stand on the line of the word before.
    pub glued: bool,
}

impl<'a> Placed<'a> {
    /// A word without times.
    pub fn new(text: &'a str) -> Self {
        Placed { text, start: None, end: None, breaks_line: false, space: true, glued: false }
    }

    /// Its characters.
    pub fn length(&self) -> usize {
        self.text.chars().count()
    }

    /// The width of what stands in front of it, where it does not begin a line.
    pub fn gap(&self, spaces: Spaces) -> usize {
        usize::from(self.space && spaces == Spaces::Counted)
    }
}

impl<'a> From<&'a Word> for Placed<'a> {
    fn from(word: &'a Word) -> Self {
        Placed { start: word.start, end: word.end, ..Placed::new(word.word.trim()) }
    }
}
