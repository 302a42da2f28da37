//! The primitives a device must offer. Written for a device with its own memory: every argument of a decode step is a
//! device buffer, and nothing comes back to the host but what the host asks for, so that one step can become one CUDA
//! graph.
//!
//! Shapes use one vocabulary: `B` batch, `S` samples, `M` mel bins, `F` mel frames, `T` encoder frames, `L` text
//! positions, `C` width, `H` heads, `D` head dim, `V` vocabulary, `R` rows of a decoder pass, `K` beams.
//! Implementations may rely on the checks of [`ops`](super::ops); nobody else calls these methods.
//!
//! Every output row must depend only on its own inputs, in an order of additions that does not depend on how many
//! other rows there are: results are bit-equal whatever the batch size (`tests/ops_cpu.rs`, `tests/transcribe.rs`).

use super::ctc::{CtcSegments, CtcSpans, CtcTopology};
use super::decode::DecodeState;
use super::tensor::{Element, Tensor};
use super::weights::WeightRef;
use crate::error::Result;

/// What a matrix product does with its result before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = x W^T + b`
    Store,
    /// `out = gelu_erf(x W^T + b)`, with the exact error function.
    GeluErf,
    /// `out += x W^T + b`: the residual connection.
    Add,
}

/// What a decoder keeps of the encoder's output, and so how it attends to the audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossKind {
    /// Keys and values, projected once for each chunk and decoder layer: `2 T C` values a layer.
    Projected,
    /// The output itself, once for all layers. What projects keys is applied to each query instead, what projects values
    /// to each weighted mean: `score = (W_k^T q) . x` and `out = W_v (sum of p x) + b_v`, equal in real arithmetic. A step
    /// reads half the bytes of each layer, and multiplies `H` times as often.
    Absorbed,
}

/// The rows of one decoder pass: which token, at which position, of which cache row. All three live on the device; the
/// host knows only how many rows there are (the size a graph is captured for).
///
/// A cache row is `slot * beams + beam`: a slot decodes one chunk. A step has one row for each live beam of each busy
/// slot; a prompt is prefilled by a pass with one row for each prompt token, all with the same cache row.
pub struct StepRows<B: Backend> {
    /// `[R]` token id to feed.
    pub token: Tensor<B, i32>,
    /// `[R]` position of that token, counted from the start of the prompt.
    pub position: Tensor<B, i32>,
    /// `[R]` cache row. Rows of one slot are neighbours.
    pub row: Tensor<B, i32>,
}

impl<B: Backend> StepRows<B> {
    /// Room for `capacity` rows.
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

    /// Sets the number of rows in use, within the capacity.
    pub fn set_num_rows(&mut self, rows: usize) -> Result<()> {
        self.token.reshape(&[rows])?;
        self.position.reshape(&[rows])?;
        self.row.reshape(&[rows])
    }
}

/// A device: memory, and the primitives models are made of.
pub trait Backend: Clone + Send + Sync + Sized + 'static {
    /// Type in which activations are stored; sums are always f32.
    type Act: Element;
    /// Device memory.
    type Buffer<T: Element>: Send + Sync;
    /// A weight `[N, K]` in whatever layout and precision the device multiplies it fastest.
    type Matrix: Send + Sync;
    /// Constants of the log-mel transform (window, twiddles, filterbank).
    type MelPlan: Send + Sync;
    /// Keys and values of the text positions of one decoder layer, `rows x L x C` each, in a layout of its own.
    type SelfCache: Send + Sync;
    /// Keys and values of the encoder output for one decoder layer, `slots x T x C` each, in a layout of its own.
    type CrossCache: Send + Sync;
    /// The encoder output itself, `slots x T x C`, in a layout of its own.
    type EncodedCache: Send + Sync;
    /// Sequences of ops that [`replay`](Self::replay) has seen.
    type GraphCache: Default + Send + Sync;
    /// Room on the host for a copy of a device array that is made behind the host's back.
    type HostCopy: Send + Sync;
    /// A point in the work given to [`fork`](Self::fork).
    type Fence: Send + Sync;

    /// One line for people: device, threads or memory.
    fn describe(&self) -> String;

    /// Runs `f`, a pass of many ops, where this device starts ops fastest. On the CPU that is one of its own threads: an
    /// op called from any other has to wake one up first, which costs as much as a small op. Of several callers at once each has its
    /// share of them. While `f` waits for other threads, its own may begin the pass of somebody else: no lock is held across it.
    fn scope<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }

    /// Runs `f`, a sequence of ops that comes again and again. A device on which starting an op is slow may record it and
    /// run the recording the next time, without calling `f`.
    ///
    /// Within one `recorded`, equal keys promise equal ops: the same shapes and scalars, on tensors that stay where they
    /// were for as long as `recorded` is used. `f` must not move data between host and device.
    fn replay(&self, recorded: &mut Self::GraphCache, key: usize, mut f: impl FnMut() -> Result<()>) -> Result<()> {
        let _ = (recorded, key);
        f()
    }

    /// Queues the ops and writes of `f` beside the others: they wait for all that was queued before, but what is queued
    /// afterwards does not wait for them, unless it comes [`join`](Self::join) the fence. Until then nobody else may
    /// touch what `f` writes, nor write what it reads. A device with nothing to gain from it runs them in turn.
    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<Self::Fence>;
    /// Makes everything queued from now on wait for the work of a fence.
    fn join(&self, fence: &Self::Fence) -> Result<()>;
    /// Whether [`fork`](Self::fork) runs ops at the same time as others, so that it pays to begin before their results
    /// are needed.
    fn runs_beside(&self) -> bool {
        false
    }

    /// Most clips worth encoding in one pass. A processor is busy with one, and more only cost memory; results do not
    /// depend on it.
    fn encoder_batch(&self) -> usize {
        usize::MAX
    }

    // ---- memory ----

    /// Bytes that buffers may still take; `None` where nobody counts, as in a process's own memory.
    fn available_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// `len` zeros.
    fn zeros<T: Element>(&self, len: usize) -> Result<Self::Buffer<T>>;
    /// Host to device, at element `at`.
    fn write<T: Element>(&self, dst: &mut Self::Buffer<T>, at: usize, src: &[T]) -> Result<()>;
    /// Device to host, from element `at`; waits for the work queued before it.
    fn read<T: Element>(&self, dst: &mut [T], src: &Self::Buffer<T>, at: usize) -> Result<()>;
    /// Room for copies of `len` elements.
    fn host_copy(&self, len: usize) -> Result<Self::HostCopy>;
    /// Queues a copy of the first elements of `src`, as many as there is room for; returns at once.
    fn start_copy(&self, copy: &mut Self::HostCopy, src: &Self::Buffer<i32>) -> Result<()>;
    /// Whether the copy that was started last is complete; does not wait.
    fn has_arrived(&self, copy: &Self::HostCopy) -> Result<bool>;
    /// The copy that was started last; waits for it, but not for what was queued after it.
    fn arrived<'c>(&self, copy: &'c mut Self::HostCopy) -> Result<&'c [i32]>;
    /// Host f32 to device activations, converting.
    fn write_act(&self, dst: &mut Self::Buffer<Self::Act>, at: usize, src: &[f32]) -> Result<()>;
    /// Device activations to host f32, converting.
    fn read_act(&self, dst: &mut [f32], src: &Self::Buffer<Self::Act>, at: usize) -> Result<()>;
    /// Prepares a weight `[N, K]` (output features first, as checkpoints store it). 8-bit integers are kept as they are, unless
    /// this device was asked for another type.
    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Self::Matrix>;
    /// `(N, K)` of a prepared weight.
    fn matrix_shape(&self, matrix: &Self::Matrix) -> (usize, usize);

    // ---- features ----

    /// Constants for [`log_mel`](Self::log_mel) with `n_mels` bins.
    fn mel_plan(&self, n_mels: usize) -> Result<Self::MelPlan>;
    /// Whisper's log-mel spectrogram: `audio` `[B, S]` in `[-1, 1]`, 16 kHz, already padded to the window; `out`
    /// `[B, F, M]`, `F = S / 160` (frames first: a convolution then reads contiguous memory). Hann 400, hop 160,
    /// reflect padding of 200, power, filterbank, `log10` floored at 1e-10, floored at the row's maximum - 8,
    /// `(x + 4) / 4`.
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
    /// A product for each head, or block of the diagonal: head `h` has features `h N / H ..` of `out` `[R, N]`, made from
    /// values `h K ..` of `x` `[R, H K]`; weight `[N, K]`, bias `[N]`.
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

    /// How this device prefers to attend to the audio, for a decoder of `heads` heads and searches of `rows` rows. If it is
    /// absorbed with many rows, it is with fewer. Never asks how many chunks there are, since results may not.
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
    /// Appends each row's key and value at (its cache row, its position), then attends from each row to the positions
    /// `0 ..= position`. Position `p` of row `r` is read from cache row `lineage[r, p]`: reordering beams rewrites that
    /// table and never moves the cache. `out` `[R, C]`, `qkv` `[R, 3 C]`, `lineage` `[cache rows, L]`.
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
    /// Attends from each head of each row to all encoder frames of its slot, which serve as keys and as values alike:
    /// `out` `[R, H C]`, `q` `[R, H C]`. The cache is read once for all heads and rows of a slot.
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

    // ---- search: logit_rules, pick_candidates, advance_search make one step ----

    /// Makes the logits `[R, V]` of tokens the rules forbid the lowest finite f32, in this order: repetition penalty,
    /// no-repeat n-grams, suppressed tokens, tokens suppressed at the beginning, timestamp rules. Row `r` belongs to
    /// cache row `rows.row[r]`, whose slot has the options and whose history the rules look at. Rows of idle or
    /// finished slots, and rows that are not live, are left as they are.
    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()>;
    /// `out[slot[r]] = softmax(logits[r])[token]` for the rows whose slot is one of `out`'s: `out` `[S]`, `logits`
    /// `[R, V]`, `slot` `[R]`, any other number for a row not asked about.
    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()>;
    /// Fills in tokens and positions of the `rows` whose cache rows the host has listed.
    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()>;
    /// Packs what the host wants to know of every slot: `out` `[S, W]`, with the columns of
    /// [`result_column`](super::decode::result_column), then `live` `[K]`, then `best_tokens` `[G]`.
    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()>;
    /// Decode steps to queue between two looks at the finished flags: 1 where a look costs nothing.
    fn steps_per_readback(&self) -> usize {
        1
    }
    /// Fills the candidates of each live row. Beam search: the `2 * beams` best tokens by the row's score +
    /// `log_softmax(logits)`, best first, the lower id first among equals. Sampling: one token drawn from
    /// `softmax(logits / temperature)` for each sample that continues from this row (all of them at the first step),
    /// with the row's score + its untempered log-probability; the best token at temperature 0. A draw depends on seed,
    /// stream, sample and number of generated tokens only.
    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()>;
    /// Turns the candidates of every slot that has some into its next rows: registers hypotheses that ended, keeps the
    /// best of them, decides whether the slot is done, moves histories, scores and lineage of the rows that go on, and
    /// writes their tokens and positions both to the state and to those `rows` that continue.
    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()>;

    // ---- alignment ----

    /// The best path of each segment's labels through its rows of `log_probs` `[R, V]`, natural logarithms: see
    /// [`CtcTopology`], and [`CtcSpans`] for what is told of it. Sums are f32, in the order of the rows; of equal paths
    /// one that stays goes before one that comes from a blank, and that before one that comes from a label.
    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()>;
}
