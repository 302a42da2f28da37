//! cpWER: concatenated minimum-permutation word error rate.

use std::collections::BTreeMap;
use std::hash::Hash;

use super::text::{Errors, errors};
use crate::assignment::best_pairs;

/// The word errors of cpWER. Each speaker is the list of all their words. The speakers of reference and hypothesis are
/// paired so that the total number of errors is smallest. All words of a speaker without a counterpart are deletions or
/// insertions.
///
/// Source: Watanabe et al. (2020), "CHiME-6 challenge".
pub fn cp_errors<T: Eq + Hash>(reference: &BTreeMap<String, Vec<T>>, hypothesis: &BTreeMap<String, Vec<T>>) -> Errors {
    let size = reference.len().max(hypothesis.len());
    let (reference, hypothesis) = (padded(reference, size), padded(hypothesis, size));
    let pairs: Vec<Errors> =
        reference.iter().flat_map(|own| hypothesis.iter().map(|other| errors(own, other))).collect();
    let scores: Vec<f64> = pairs.iter().map(|errors| -(errors.total() as f64)).collect();
    let best = best_pairs(&scores, size, size).into_iter().enumerate();
    best.filter_map(|(row, column)| Some(pairs[row * size + column?])).fold(Errors::default(), |sum, one| sum + one)
}

/// The lists, padded with empty ones to `size` lists.
fn padded<T>(lists: &BTreeMap<String, Vec<T>>, size: usize) -> Vec<&[T]> {
    let mut all: Vec<&[T]> = lists.values().map(Vec::as_slice).collect();
    all.resize(size, &[]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(lists: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        lists.iter().map(|(speaker, text)| ((*speaker).to_owned(), words(text))).collect()
    }

    #[test]
    fn errors_counted_by_hand() {
        let count = |a: &[(&str, &str)], b: &[(&str, &str)]| cp_errors(&lists(a), &lists(b));
        let reference = [("Ann", "a b c"), ("Bob", "d e")];
        // Names do not matter.
        assert_eq!(count(&reference, &[("1", "d e"), ("2", "a b c")]).total(), 0);
        // `d` is assigned to the other speaker: one insertion there, one deletion here.
        let errors = count(&reference, &[("1", "e"), ("2", "a b c d")]);
        assert_eq!((errors.words, errors.inserted, errors.deleted), (5, 1, 1));
        // One speaker for both: Bob's words are deletions, and insertions for Ann.
        assert_eq!(count(&reference, &[("1", "a b c d e")]).total(), 4);
        // A third speaker who is not in the reference.
        assert_eq!(count(&reference, &[("1", "a b"), ("2", "d e"), ("3", "c")]).total(), 2);
        assert_eq!(count(&[], &[("1", "a")]).inserted, 1);
        assert_eq!(count(&[], &[]), Errors::default());
    }
}
