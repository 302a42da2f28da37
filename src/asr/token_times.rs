//! Token times by dynamic time warping (DTW) over the decoder's cross-attention weights.
//!
//! The decoder processes the decoded text again in one pass. The prompt of this pass has only the task tokens, because
//! previous text is not in the audio. The pass runs in the slot that decoded the text, while the cross-attention cache
//! is still valid. Only the first frame and the probability of every token are copied to the host.
//!
//! Source: openai-whisper `timing.py::find_alignment`.

use super::AsrOptions;
use super::slots::Slots;
use crate::engine::profile::range;
use crate::engine::time_warp::{DtwSegment, DtwSegments, label_probability, time_warp};
use crate::engine::{Backend, Tensor, ops};
use crate::error::{Error, Result};
use crate::models::whisper::{AlignmentPass, KnownTokens, Whisper};
use crate::units::EncoderFrame;

/// Tokens whose logits are computed at once: enough to amortise reading the embedding matrix.
pub(super) const LOGIT_ROWS: usize = 64;
/// Most tokens besides the text: start of transcript, language, task, no timestamps, end of text, and a margin.
const EXTRA_TOKENS: usize = 8;

/// Most tokens of one text in a pass, for a decoder with `positions` positions.
pub(super) const fn most_tokens(positions: usize) -> usize {
    let most = positions / 2 + EXTRA_TOKENS;
    if most < positions { most } else { positions }
}

/// A decoded text whose token times are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownText {
    /// `<|startoftranscript|>`, language and task.
    pub task: Vec<u32>,
    /// Text tokens, at least one; no timestamps.
    pub tokens: Vec<u32>,
    /// Encoder frames with audio, at least one.
    pub frames: usize,
}

/// The times of the tokens of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenTimes {
    /// Start of each token, relative to the clip, and the end of the last token: one item more than there are tokens.
    pub starts: Vec<EncoderFrame>,
    /// Probability of each token: softmax over the text tokens.
    pub probabilities: Vec<f64>,
}

/// A text and the encoder output of its clip.
pub(super) struct TimedText<'a, B: Backend> {
    /// The slot that decoded it.
    pub slot: usize,
    /// The text.
    pub text: KnownText,
    /// `[1, T, C]` encoder output of the clip.
    pub audio: &'a Tensor<B>,
}

impl<B: Backend> TimedText<'_, B> {
    /// The decoder's input: task tokens, no timestamps, text, end of text.
    fn tokens(&self, special: &Special) -> Vec<u32> {
        let KnownText { task, tokens, .. } = &self.text;
        let rest = std::iter::once(special.no_timestamps).chain(tokens.iter().copied()).chain([special.eot]);
        task.iter().copied().chain(rest).collect()
    }
}

/// Special tokens of the pass.
struct Special {
    eot: u32,
    no_timestamps: u32,
}

/// Computes the token times of texts.
pub(super) struct TokenAligner<'m, B: Backend> {
    model: &'m Whisper<B>,
    special: Special,
    pass: AlignmentPass<B>,
    /// `[N]` tokens of all texts.
    labels: Tensor<B, i32>,
    /// `[N]` their probabilities.
    probability: Tensor<B, f32>,
    /// `[N]` their first frames.
    starts: Tensor<B, i32>,
    /// `[64]` rows that predict a group of these tokens.
    row_index: Tensor<B, i32>,
    /// `[64, C]` hidden states of these rows.
    hidden: Tensor<B>,
    /// `[64, V]` logits of these rows.
    logits: Tensor<B, f32>,
}

impl<'m, B: Backend> TokenAligner<'m, B> {
    /// Allocates buffers for the texts of these slots.
    pub fn new(model: &'m Whisper<B>, slots: &Slots<B>, options: &AsrOptions) -> Result<Self> {
        let (be, rows) = (&model.be, slots.prompt_capacity());
        let (vocab, width) = (model.config.vocab_size, model.config.d_model);
        let cross = model.cross_kind(options.beam_size);
        let special = slots.special();
        Ok(TokenAligner {
            special: Special { eot: special.eot, no_timestamps: special.no_timestamps },
            pass: model.alignment_pass(rows, most_tokens(model.config.max_target_positions), cross)?,
            labels: Tensor::zeros(be, &[rows])?,
            probability: Tensor::zeros(be, &[rows])?,
            starts: Tensor::zeros(be, &[rows])?,
            row_index: Tensor::zeros(be, &[LOGIT_ROWS])?,
            hidden: Tensor::zeros(be, &[LOGIT_ROWS, width])?,
            logits: Tensor::zeros(be, &[LOGIT_ROWS, vocab])?,
            model,
        })
    }

    /// The token times of each text, in passes of as many texts as fit.
    ///
    /// # Errors
    /// [`Error::Shape`] for a text without tokens or frames, or with more tokens than [`most_tokens`]; errors of the
    /// device.
    pub fn times(&mut self, slots: &mut Slots<B>, texts: &[TimedText<B>]) -> Result<Vec<TokenTimes>> {
        let _range = range("align_texts");
        let most = most_tokens(self.model.config.max_target_positions).min(slots.prompt_capacity());
        let mut times = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |text: &&TimedText<B>| {
                rows += text.tokens(&self.special).len();
                rows <= slots.prompt_capacity()
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (group, after) = rest.split_at(count);
            for text in group {
                check(text, text.tokens(&self.special).len(), most)?;
            }
            times.extend(self.times_of_group(slots, group)?);
            rest = after;
        }
        Ok(times)
    }

    fn times_of_group(&mut self, slots: &mut Slots<B>, group: &[TimedText<B>]) -> Result<Vec<TokenTimes>> {
        let tokens: Vec<Vec<u32>> = group.iter().map(|text| text.tokens(&self.special)).collect();
        let (mut known, mut places, mut index, mut labels) = (vec![], vec![], vec![], vec![]);
        let mut first = 0;
        for (text, tokens) in group.iter().zip(&tokens) {
            let (rows, frames) = (first..first + tokens.len(), text.text.frames);
            known.push(KnownTokens { rows: rows.clone(), frames, encoded: text.audio });
            // Row i predicts token i + 1; the last row of the text predicts the end of the text.
            let predicting = first + text.text.task.len()..rows.end - 1;
            index.extend(predicting.clone().map(|row| row as i32));
            labels.extend(text.text.tokens.iter().map(|&id| id as i32).chain([self.special.eot as i32]));
            places.push(DtwSegment { rows: predicting, frames });
            first = rows.end;
        }
        let texts: Vec<(usize, &[u32])> =
            group.iter().zip(&tokens).map(|(text, tokens)| (text.slot, &tokens[..])).collect();
        let TokenAligner { model, special, pass, labels: label_ids, probability, starts, row_index, hidden, logits } =
            self;
        let be = &model.be;
        label_ids.reshape(&[labels.len()])?;
        be.write(&mut label_ids.buf, 0, &labels)?;
        probability.reshape(&[labels.len()])?;
        slots.align_texts(&texts, &known, pass, |states| {
            for (group, rows) in index.chunks(LOGIT_ROWS).enumerate() {
                row_index.reshape(&[rows.len()])?;
                be.write(&mut row_index.buf, 0, rows)?;
                hidden.reshape(&[rows.len(), model.config.d_model])?;
                ops::gather_rows(be, hidden, states, row_index)?;
                logits.reshape(&[rows.len(), model.config.vocab_size])?;
                model.logits(logits, hidden)?;
                label_probability(be, probability, logits, label_ids, group * LOGIT_ROWS, special.eot as usize)?;
            }
            Ok(())
        })?;
        let places = DtwSegments::new(be, places)?;
        starts.reshape(&[places.tokens()])?;
        time_warp(be, starts, &pass.matrix, &places)?;
        let (starts, probabilities) = (starts.to_host(be)?, probability.to_host(be)?);
        Ok(split_by_text(&places, &starts, &probabilities))
    }
}

/// Splits the concatenated results of a pass by text.
fn split_by_text<B: Backend>(places: &DtwSegments<B>, starts: &[i32], probabilities: &[f32]) -> Vec<TokenTimes> {
    let mut at = 0;
    let one = |place: &DtwSegment| {
        let range = at..at + place.rows.len();
        at = range.end;
        let frame = |start: &i32| EncoderFrame(usize::try_from(*start).unwrap_or_default());
        // The last item is end-of-text: its start is the end of the last token, and its probability is not needed.
        let without_end = range.start..range.end - 1;
        TokenTimes {
            starts: starts[range].iter().map(frame).collect(),
            probabilities: probabilities[without_end].iter().map(|p| f64::from(*p)).collect(),
        }
    };
    places.host.iter().map(one).collect()
}

fn check<B: Backend>(text: &TimedText<B>, rows: usize, most: usize) -> Result<()> {
    let KnownText { tokens, frames, .. } = &text.text;
    if !tokens.is_empty() && *frames > 0 && rows <= most {
        return Ok(());
    }
    Err(Error::Shape {
        op: "word times",
        what: "text",
        expected: format!("a token and a frame at least, {most} tokens with those around it at most"),
        got: format!("{} tokens in {frames} frames", tokens.len()),
    })
}
