//! PLDA transform: embeddings to features with independent components, with the between-speaker variance of each
//! component.
//!
//! Source: pyannote.audio 4.0.4 `utils/vbx.py::vbx_setup`.

use std::io::Cursor;
use std::path::Path;

use rayon::prelude::*;

use super::npz::Npz;
use crate::error::Result;

const TRANSFORM: &str = "xvec_transform.npz";
const PLDA: &str = "plda.npz";

/// The transform of pyannote's `plda/` folder, from embeddings `[D]` to features `[E]`.
#[derive(Clone, Debug)]
pub struct Plda {
    /// Mean embedding, `[D]`.
    mean1: Vec<f64>,
    /// Mean after the first projection, `[E]`.
    mean2: Vec<f64>,
    /// First projection, `[D, E]`.
    lda: Vec<f64>,
    /// Mean of the features, `[E]`.
    mu: Vec<f64>,
    /// Second projection, one row per feature, `[E, E]`.
    rows: Vec<f64>,
    /// Between-speaker variance of each feature, `[E]`, in descending order. The within-speaker variance is 1.
    phi: Vec<f64>,
}

impl Plda {
    /// Reads `xvec_transform.npz` and `plda.npz` from a folder.
    ///
    /// pyannote solves the generalised eigenproblem B v = l W v, where B = ((tr' / psi) tr)^-1 is the between-speaker
    /// covariance, W = (tr' tr)^-1 the within-speaker covariance, and v' W v = 1. Substituting v = tr' u cancels tr^-1
    /// on both sides and leaves psi u = l u. The eigenvectors are therefore exactly the rows of `tr` and the
    /// eigenvalues `psi`, up to the sign of each vector, which LAPACK chooses. No later step depends on the signs, so
    /// those of the file are kept.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) with the file and the array that is missing or invalid.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::of(&Npz::open(&folder.join(TRANSFORM))?, &Npz::open(&folder.join(PLDA))?)
    }

    /// As [`open`](Self::open), from the contents of the two files.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(transform: &[u8], plda: &[u8]) -> Result<Self> {
        let read = |name: &str, bytes| Npz::read(Path::new(name), Cursor::new(bytes));
        Self::of(&read(TRANSFORM, transform)?, &read(PLDA, plda)?)
    }

    fn of(transform: &Npz, plda: &Npz) -> Result<Self> {
        let [voice, size] = transform.array("lda")?.shape[..] else {
            return Err(transform.wrong("lda", "has not two axes"));
        };
        let psi = plda.values("psi", &[size])?;
        if let Some(bad) = psi.iter().find(|psi| !(**psi > 0.0)) {
            return Err(plda.wrong("psi", format!("has a variance of {bad}")));
        }
        let tr = plda.values("tr", &[size, size])?;
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| psi[b].total_cmp(&psi[a]));
        Ok(Plda {
            mean1: transform.values("mean1", &[voice])?.to_vec(),
            mean2: transform.values("mean2", &[size])?.to_vec(),
            lda: transform.values("lda", &[voice, size])?.to_vec(),
            mu: plda.values("mu", &[size])?.to_vec(),
            rows: order.iter().flat_map(|&row| &tr[row * size..(row + 1) * size]).copied().collect(),
            phi: order.iter().map(|&row| psi[row]).collect(),
        })
    }

    /// Between-speaker variance of each feature, `[E]`, in descending order.
    pub fn phi(&self) -> &[f64] {
        &self.phi
    }

    /// Dimension D of the embeddings.
    pub fn embedding_size(&self) -> usize {
        self.mean1.len()
    }

    /// Features `[N, E]` of embeddings `voices` `[N, D]`.
    pub fn features(&self, voices: &[f64]) -> Vec<f64> {
        voices.par_chunks_exact(self.embedding_size()).flat_map_iter(|voice| self.second(&self.first(voice))).collect()
    }

    /// The first projection, LDA: `[D]` to `[E]`. The embedding is centred and scaled to length sqrt(D), projected,
    /// centred again, and scaled to length sqrt(E).
    pub fn first(&self, voice: &[f64]) -> Vec<f64> {
        let mut centred: Vec<f64> = voice.iter().zip(&self.mean1).map(|(x, mean)| x - mean).collect();
        scale_to_sqrt_n(&mut centred);
        let mut out: Vec<f64> = self.mean2.iter().map(|mean| -mean).collect();
        for (x, row) in centred.iter().zip(self.lda.chunks_exact(out.len())) {
            for (out, weight) in out.iter_mut().zip(row) {
                *out += x * weight;
            }
        }
        scale_to_sqrt_n(&mut out);
        out
    }

    /// The second projection, `[E]` to `[E]`: centres the result of [`first`](Self::first) and diagonalises both
    /// covariances.
    pub fn second(&self, first: &[f64]) -> Vec<f64> {
        let centred: Vec<f64> = first.iter().zip(&self.mu).map(|(x, mu)| x - mu).collect();
        let row = |row: &[f64]| row.iter().zip(&centred).map(|(weight, x)| weight * x).sum();
        self.rows.chunks_exact(centred.len()).map(row).collect()
    }
}

/// Scales a vector of n components to length sqrt(n).
fn scale_to_sqrt_n(vector: &mut [f64]) {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let factor = (vector.len() as f64).sqrt() / length;
    vector.iter_mut().for_each(|x| *x *= factor);
}
