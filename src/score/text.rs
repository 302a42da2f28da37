//! WER: normalisation of words, alignment with the fewest errors, and word error counts.

use std::collections::HashMap;
use std::hash::Hash;

/// Word errors of a hypothesis, and the words of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Words of the reference.
    pub words: usize,
    /// Words of the reference that the hypothesis replaces by another word.
    pub substituted: usize,
    /// Words of the reference that the hypothesis lacks.
    pub deleted: usize,
    /// Words of the hypothesis that the reference lacks.
    pub inserted: usize,
}

impl Errors {
    /// All errors.
    pub fn total(self) -> usize {
        self.substituted + self.deleted + self.inserted
    }

    /// WER: errors per word of the reference. If the reference has no words: 0 without errors, else infinite.
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

/// One step of an alignment of two lists of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Indices of two paired words, in the reference and in the hypothesis: equal or substituted.
    Both(usize, usize),
    /// The next word of the reference is deleted.
    Deleted,
    /// The next word of the hypothesis is inserted.
    Inserted,
}

/// Largest table of costs, in cells; beyond it, the reference is split in halves. Ten hours of speech are 90,000 words
/// on either side.
const MAX_TABLE: usize = 1 << 24;

/// The alignment with the fewest errors. Ties: pairing two words wins over a deletion and an insertion.
pub(super) fn align<T: Eq + Hash>(reference: &[T], hypothesis: &[T]) -> Vec<Step> {
    let mut ids: HashMap<&T, u32> = HashMap::new();
    let all: Vec<u32> = reference
        .iter()
        .chain(hypothesis)
        .map(|word| {
            let next = ids.len() as u32;
            *ids.entry(word).or_insert(next)
        })
        .collect();
    let (reference, hypothesis) = all.split_at(reference.len());
    let mut steps = Vec::with_capacity(reference.len().max(hypothesis.len()));
    align_halves((reference, 0), (hypothesis, 0), MAX_TABLE, &mut steps);
    steps
}

/// Appends the alignment of two lists, each given with the index of its first word, to `steps`. The table of costs has
/// at most `most` cells, or two rows.
///
/// Source: Hirschberg (1975), "A linear space algorithm for computing maximal common subsequences".
fn align_halves(reference: (&[u32], usize), hypothesis: (&[u32], usize), most: usize, steps: &mut Vec<Step>) {
    let ((rows, row), (columns, column)) = (reference, hypothesis);
    if rows.len() < 2 || (rows.len() + 1).saturating_mul(columns.len() + 1) <= most {
        return align_whole(reference, hypothesis, steps);
    }
    let (first, second) = rows.split_at(rows.len() / 2);
    let before = costs(first.iter(), columns.iter());
    let after = costs(second.iter().rev(), columns.iter().rev());
    let cost = |split: &usize| before[*split] + after[columns.len() - split];
    let split = (0..=columns.len()).min_by_key(cost).unwrap_or(0);
    let (left, right) = columns.split_at(split);
    align_halves((first, row), (left, column), most, steps);
    align_halves((second, row + first.len()), (right, column + split), most, steps);
}

/// The fewest errors between the whole reference and each prefix of the hypothesis: the last row of the table.
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

/// [`align_halves`] without splitting: computes the whole table of costs and traces back.
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

/// The word errors of the alignment with the fewest errors (Levenshtein distance).
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
    fn split_and_whole_alignments_have_equally_many_errors() {
        let mut state = 7u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 29
        };
        for (rows, columns) in [(40, 37), (1, 30), (30, 1), (25, 0), (2, 2), (17, 60)] {
            let reference: Vec<u32> = (0..rows).map(|_| word()).collect();
            let hypothesis: Vec<u32> = (0..columns).map(|_| word()).collect();
            let count = |steps: &[Step]| -> usize {
                let wrong = |step: &&Step| !matches!(step, Step::Both(a, b) if reference[*a] == hypothesis[*b]);
                steps.iter().filter(wrong).count()
            };
            let (mut halves, mut whole) = (Vec::new(), Vec::new());
            align_halves((&reference, 0), (&hypothesis, 0), 8, &mut halves);
            align_whole((&reference, 0), (&hypothesis, 0), &mut whole);
            assert_eq!(count(&halves), count(&whole), "{rows} against {columns}");
            // Every word once, and in order.
            let mut next = (0, 0);
            for step in halves {
                match step {
                    Step::Both(a, b) => {
                        assert_eq!((a, b), next);
                        next = (a + 1, b + 1);
                    }
                    Step::Deleted => next.0 += 1,
                    Step::Inserted => next.1 += 1,
                }
            }
            assert_eq!(next, (rows, columns));
        }
    }

    #[test]
    fn words_are_normalised() {
        assert_eq!(
            normalised("  \"Don’t,\" she said - twenty-one TIMES!"),
            ["don't", "she", "said", "twenty-one", "times"]
        );
    }
}
