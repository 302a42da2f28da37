//! Whisper tiny.en in every format, converted by `tests/reference/real_formats.py` from the published CTranslate2
//! folder: files with the same weights give the same tokens, and quantised files give a usable transcript. The files
//! are in `$DIARIST_REAL` or `target/real` (`tests/real/fetch.sh`).

mod common;

use std::path::{Path, PathBuf};

use diarist::asr::Tokenizer;
use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::models::whisper::Checkpoint;
use diarist::pipeline::{Input, Pipeline};
use diarist::vad::Detector;

const RECORDINGS: [&str; 4] = [
    "audio/jfk/jfk.flac",
    "audio/dialogue/sample.wav",
    "audio/languages/test.wav",
    "audio/alignment/2412-153948-0000.flac",
];

fn real(name: &str) -> PathBuf {
    common::real(name)
}

fn recording(name: &str) -> PathBuf {
    common::shared(name)
}

fn open(name: &str) -> Pipeline<Cpu> {
    let checkpoint = Checkpoint::recognise(&real(name)).unwrap();
    Pipeline::open_checkpoint(&Cpu::new(None).unwrap(), &checkpoint, Detector::None).unwrap_or_else(|e| panic!("{e}"))
}

/// Tokens, text, start and end of a segment; times in seconds.
type SegmentParts = (Vec<u32>, String, f64, f64);

/// The segments of each recording.
fn transcripts(name: &str, recordings: &[&str]) -> Vec<Vec<SegmentParts>> {
    let pipeline = open(name);
    let transcribe = |file: &&str| {
        let transcript = pipeline.transcribe(Input::Path(&recording(file)), &Options::default(), &mut ()).unwrap();
        transcript.segments.into_iter().map(|s| (s.tokens, s.text, s.start.0, s.end.0)).collect()
    };
    recordings.iter().map(transcribe).collect()
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn needs_real_needs_shared_files_of_the_same_weights_give_the_same_transcripts() {
    let want = transcripts("formats/safetensors", &RECORDINGS);
    assert!(want[0][0].1.contains("ask not what your country can do for you"), "{want:?}");
    assert!(want.iter().all(|segments| !segments.is_empty()), "{want:?}");
    for name in [
        "whisper-tiny.en-ct2",
        "formats/openai.pt",
        "formats/ggml-f16.bin",
        "formats/ggml-f32.bin",
        "formats/ct2-float32",
    ] {
        assert_eq!(transcripts(name, &RECORDINGS), want, "{name}");
    }
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn needs_real_needs_shared_quantised_conversions_hear_the_words() {
    let ct2 = ["int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "bfloat16"]
        .map(|t| format!("formats/ct2-{t}"));
    let ggml = ["q8_0", "q5_0", "q5_1", "q4_0", "q4_1"].map(|t| format!("formats/ggml-{t}.bin"));
    for name in ct2.iter().chain(&ggml) {
        let segments = &transcripts(name, &RECORDINGS[..1])[0];
        let text: String = segments.iter().map(|segment| segment.1.to_lowercase()).collect();
        assert!(text.contains("ask what you can do for your country"), "{name}: {text}");
    }
}

/// The vocabularies of other formats give the ids of the published `tokenizer.json`.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh)"]
fn needs_real_vocabularies_equal_the_published_tokenizer() {
    let folder = real("whisper-tiny.en-ct2");
    let published = Tokenizer::open(&folder, false).unwrap();
    let golden = common::json("tokenizer/tokens.json");
    let texts: Vec<&str> = golden["gpt2"].as_array().unwrap().iter().filter_map(|case| case["text"].as_str()).collect();
    let ggml = Checkpoint::recognise(&real("formats/ggml-q4_0.bin")).unwrap();
    for (what, tokenizer) in [
        ("gpt2.tiktoken", Tokenizer::read(&real("formats/gpt2.tiktoken"), 51_864, false).unwrap()),
        ("vocabulary.txt", Tokenizer::read(&folder.join("vocabulary.txt"), 51_864, false).unwrap()),
        ("ggml", Tokenizer::of(&ggml, &ggml.open().unwrap()).unwrap()),
    ] {
        assert_eq!(tokenizer.special, published.special, "{what}");
        for text in &texts {
            assert_eq!(tokenizer.encode(text).unwrap(), published.encode(text).unwrap(), "{what}: {text:?}");
        }
        for id in 0..tokenizer.special.eot {
            assert_eq!(tokenizer.decode(&[id]).unwrap(), published.decode(&[id]).unwrap(), "{what}: {id}");
        }
        assert_eq!(tokenizer.non_speech_tokens().unwrap(), published.non_speech_tokens().unwrap(), "{what}");
    }
}

/// The vocabulary of a `.pt` checkpoint is a separate file, which may belong to another model.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh)"]
fn needs_real_a_tokenizer_beside_a_pt_file_must_be_of_as_many_tokens() {
    let given = |tokenizer: PathBuf| {
        let found = Checkpoint::recognise(&real("formats/openai.pt")).unwrap();
        let checkpoint = Checkpoint { tokenizer: Some(tokenizer), ..found };
        Tokenizer::of(&checkpoint, &checkpoint.open().unwrap()).map(|tokenizer| tokenizer.special.eot)
    };
    assert_eq!(given(real("whisper-tiny.en-ct2/tokenizer.json")).unwrap(), 50_256);
    assert_eq!(given(real("formats/gpt2.tiktoken")).unwrap(), 50_256);
    let builtin = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/tokenizer.json");
    let error = given(builtin).unwrap_err().to_string();
    assert!(error.contains("is for a model of") && error.contains("51864"), "{error}");
}
