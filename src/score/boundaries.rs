//! Word boundary errors: how far the start and end times of words differ from the reference.

use super::text::{Step, align};
use crate::types::Span;

/// Absolute differences between the starts and ends of equal words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boundaries {
    /// All differences in seconds, ascending: two for each word.
    pub distances: Vec<f64>,
}

impl Boundaries {
    /// The mean difference in seconds; `None` if no words were compared.
    pub fn mean(&self) -> Option<f64> {
        let count = self.distances.len();
        (count > 0).then(|| self.distances.iter().sum::<f64>() / count as f64)
    }

    /// The `share` quantile of the differences in seconds, `share` in `[0, 1]`; `None` if no words were compared.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.distances.len().checked_sub(1)?;
        self.distances.get((share * last as f64).round() as usize).copied()
    }

    /// The share of the boundaries that differ by at most `seconds`; `None` if no words were compared.
    pub fn within(&self, seconds: f64) -> Option<f64> {
        let count = self.distances.len();
        (count > 0).then(|| self.distances.partition_point(|distance| *distance <= seconds) as f64 / count as f64)
    }
}

impl std::ops::Add for Boundaries {
    type Output = Boundaries;
    fn add(mut self, other: Boundaries) -> Boundaries {
        self.distances.extend(other.distances);
        self.distances.sort_by(f64::total_cmp);
        self
    }
}

/// Compares the times of the words that are paired and equal in the alignment with the fewest word errors. Words
/// without a time are skipped.
pub fn boundaries(reference: &[(String, Option<Span>)], hypothesis: &[(String, Option<Span>)]) -> Boundaries {
    let words =
        |list: &[(String, Option<Span>)]| -> Vec<String> { list.iter().map(|(word, _)| word.clone()).collect() };
    let mut distances = Vec::new();
    for step in align(&words(reference), &words(hypothesis)) {
        let Step::Both(a, b) = step else { continue };
        if let ((one, Some(a)), (other, Some(b))) = (&reference[a], &hypothesis[b])
            && one == other
        {
            distances.push((a.start.0 - b.start.0).abs());
            distances.push((a.end.0 - b.end.0).abs());
        }
    }
    distances.sort_by(f64::total_cmp);
    Boundaries { distances }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_words_with_times_count() {
        let word = |word: &str, start: f64, end: f64| (word.to_owned(), Some(Span::new(start, end)));
        let reference = [word("a", 0.0, 1.0), word("b", 1.0, 2.0), word("c", 2.0, 3.0), word("d", 3.0, 4.0)];
        let hypothesis = [word("a", 0.25, 1.0), word("x", 9.0, 9.5), ("c".to_owned(), None), word("d", 3.5, 4.75)];
        let found = boundaries(&reference, &hypothesis);
        assert_eq!(found.distances, [0.0, 0.25, 0.5, 0.75]);
        assert_eq!(found.mean(), Some(0.375));
        assert_eq!(found.within(0.25), Some(0.5));
        assert_eq!(found.quantile(1.0), Some(0.75));
        assert_eq!(boundaries(&[], &hypothesis).mean(), None);
    }
}
