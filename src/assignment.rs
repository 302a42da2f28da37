//! Linear assignment with the Hungarian algorithm: one-to-one pairs of rows and columns with the greatest total score.

/// Solves the linear assignment problem: pairs rows with columns one to one so that the sum of their `scores`
/// (`[rows, columns]`, row-major) is greatest. Returns the column of each row; `None` marks the rows that stay unpaired
/// when there are more rows than columns. All scores must be finite.
///
/// Shortest augmenting paths with potentials: Kuhn (1955), Munkres (1957); O(n^2 m) for n rows and m columns, n <= m.
pub(crate) fn best_pairs(scores: &[f64], rows: usize, columns: usize) -> Vec<Option<usize>> {
    if rows <= columns {
        let cost = |row: usize, column: usize| -scores[row * columns + column];
        return pair(rows, columns, cost).into_iter().map(Some).collect();
    }
    let mut column_of_row = vec![None; rows];
    let cost = |row: usize, column: usize| -scores[column * columns + row];
    for (column, row) in pair(columns, rows, cost).into_iter().enumerate() {
        column_of_row[row] = Some(column);
    }
    column_of_row
}

/// The column of each row in the assignment with the least total cost. Requires `rows <= columns`.
fn pair(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let mut row_potential = vec![0.0; rows];
    let mut potential = vec![0.0; columns];
    let mut row_of: Vec<Option<usize>> = vec![None; columns];
    for start in 0..rows {
        // Dijkstra over columns, from the free row `start` to the nearest free column.
        let mut reach = vec![f64::INFINITY; columns];
        let mut from: Vec<Option<usize>> = vec![None; columns];
        let mut done = vec![false; columns];
        let (mut row, mut last) = (start, None);
        let end = loop {
            let mut next = None;
            let mut least = f64::INFINITY;
            for column in (0..columns).filter(|&column| !done[column]) {
                let reduced = cost(row, column) - row_potential[row] - potential[column];
                if reduced < reach[column] {
                    (reach[column], from[column]) = (reduced, last);
                }
                if next.is_none() || reach[column] < least {
                    (least, next) = (reach[column], Some(column));
                }
            }
            let Some(column) = next else { return Vec::new() };
            row_potential[start] += least;
            for other in 0..columns {
                if done[other] {
                    potential[other] -= least;
                    if let Some(paired) = row_of[other] {
                        row_potential[paired] += least;
                    }
                } else {
                    reach[other] -= least;
                }
            }
            done[column] = true;
            last = Some(column);
            match row_of[column] {
                Some(paired) => row = paired,
                None => break column,
            }
        };
        // Augment: every column on the path takes the row of its predecessor; the first column takes `start`.
        let mut column = end;
        while let Some(before) = from[column] {
            row_of[column] = row_of[before];
            column = before;
        }
        row_of[column] = Some(start);
    }
    let mut column_of = vec![0; rows];
    for (column, row) in row_of.into_iter().enumerate() {
        if let Some(row) = row {
            column_of[row] = column;
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best total score over all pairings, by exhaustive search. `spare` is how many rows may stay unpaired.
    fn brute_force(scores: &[f64], rows: usize, columns: usize, row: usize, used: &mut Vec<bool>, spare: usize) -> f64 {
        if row == rows {
            return 0.0;
        }
        let mut best = f64::NEG_INFINITY;
        if spare > 0 {
            best = brute_force(scores, rows, columns, row + 1, used, spare - 1);
        }
        for column in 0..columns {
            if !used[column] {
                used[column] = true;
                let rest = brute_force(scores, rows, columns, row + 1, used, spare);
                best = best.max(scores[row * columns + column] + rest);
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn no_other_pairing_is_better() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % 7) as f64 - 3.0 // few values: many ties
        };
        for rows in 1..6 {
            for columns in 1..6 {
                for _ in 0..20 {
                    let scores: Vec<f64> = (0..rows * columns).map(|_| random()).collect();
                    let pairs = best_pairs(&scores, rows, columns);
                    let mut used = vec![false; columns];
                    let mut total = 0.0;
                    for (row, column) in pairs.iter().enumerate() {
                        if let Some(column) = *column {
                            assert!(!std::mem::replace(&mut used[column], true), "{column} twice");
                            total += scores[row * columns + column];
                        }
                    }
                    assert_eq!(used.iter().filter(|used| **used).count(), rows.min(columns));
                    let spare = rows.saturating_sub(columns);
                    let best = brute_force(&scores, rows, columns, 0, &mut vec![false; columns], spare);
                    assert!((total - best).abs() < 1e-9, "{scores:?}: {total} < {best}");
                }
            }
        }
    }
}
