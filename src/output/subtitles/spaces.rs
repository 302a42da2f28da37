//! Spaces between words, and allowed line breaks, in languages with and without spaces between words.
//!
//! In most languages every word is preceded by a space, and a line may break at every space. Chinese, Japanese and
//! others are written without spaces. There the aligner makes a word of every character, spaces are where the segment's
//! text has them, and a line must not begin with closing punctuation, end with an opening bracket, or end within a
//! Latin word or a number.
//!
//! Sources: JIS X 4051:2004, 6.1.1 (characters that must not begin or end a line); W3C "Requirements for Chinese Text
//! Layout", 3.1.5.

use super::placed::Placed;

/// Languages written without spaces between words: those of WhisperX, and those whose words Whisper splits by Unicode
/// character (`tokenizer.py::Tokenizer.split_to_word_tokens`).
const UNSPACED: [&str; 6] = ["ja", "lo", "my", "th", "yue", "zh"];

/// Characters that must not begin a line: closing brackets and punctuation, small kana, iteration and prolonged sound
/// marks.
const CLOSING: &str = "、。，．・：；？！‼⁇⁈⁉」』）］｝〉》】〕〗〙〟’”»…‥ー〜～％‰℃\
                       ゝゞヽヾ々〻ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ!),.:;?]}%";

/// Characters that must not end a line: opening brackets and currency signs.
const OPENING: &str = "「『（［｛〈《【〔〖〘〝‘“«￥＄￡([{$";

/// Marks which words of a segment with this text are preceded by a space, and which must stay on the line of the word
/// before.
pub(super) fn mark(words: &mut [Placed], text: &str, language: Option<&str>) {
    if !language.is_some_and(|language| UNSPACED.contains(&language)) {
        words.iter_mut().for_each(|word| word.space = true);
        return;
    }
    let mut rest = text.trim_start();
    let mut before: Option<&str> = None;
    for word in words {
        // The text between two words; `None` if the word does not occur in the text.
        let between = rest.find(word.text).map(|at| {
            let between = &rest[..at];
            rest = &rest[at + word.text.len()..];
            between
        });
        word.space = between.is_some_and(|between| between.ends_with(char::is_whitespace));
        let first = word.text.chars().next();
        let last = before.and_then(|before| before.chars().next_back());
        let within_word = !word.space && first.is_some_and(is_latin) && last.is_some_and(is_latin);
        let closing = first.is_some_and(|first| CLOSING.contains(first));
        word.glued = within_word || closing || last.is_some_and(|last| OPENING.contains(last));
        before = Some(word.text);
    }
}

/// A letter or digit of a script that separates words by spaces.
fn is_latin(c: char) -> bool {
    // Up to Greek and Cyrillic, and full-width digits and letters.
    c.is_alphanumeric() && (c < '\u{590}' || ('\u{ff10}'..='\u{ff5a}').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words, separated by `|`; a word has ` ` in front if preceded by a space, and `_` if no line may break before
    /// it.
    fn marked(words: &[&str], text: &str, language: &str) -> String {
        let mut words: Vec<Placed> = words.iter().map(|text| Placed::new(text)).collect();
        mark(&mut words, text, Some(language));
        let word = |word: &Placed| {
            format!("{}{}{}", if word.space { " " } else { "" }, if word.glued { "_" } else { "" }, word.text)
        };
        words.iter().map(word).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn spaces_come_from_the_text() {
        let letters = ["我", "用", "M", "L", "a", "b", "1", "6", "。"];
        assert_eq!(marked(&letters, " 我用 ML ab 16。", "zh"), "我|用| M|_L| a|_b| 1|_6|_。");
        assert_eq!(marked(&["Good", "day"], "Good day", "en"), " Good| day");
        assert_eq!(marked(&["「", "い", "っ", "」", "x"], "「いっ」 x", "ja"), "「|_い|_っ|_」| x");
        // Words that do not occur in the text.
        assert_eq!(marked(&["我", "X", "用"], "我用", "zh"), "我|X|用");
    }
}
