//! Text files of `align`: plain text and subtitles.

use serde_json::Value;

use crate::dsl::Dir;

const ALIGN: &str = "--align-model builtin -f json -o out";

/// The words that `align` writes for a text file.
fn words(dir: &Dir, script: &str) -> Vec<String> {
    dir.diarist(&format!("align talk.wav {script} {ALIGN}")).run().exits(0).without_complaint();
    let json: Value = serde_json::from_str(&dir.read("out/talk.json")).unwrap();
    let words = json["word_segments"].as_array().unwrap();
    words.iter().map(|word| word["word"].as_str().unwrap().to_string()).collect()
}

#[test]
fn subtitles_give_the_same_words_as_plain_text() {
    let dir = Dir::new();
    dir.speech("talk.wav", 4.0);
    let srt = "1\n00:00:00,000 --> 00:00:02,000\n[SPEAKER_00]: <i>Good</i> morning,\neveryone.\n\n\
               2\n00:00:02,000 --> 00:00:04,000\n{\\an8}Good morning, Anna.\n";
    let vtt = "WEBVTT\n\nNOTE made by hand\n\n00:00.000 --> 00:02.000\n<v Ben>Good morning, everyone.\n\n\
               00:02.000 --> 00:04.000 line:0\nGood morning,&nbsp;Anna.\n";
    let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(srt.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    dir.write("plain.txt", "Good morning, everyone.\nGood morning, Anna.");
    dir.write("a.srt", srt);
    dir.write("subtitles.txt", srt.replace('\n', "\r\n"));
    dir.write("b.vtt", format!("\u{feff}{vtt}"));
    dir.write("wide.srt", wide);
    let want = words(&dir, "plain.txt");
    assert_eq!(want.len(), 6, "{want:?}");
    for script in ["a.srt", "subtitles.txt", "b.vtt", "wide.srt"] {
        assert_eq!(words(&dir, script), want, "{script}");
    }
}

#[test]
fn files_without_words_are_refused() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("none.vtt", "WEBVTT\n\nNOTE nothing\n");
    dir.write("blank.srt", "1\n00:00:00,000 --> 00:00:02,000\n\n");
    std::fs::create_dir(dir.path("folder")).unwrap();
    for (script, part) in [("none.vtt", "nothing to find"), ("blank.srt", "nothing to find"), ("folder", "directory")] {
        let outcome = dir.diarist(&format!("align talk.wav {script} {ALIGN}")).run();
        outcome.exits(1).complains(&[script, part]);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_the_found_subtitles_are_a_script() {
    let audio = crate::common::shared("audio");
    let dir = Dir::new();
    let run = dir.diarist(&format!("align {ALIGN}")).arg(audio.join("jfk/jfk_441khz.m4a"));
    run.arg(audio.join("found/script_is_srt.srt")).run().exits(0);
    let json: Value = serde_json::from_str(&dir.read("out/jfk_441khz.json")).unwrap();
    assert_eq!(json["word_segments"].as_array().unwrap().len(), 22, "{json}");
}
