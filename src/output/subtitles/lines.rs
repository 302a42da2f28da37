//! Line breaking of cues: greedy and balanced.

use super::Spaces;
use super::group::unit;
use super::placed::Placed;

/// Greedy line breaking: a line breaks where the next word does not fit.
pub(super) fn fill(words: &mut [Placed], width: usize, spaces: Spaces) {
    let mut line = 0;
    for index in 0..words.len() {
        let (length, unit, gap) = (words[index].length(), unit(&words[index..], spaces), words[index].gap(spaces));
        let word = &mut words[index];
        word.breaks_line = index > 0 && !word.glued && line + gap + unit > width;
        line = if index > 0 && !word.breaks_line { line + gap + length } else { length };
    }
}

/// Balanced line breaking: as few lines as [`fill`] needs, as equal in length as possible. No line is longer than
/// `width`, unless a single word is.
///
/// Among all breaks with the fewest lines, the one with the smallest sum of squared line lengths is chosen by dynamic
/// programming, as in Knuth and Plass 1981. Ties: the break with the shorter upper line wins, since the table is filled
/// from the last word to the first.
pub(super) fn balance(words: &mut [Placed], width: usize, spaces: Spaces) {
    let lengths: Vec<usize> = words.iter().map(Placed::length).collect();
    // For the text from each word on: number of lines, sum of squares, and the index of the word after its first line.
    let mut best: Vec<(usize, u128, usize)> = vec![(0, 0, 0); words.len() + 1];
    for from in (0..words.len()).rev() {
        let (mut line, mut chosen) = (0, (usize::MAX, u128::MAX, 0));
        for (to, rest) in best.iter().enumerate().skip(from + 1) {
            line += lengths[to - 1] + if to > from + 1 { words[to - 1].gap(spaces) } else { 0 };
            // A line of a single unit (a word and those that must stay with it) may be wider.
            if line > width && chosen.0 != usize::MAX {
                break;
            }
            if words.get(to).is_some_and(|next| next.glued) {
                continue;
            }
            let candidate = (rest.0 + 1, rest.1.saturating_add((line as u128).pow(2)), to);
            if (candidate.0, candidate.1) < (chosen.0, chosen.1) {
                chosen = candidate;
            }
        }
        best[from] = chosen;
    }
    words.iter_mut().for_each(|word| word.breaks_line = false);
    let mut at = 0;
    while at < words.len() {
        at = best[at].2;
        if let Some(word) = words.get_mut(at) {
            word.breaks_line = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str, width: usize, rule: fn(&mut [Placed], usize, Spaces)) -> String {
        let word = |text| Placed { breaks_line: true, ..Placed::new(text) };
        let mut words: Vec<Placed> = text.split(' ').map(word).collect();
        rule(&mut words, width, Spaces::Counted);
        let mut out = String::new();
        for (index, word) in words.iter().enumerate() {
            out.push_str(if word.breaks_line {
                "/"
            } else if index > 0 {
                " "
            } else {
                ""
            });
            out.push_str(word.text);
        }
        out
    }

    #[test]
    fn lines_are_filled_or_balanced() {
        let text = "I need three more days to do it";
        assert_eq!(broken(text, 24, fill), "I need three more days/to do it");
        assert_eq!(broken(text, 24, balance), "I need three more/days to do it");
        assert_eq!(broken("aaa bb cc ddd", 6, balance), "aaa bb/cc ddd");
        assert_eq!(broken("a extraordinarily b", 5, balance), "a/extraordinarily/b");
        assert_eq!(broken("short", 40, balance), "short");
    }

    #[test]
    fn balanced_lines_are_no_more_and_no_longer_than_filled_ones() {
        let words = ["on", "a", "dark", "night", "extraordinary", "things", "to", "see", "I", "went"];
        for seed in 0..200usize {
            let picked: Vec<&str> =
                (0..3 + seed % 17).map(|i| words[(seed * 7 + i * i * 3 + i) % words.len()]).collect();
            let (text, width) = (picked.join(" "), 13 + seed % 20);
            let [filled, balanced] = [fill, balance].map(|rule| broken(&text, width, rule));
            assert_eq!(balanced.replace('/', " "), text);
            let lines = |text: &str| text.split('/').map(str::len).collect::<Vec<_>>();
            assert_eq!(lines(&balanced).len(), lines(&filled).len(), "{balanced} | {filled}");
            assert!(lines(&balanced).iter().max() <= lines(&filled).iter().max(), "{balanced} | {filled}");
        }
    }
}
