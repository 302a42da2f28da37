//! Word times: alignment (the default), DTW, subtitles, `align`, and their errors.

use serde_json::Value;

use crate::dsl::Dir;

const GREEDY: &str = "--beam-size 1 --temperature-increment-on-fallback None";
const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

fn json(dir: &Dir, name: &str) -> Value {
    serde_json::from_str(&dir.read(name)).unwrap()
}

/// All words of all segments.
fn words(json: &Value) -> Vec<Value> {
    let words = |segment: &Value| segment["words"].as_array().cloned().unwrap_or_default();
    json["segments"].as_array().unwrap().iter().flat_map(words).collect()
}

fn sources(json: &Value) -> Vec<String> {
    words(json).iter().map(|word| word["source"].as_str().unwrap_or("none").to_string()).collect()
}

/// Checks that the words make up the text of their segments, and that their times are ordered and their scores valid.
fn check_words(json: &Value) {
    let mut last = 0.0;
    for segment in json["segments"].as_array().unwrap() {
        let list = segment["words"].as_array().unwrap();
        let said: Vec<&str> = list.iter().map(|word| word["word"].as_str().unwrap()).collect();
        assert_eq!(said.join(" "), segment["text"].as_str().unwrap().trim(), "{segment}");
        for word in list {
            let (start, end) = (word["start"].as_f64().unwrap(), word["end"].as_f64().unwrap());
            assert!(start >= last && end >= start, "{word} after {last}");
            assert!((0.0..=1.0).contains(&word["score"].as_f64().unwrap()), "{word}");
            last = end;
        }
    }
    assert_eq!(json["word_segments"].as_array().unwrap(), &words(json));
}

#[test]
fn words_are_aligned_unless_told_otherwise() {
    let dir = Dir::new();
    dir.speech("talk.wav", 8.0);
    dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f all,aud")).run().exits(0).without_complaint();
    let aligned = json(&dir, "talk.json");
    check_words(&aligned);
    assert!(words(&aligned).len() >= 10, "{aligned}");
    assert!(sources(&aligned).iter().filter(|source| *source == "aligned").count() >= 8, "{aligned}");
    let first = aligned["segments"][0]["start"].as_f64().unwrap();
    assert!(dir.read("talk.aud").starts_with(&format!("{first:?}\t")), "{}", dir.read("talk.aud"));
    assert!(dir.read("talk.tsv").contains(&format!("\n{}\t", (first * 1000.0).round())), "{}", dir.read("talk.tsv"));
    dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f json -o bare --no-align")).run().exits(0);
    let bare = json(&dir, "bare/talk.json");
    assert!(words(&bare).is_empty() && bare.get("word_segments").is_none(), "{bare}");
}

#[test]
fn other_methods_of_word_times() {
    let dir = Dir::new();
    dir.speech("talk.wav", 5.0);
    let of = |args: &str| {
        dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f json {args}")).run().exits(0).without_complaint();
        json(&dir, "talk.json")
    };
    let dtw = of("--align-method dtw");
    assert!(sources(&dtw).len() >= 6 && sources(&dtw).iter().all(|source| source == "dtw"), "{dtw}");
    let characters = of("--return_char_alignments --align-topology whisperx --interpolate_method linear");
    let first = &characters["segments"][0]["chars"][0];
    assert!(first["char"].is_string() && first["start"].is_number(), "{characters}");
    check_words(&characters);
    assert!(of("--align-method ctc")["segments"][0].get("chars").is_none());
}

#[test]
fn subtitles_are_cut_between_words() {
    let dir = Dir::new();
    dir.speech("talk.wav", 8.0);
    let of = |args: &str| {
        dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f srt {args}")).run().exits(0).without_complaint();
        dir.read("talk.srt")
    };
    let narrow = of("--max_line_width 20 --max_line_count 1");
    assert!(narrow.lines().filter(|line| !line.contains("-->")).all(|line| line.chars().count() <= 20), "{narrow}");
    assert!(narrow.matches("-->").count() >= 4, "{narrow}");
    assert!(of("--highlight_words True").contains("<u>"));
    let short = of("--max-cue-duration 1.5 --min-cue-duration 0.5 --max-cps 30 --min-cue-gap 0.05");
    assert!(short.matches("-->").count() > narrow.matches("-->").count() / 2, "{short}");
    assert!(of("--max-line-width 24 --balance-lines").lines().any(|line| line.contains(' ')));
}

/// A recogniser other than the built-in one, and a language whose aligner is not installed.
#[test]
fn without_an_aligner_the_text_is_still_written() {
    let dir = Dir::new();
    dir.model("model");
    let with_heads = diarist::assets::MODEL.generation_config;
    let mut generation: Value = serde_json::from_str(with_heads).unwrap();
    generation.as_object_mut().unwrap().remove("alignment_heads");
    dir.write("model/generation_config.json", generation.to_string());
    dir.speech("one.wav", 4.0);
    dir.speech("two.wav", 4.0);
    let outcome = dir.diarist(&format!("transcribe one.wav two.wav --model model {GREEDY} -f json,srt")).run();
    outcome.exits(0).complains(&["no alignment of `en`", "--align-model", "--no-align", "wav2vec2_fairseq_base_ls960"]);
    assert_eq!(outcome.stderr.matches("no alignment").count(), 1, "{}", outcome.stderr);
    for name in ["one.json", "two.json"] {
        let json = json(&dir, name);
        assert!(!json["segments"].as_array().unwrap().is_empty() && words(&json).is_empty(), "{json}");
    }
    // The same with a checkpoint that has alignment heads: DTW replaces the alignment.
    dir.write("model/generation_config.json", with_heads);
    let outcome = dir.diarist(&format!("transcribe one.wav --model model {GREEDY} -f json")).run();
    outcome.exits(0).complains(&["no alignment of `en`", "taken from the recogniser"]);
    let json = json(&dir, "one.json");
    assert!(!sources(&json).is_empty() && sources(&json).iter().all(|source| source == "dtw"), "{json}");
}

#[test]
fn an_aligner_can_be_a_folder() {
    let dir = Dir::new();
    dir.model("model");
    dir.aligner("letters");
    dir.speech("talk.wav", 4.0);
    let args = format!("transcribe talk.wav --model model {GREEDY} -f json --align-model letters");
    dir.diarist(&args).run().exits(0).without_complaint();
    check_words(&json(&dir, "talk.json"));
    std::fs::remove_file(dir.path("letters/vocab.json")).unwrap();
    dir.diarist(&args).run().exits(1).complains(&["letters", "vocab.json"]);
    dir.write("letters/vocab.json", "[1]");
    dir.diarist(&args).run().exits(2).complains(&["align-model", "letters", "not a table of tokens"]);
    dir.write("letters/vocab.json", "{\"a\": 99}");
    dir.diarist(&args).run().exits(2).complains(&["align-model", "`a` is class 99"]);
}

#[test]
fn invalid_aligners_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("model.pth", "no bundle");
    dir.write("wav2vec2_fairseq_base_ls960_asr_ls960.pth", "damaged");
    for (model, status, parts) in [
        ("./nowhere", 1, ["nowhere", "vocab.json"]),
        ("WAV2VEC2_ASR_TINY", 2, ["align-model", "WAV2VEC2_ASR_BASE_960H"]),
        ("model.pth", 1, ["model.pth", "torchaudio"]),
        ("wav2vec2_fairseq_base_ls960_asr_ls960.pth", 2, ["align-model", "damaged or truncated"]),
        ("some/repository", 1, ["some/repository", "downloads are switched off"]),
        ("VOXPOPULI_ASR_BASE_10K_FR", 1, ["wav2vec2_voxpopuli_base_10k_asr_fr.pt", "--align-model FILE"]),
    ] {
        let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} --align-model {model}")).run();
        outcome.exits(status).complains(&parts);
        assert_eq!(outcome.stdout, "", "{model}");
    }
    assert_eq!(dir.files().len(), 3, "{:?}", dir.files());
}

#[test]
fn a_known_text_is_aligned() {
    let dir = Dir::new();
    dir.speech("talk.wav", 8.4);
    dir.write("text.txt", "\u{feff}Good morning, everyone. Good morning, Anna.\nLet's start with the project. The budget is almost ready.\n");
    let args = "align talk.wav text.txt --align-model builtin";
    let outcome = dir.diarist(&format!("{args} -f json,srt -o out")).run();
    outcome.exits(0).without_complaint().prints(&["Good morning, everyone."]);
    let of_text = json(&dir, "out/talk.json");
    check_words(&of_text);
    assert_eq!((words(&of_text).len(), of_text["language"].as_str()), (16, Some("en")));
    let when = |word: &str| {
        let found = words(&of_text).into_iter().find(|w| w["word"] == word).unwrap();
        (found["start"].as_f64().unwrap() + found["end"].as_f64().unwrap()) / 2.0
    };
    assert!(when("Good") < 1.5 && (3.5..8.4).contains(&when("budget")), "{of_text}");
    // Transcripts of diarist and of WhisperX.
    dir.diarist("align talk.wav out/talk.json --align-model builtin -f json -o again").run().exits(0);
    let again = json(&dir, "again/talk.json");
    check_words(&again);
    assert_eq!(words(&again).len(), 16);
    dir.write(
        "wx.json",
        r#"{"segments": [{"text": " Good morning, everyone.", "start": 0.0, "end": 2.0, "chars": null,
        "words": [{"word": "Good"}]}], "word_segments": [], "language": "en"}"#,
    );
    dir.diarist("align talk.wav wx.json --align-model builtin -f json -o wx").run().exits(0).without_complaint();
    assert_eq!(words(&json(&dir, "wx/talk.json")).len(), 3);
}

#[test]
fn texts_that_cannot_be_aligned_are_refused_with_a_reason() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("good.txt", "Good morning.");
    dir.write("latin1.txt", b"Gr\xfc\xdfe");
    dir.write("empty.txt", " \n");
    dir.write("broken.json", "{");
    dir.write("none.json", r#"{"segments": [], "language": "en"}"#);
    dir.write("strange.json", r#"{"segments": [{"text": "x", "start": 0.0, "end": 1.0}], "language": "tlh"}"#);
    for (args, status, parts) in [
        ("talk.wav missing.txt", 1, ["missing.txt", "No such file"]),
        ("talk.wav latin1.txt", 1, ["latin1.txt", "not UTF-8 (byte 2)"]),
        ("talk.wav empty.txt", 1, ["empty.txt", "nothing to find"]),
        ("talk.wav broken.json", 1, ["broken.json", "not a transcript"]),
        ("talk.wav none.json", 1, ["none.json", "no segments"]),
        ("talk.wav strange.json", 2, ["language", "tlh"]),
        ("talk.wav good.txt --language Klingon", 2, ["language", "Klingon"]),
        ("missing.wav good.txt", 1, ["missing.wav", "no such file"]),
        ("talk.wav good.txt --align-model ./nowhere", 1, ["nowhere", "vocab.json"]),
        ("talk.wav good.txt --language yue --align-model", 2, ["--align-model", "value"]),
        ("talk.wav good.txt --max-line-count 2", 2, ["max-line-count", "--max-line-width"]),
    ] {
        let builtin = if args.contains("align-model") { "" } else { "--align-model builtin" };
        let outcome = dir.diarist(&format!("align {args} {builtin}")).run();
        outcome.exits(status).complains(&parts);
        assert_eq!(outcome.stdout, "", "{args}");
    }
    let outcome = dir.diarist("align talk.wav good.txt --language yue").run();
    outcome.exits(2).complains(&["yue", "--align-model", "diarist models"]);
    let outcome = dir.diarist("align talk.wav good.txt").run();
    outcome.exits(1).complains(&["wav2vec2_fairseq_base_ls960_asr_ls960.pth", "downloads are switched off"]);
}

#[test]
fn models_lists_aligners_with_their_licences() {
    let dir = Dir::new();
    dir.write("mine/wav2vec2_voxpopuli_base_10k_asr_fr.pt", vec![0; 2_000_000]);
    let outcome = dir.diarist("models --model-dir mine").run();
    outcome.exits(0).without_complaint();
    let row = |start: &str| outcome.stdout.lines().find(|line| line.starts_with(start)).unwrap().to_string();
    let french = row("fr ");
    assert!(french.contains("VOXPOPULI_ASR_BASE_10K_FR") && french.contains("CC BY-NC 4.0") && french.contains("2 MB"));
    assert!(row("uk ").contains("see the model card") && row("en ").contains("builtin"));
    assert!(row("auto ").contains("the default") && row("open ").contains("no account needed"));
    assert!(row("pyannote/speaker-diarization-community-1 ").contains("after accepting its terms"));
}

#[test]
fn align_tells_when_the_text_is_not_spoken() {
    let dir = Dir::new();
    dir.silence("silence.wav", 4.0);
    dir.speech("short.wav", 0.2);
    dir.write("words.txt", "the quick brown fox jumps over the lazy dog");
    let align = |file: &str| dir.diarist(&format!("align {file} words.txt --align-model builtin -f json")).run();
    let outcome = align("silence.wav");
    outcome.exits(0).complains(&["silence.wav", "mean score of the words is 0.0", "probably not what is spoken"]);
    assert!(dir.path("silence.json").exists());
    let outcome = align("short.wav");
    outcome.exits(1).complains(&["short.wav", "not aligned", "no results are written"]);
    assert!(!dir.path("short.json").exists());
}

#[test]
fn a_model_without_the_language_refuses_before_an_aligner_is_looked_for() {
    let dir = Dir::new();
    dir.speech("talk.wav", 1.0);
    let outcome = dir.diarist("transcribe talk.wav --model builtin --language de").run();
    outcome.exits(1).complains(&["--language de", "this model was not trained on it"]);
    assert!(!outcome.stderr.contains("align"), "{}", outcome.stderr);
}
