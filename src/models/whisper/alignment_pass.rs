//! Cross-attention weights of the alignment heads in a decoder pass over known tokens, as a matrix `[tokens, frames]`
//! for dynamic time warping ([`time_warp`](crate::engine::time_warp::time_warp)).
//!
//! The keys are projected again from the encoder's output, for one layer and one clip at a time, whatever the decoder's
//! cross-attention cache holds. The additional memory is thus that of one layer and one clip.
//!
//! Source: openai-whisper `timing.py::find_alignment`.

use std::ops::Range;

use super::cross_attention::{CrossAttention, CrossScratch};
use super::{Config, DecoderCaches, DecoderScratch, GenerationConfig, Whisper};
use crate::engine::profile::range;
use crate::engine::time_warp::{Accumulate, HeadColumns, alignment_matrix, attention_weights};
use crate::engine::{Backend, CrossKind, StepRows, Tensor};
use crate::error::{Error, Result};

/// Receives the cross-attention queries of each decoder layer during a pass.
pub(super) trait QueryObserver<B: Backend> {
    /// Called after the cross-attention of `layer`; its queries are in `s`.
    fn observe(&mut self, be: &B, layer: usize, cross: &CrossAttention<B>, s: &CrossScratch<B>) -> Result<()>;
}

/// Ignores the queries.
impl<B: Backend> QueryObserver<B> for () {
    fn observe(&mut self, _: &B, _: usize, _: &CrossAttention<B>, _: &CrossScratch<B>) -> Result<()> {
        Ok(())
    }
}

/// The tokens of one text in a pass, and its audio.
pub struct KnownTokens<'a, B: Backend> {
    /// Rows of the text in the pass: `<|startoftranscript|>` to `<|endoftext|>`.
    pub rows: Range<usize>,
    /// Encoder frames with audio, at least one.
    pub frames: usize,
    /// `[1, T, C]` output of the encoder for the clip.
    pub encoded: &'a Tensor<B>,
}

/// The alignment heads, and working memory for their attention weights.
pub struct AlignmentPass<B: Backend> {
    /// The alignment heads of each decoder layer.
    heads: Vec<HeadColumns<B>>,
    /// 1 / number of alignment heads.
    share: f32,
    /// Factor of the dot products of queries and keys.
    scale: f32,
    /// `[1, T, 2 C]` keys and values of one layer and clip; `None` if the encoder's output serves as keys.
    kv: Option<Tensor<B>>,
    /// `[A, L, F]` attention weights of the `A` heads of one layer, for the `L` tokens and `F` frames of one text.
    weights: Tensor<B, f32>,
    /// `[R, T]` for each row of the pass and each frame, the attention weights, standardised over the tokens and
    /// smoothed by a median filter, averaged over the alignment heads.
    pub matrix: Tensor<B, f32>,
}

/// The alignment heads of each decoder layer: those of `generation_config.json`, or all heads of the second half of the
/// layers.
///
/// # Errors
/// [`Error::Config`] for a head that does not exist.
fn heads_of_layers(config: &Config, generation: &GenerationConfig) -> Result<Vec<Vec<usize>>> {
    let (layers, heads) = (config.decoder_layers, config.decoder_attention_heads);
    let mut chosen = vec![Vec::new(); layers];
    match generation.alignment_heads.as_deref() {
        Some(listed) if !listed.is_empty() => {
            for &[layer, head] in listed {
                if layer >= layers || head >= heads {
                    let rule =
                        format!("generation_config.json names it, the decoder has {layers} layers of {heads} heads");
                    return Err(Error::config("alignment_heads", format!("[{layer}, {head}]"), rule));
                }
                chosen[layer].push(head);
            }
        }
        _ => chosen[layers / 2..].iter_mut().for_each(|layer| layer.extend(0..heads)),
    }
    for layer in &mut chosen {
        layer.sort_unstable();
        layer.dedup();
    }
    Ok(chosen)
}

impl<B: Backend> AlignmentPass<B> {
    fn new(
        be: &B,
        config: &Config,
        generation: &GenerationConfig,
        [rows, tokens]: [usize; 2],
        cross: CrossKind,
    ) -> Result<Self> {
        let (frames, width, heads) = (config.max_source_positions, config.d_model, config.decoder_attention_heads);
        let columns = |head: usize| match cross {
            CrossKind::Projected => [head * (width / heads); 2],
            CrossKind::Absorbed => [head * width, 0],
        };
        let (head_width, kv) = match cross {
            CrossKind::Projected => (width / heads, Some(Tensor::zeros(be, &[1, frames, 2 * width])?)),
            CrossKind::Absorbed => (width, None),
        };
        let chosen = heads_of_layers(config, generation)?;
        let count: usize = chosen.iter().map(Vec::len).sum();
        let most = chosen.iter().map(Vec::len).max().unwrap_or(0);
        let of_layer =
            |heads: &Vec<usize>| HeadColumns::new(be, heads.iter().copied().map(columns).collect(), head_width);
        Ok(AlignmentPass {
            heads: chosen.iter().map(of_layer).collect::<Result<_>>()?,
            share: 1.0 / count.max(1) as f32,
            scale: ((width / heads) as f32).powf(-0.5),
            kv,
            weights: Tensor::zeros(be, &[most, tokens, frames])?,
            matrix: Tensor::zeros(be, &[rows, frames])?,
        })
    }
}

/// The observer that fills the matrix of an [`AlignmentPass`].
struct MatrixObserver<'a, 'b, B: Backend> {
    texts: &'a [KnownTokens<'b, B>],
    pass: &'a mut AlignmentPass<B>,
    before: Accumulate,
}

impl<B: Backend> QueryObserver<B> for MatrixObserver<'_, '_, B> {
    fn observe(&mut self, be: &B, layer: usize, cross: &CrossAttention<B>, s: &CrossScratch<B>) -> Result<()> {
        let AlignmentPass { heads, share, scale, kv, weights, matrix } = &mut *self.pass;
        let heads = &heads[layer];
        if heads.host.is_empty() {
            return Ok(());
        }
        for text in self.texts {
            let keys = cross.keys(be, text.encoded, kv)?;
            weights.reshape(&[heads.host.len(), text.rows.len(), text.frames])?;
            attention_weights(be, weights, s.queries(), keys, heads, text.rows.start, *scale)?;
            alignment_matrix(be, matrix, weights, text.rows.start, *share, self.before)?;
        }
        self.before = Accumulate::Add;
        Ok(())
    }
}

impl<B: Backend> Whisper<B> {
    /// Working memory for alignment passes of up to `rows` rows, over texts of up to `tokens` tokens each, whose
    /// scratch is of the kind `cross`.
    ///
    /// # Errors
    /// [`Error::Config`] if `generation_config.json` names heads that the decoder does not have.
    pub fn alignment_pass(&self, rows: usize, tokens: usize, cross: CrossKind) -> Result<AlignmentPass<B>> {
        let what = || "making room for word times".into();
        let pass = AlignmentPass::new(&self.be, &self.config, &self.generation, [rows, tokens], cross);
        pass.map_err(|e| e.while_doing(what))
    }

    /// [`decode`](Self::decode) that also fills `pass.matrix`: the rows of each of the `texts`, and as many columns as
    /// the text has frames.
    pub fn decode_aligning(
        &self,
        s: &mut DecoderScratch<B>,
        caches: &mut DecoderCaches<B>,
        rows: &StepRows<B>,
        lineage: &Tensor<B, i32>,
        texts: &[KnownTokens<B>],
        pass: &mut AlignmentPass<B>,
    ) -> Result<()> {
        let _range = range("decode_aligning");
        pass.matrix.reshape(&[rows.num_rows(), self.config.max_source_positions])?;
        let mut observer = MatrixObserver { texts, pass, before: Accumulate::Overwrite };
        self.be.scope(|| self.decoder.run(&self.be, s, caches, rows, lineage, &mut observer))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn heads(generation: &str) -> Result<Vec<Vec<usize>>> {
        let config = r#"{"d_model":8,"encoder_layers":1,"encoder_attention_heads":2,"encoder_ffn_dim":8,"decoder_layers":3,
            "decoder_attention_heads":2,"decoder_ffn_dim":8,"num_mel_bins":80,"max_source_positions":10,
            "max_target_positions":10,"vocab_size":100}"#;
        let config = Config::parse(config, Path::new("config.json")).unwrap();
        heads_of_layers(&config, &GenerationConfig::parse(generation, Path::new("generation_config.json")).unwrap())
    }

    #[test]
    fn alignment_heads_are_those_of_the_config_or_the_second_half() {
        let named = heads(r#"{"alignment_heads": [[2, 1], [0, 1], [2, 0], [2, 1]]}"#).unwrap();
        assert_eq!(named, [vec![1], vec![], vec![0, 1]]);
        assert_eq!(heads("{}").unwrap(), [vec![], vec![0, 1], vec![0, 1]]);
        let error = heads(r#"{"alignment_heads": [[3, 0]]}"#).unwrap_err().to_string();
        assert!(error.contains("[3, 0]") && error.contains("3 layers"), "{error}");
    }
}
