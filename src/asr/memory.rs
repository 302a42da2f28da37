//! Memory planning: the bytes that decoding allocates on a device, computed before the first allocation.
//!
//! Slots need most of it: the self-attention cache of every beam, and the cross-attention cache of every decoder layer
//! (with [`CrossKind::Absorbed`] all layers share the encoder output instead). If memory is short, the number of slots
//! is reduced.

use super::options::AsrOptions;
use super::prefetch::PREFETCH_GROUPS;
use super::token_times::{LOGIT_ROWS, most_tokens};
use crate::engine::{Backend, CrossKind};
use crate::error::{Error, Result};
use crate::models::whisper::{Config, Whisper};

/// Bytes per logit, score or id.
const WORD: usize = 4;

/// Device memory of decoding in bytes, without the weights and the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of slots.
    pub slots: usize,
    /// The decoder's self- and cross-attention caches.
    pub caches: u64,
    /// Scratch buffers of the encoder's and decoder's layers.
    pub scratch: u64,
    /// Logits and the state of the searches.
    pub search: u64,
}

impl Plan {
    /// The plan for `slots` slots, activations of `bytes` bytes per number, an encoder batch of `encoder_batch` clips,
    /// and cross-attention of the kind `cross`.
    pub fn new(
        config: &Config,
        options: &AsrOptions,
        slots: usize,
        bytes: usize,
        encoder_batch: usize,
        cross: CrossKind,
    ) -> Self {
        let (frames, width, layers) = (config.max_source_positions, config.d_model, config.decoder_layers);
        let positions = config.max_target_positions;
        let rows = slots * options.rows_per_slot();
        let heads = config.decoder_attention_heads;
        let audio = slots * frames * width;
        let text = layers * 2 * width * rows * positions;
        let clips = encoder_batch.clamp(1, slots.max(1));
        let of_clip = 2 * frames * (config.num_mel_bins + width) + frames * (6 * width + config.encoder_ffn_dim);
        let spectrum = 2 * frames * (config.num_mel_bins + 160) * WORD; // log-mel: f32 bands and samples
        // Encoder output of prefetched clips, and the keys and values of one clip that is loaded into a slot.
        let ahead = (PREFETCH_GROUPS * clips + 2) * frames * width * bytes + clips * frames * WORD;
        let pass_rows = rows.max(positions);
        // Cross-attention: its cache, its partial sums, and its queries per row. Projected: 66 numbers for each head
        // and each 256 frames. Absorbed: a weighted mean of the encoder output for each head and each 384 frames, at
        // most 64 rows at a time.
        let (audio, partial, queries) = match cross {
            CrossKind::Projected => (2 * layers * audio, pass_rows * frames.div_ceil(256) * 66, 0),
            CrossKind::Absorbed => (audio, pass_rows.min(64) * frames.div_ceil(384) * (width + 2), 2 * heads * width),
        };
        let (caches, partial) = ((audio + text) * bytes, heads * partial * WORD);
        let of_row = (7 * width + config.decoder_ffn_dim + queries) * bytes;
        let scratch = clips * (of_clip * bytes + spectrum) + ahead + pass_rows * of_row + partial;
        let results = slots * (positions + options.rows_per_slot()) * WORD;
        let times = if options.word_timestamps { word_times(config, slots, bytes, pass_rows) } else { 0 };
        let search = rows.max(2 * slots) * config.vocab_size * WORD + rows * (2 * positions + 64) * WORD + results;
        Plan { slots, caches: caches as u64, scratch: (scratch + times) as u64, search: search as u64 }
    }

    /// Sum of all parts.
    pub fn total(&self) -> u64 {
        self.caches + self.scratch + self.search
    }
}

/// Bytes for word times: encoder output of every slot, kept until its text is decoded; keys and values of one layer and
/// clip, and the attention weights of its heads; the alignment matrix and the backpointers of all texts of a pass;
/// logits of [`LOGIT_ROWS`] tokens.
fn word_times(config: &Config, slots: usize, bytes: usize, pass_rows: usize) -> usize {
    let (frames, width) = (config.max_source_positions, config.d_model);
    let audio = (slots + 2) * frames * width * bytes;
    let weights = config.decoder_attention_heads * most_tokens(config.max_target_positions) * frames * WORD;
    // Backpointers of dynamic time warping: two words for 32 tokens and one diagonal. A text has tokens + frames
    // diagonals.
    let steps = (pass_rows / 32 + slots) * (config.max_target_positions + frames) * 2 * WORD;
    let logits = LOGIT_ROWS * (config.vocab_size * WORD + width * bytes);
    audio + weights + steps + pass_rows * (frames + 4) * WORD + logits
}

/// The largest number of slots, at most `wanted`, whose plan fits the free memory of the device.
///
/// # Errors
/// [`Error::OutOfMemory`] if not even one slot fits.
pub fn slots_that_fit<B: Backend>(model: &Whisper<B>, options: &AsrOptions, wanted: usize) -> Result<usize> {
    let (bytes, cross) = (size_of::<B::Act>(), model.cross_kind(options.beam_size));
    let plan = |slots| Plan::new(&model.config, options, slots, bytes, model.be.encoder_batch(), cross);
    let Some(free) = model.be.available_memory()? else { return Ok(wanted) };
    let fits = |slots: usize| plan(slots).total() <= free;
    let (mut low, mut high) = (0, wanted);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    if low == 0 {
        let during = "decoding a single chunk; use a smaller model, or a smaller `beam_size`".into();
        return Err(Error::OutOfMemory { wanted: plan(1).total(), free, during });
    }
    let Plan { caches, scratch, search, .. } = plan(low);
    tracing::info!(slots = low, wanted, caches, scratch, search, free, "device memory planned");
    if low < wanted {
        tracing::warn!("{low} chunks are decoded at once instead of {wanted}: more do not fit the device's memory");
    }
    Ok(low)
}
