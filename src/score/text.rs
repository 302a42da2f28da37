//! Word errors.

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

/// The alignment with the fewest errors. Of equals: the one that pairs words rather than leaving out and adding them.
pub(super) fn align<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<Step> {
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
    let mut steps = Vec::new();
    while row > 0 || column > 0 {
        let cost = costs[row * columns + column];
        if row > 0 && column > 0 && cost == costs[(row - 1) * columns + column - 1] + pair(row, column) {
            (row, column) = (row - 1, column - 1);
            steps.push(Step::Both(row, column));
        } else if row > 0 && cost == costs[(row - 1) * columns + column] + 1 {
            row -= 1;
            steps.push(Step::Deleted);
        } else {
            column -= 1;
            steps.push(Step::Inserted);
        }
    }
    steps.reverse();
    steps
}

/// The fewest errors that turn one list of words into the other.
pub fn errors<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Errors {
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
    fn what_counts_as_a_word() {
        assert_eq!(
            normalised("  \"Don’t,\" she said - twenty-one TIMES!"),
            ["don't", "she", "said", "twenty-one", "times"]
        );
    }
}
