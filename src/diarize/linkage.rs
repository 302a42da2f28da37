//! Cutting a hierarchical clustering into flat clusters.

pub use crate::engine::cluster::Merge;

/// The cluster of each point, numbered as SciPy's `fcluster` does but from 0, when only those clusters stay whole in
/// which no merge has a `height` above `limit`. `heights` has one number for each merge.
pub fn cut(merges: &[Merge], heights: &[f64], limit: f64) -> Vec<usize> {
    let points = merges.len() + 1;
    // The greatest height within a cluster: centroids may come closer by a merge, so the top is not enough.
    let mut tops: Vec<f64> = Vec::with_capacity(merges.len());
    for (merge, &height) in merges.iter().zip(heights) {
        let below = [merge.left, merge.right].into_iter().filter_map(|child| child.checked_sub(points));
        tops.push(below.fold(height, |top, child| top.max(tops[child])));
    }
    let mut labels = vec![0; points];
    let mut found = 0;
    // From the root down, left before right; a merge's own points are numbered after the points of its sub-clusters.
    // The entry: the merge, the label of the whole cluster it belongs to, and whether its sub-clusters are done.
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
