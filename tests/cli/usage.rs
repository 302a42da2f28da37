//! Help texts, and invalid command lines.

use crate::dsl::Dir;

#[test]
fn help_fits_a_screen_and_names_the_first_steps() {
    let help = Dir::new().diarist("--help").run();
    help.exits(0).without_complaint().prints(&["diarist demo", "transcribe", "vad", "models"]);
    assert!(help.stdout.lines().count() <= 30, "{}", help.stdout);
    let short = Dir::new().diarist("transcribe -h").run();
    short.exits(0).prints(&["--model", "[default: small]", "--language", "--output-dir", "--help"]);
    assert!(short.stdout.lines().count() <= 45, "{} lines", short.stdout.lines().count());
    let long = Dir::new().diarist("transcribe --help").run();
    long.exits(0).prints(&["--beam-size", "--compression-ratio-threshold", "[default: 2.4]"]);
}

#[test]
fn the_version_is_that_of_the_crate() {
    let expected = format!("diarist {}\n", env!("CARGO_PKG_VERSION"));
    let outcome = Dir::new().diarist("--version").run();
    assert_eq!(outcome.exits(0).without_complaint().stdout, expected);
}

#[test]
fn a_wrong_option_is_a_usage_error() {
    let dir = Dir::new();
    dir.diarist("transcribe a.wav --beem-size 5").run().exits(2).complains(&["--beem-size", "--beam-size"]);
    dir.diarist("transcribe").run().exits(2).complains(&["FILE"]);
    dir.diarist("transcribe a.wav -f doc").run().exits(2).complains(&["doc", "srt"]);
    dir.diarist("transcribe a.wav --batch_size 0").run().exits(2).complains(&["--batch-size"]);
    dir.diarist("transcribe a.wav --beam-size x").run().exits(2).complains(&["--beam-size", "a number or None"]);
    dir.diarist("").run().exits(2);
    assert!(dir.files().is_empty());
}

#[test]
fn a_file_named_first_gets_a_hint() {
    let dir = Dir::new();
    dir.write("talk.wav", b"");
    dir.diarist("talk.wav").run().exits(2).complains(&["diarist transcribe talk.wav"]);
}

#[test]
fn invalid_options_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    for (args, parts) in [
        ("--min_speakers 2", ["min-speakers", "--diarize"]),
        ("--align_model X", ["align-model", "organisation/name"]),
        ("--interpolate_method cubic", ["interpolate-method", "nearest"]),
        ("--align-topology trellis", ["align-topology", "whisperx"]),
        ("--align-method mfa", ["align-method", "dtw"]),
        ("--no_align --highlight_words True", ["highlight-words", "--no-align"]),
        ("--no_align --max_line_width 42", ["max-line-width", "--no-align"]),
        ("--no_align --align-model builtin", ["align-model", "--no-align"]),
        ("--no_align --align-method dtw", ["align-method", "--no-align"]),
        ("--align-method dtw --return_char_alignments", ["return-char-alignments", "dtw"]),
        ("--align-method dtw --interpolate_method linear", ["interpolate-method", "dtw"]),
        ("--task translate --align_model builtin", ["align-model", "translation"]),
        ("--task translate --highlight_words True", ["highlight-words", "--align-method dtw"]),
        ("--max_line_count 2", ["max-line-count", "--max-line-width"]),
        ("--balance-lines", ["balance-lines", "--max-line-width"]),
        ("--max_line_width 0", ["max-line-width", "at least 1"]),
        ("--max-cps 0", ["max-cps", "above 0"]),
        ("--min-cue-duration 3 --max-cue-duration 2", ["min-cue-duration", "max-cue-duration"]),
        ("--highlight_words True --max-cps 20", ["max-cps", "highlight-words"]),
        ("--min-cue-gap 1e9", ["min-cue-gap", "3600"]),
        ("--segment_resolution chunk", ["segment-resolution", "ignores it"]),
        ("--device cuda:99", ["device", "cuda:99"]),
        ("--device gpu", ["device", "cuda:N"]),
        ("--device_index 99", ["device-index", "CPU"]),
        ("--device cpu --compute_type bfloat16", ["compute-type", "GPU"]),
        ("--device cuda --compute_type float32", ["compute-type", "CPU"]),
        ("--gpu-memory-limit 8X", ["gpu-memory-limit", "GiB"]),
        ("--vad_method pyannote", ["--vad-model", "pytorch_model.bin"]),
        ("--vad silero", ["--vad-model", "safetensors"]),
        ("--vad energy --vad-model x", ["vad-model", "silero"]),
        ("--vad_onset 1.5", ["vad-onset", "1"]),
        ("--condition_on_previous_text True", ["condition-on-previous-text", "--vad-method none"]),
        ("--language Klingon", ["language", "Klingon"]),
        ("--suppress_tokens a,b", ["suppress-tokens", "token ids"]),
        ("--temperature_increment_on_fallback 0", ["temperature-increment-on-fallback", "None"]),
        ("--beam_size 0", ["beam-size", "1"]),
        ("--model no-such-model", ["no-such-model", "large-v3"]),
    ] {
        let outcome = dir.diarist(&format!("transcribe a.wav {args}")).run();
        outcome.exits(2).complains(&parts);
        assert_eq!(outcome.stdout, "", "{args}");
    }
    assert!(dir.files().is_empty());
}

#[test]
fn two_recordings_cannot_be_written_to_one_name() {
    let dir = Dir::new();
    dir.write("a/talk.wav", b"");
    dir.write("b/talk.mp3", b"");
    let outcome = dir.diarist("transcribe --model builtin a/talk.wav b/talk.mp3").run();
    outcome.exits(2).complains(&["a/talk.wav", "b/talk.mp3", "--output-dir"]);
}

#[test]
fn models_lists_names_and_installed_models() {
    let dir = Dir::new();
    let outcome = dir.diarist("models").run();
    outcome.exits(0).without_complaint().prints(&["large-v3-turbo", "openai/whisper-tiny.en", "builtin", "home"]);
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        dir.write(&format!("mine/base/{file}"), vec![0; 1_500_000]);
    }
    let outcome = dir.diarist("models --model-dir mine").run();
    let row = outcome.stdout.lines().find(|l| l.starts_with("base ")).unwrap();
    assert!(row.contains("5 MB"), "{row}");
}
