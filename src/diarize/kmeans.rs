//! k-means clustering, used if the number of speakers that VBx found is outside the requested bounds.
//!
//! The best of three runs of Lloyd's algorithm with k-means++ initialisation (Arthur and Vassilvitskii 2007). It draws
//! the same random numbers in the same order as scikit-learn's `KMeans(n_init=3, random_state=42)`, to find the same
//! clusters.

const STARTS: usize = 3;
const SEED: u32 = 42;
const MAX_ITERATIONS: usize = 300;
/// Movement of the centres below which the iterations end, relative to the variance of the points.
const TOLERANCE: f64 = 1e-4;

/// The cluster of each of the `points` `[N, D]`, D = `dim`; `clusters` is at most N.
pub fn kmeans(points: &[f64], dim: usize, clusters: usize) -> Vec<usize> {
    let count = points.len() / dim;
    let mut mean = vec![0.0; dim];
    for point in points.chunks_exact(dim) {
        mean.iter_mut().zip(point).for_each(|(mean, x)| *mean += x / count as f64);
    }
    let points: Vec<f64> =
        points.chunks_exact(dim).flat_map(|p| p.iter().zip(&mean).map(|(x, mean)| x - mean)).collect();
    let tolerance = TOLERANCE * points.iter().map(|x| x * x).sum::<f64>() / points.len() as f64;
    let mut random = Twister::new(SEED);
    let mut best: Option<(f64, Vec<usize>)> = None;
    for _ in 0..STARTS {
        let centres = initial_centres(&points, dim, clusters, &mut random);
        let (cost, labels) = lloyd(&points, dim, centres, tolerance);
        if best.as_ref().is_none_or(|(least, other)| cost < *least && !same_clusters(&labels, other, clusters)) {
            best = Some((cost, labels));
        }
    }
    best.map_or_else(Vec::new, |(_, labels)| labels)
}

/// Greedy k-means++ initialisation. For each centre, draws a few candidate points with probabilities proportional to
/// their squared distance to the nearest centre so far, and takes the candidate with the lowest cost.
fn initial_centres(points: &[f64], dim: usize, clusters: usize, random: &mut Twister) -> Vec<f64> {
    let count = points.len() / dim;
    let candidates = 2 + (clusters as f64).ln() as usize;
    // The first centre is uniform. NumPy's `choice` searches the cumulative sums, so their rounding errors matter.
    let even: Vec<f64> = cumulate(std::iter::repeat_n(1.0 / count as f64, count));
    let (last, draw) = (even[count - 1], random.unit());
    let first = even.partition_point(|sum| sum / last <= draw).min(count - 1);
    let mut centres = points[first * dim..(first + 1) * dim].to_vec();
    let mut nearest: Vec<f64> = points.chunks_exact(dim).map(|point| squared_distance(point, &centres)).collect();
    for _ in 1..clusters {
        let total: f64 = nearest.iter().sum();
        let draws: Vec<f64> = (0..candidates).map(|_| random.unit() * total).collect();
        let sums = cumulate(nearest.iter().copied());
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for draw in draws {
            let candidate = sums.partition_point(|sum| *sum < draw).min(count - 1);
            let centre = &points[candidate * dim..(candidate + 1) * dim];
            let closer = |(point, nearest): (&[f64], &f64)| squared_distance(point, centre).min(*nearest);
            let closer: Vec<f64> = points.chunks_exact(dim).zip(&nearest).map(closer).collect();
            let cost: f64 = closer.iter().sum();
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, candidate, closer));
            }
        }
        if let Some((_, candidate, closer)) = best {
            centres.extend_from_slice(&points[candidate * dim..(candidate + 1) * dim]);
            nearest = closer;
        }
    }
    centres
}

/// Lloyd's algorithm: moves each centre to the mean of its points until the labels settle. Returns the cost (the sum of
/// squared distances to the nearest centre) and the labels.
fn lloyd(points: &[f64], dim: usize, mut centres: Vec<f64>, tolerance: f64) -> (f64, Vec<usize>) {
    let mut labels = Vec::new();
    let mut settled = false;
    for _ in 0..MAX_ITERATIONS {
        let now = nearest_centres(points, dim, &centres);
        let moved = means(points, dim, &now, &centres);
        let movement = squared_distance(&moved, &centres);
        centres = moved;
        settled = now == labels;
        labels = now;
        if settled || movement <= tolerance {
            break;
        }
    }
    if !settled {
        labels = nearest_centres(points, dim, &centres);
    }
    let cost = |(point, &label): (&[f64], &usize)| squared_distance(point, &centres[label * dim..(label + 1) * dim]);
    (points.chunks_exact(dim).zip(&labels).map(cost).sum(), labels)
}

fn nearest_centres(points: &[f64], dim: usize, centres: &[f64]) -> Vec<usize> {
    let nearest = |point: &[f64]| {
        let distances = centres.chunks_exact(dim).map(|centre| squared_distance(point, centre));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(label, _)| label)
    };
    points.chunks_exact(dim).map(nearest).collect()
}

/// The mean of each cluster. An empty cluster takes the point that is farthest from its own centre.
fn means(points: &[f64], dim: usize, labels: &[usize], centres: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; centres.len()];
    let mut sizes = vec![0usize; centres.len() / dim];
    for (point, &label) in points.chunks_exact(dim).zip(labels) {
        sizes[label] += 1;
        sums[label * dim..(label + 1) * dim].iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
    }
    let empty: Vec<usize> = (0..sizes.len()).filter(|&cluster| sizes[cluster] == 0).collect();
    if !empty.is_empty() {
        let away = |at: usize| {
            squared_distance(&points[at * dim..(at + 1) * dim], &centres[labels[at] * dim..(labels[at] + 1) * dim])
        };
        let mut far: Vec<usize> = (0..labels.len()).collect();
        far.sort_by(|&a, &b| away(b).total_cmp(&away(a)));
        for (cluster, at) in empty.into_iter().zip(far) {
            let old = labels[at];
            for i in 0..dim {
                sums[old * dim + i] -= points[at * dim + i];
                sums[cluster * dim + i] = points[at * dim + i];
            }
            (sizes[old], sizes[cluster]) = (sizes[old] - 1, 1);
        }
    }
    sums.iter().enumerate().map(|(at, sum)| sum / sizes[at / dim].max(1) as f64).collect()
}

/// Whether two labellings are the same partition, up to the numbering of the clusters.
fn same_clusters(a: &[usize], b: &[usize], clusters: usize) -> bool {
    let mut to = vec![None; clusters];
    a.iter().zip(b).all(|(&a, &b)| *to[a].get_or_insert(b) == b)
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn cumulate(values: impl Iterator<Item = f64>) -> Vec<f64> {
    values
        .scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        })
        .collect()
}

/// The Mersenne twister MT19937 (Matsumoto and Nishimura 1998), seeded as NumPy's `RandomState`.
struct Twister {
    state: [u32; Self::SIZE],
    next: usize,
}

impl Twister {
    const SIZE: usize = 624;
    const SHIFT: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = [seed; Self::SIZE];
        for i in 1..Self::SIZE {
            let before = state[i - 1];
            state[i] = (before ^ (before >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Twister { state, next: Self::SIZE }
    }

    fn word(&mut self) -> u32 {
        if self.next == Self::SIZE {
            for i in 0..Self::SIZE {
                let joined = self.state[i] & 0x8000_0000 | self.state[(i + 1) % Self::SIZE] & 0x7fff_ffff;
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + Self::SHIFT) % Self::SIZE] ^ (joined >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    /// A uniform number in `[0, 1)` with 53 random bits, as NumPy's `random_sample`.
    fn unit(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.random.RandomState(42).random_sample(3)`.
    #[test]
    fn random_numbers_are_numpys() {
        let mut random = Twister::new(42);
        assert_eq!(
            [random.unit(), random.unit(), random.unit()],
            [0.374_540_118_847_362_5, 0.950_714_306_409_916_2, 0.731_993_941_811_405_1]
        );
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_point() {
        let points = [0.0, 0.25, 0.5, 9.0];
        assert_eq!(means(&points, 1, &[0, 0, 0, 0], &[0.0, 50.0]), [0.25, 9.0]);
    }

    #[test]
    fn as_many_clusters_as_points() {
        let mut labels = kmeans(&[0.0, 5.0, 1.0, 7.0, 9.0], 1, 5);
        labels.sort_unstable();
        assert_eq!(labels, [0, 1, 2, 3, 4]);
    }
}
