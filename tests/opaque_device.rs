//! A device that implements only memory and products with weights. Every other op is a default body, which runs on the
//! host. All networks must give the CPU's results.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Golden, assert_close, campplus, pyannet, resnet34, seeded};
use diarist::Result;
use diarist::align::AlignOptions;
use diarist::assets::SAMPLE;
use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};
use diarist::config::Options;
use diarist::diarize::Diarizer;
use diarist::diarize::diarizer::OnDevice;
use diarist::engine::cpu::{self, Cpu};
use diarist::engine::prelude::*;
use diarist::engine::weights::{HostMatrix, WeightRef};
use diarist::engine::{Element, Epilogue, StepRows, Tensor};
use diarist::models::embedding;
use diarist::models::pyannet::{PyanNet, Specification};
use diarist::models::resnet34::ResNet34;
use diarist::pipeline::{Input, Pipeline, SpeakerOptions, Speakers, WordTimes};
use diarist::types::Transcript;
use diarist::units::Seconds;
use diarist::vad::Detector;

/// A device whose memory only its own ops can reach. Counts the copies between it and the host.
#[derive(Clone)]
struct Opaque {
    host: Cpu,
    uploads: Arc<AtomicUsize>,
    downloads: Arc<AtomicUsize>,
}

/// Device memory: the elements are private.
struct Memory<T>(Vec<T>);

/// A weight `[N, K]`, transposed.
struct Transposed {
    values: Vec<f64>,
    n: usize,
    k: usize,
}

impl Opaque {
    fn new() -> Self {
        Opaque { host: Cpu::new(None).unwrap(), uploads: Arc::default(), downloads: Arc::default() }
    }

    /// Number of copies to the device and from it since the last call.
    fn take_copies(&self) -> [usize; 2] {
        [&self.uploads, &self.downloads].map(|count| count.swap(0, Ordering::Relaxed))
    }

    /// `x W^T + b` with f64 sums: `[R, N]`.
    fn product(x: &Tensor<Self>, weight: &Transposed, bias: Option<&Tensor<Self, f32>>) -> Vec<f64> {
        let mut out = Vec::with_capacity(x.rows() * weight.n);
        for row in x.buf.0[..x.len()].chunks_exact(weight.k) {
            let mut sums = vec![0.0; weight.n];
            if let Some(bias) = bias {
                sums.iter_mut().zip(&bias.buf.0).for_each(|(sum, bias)| *sum = f64::from(*bias));
            }
            for (value, weights) in row.iter().zip(weight.values.chunks_exact(weight.n)) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += f64::from(*value) * weight);
            }
            out.extend(sums);
        }
        out
    }
}

/// The error function: `2 / sqrt(pi) e^(-x^2)` times the sum of `2^n x^(2n + 1) / (1 * 3 * .. * (2n + 1))`, whose terms
/// all have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, 0.0);
    for n in 1..200 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 1);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

impl Device for Opaque {
    type Act = f32;
    type Buffer<T: Element> = Memory<T>;
    type GraphCache = ();
    type HostCopy = Vec<i32>;
    type Fence = ();
    type Host = Cpu;

    fn host(&self) -> &Cpu {
        &self.host
    }

    fn describe(&self) -> String {
        "opaque".into()
    }

    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        f()
    }

    fn join(&self, (): &()) -> Result<()> {
        Ok(())
    }

    fn zeros<T: Element>(&self, len: usize) -> Result<Memory<T>> {
        Ok(Memory(vec![T::default(); len]))
    }

    fn write<T: Element>(&self, dst: &mut Memory<T>, at: usize, src: &[T]) -> Result<()> {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        dst.0[at..at + src.len()].copy_from_slice(src);
        Ok(())
    }

    fn read<T: Element>(&self, dst: &mut [T], src: &Memory<T>, at: usize) -> Result<()> {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        dst.copy_from_slice(&src.0[at..at + dst.len()]);
        Ok(())
    }

    fn host_copy(&self, len: usize) -> Result<Vec<i32>> {
        Ok(vec![0; len])
    }

    fn start_copy(&self, copy: &mut Vec<i32>, src: &Memory<i32>) -> Result<()> {
        self.read(copy, src, 0)
    }

    fn is_copy_complete(&self, _: &Vec<i32>) -> Result<bool> {
        Ok(true)
    }

    fn finish_copy<'c>(&self, copy: &'c mut Vec<i32>) -> Result<&'c [i32]> {
        Ok(copy)
    }

    fn write_act(&self, dst: &mut Memory<f32>, at: usize, src: &[f32]) -> Result<()> {
        self.write(dst, at, src)
    }

    fn read_act(&self, dst: &mut [f32], src: &Memory<f32>, at: usize) -> Result<()> {
        self.read(dst, src, at)
    }
}

impl MatrixOps for Opaque {
    type Matrix = Transposed;

    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Transposed> {
        let float: HostMatrix = match weight.into() {
            WeightRef::Float(weight) => weight.clone(),
            WeightRef::Int8(weight) => weight.to_float(),
        };
        let (n, k) = (float.rows, float.cols);
        let at = |column: usize, row: usize| f64::from(float.values[row * k + column]);
        let values = (0..k).flat_map(|column| (0..n).map(move |row| at(column, row))).collect();
        Ok(Transposed { values, n, k })
    }

    fn matrix_shape(&self, matrix: &Transposed) -> (usize, usize) {
        (matrix.n, matrix.k)
    }

    fn linear(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Transposed,
        bias: Option<&Tensor<Self, f32>>,
        epilogue: Epilogue,
    ) -> Result<()> {
        let gelu = |v: f64| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2));
        for (out, value) in out.buf.0.iter_mut().zip(Self::product(x, weight, bias)) {
            *out = match epilogue {
                Epilogue::Store => value as f32,
                Epilogue::GeluErf => gelu(value) as f32,
                Epilogue::Add => (f64::from(*out) + value) as f32,
            };
        }
        Ok(())
    }

    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Transposed) -> Result<()> {
        out.buf.0.iter_mut().zip(Self::product(x, table, None)).for_each(|(out, value)| *out = value as f32);
        Ok(())
    }

    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Transposed,
        positions: &Tensor<Self, f32>,
    ) -> Result<()> {
        for (row, out) in out.buf.0.chunks_exact_mut(table.k).take(rows.num_rows()).enumerate() {
            let (token, position) = (rows.token.buf.0[row] as usize, rows.position.buf.0[row] as usize);
            for (column, out) in out.iter_mut().enumerate() {
                *out = table.values[column * table.n + token] as f32 + positions.buf.0[position * table.k + column];
            }
        }
        Ok(())
    }
}

impl MelOps for Opaque {
    type MelPlan = cpu::MelPlan;
}

impl TransformerOps for Opaque {}

impl DecoderOps for Opaque {
    type SelfCache = cpu::SelfCache;
    type CrossCache = cpu::CrossCache;
    type EncodedCache = cpu::EncodedCache;
}

impl SearchOps for Opaque {}

impl CtcOps for Opaque {}

impl TimeWarpOps for Opaque {}

impl Wav2Vec2Ops for Opaque {}

impl SegmentationOps for Opaque {
    type F32Matrix = cpu::Matrix;
}

impl CampplusOps for Opaque {
    type ClipFilter = cpu::Filter;
    type ClipWeight = cpu::ClipWeight;
}

impl EmbeddingOps for Opaque {
    type FbankPlan = cpu::FbankPlan;
    type Filter = cpu::Filter;
}

impl Cluster for Opaque {}

/// The sample's first ten seconds, transcribed, with word times and speakers.
fn transcribe<B: Backend>(be: &B, beam_size: usize, words: WordTimes) -> Transcript {
    let mut samples =
        decode_bytes(SAMPLE, "conversation.flac", &DecodeOptions::default(), ignore_progress).unwrap().samples;
    samples.truncate(10 * 16_000);
    let diarizer = Box::new(OnDevice { be: be.clone(), diarizer: Diarizer::builtin(be).unwrap() });
    let pipeline = Pipeline {
        speakers: Some(Speakers { diarizer, gallery: None }),
        ..Pipeline::builtin(be, Detector::Energy).unwrap()
    };
    let mut options = Options { words, speakers: Some(SpeakerOptions::default()), ..Options::default() };
    options.vad.chunk_size = Seconds(5.0);
    options.asr.beam_size = beam_size;
    options.asr.language = Some("en".into());
    pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap()
}

/// Recognition with two kinds of search and of cross-attention cache, CTC alignment, DTW and diarization.
#[test]
fn a_device_with_products_only_gives_the_tokens_words_and_speakers_of_the_cpu() {
    let mut absorbed = Opaque::new();
    absorbed.host = absorbed.host.with_cross_cache(cpu::CrossCacheType::Absorbed);
    for (be, beam_size, words) in
        [(Opaque::new(), 5, WordTimes::Aligned(AlignOptions::default())), (absorbed, 1, WordTimes::Dtw)]
    {
        let got = transcribe(&be, beam_size, words.clone());
        let want = transcribe(&Cpu::new(None).unwrap(), beam_size, words);
        let tokens = |transcript: &Transcript| transcript.segments.iter().map(|s| s.tokens.clone()).collect::<Vec<_>>();
        assert!(tokens(&want).concat().len() > 20, "{want:?}");
        assert_eq!(tokens(&got), tokens(&want), "beam {beam_size}");
        let words = |transcript: &Transcript| {
            let words = transcript.word_segments.iter();
            words.map(|w| (w.word.clone(), w.start, w.end, w.speaker.clone())).collect::<Vec<_>>()
        };
        assert!(words(&want).len() > 10 && words(&want).iter().all(|word| word.1.is_some()));
        assert_eq!(words(&got), words(&want), "beam {beam_size}");
        let [uploads, downloads] = be.take_copies();
        assert!(uploads > 1000 && downloads > 1000, "{uploads} to the device, {downloads} from it");
    }
}

/// A default body copies its operands to the host and its result back, nothing else; a product copies nothing.
#[test]
fn only_default_bodies_copy() {
    let be = Opaque::new();
    let weight = HostMatrix { values: vec![0.5; 12], rows: 4, cols: 3 };
    let weight = be.matrix(&weight).unwrap();
    let x = Tensor::from_host(&be, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let mut out = Tensor::zeros(&be, &[2, 4]).unwrap();
    be.take_copies();
    be.linear(&mut out, &x, &weight, None, Epilogue::Store).unwrap();
    assert_eq!(be.take_copies(), [0, 0]);
    assert_eq!(out.to_host(&be).unwrap(), [3.0, 3.0, 3.0, 3.0, 7.5, 7.5, 7.5, 7.5]);
    let gamma = Tensor::from_host(&be, &[4], &[1.0; 4]).unwrap();
    let mut normed = Tensor::zeros(&be, &[2, 4]).unwrap();
    be.take_copies();
    be.layer_norm(&mut normed, &out, &gamma, &gamma, 1e-5).unwrap();
    // `x`, `gamma`, `beta` and the former values of `out`; then the result.
    assert_eq!(be.take_copies(), [1, 4]);
    assert_eq!(normed.to_host(&be).unwrap(), [1.0; 8], "constant rows: beta");
}

/// The networks of diarization, which the built-in pipeline covers only in part, against the CPU.
#[test]
fn networks_of_diarization_match_the_cpu() {
    let (be, host) = (Opaque::new(), Cpu::new(None).unwrap());
    let cases = |name: &str| Golden::open(name).meta()["cases"].as_array().unwrap().clone();

    let case = &cases("pyannet/scores.safetensors")[0];
    let weights = pyannet::weights(case);
    fn scores<B: Backend>(be: &B, weights: &diarist::engine::weights::Weights) -> Vec<f32> {
        let network = PyanNet::load(be, Specification::read(weights).unwrap(), weights).unwrap();
        let window = network.specification().window;
        let samples = seeded::audio_f32(3, window + 7777);
        let overlapping = network.scores(be, &samples, 8000.min(window)).unwrap().to_host(be).unwrap();
        [overlapping, network.scores(be, &samples, 7777).unwrap().to_host(be).unwrap()].concat()
    }
    assert_eq!(scores(&be, &weights), scores(&host, &weights), "PyanNet");

    let case = &cases("resnet34/voices.safetensors")[0];
    fn masked<B: Backend>(be: &B, case: &serde_json::Value) -> Vec<f32> {
        let network = ResNet34::load(be, &resnet34::weights(case)).unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let starts: Vec<usize> =
            case["starts"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        let samples = seeded::audio_f32(number("audio_seed") as u64, number("samples"));
        network.embed_masked_windows(be, &samples, &starts, number("window"), &resnet34::masks(case), 4).unwrap()
    }
    assert_close("ResNet34", &masked(&be, case), &masked(&host, case), 1e-4, 1e-4);

    let cases = cases("campplus/embeddings.safetensors");
    let golden = cases.iter().find(|case| case["name"] == "small").unwrap();
    fn spans<B: Backend>(be: &B, case: &serde_json::Value) -> Vec<f32> {
        let network = embedding::load(be, &campplus::weights(case)).unwrap();
        network.embed_spans(be, &campplus::audio(case), &campplus::spans(case)).unwrap()
    }
    assert_eq!(spans(&be, golden), spans(&host, golden), "CAM++");
}
