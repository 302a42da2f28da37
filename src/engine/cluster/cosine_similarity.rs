//! Cosine similarity of embeddings and centroids.

use rayon::prelude::*;

use super::in_lanes;

pub(super) fn cosine_similarity(embeddings: &[f32], centroids: &[f64], size: usize) -> Vec<f64> {
    let lengths: Vec<f64> =
        centroids.chunks_exact(size).map(|centroid| in_lanes(centroid, centroid, |a, b| a * b).sqrt()).collect();
    let of_voice = |embedding: &[f32]| {
        let own = in_lanes(embedding, embedding, |a, b| f64::from(a) * f64::from(b)).sqrt();
        let to = |(centroid, length): (&[f64], &f64)| {
            1.0 + in_lanes(embedding, centroid, |a, b| f64::from(a) * b) / (own * length)
        };
        centroids.chunks_exact(size).zip(&lengths).map(to).collect::<Vec<f64>>()
    };
    embeddings.par_chunks_exact(size).flat_map_iter(of_voice).collect()
}
