//! Removing words from a segment, and splitting a segment between words; text, characters and times follow the words.

use crate::types::{Char, Segment, Word};

/// A word, with its part of the segment's text and characters.
struct Piece {
    word: Word,
    /// The part of the segment's text that belongs to the word, with leading spaces.
    text: String,
    /// The part of the segment's characters that belongs to the word.
    chars: Option<Vec<Char>>,
}

/// The segment with only the words whose flag in `keep` is set; `None` if no word is left.
pub(super) fn keep(mut segment: Segment, keep: &[bool]) -> Option<Segment> {
    let pieces = split_into_pieces(&mut segment);
    let (first, last) = (keep.first() == Some(&true), keep.last() == Some(&true));
    let kept: Vec<Piece> = pieces.into_iter().zip(keep).filter(|(_, keep)| **keep).map(|(piece, _)| piece).collect();
    // The tokens cover the whole text; they cannot be divided between words.
    segment.tokens.clear();
    (!kept.is_empty()).then(|| join(&segment, kept, first, last))
}

/// The segment, split before the words with these indices, which must ascend.
pub(super) fn cut(mut segment: Segment, cuts: &[usize]) -> Vec<Segment> {
    if cuts.is_empty() {
        return vec![segment];
    }
    let mut rest = split_into_pieces(&mut segment);
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    for &at in cuts.iter().rev() {
        parts.push(rest.split_off(at.min(rest.len())));
    }
    parts.push(rest);
    parts.reverse();
    segment.tokens.clear();
    let last = parts.len() - 1;
    let part = |(at, pieces): (usize, Vec<Piece>)| join(&segment, pieces, at == 0, at == last);
    parts.into_iter().enumerate().filter(|(_, pieces)| !pieces.is_empty()).map(part).collect()
}

/// Moves the words and the characters out of a segment.
fn split_into_pieces(segment: &mut Segment) -> Vec<Piece> {
    let words = segment.words.take().unwrap_or_default();
    let texts = texts(&segment.text, &words);
    let total = segment.text.chars().count();
    let mut chars = segment.chars.take();
    // Characters are assigned to words only if they cover the text, or the text without leading and trailing spaces.
    let is_whole = texts.iter().map(|text| text.chars().count()).sum::<usize>() == total;
    let edge = total - segment.text.trim_start().chars().count();
    let mut missing = match chars.as_ref().map(Vec::len) {
        Some(count) if is_whole && count == total => 0,
        Some(count) if is_whole && count == segment.text.trim().chars().count() => edge,
        _ => {
            chars = None;
            0
        }
    };
    let mut pieces = Vec::with_capacity(words.len());
    for (word, text) in words.into_iter().zip(texts) {
        let own = chars.as_mut().map(|chars| {
            let length = text.chars().count().saturating_sub(std::mem::take(&mut missing)).min(chars.len());
            chars.drain(..length).collect()
        });
        pieces.push(Piece { word, text, chars: own });
    }
    pieces
}

/// The text, split after each word; the rest goes to the last word. If the words do not occur in the text in this
/// order: each word with a space in front.
fn texts(text: &str, words: &[Word]) -> Vec<String> {
    let mut ends = Vec::with_capacity(words.len());
    let mut at = 0;
    for word in words {
        let Some(found) = text[at..].find(&word.word) else {
            return words.iter().map(|word| format!(" {}", word.word)).collect();
        };
        at += found + word.word.len();
        ends.push(at);
    }
    if let Some(last) = ends.last_mut() {
        *last = text.len();
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, &end)| text[start..end].to_string()).collect()
}

/// A segment of these pieces. `first` and `last`: whether the piece at the start and at the end of the original segment
/// is included, in which case the segment keeps the original start and end.
fn join(whole: &Segment, pieces: Vec<Piece>, first: bool, last: bool) -> Segment {
    let mut segment = Segment { words: None, chars: None, text: String::new(), ..whole.clone() };
    let (mut words, mut chars) = (Vec::with_capacity(pieces.len()), Some(Vec::new()));
    for piece in pieces {
        segment.text.push_str(&piece.text);
        chars = chars.zip(piece.chars).map(|(mut all, own)| {
            all.extend(own);
            all
        });
        words.push(piece.word);
    }
    if !first {
        segment.start = words.iter().find_map(|word| word.start).unwrap_or(whole.start);
    }
    if !last {
        segment.end = words.iter().rev().find_map(|word| word.end.or(word.start)).unwrap_or(whole.end);
    }
    segment.end.0 = segment.end.0.max(segment.start.0);
    segment.words = Some(words);
    segment.chars = chars;
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seconds;

    fn segment() -> Segment {
        let text = " Yes, I know it.";
        let word = |(at, word): (usize, &str)| Word {
            word: word.into(),
            start: Some(Seconds(at as f64)),
            end: Some(Seconds(at as f64 + 0.5)),
            ..Word::default()
        };
        let chars = text.trim().chars().map(|char| Char { char: char.into(), ..Char::default() }).collect();
        Segment {
            start: Seconds(-0.5),
            end: Seconds(4.0),
            text: text.into(),
            words: Some(text.split_whitespace().enumerate().map(word).collect()),
            chars: Some(chars),
            tokens: vec![1],
            ..Segment::default()
        }
    }

    fn shown(segment: &Segment) -> (f64, f64, &str, usize, String) {
        let chars = segment.chars.iter().flatten().map(|char| char.char.as_str()).collect();
        let words = segment.words.as_ref().map_or(0, Vec::len);
        (segment.start.0, segment.end.0, &segment.text, words, chars)
    }

    #[test]
    fn words_keep_their_text_characters_and_times() {
        let kept = keep(segment(), &[false, true, true, false]).unwrap();
        assert_eq!(shown(&kept), (1.0, 2.5, " I know", 2, " I know".into()));
        let kept = keep(segment(), &[true, false, false, true]).unwrap();
        assert_eq!(shown(&kept), (-0.5, 4.0, " Yes, it.", 2, "Yes, it.".into()));
        assert!(kept.tokens.is_empty());
        assert!(keep(segment(), &[false; 4]).is_none());
        let odd = Segment { text: "something else".into(), ..segment() };
        assert_eq!(keep(odd, &[true, true, false, false]).unwrap().text, " Yes, I");
    }

    #[test]
    fn a_split_segment_keeps_all_its_words() {
        let parts = cut(segment(), &[1, 3]);
        let parts: Vec<_> = parts.iter().map(shown).collect();
        let want = [
            (-0.5, 0.5, " Yes,", 1, "Yes,".to_string()),
            (1.0, 2.5, " I know", 2, " I know".to_string()),
            (3.0, 4.0, " it.", 1, " it.".to_string()),
        ];
        assert_eq!(parts, want);
        assert_eq!(cut(segment(), &[]), [segment()]);
    }
}
