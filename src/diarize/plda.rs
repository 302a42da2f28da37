//! PLDA: voices to features in which speakers differ along independent axes, and how much along each.

use std::io::Cursor;
use std::path::Path;

use rayon::prelude::*;

use super::npz::Npz;
use crate::error::Result;

const TRANSFORM: &str = "xvec_transform.npz";
const PLDA: &str = "plda.npz";

/// The transform of pyannote's `plda/` folder, for voices of D numbers and features of E.
#[derive(Clone, Debug)]
pub struct Plda {
    /// Mean voice, `[D]`.
    mean1: Vec<f64>,
    /// Mean after the first projection, `[E]`.
    mean2: Vec<f64>,
    /// First projection, `[D, E]`.
    lda: Vec<f64>,
    /// Mean of the features, `[E]`.
    mu: Vec<f64>,
    /// Second projection, one row per feature, `[E, E]`.
    rows: Vec<f64>,
    /// Variance between speakers of each feature, `[E]`, falling; that within a speaker is one.
    phi: Vec<f64>,
}

impl Plda {
    /// Reads `xvec_transform.npz` and `plda.npz`.
    ///
    /// pyannote solves the generalised eigenproblem B v = l W v of the covariances between speakers,
    /// B = ((tr' / psi) tr)^-1, and within them, W = (tr' tr)^-1, with v' W v = 1. With v = tr' u both sides lose their
    /// factor tr^-1 and what remains is psi u = l u: the eigenvectors are the rows of `tr` and the eigenvalues `psi`,
    /// exactly, up to the sign of each vector, which is whatever LAPACK returns. All later steps are even in each
    /// feature's sign, so the signs of the file are kept.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::of(&Npz::open(&folder.join(TRANSFORM))?, &Npz::open(&folder.join(PLDA))?)
    }

    /// The same of the bytes of the two files.
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

    /// Variance between speakers of each feature, `[E]`.
    pub fn phi(&self) -> &[f64] {
        &self.phi
    }

    /// Numbers of a voice.
    pub fn embedding_size(&self) -> usize {
        self.mean1.len()
    }

    /// Features `[N, E]` of voices `[N, D]`.
    pub fn features(&self, voices: &[f64]) -> Vec<f64> {
        voices.par_chunks_exact(self.embedding_size()).flat_map_iter(|voice| self.second(&self.first(voice))).collect()
    }

    /// A voice centred, brought to the length sqrt(D), projected, centred, and brought to the length sqrt(E).
    pub fn first(&self, voice: &[f64]) -> Vec<f64> {
        let mut centred: Vec<f64> = voice.iter().zip(&self.mean1).map(|(x, mean)| x - mean).collect();
        stretch(&mut centred);
        let mut out: Vec<f64> = self.mean2.iter().map(|mean| -mean).collect();
        for (x, row) in centred.iter().zip(self.lda.chunks_exact(out.len())) {
            for (out, weight) in out.iter_mut().zip(row) {
                *out += x * weight;
            }
        }
        stretch(&mut out);
        out
    }

    /// The result of [`first`](Self::first) centred, and projected so that the features are independent.
    pub fn second(&self, first: &[f64]) -> Vec<f64> {
        let centred: Vec<f64> = first.iter().zip(&self.mu).map(|(x, mu)| x - mu).collect();
        let row = |row: &[f64]| row.iter().zip(&centred).map(|(weight, x)| weight * x).sum();
        self.rows.chunks_exact(centred.len()).map(row).collect()
    }
}

/// Scales a vector of n numbers to the length sqrt(n).
fn stretch(vector: &mut [f64]) {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let factor = (vector.len() as f64).sqrt() / length;
    vector.iter_mut().for_each(|x| *x *= factor);
}
