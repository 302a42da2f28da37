//! Word errors.

use std::collections::HashMap;
use std::hash::Hash;

/// Words of the reference, and what is wrong in the hypothesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Words of the reference.
    pub words: usize,
    /// Words that stand for others.
    pub substituted: usize,
    /// Words left out.
    pub deleted: usize,
    /// Words that nobody said.
    pub inserted: usize,
}

impl Errors {
    /// All errors.
    pub fn total(self) -> usize {
        self.substituted + self.deleted + self.inserted
    }

    /// Errors per word of the reference. Without any word: zero without errors, else infinite.
    pub fn rate(self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.total() as f64 / self.words as f64 }
    }
}

impl std::ops::Add for Errors {
    type Output = Errors;
    fn add(self, other: Errors) -> Errors {
        Errors {
            words: self.words + other.words,
            substituted: self.substituted + other.substituted,
            deleted: self.deleted + other.deleted,
            inserted: self.inserted + other.inserted,
        }
    }
}

/// The words of a text in lower case and without punctuation; apostrophes and hyphens within a word stay.
pub fn normalised(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let kept = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '-');
        let word: String = word.to_lowercase().replace('’', "'").chars().filter(|&c| kept(c)).collect();
        word.trim_matches(['\'', '-']).to_owned()
    };
    text.split_whitespace().map(word).filter(|word| !word.is_empty()).collect()
}

/// One step of an alignment of two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Places in the reference and in the hypothesis: equal or substituted.
    Both(usize, usize),
    /// Place in the reference of what was left out.
    Deleted,
    /// What was added.
    Inserted,
}

/// Places of the whole table that is kept; beyond it, half of the reference is aligned at a time. Ten hours of speech are
/// 90,000 words on either side.
const TABLE: usize = 1 << 24;

/// The alignment with the fewest errors. Of equals: the one that pairs words rather than leaving out and adding them.
pub(super) fn align<T: Eq + Hash>(reference: &[T], hypothesis: &[T]) -> Vec<Step> {
    let mut numbers: HashMap<&T, u32> = HashMap::new();
    let all: Vec<u32> = reference
        .iter()
        .chain(hypothesis)
        .map(|word| {
            let next = numbers.len() as u32;
            *numbers.entry(word).or_insert(next)
        })
        .collect();
    let (reference, hypothesis) = all.split_at(reference.len());
    let mut steps = Vec::with_capacity(reference.len().max(hypothesis.len()));
    align_halves((reference, 0), (hypothesis, 0), TABLE, &mut steps);
    steps
}

/// Appends the alignment of words that stand from a place on, in a table of at most `most` places or two rows.
///
/// Hirschberg (1975), "A linear space algorithm for computing maximal common subsequences".
fn align_halves(reference: (&[u32], usize), hypothesis: (&[u32], usize), most: usize, steps: &mut Vec<Step>) {
    let ((said, row), (heard, column)) = (reference, hypothesis);
    if said.len() < 2 || (said.len() + 1).saturating_mul(heard.len() + 1) <= most {
        return align_whole(reference, hypothesis, steps);
    }
    let (first, second) = said.split_at(said.len() / 2);
    let before = costs(first.iter(), heard.iter());
    let after = costs(second.iter().rev(), heard.iter().rev());
    let cost = |split: &usize| before[*split] + after[heard.len() - split];
    let split = (0..=heard.len()).min_by_key(cost).unwrap_or(0);
    let (begun, rest) = heard.split_at(split);
    align_halves((first, row), (begun, column), most, steps);
    align_halves((second, row + first.len()), (rest, column + split), most, steps);
}

/// The fewest errors between all of the reference and each beginning of the hypothesis.
fn costs<'a>(reference: impl Iterator<Item = &'a u32>, hypothesis: impl Iterator<Item = &'a u32> + Clone) -> Vec<u32> {
    let mut row: Vec<u32> = (0..=hypothesis.clone().count() as u32).collect();
    for word in reference {
        let mut diagonal = row[0];
        row[0] += 1;
        for (at, other) in hypothesis.clone().enumerate() {
            let paired = diagonal + u32::from(word != other);
            diagonal = row[at + 1];
            row[at + 1] = paired.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row
}

/// The same of the whole table.
fn align_whole((reference, first): (&[u32], usize), (hypothesis, second): (&[u32], usize), steps: &mut Vec<Step>) {
    let (rows, columns) = (reference.len() + 1, hypothesis.len() + 1);
    let mut costs = vec![0u32; rows * columns];
    let pair = |row: usize, column: usize| u32::from(reference[row - 1] != hypothesis[column - 1]);
    for row in 0..rows {
        for column in 0..columns {
            costs[row * columns + column] = match (row, column) {
                (0, other) | (other, 0) => other as u32,
                _ => {
                    let above = (row - 1) * columns + column;
                    let paired = costs[above - 1] + pair(row, column);
                    paired.min(costs[above] + 1).min(costs[row * columns + column - 1] + 1)
                }
            };
        }
    }
    let (mut row, mut column) = (reference.len(), hypothesis.len());
    let begin = steps.len();
    while row > 0 || column > 0 {
        let cost = costs[row * columns + column];
        if row > 0 && column > 0 && cost == costs[(row - 1) * columns + column - 1] + pair(row, column) {
            (row, column) = (row - 1, column - 1);
            steps.push(Step::Both(first + row, second + column));
        } else if row > 0 && cost == costs[(row - 1) * columns + column] + 1 {
            row -= 1;
            steps.push(Step::Deleted);
        } else {
            column -= 1;
            steps.push(Step::Inserted);
        }
    }
    steps[begin..].reverse();
}

/// The fewest errors that turn one list of words into the other.
pub fn errors<T: Eq + Hash>(reference: &[T], hypothesis: &[T]) -> Errors {
    let mut errors = Errors { words: reference.len(), ..Errors::default() };
    for step in align(reference, hypothesis) {
        match step {
            Step::Both(a, b) => errors.substituted += usize::from(reference[a] != hypothesis[b]),
            Step::Deleted => errors.deleted += 1,
            Step::Inserted => errors.inserted += 1,
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_counted_by_hand() {
        let count = |reference: &str, hypothesis: &str| errors(&normalised(reference), &normalised(hypothesis));
        let of = |words, substituted, deleted, inserted| Errors { words, substituted, deleted, inserted };
        assert_eq!(count("Good morning, Anna.", "good morning anna"), of(3, 0, 0, 0));
        assert_eq!(count("a b c d", "a x c"), of(4, 1, 1, 0));
        assert_eq!(count("a b", "a b c d"), of(2, 0, 0, 2));
        assert_eq!(count("", "a"), of(0, 0, 0, 1));
        assert_eq!(count("a b c", ""), of(3, 0, 3, 0));
        assert_eq!(of(4, 1, 1, 0).rate(), 0.5);
        assert_eq!(of(0, 0, 0, 0).rate(), 0.0);
        assert_eq!(of(0, 0, 0, 1).rate(), f64::INFINITY);
    }

    #[test]
    fn halves_have_as_few_errors_as_the_whole() {
        let mut state = 7u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 29
        };
        for (said, heard) in [(40, 37), (1, 30), (30, 1), (25, 0), (2, 2), (17, 60)] {
            let reference: Vec<u32> = (0..said).map(|_| word()).collect();
            let hypothesis: Vec<u32> = (0..heard).map(|_| word()).collect();
            let count = |steps: &[Step]| -> usize {
                let wrong = |step: &&Step| !matches!(step, Step::Both(a, b) if reference[*a] == hypothesis[*b]);
                steps.iter().filter(wrong).count()
            };
            let (mut halves, mut whole) = (Vec::new(), Vec::new());
            align_halves((&reference, 0), (&hypothesis, 0), 8, &mut halves);
            align_whole((&reference, 0), (&hypothesis, 0), &mut whole);
            assert_eq!(count(&halves), count(&whole), "{said} against {heard}");
            // Every word once, and in order.
            let mut places = (0, 0);
            for step in halves {
                match step {
                    Step::Both(a, b) => {
                        assert_eq!((a, b), places);
                        places = (a + 1, b + 1);
                    }
                    Step::Deleted => places.0 += 1,
                    Step::Inserted => places.1 += 1,
                }
            }
            assert_eq!(places, (said, heard));
        }
    }

    #[test]
    fn what_counts_as_a_word() {
        assert_eq!(
            normalised("  \"Don’t,\" she said - twenty-one TIMES!"),
            ["don't", "she", "said", "twenty-one", "times"]
        );
    }
}
