//! Flat clusters from a dendrogram, as SciPy's `fcluster` with a distance threshold.

pub use crate::engine::cluster::Merge;

/// The cluster of each point, `[N]`, for N - 1 `merges`: two points share a cluster if no merge below their common
/// merge, that one included, has a height above `limit`. `heights` has one value for each merge. Clusters are numbered
/// from 0, in the order of SciPy's `fcluster(criterion="distance")`.
pub fn cut(merges: &[Merge], heights: &[f64], limit: f64) -> Vec<usize> {
    let points = merges.len() + 1;
    // The greatest height in each subtree. Centroid linkage is not monotonic: a merge may be lower than those below it.
    let mut tops: Vec<f64> = Vec::with_capacity(merges.len());
    for (merge, &height) in merges.iter().zip(heights) {
        let below = [merge.left, merge.right].into_iter().filter_map(|child| child.checked_sub(points));
        tops.push(below.fold(height, |top, child| top.max(tops[child])));
    }
    let mut labels = vec![0; points];
    let mut found = 0;
    // Depth first from the root, left before right. Points that are direct children of a merge are numbered after its
    // subtrees. Entries: merge, label of the flat cluster that contains it, and whether its subtrees are done.
    let mut stack: Vec<(usize, Option<usize>, bool)> =
        merges.len().checked_sub(1).map(|root| (root, None, false)).into_iter().collect();
    while let Some((at, whole, done)) = stack.pop() {
        let Merge { left, right, .. } = merges[at];
        if done {
            for point in [left, right].into_iter().filter(|child| *child < points) {
                labels[point] = whole.unwrap_or_else(|| {
                    found += 1;
                    found - 1
                });
            }
            continue;
        }
        let whole = whole.or_else(|| {
            (tops[at] <= limit).then(|| {
                found += 1;
                found - 1
            })
        });
        stack.push((at, whole, true));
        stack
            .extend([right, left].into_iter().filter_map(|child| child.checked_sub(points)).map(|c| (c, whole, false)));
    }
    labels
}
