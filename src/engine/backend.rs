//! The [`Backend`] trait: the primitives a device implements for Whisper and CTC alignment.
//!
//! The interface assumes that a device has its own memory. Every argument of a decode step is a device buffer, and the
//! host reads results only when it asks for them, so that one step can be captured as one CUDA graph.
//!
//! Letters in shapes: `B` batch, `S` samples, `M` mel bins, `F` mel frames, `T` encoder frames, `L` text positions,
//! `C` width, `H` heads, `D` head dimension, `V` vocabulary, `R` rows of a decoder pass, `K` beams.
//! Implementations may rely on the shape checks of [`ops`](super::ops), the only callers of these methods.
//!
//! Every output row must depend only on its own inputs. The order in which its terms are added must not depend on the
//! number of other rows: results are bit-identical for every batch size (`tests/ops_cpu.rs`, `tests/transcribe.rs`).

use super::ctc::{CtcSegments, CtcSpans, CtcTopology};
use super::decode::DecodeState;
use super::tensor::{Element, Tensor};
use super::weights::WeightRef;
use crate::error::Result;

/// The epilogue of a matrix product: the element-wise operation applied before the result is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = x W^T + b`
    Store,
    /// `out = gelu_erf(x W^T + b)`, with the exact error function.
    GeluErf,
    /// `out += x W^T + b`: the residual connection.
    Add,
}

/// What the cross-attention cache holds, and so how the decoder attends to the encoder output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossKind {
    /// Keys and values, projected once for each chunk and decoder layer: `2 T C` values per layer.
    Projected,
    /// The encoder output `x` itself, once for all layers. The key projection is absorbed into the queries and the
    /// value projection is applied to the weighted mean: `score = (W_k^T q) . x` and `out = W_v (sum of p x) + b_v`.
    /// Both are equal to [`Projected`](Self::Projected) in real arithmetic. A step reads half the bytes per layer and
    /// does `H` times as many multiplications.
    Absorbed,
}

/// The rows of one decoder pass: the token, its position and the cache row of each. All three are on the device; the
/// host knows only the number of rows (the size a graph is captured for).
///
/// The cache row is `slot * beams + beam`; each slot decodes one chunk. A decode step has one row for each live beam of
/// each busy slot. A prompt is prefilled by a pass with one row per prompt token, all with the same cache row.
pub struct StepRows<B: Backend> {
    /// `[R]` id of the input token.
    pub token: Tensor<B, i32>,
    /// `[R]` position of that token, counted from the start of the prompt.
    pub position: Tensor<B, i32>,
    /// `[R]` cache row. Rows of one slot are adjacent.
    pub row: Tensor<B, i32>,
}

impl<B: Backend> StepRows<B> {
    /// Allocates `capacity` rows, all in use.
    pub fn zeros(be: &B, capacity: usize) -> Result<Self> {
        Ok(StepRows {
            token: Tensor::zeros(be, &[capacity])?,
            position: Tensor::zeros(be, &[capacity])?,
            row: Tensor::zeros(be, &[capacity])?,
        })
    }

    /// Number of rows in use.
    pub fn num_rows(&self) -> usize {
        self.token.len()
    }

    /// Sets the number of rows in use.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for more rows than the capacity.
    pub fn set_num_rows(&mut self, rows: usize) -> Result<()> {
        self.token.reshape(&[rows])?;
        self.position.reshape(&[rows])?;
        self.row.reshape(&[rows])
    }
}

/// A device: its memory, and the primitives that models are made of.
pub trait Backend: Clone + Send + Sync + Sized + 'static {
    /// Type in which activations are stored; accumulators are always f32.
    type Act: Element;
    /// Device memory.
    type Buffer<T: Element>: Send + Sync;
    /// A weight `[N, K]` in the layout and precision that the device multiplies fastest.
    type Matrix: Send + Sync;
    /// Constants of the log-mel transform (window, twiddles, filterbank).
    type MelPlan: Send + Sync;
    /// The self-attention cache of one decoder layer: keys and values of the text positions, `rows x L x C` each, in a
    /// device-specific layout.
    type SelfCache: Send + Sync;
    /// The cross-attention cache of one decoder layer: keys and values of the encoder output, `slots x T x C` each, in
    /// a device-specific layout.
    type CrossCache: Send + Sync;
    /// The encoder output itself, `slots x T x C`, in a device-specific layout.
    type EncodedCache: Send + Sync;
    /// The op sequences recorded by [`replay`](Self::replay).
    type GraphCache: Default + Send + Sync;
    /// A host buffer for an asynchronous copy of a device array.
    type HostCopy: Send + Sync;
    /// Marks the end of the work queued by one [`fork`](Self::fork).
    type Fence: Send + Sync;

    /// A one-line description for display: the device, and its threads or memory.
    fn describe(&self) -> String;

    /// Runs `f`, a pass of many ops, where this device starts ops fastest. On the CPU that is one of the threads of its
    /// pool: an op called from any other thread first has to wake a pool thread, which costs as much as a small op.
    /// Concurrent callers share the pool's threads. While `f` waits for other threads, its thread may start the pass of
    /// another caller, so do not hold a lock while calling this.
    fn scope<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }

    /// Runs `f`, a sequence of ops that is repeated often. A device with a high launch cost may record the sequence and
    /// run the recording the next time, without calling `f`.
    ///
    /// Within one `recorded`, calls with equal keys must run equal ops: the same shapes and scalars, on tensors that
    /// are not reallocated while `recorded` is in use. `f` must not copy data between host and device.
    fn replay(&self, recorded: &mut Self::GraphCache, key: usize, mut f: impl FnMut() -> Result<()>) -> Result<()> {
        let _ = (recorded, key);
        f()
    }

    /// Queues the ops and writes of `f` on a second stream. They wait for all work queued before; work queued
    /// afterwards does not wait for them until [`join`](Self::join) is called with the returned fence. Before that call
    /// no other op may access what `f` writes, or write what it reads. A device without concurrent streams runs `f` in
    /// order.
    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<Self::Fence>;
    /// Makes all work queued from now on wait for the work that `fence` marks.
    fn join(&self, fence: &Self::Fence) -> Result<()>;
    /// Whether [`fork`](Self::fork) runs ops concurrently with others, so that it pays to start them before their
    /// results are needed.
    fn runs_beside(&self) -> bool {
        false
    }

    /// Largest number of clips worth encoding in one pass. One clip keeps a CPU busy, so more would only cost memory.
    /// Results do not depend on it.
    fn encoder_batch(&self) -> usize {
        usize::MAX
    }

    // ---- memory ----

    /// Bytes still available for buffers; `None` if the device does not track memory, as on the CPU.
    fn available_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Allocates `len` elements, all zero.
    fn zeros<T: Element>(&self, len: usize) -> Result<Self::Buffer<T>>;
    /// Copies `src` from host to device, to element `at` of `dst`.
    fn write<T: Element>(&self, dst: &mut Self::Buffer<T>, at: usize, src: &[T]) -> Result<()>;
    /// Copies from device to host, from element `at` of `src`; waits for the work queued before.
    fn read<T: Element>(&self, dst: &mut [T], src: &Self::Buffer<T>, at: usize) -> Result<()>;
    /// Allocates a host buffer of `len` elements for asynchronous copies.
    fn host_copy(&self, len: usize) -> Result<Self::HostCopy>;
    /// Queues a copy of the first elements of `src`, as many as `copy` holds; returns at once.
    fn start_copy(&self, copy: &mut Self::HostCopy, src: &Self::Buffer<i32>) -> Result<()>;
    /// Whether the last copy started is complete; does not wait.
    fn has_arrived(&self, copy: &Self::HostCopy) -> Result<bool>;
    /// The result of the last copy started; waits for the copy, but not for work queued after it.
    fn arrived<'c>(&self, copy: &'c mut Self::HostCopy) -> Result<&'c [i32]>;
    /// Copies f32 from host to device activations, converting the type.
    fn write_act(&self, dst: &mut Self::Buffer<Self::Act>, at: usize, src: &[f32]) -> Result<()>;
    /// Copies device activations to host f32, converting the type.
    fn read_act(&self, dst: &mut [f32], src: &Self::Buffer<Self::Act>, at: usize) -> Result<()>;
    /// Prepares a weight `[N, K]` (output features first, as checkpoints store it). 8-bit weights stay 8-bit, unless
    /// this device was opened with another compute type.
    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Self::Matrix>;
    /// `(N, K)` of a prepared weight.
    fn matrix_shape(&self, matrix: &Self::Matrix) -> (usize, usize);

    // ---- features ----

    /// Constants for [`log_mel`](Self::log_mel) with `n_mels` bins.
    fn mel_plan(&self, n_mels: usize) -> Result<Self::MelPlan>;
    /// Whisper's log-mel spectrogram: `audio` `[B, S]` in `[-1, 1]`, 16 kHz, already padded to the window; `out`
    /// `[B, F, M]`, `F = S / 160` (frames first, so that a convolution reads contiguous memory). Steps: reflect padding
    /// of 200, Hann window of 400, hop of 160, power spectrum, mel filterbank, `log10` of at least 1e-10, lower limit
    /// at the clip's maximum - 8, `(x + 4) / 4`.
    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &Self::MelPlan) -> Result<()>;

    // ---- networks ----

    /// `out` `[R, N]` from `x` `[R, K]`, weight `[N, K]`, bias `[N]`.
    fn linear(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        epilogue: Epilogue,
    ) -> Result<()>;
    /// Block-diagonal linear layer, one block per head: columns `h N / H ..` of `out` `[R, N]` are computed from
    /// columns `h K ..` of `x` `[R, H K]`; weight `[N, K]`, bias `[N]`.
    fn linear_by_head(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        heads: usize,
    ) -> Result<()>;
    /// Convolution over time of width `W` (odd), zero padding `W / 2`: `out` `[B, ceil(F / stride), N]` from `x`
    /// `[B, F, C]`, weight `[N, W * C]` (tap by tap, channels contiguous within a tap), bias `[N]`.
    fn conv1d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()>;
    /// `out[r] = (x[r] - mean) / sqrt(var + eps) * gamma + beta` over the last axis; `gamma`, `beta` `[C]`.
    fn layer_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()>;
    /// `x[b, t] += table[t]`: `x` `[B, T, C]`, `table` `[T' >= T, C]`.
    fn add_positions(&self, x: &mut Tensor<Self>, table: &Tensor<Self, f32>) -> Result<()>;
    /// `out[i] = x[index[i]]`: `out` `[N, C]`, `x` `[R, C]`, `index` `[N]`.
    fn gather_rows(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, index: &Tensor<Self, i32>) -> Result<()>;
    /// Bidirectional attention: `out` `[B, T, C]` from `qkv` `[B, T, 3 C]` (queries, keys, values side by side),
    /// `C = heads * D`; scores are multiplied by `scale` before the softmax.
    fn attention(&self, out: &mut Tensor<Self>, qkv: &Tensor<Self>, heads: usize, scale: f32) -> Result<()>;

    // ---- decoder ----

    /// The kind of cross-attention that is faster on this device, for a decoder of `heads` heads and searches of `rows`
    /// rows. If it is absorbed for some number of rows, it is absorbed for every smaller one. It does not depend on the
    /// number of chunks, because results must not.
    fn cross_kind(&self, heads: usize, rows: usize) -> CrossKind {
        let _ = (heads, rows);
        CrossKind::Projected
    }
    /// An empty cache of text keys and values for `rows` cache rows of `positions` positions.
    fn self_cache(&self, rows: usize, positions: usize, width: usize, heads: usize) -> Result<Self::SelfCache>;
    /// An empty cache of encoder keys and values for `slots` chunks of `frames` encoder frames.
    fn cross_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<Self::CrossCache>;
    /// Stores keys and values of freshly encoded chunks: `kv` `[B, T, 2 C]` (keys, values side by side); chunk `b` goes
    /// to slot `slots[b]`.
    fn cross_store(&self, cache: &mut Self::CrossCache, slots: &[usize], kv: &Tensor<Self>) -> Result<()>;
    /// An empty cache of encoder output for `slots` chunks of `frames` encoder frames.
    fn encoded_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<Self::EncodedCache>;
    /// Stores the output for freshly encoded chunks: `encoded` `[B, T, C]`; chunk `b` goes to slot `slots[b]`.
    fn encoded_store(&self, cache: &mut Self::EncodedCache, slots: &[usize], encoded: &Tensor<Self>) -> Result<()>;
    /// `out[r] = table[token[r]] + positions[position[r]]`: `out` `[R, C]`, `table` `[V, C]`, `positions` `[L, C]`.
    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Self::Matrix,
        positions: &Tensor<Self, f32>,
    ) -> Result<()>;
    /// Appends the key and value of each row at (its cache row, its position), then attends from each row to positions
    /// `0 ..= position`. Position `p` of row `r` is read from cache row `lineage[r, p]`, so reordering beams rewrites
    /// that table and never moves the cache. `out` `[R, C]`, `qkv` `[R, 3 C]`, `lineage` `[cache rows, L]`.
    #[allow(clippy::too_many_arguments)]
    fn self_attention_step(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        cache: &mut Self::SelfCache,
        rows: &StepRows<Self>,
        lineage: &Tensor<Self, i32>,
        scale: f32,
    ) -> Result<()>;
    /// Attends from each row to all encoder frames of its slot (`row / beams`): `out` `[R, C]`, `q` `[R, C]`. The
    /// cache is read once for all rows of a slot.
    fn cross_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &Self::CrossCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()>;
    /// Attends from each head of each row to all encoder frames of its slot, which are both keys and values: `out`
    /// `[R, H C]`, `q` `[R, H C]`. The cache is read once for all heads and rows of a slot.
    fn absorbed_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &Self::EncodedCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()>;
    /// `out` `[R, V]` f32 from `x` `[R, C]` and the tied embedding `[V, C]`.
    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Self::Matrix) -> Result<()>;

    // ---- search: one step is logit_rules, then pick_candidates, then advance_search ----

    /// Sets the logits `[R, V]` of forbidden tokens to the lowest finite f32. Order of the rules: repetition penalty,
    /// no-repeat n-grams, suppressed tokens, tokens suppressed at the beginning, timestamp rules. Row `r` belongs to
    /// cache row `rows.row[r]`; the options are those of its slot, the history is its own. Rows of idle or finished
    /// slots, and rows that are not live, are not changed.
    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()>;
    /// `out[slot[r]] = softmax(logits[r])[token]` for the rows whose slot is an index of `out`: `out` `[S]`, `logits`
    /// `[R, V]`, `slot` `[R]`. Rows with any other number are skipped.
    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()>;
    /// Gathers `token` and `position` of `rows` from the state of the cache rows in `rows.row`, which the host has
    /// written.
    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()>;
    /// Packs the results of every slot for one copy to the host: `out` `[S, W]`, with the columns of
    /// [`result_column`](super::decode::result_column), then `live` `[K]`, then `best_tokens` `[G]`.
    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()>;
    /// Decode steps to queue between two reads of the results; 1 where a read costs nothing.
    fn steps_per_readback(&self) -> usize {
        1
    }
    /// Fills the candidates of each live row. Beam search: the `2 * beams` best tokens by the row's score +
    /// `log_softmax(logits)`, best first; ties: the lowest id first. Sampling: one token drawn from
    /// `softmax(logits / temperature)` for each sample that continues from this row (all of them at the first step);
    /// its score is the row's score + its log-probability at temperature 1. At temperature 0 the best token is taken. A
    /// draw depends only on seed, stream, sample and number of generated tokens.
    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()>;
    /// One step of the search for every slot that has candidates: registers finished hypotheses, keeps the best one,
    /// decides whether the slot is done, reorders history, score and lineage of the surviving rows, and writes their
    /// tokens and positions to the state and to `rows`.
    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()>;

    // ---- alignment ----

    /// CTC forced alignment (Viterbi): the best path of each segment's labels through its rows of `log_probs` `[R, V]`,
    /// natural logarithms. [`CtcTopology`] defines the allowed paths, [`CtcSpans`] the result. Sums are f32, in the
    /// order of the rows. Ties: the path that stays in its state, then the one that comes from a blank, then the one
    /// that comes from a label.
    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()>;
}
