//! Benchmark of forced alignment: recording and segments in, word times out. The network and the CTC path search are
//! also timed separately.

use std::path::Path;
use std::time::Instant;

use diarist::align::{AlignOptions, Aligner, Dictionary, LabelPolicy, Labels, Utterance, ctc_paths};
use diarist::assets;
use diarist::audio::{self, DecodeOptions};
use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::CtcTopology;
use diarist::engine::weights::Weights;
use diarist::models::wav2vec2::Wav2Vec2;
use diarist::types::{Segment, TimeSource, Transcript};
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::{Error, Result};
use serde_json::json;

use crate::args::Args;
use crate::machine::{Machine, peak_rss_bytes};
use crate::report::{command, median};
use crate::shapes;

/// Length of a synthetic segment, and its letters per second.
const SEGMENT_SECONDS: usize = 15;
const LETTERS_PER_SECOND: usize = 13;
/// torchaudio's labels; the first is the blank.
const LETTERS: &str = "-|ETAONIHSRDLUMWCFGYPBVK'XJQZ";
/// Tolerances of the small network's log-probabilities (relative norm), by storage type: a few times the rounding
/// error.
const TOLERANCES: [(f64, &str); 3] = [(4e-3, "float16"), (2.5e-2, "bfloat16"), (4e-2, "int8")];

/// Runs the benchmark and prints the report.
///
/// # Errors
/// Also if the device's results differ from the CPU's, or if two runs differ.
pub fn run<B: Machine>(args: &Args, be: &B, model: &str) -> Result<()> {
    let error = compare_with_cpu(args, be)?;
    let start = Instant::now();
    let aligner = load(be, model)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let work = Work::read(args)?;
    let options = AlignOptions::default();
    let (mut seconds, mut before) = (Vec::new(), None);
    for run in 0..=args.runs {
        let start = Instant::now();
        let found = aligner.segments(be, &work.samples, work.segments.clone(), "en", &options, &mut ())?;
        be.wait()?;
        if run > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
        if before.as_ref().is_some_and(|before| *before != found) {
            return Err(Error::config("runs", args.runs, "the same work gave other words; nothing is timed"));
        }
        before = Some(found);
    }
    let parts: Vec<(f64, f64)> = (0..args.runs).map(|_| work.parts(be, &aligner)).collect::<Result<_>>()?;
    let part = |of: fn(&(f64, f64)) -> f64| median(parts.iter().map(of));
    let (network_seconds, viterbi_seconds) = (part(|p| p.0), part(|p| p.1));
    let (words, aligned) = count(&before.unwrap_or_default());
    let (median, audio) = (median(seconds.iter().copied()), work.samples.len() as f64 / SAMPLE_RATE as f64);
    if args.json {
        let report = json!({
            "command": command(), "version": env!("CARGO_PKG_VERSION"), "device": be.describe(), "align_model": model,
            "checked": { "log_probs_error": error }, "load_seconds": load_seconds, "seconds": median, "all_seconds": seconds,
            "network_seconds": network_seconds, "viterbi_seconds": viterbi_seconds, "audio_seconds": audio,
            "times_real_time": audio / median, "segments": work.segments.len(), "words": words, "aligned_words": aligned,
            "threads": args.threads, "weights": args.weights, "compute_type": args.compute_type,
            "peak_rss_bytes": peak_rss_bytes(), "peak_device_bytes": be.peak_bytes(),
        });
        println!("{report}");
    } else {
        println!(
            "{}\nchecked: log-probabilities of a small network within {error:.1e} of the processor's",
            be.describe()
        );
        println!("network  {network_seconds:>9.3} s\nviterbi  {viterbi_seconds:>9.3} s");
        println!(
            "\n{audio:.0} s of audio, {} segments, {aligned} of {words} words found, in {median:.2} s: {:.1} times real time",
            work.segments.len(),
            audio / median
        );
    }
    Ok(())
}

/// An aligner from a folder, or one with random weights in a published size.
fn load<B: Machine>(be: &B, model: &str) -> Result<Aligner<B>> {
    let path = Path::new(model);
    if !shapes::WAV2VEC2.contains(&model) {
        return Aligner::open(be, path);
    }
    let network = Wav2Vec2::load(be, shapes::wav2vec2(model)?, &Weights::random(2024), false)?;
    let letters = LETTERS.chars().enumerate().map(|(class, letter)| (letter.to_string(), json!(class)));
    let table = serde_json::Value::Object(letters.collect());
    Ok(Aligner::new(network, Dictionary::parse(&table.to_string(), path, 0, LETTERS.len())?))
}

/// The samples of `--audio`, or of the built-in sample, repeated to the length of `--hours`.
pub fn recording(args: &Args) -> Result<Vec<f32>> {
    let (bytes, name) = match &args.audio {
        Some(path) => (std::fs::read(path).map_err(|e| Error::io(path, e))?, path.display().to_string()),
        None => (assets::SAMPLE.to_vec(), "conversation.flac".into()),
    };
    let samples = audio::decode_bytes(&bytes, &name, &DecodeOptions::default(), audio::ignore_progress)?.samples;
    let Some(hours) = args.hours else { return Ok(samples) };
    let wanted = (hours * 3600.0 * SAMPLE_RATE as f64).round() as usize;
    Ok(samples.iter().copied().cycle().take(wanted).collect())
}

/// A recording and its segments.
struct Work {
    samples: Vec<f32>,
    segments: Vec<Segment>,
}

impl Work {
    /// Reads `--audio` and `--segments`. The defaults are the built-in sample and synthetic segments.
    fn read(args: &Args) -> Result<Self> {
        let samples = recording(args)?;
        let segments = match &args.segments {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
                let segments = serde_json::from_str::<Transcript>(&text).map(|transcript| transcript.segments);
                segments.or_else(|_| serde_json::from_str(&text)).map_err(|e| {
                    Error::model(path, format!("is neither a transcript nor a list of its segments: {e}"))
                })?
            }
            None => synthetic_segments(samples.len()),
        };
        if segments.is_empty() {
            return Err(Error::config("segments", 0, "nobody says anything; nothing is timed"));
        }
        Ok(Work { samples, segments })
    }

    /// Seconds of the network alone and of the CTC path search alone, in batches of four segments.
    fn parts<B: Machine>(&self, be: &B, aligner: &Aligner<B>) -> Result<(f64, f64)> {
        let (network, dictionary) = (aligner.network(), aligner.dictionary());
        let (mut network_seconds, mut search_seconds) = (0.0, 0.0);
        for segments in self.segments.chunks(4) {
            let range = |s: &Segment| s.start.to_samples_floor()..s.end.to_samples_floor().min(self.samples.len());
            let clips: Vec<&[f32]> = segments.iter().map(|s| self.samples.get(range(s)).unwrap_or(&[])).collect();
            let labels: Vec<_> =
                segments.iter().map(|s| Labels::new(&s.text, "en", dictionary, LabelPolicy::Spoken).labels).collect();
            let start = Instant::now();
            let emissions = network.emissions(be, &clips)?;
            be.wait()?;
            network_seconds += start.elapsed().as_secs_f64();
            let stride = emissions.log_probs.shape()[1];
            let rows = emissions.frames.iter().enumerate().map(|(i, frames)| i * stride..i * stride + frames);
            let utterances = rows.zip(&labels).map(|(rows, labels)| Utterance { rows, labels });
            let start = Instant::now();
            ctc_paths(be, &emissions.log_probs, &utterances.collect::<Vec<_>>(), dictionary.blank, CtcTopology::Ctc)?;
            search_seconds += start.elapsed().as_secs_f64();
        }
        Ok((network_seconds, search_seconds))
    }
}

/// Segments of equal length with the words of the sample, repeated.
fn synthetic_segments(samples: usize) -> Vec<Segment> {
    const TEXT: &str = "good morning everyone let us start with the project the budget is almost ready ";
    let mut letters = TEXT.chars().cycle();
    let step = SEGMENT_SECONDS * SAMPLE_RATE;
    let segment = |start: usize| Segment {
        start: Seconds::from_samples(start),
        end: Seconds::from_samples((start + step).min(samples)),
        text: letters.by_ref().take((step.min(samples - start)) * LETTERS_PER_SECOND / SAMPLE_RATE).collect(),
        ..Segment::default()
    };
    (0..samples).step_by(step).map(segment).collect()
}

/// Number of words, and number of aligned words.
fn count(segments: &[Segment]) -> (usize, usize) {
    let words = || segments.iter().flat_map(|segment| segment.words.iter().flatten());
    (words().count(), words().filter(|word| word.source == Some(TimeSource::Aligned)).count())
}

/// Runs a small network with random weights on the device and on the CPU. Returns the relative difference of the
/// log-probabilities, |device - CPU| / |CPU|.
fn compare_with_cpu<B: Machine>(args: &Args, be: &B) -> Result<f64> {
    let storage = if args.weights == "int8" { "int8" } else { args.compute_type.as_str() };
    let tolerance = TOLERANCES.iter().find(|(_, name)| *name == storage).map_or(0.0, |(tolerance, _)| *tolerance);
    let (want, got) = (small_run(&Cpu::new(None)?)?, small_run(be)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut want.iter().zip(&got).map(|(want, got)| f64::from(got - want)));
    let error = difference / norm(&mut want.iter().map(|want| f64::from(*want)));
    if want.len() == got.len() && error <= tolerance {
        return Ok(error);
    }
    let rule = format!("computes something else than the processor, by {error:.1e}; nothing is timed");
    Err(Error::config("device", be.describe(), rule))
}

fn small_run<B: Machine>(be: &B) -> Result<Vec<f32>> {
    let network = Wav2Vec2::load(be, shapes::wav2vec2("wav2vec2-micro")?, &Weights::random(1), true)?;
    let sample =
        audio::decode_bytes(assets::SAMPLE, "sample", &DecodeOptions::default(), audio::ignore_progress)?.samples;
    let emissions = network.emissions(be, &[&sample[..SAMPLE_RATE]])?;
    emissions.log_probs.to_host(be)
}
