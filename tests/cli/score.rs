//! `diarist score`: results against references.

use serde_json::Value;

use crate::dsl::Dir;

/// The files of `tests/data/score`, and their scores by meeteval and pyannote.metrics.
fn folder() -> (Dir, Value) {
    let dir = Dir::new();
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/score");
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        dir.write(&entry.file_name().to_string_lossy(), std::fs::read(entry.path()).unwrap());
    }
    let want = serde_json::from_str(&dir.read("scores.json")).unwrap();
    (dir, want)
}

fn json(dir: &Dir, args: &str) -> Value {
    let run = dir.diarist(&format!("score {args} --json")).run();
    run.exits(0).without_complaint();
    serde_json::from_str(&run.stdout).unwrap()
}

#[track_caller]
fn assert_close(got: &Value, want: &Value, what: &str) {
    let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
    assert!((got - want).abs() < 1e-6, "{what}: got {got}, want {want}");
}

#[test]
fn der_of_several_recordings_is_that_of_pyannote_metrics() {
    let (dir, want) = folder();
    for (args, case) in [("right.rttm heard.rttm", "der"), ("right.rttm heard.rttm --uem some.uem", "der_uem")] {
        let got = json(&dir, args);
        for (name, want) in want[case].as_object().unwrap() {
            for place in 0..2 {
                let got = if name == "all" { &got["all"] } else { &got["recordings"][name] };
                for part in ["collar", "rate", "total", "missed", "false_alarm", "confused"] {
                    assert_close(&got["der"][place][part], &want[place][part], &format!("{case} of {name}, {part}"));
                }
                assert!(got["wer"].is_null() && got["cpwer"].is_null() && got["edges"].is_null());
            }
        }
    }
}

#[test]
fn wer_and_cpwer_of_several_recordings_are_meetevals() {
    let (dir, want) = folder();
    for files in ["right.stm heard.stm", "right.json heard.json", "right.stm heard.json"] {
        let got = json(&dir, files);
        for (name, want) in want["words"].as_object().unwrap() {
            let got = if name == "all" { &got["all"] } else { &got["recordings"][name] };
            for (kind, errors) in [("wer", "errors"), ("cpwer", "cp_errors")] {
                let sum: u64 =
                    ["substituted", "deleted", "inserted"].iter().map(|part| got[kind][part].as_u64().unwrap()).sum();
                assert_eq!(sum, want[errors].as_u64().unwrap(), "{files}: {kind} of {name}");
                assert_eq!(got[kind]["words"], want["words"], "{files}: {name}");
            }
        }
    }
}

#[test]
fn the_table_has_all_scores() {
    let dir = Dir::new();
    dir.write("right.json", r#"{"segments": [
        {"start": 0, "end": 2, "text": " Hello there.", "speaker": "Ann", "words": [
            {"word": "Hello", "start": 0.0, "end": 0.5}, {"word": "there.", "start": 1.0, "end": 2.0}]},
        {"start": 3, "end": 4, "text": " Hi!", "speaker": "Bob", "words": [{"word": "Hi!", "start": 3.0, "end": 4.0}]}]}"#);
    dir.write("heard.json", r#"{"segments": [
        {"start": 0, "end": 2, "text": " hello their", "speaker": "S0", "words": [
            {"word": "hello", "start": 0.1, "end": 0.7}, {"word": "their", "start": 1.0, "end": 2.0}]},
        {"start": 3, "end": 4.5, "text": " hi", "speaker": "S0", "words": [{"word": "hi", "start": 3.2, "end": 4.0}]}]}"#);
    let run = dir.diarist("score right.json heard.json").run();
    run.exits(0).without_complaint();
    assert_eq!(
        run.stdout,
        "\
WER         33.33 %  1 substituted, 0 left out, 0 added; 3 words said
cpWER      100.00 %  1 substituted, 1 left out, 1 added; 3 words said
DER         50.00 %  0.00 % missed, 16.67 % false alarm, 33.33 % confused; 3.00 s spoken
DER 0.25    37.50 %  0.00 % missed, 12.50 % false alarm, 25.00 % confused; 2.00 s spoken
edges       0.125 s  on average, 0.200 s median, 0.200 s 95th percentile; 50.00 % within 0.1 s; 4 edges
"
    );
    let (dir, _) = folder();
    dir.diarist("score right.rttm heard.rttm").run().exits(0).prints(&["RECORDING", "one", "two", "DER 0.25"]);
    dir.diarist("score --help").run().exits(0).prints(&["cpWER", ".stm", "--uem", "--json", "For example"]);
}

#[test]
fn empty_files_and_words_without_speakers() {
    let dir = Dir::new();
    dir.write("a.rttm", "SPEAKER x 1 1 2 <NA> <NA> A <NA> <NA>\n");
    dir.write("silence.rttm", "");
    let got = json(&dir, "a.rttm silence.rttm");
    assert_eq!(got["all"]["der"][0]["missed"], 2.0);
    // RTTM has no lines for a recording without speech.
    dir.write("both.rttm", "SPEAKER x 1 1 2 <NA> <NA> A <NA> <NA>\nSPEAKER y 1 1 3 <NA> <NA> A <NA> <NA>\n");
    let got = json(&dir, "both.rttm a.rttm");
    assert_eq!(
        (&got["recordings"]["y"]["der"][0]["missed"], &got["all"]["der"][0]["missed"]),
        (&3.0.into(), &3.0.into())
    );
    let got = json(&dir, "silence.rttm a.rttm");
    assert!(got["all"]["der"][0]["rate"].is_null() && got["all"]["der"][0]["false_alarm"] == 2.0);
    dir.diarist("score silence.rttm a.rttm").run().exits(0).prints(&["none said"]);
    dir.write("right.txt", "One two three.");
    dir.write("heard.txt", "[Ann]: one two\n[Bob]: four\n");
    let got = json(&dir, "right.txt heard.txt");
    assert_eq!(got["all"]["wer"]["substituted"], 1);
    assert!(got["all"]["cpwer"].is_null() && got["all"]["der"].is_null());
}

#[test]
fn files_that_cannot_be_compared_are_refused() {
    let (dir, _) = folder();
    dir.write("other.rttm", "SPEAKER one 1 1 2 <NA> <NA> A <NA> <NA>\nSPEAKER x 1 1 2 <NA> <NA> A <NA> <NA>\n");
    dir.write("damaged.rttm", "SPEAKER one 1 1\n");
    dir.write("part.uem", "one 1 0 5\n");
    dir.write("words.txt", "hello");
    dir.write("one.stm", "one 1 A 1 2 hello\n");
    dir.write("talk.mp3", "ID3");
    dir.write("list.json", "[{}]");
    dir.write("latin.txt", b"\xe9t\xe9");
    for (args, reason) in [
        ("right.rttm other.rttm", "the reference says nothing of x"),
        ("right.stm one.stm", "the hypothesis says nothing of two"),
        ("other.rttm right.rttm", "the reference says nothing of two"),
        ("right.rttm damaged.rttm", "line 1: expected SPEAKER"),
        ("right.rttm heard.rttm --uem part.uem", "the UEM says nothing of two"),
        ("right.rttm heard.rttm --uem right.rttm", "expected FILE CHANNEL START END"),
        ("damaged.rttm words.txt", "damaged.rttm: line 1"),
        ("words.txt silence.rttm", "silence.rttm"),
        ("words.txt talk.mp3", "no known kind"),
        ("words.txt list.json", "not a list of utterances"),
        ("words.txt latin.txt", "not UTF-8"),
        ("right.rttm right.stm --uem missing.uem", "missing.uem"),
    ] {
        let run = dir.diarist(&format!("score {args}")).run();
        run.exits(1);
        assert!(run.stderr.contains(reason) && run.stdout.is_empty(), "{args}: {}", run.stderr);
    }
    dir.write("one.rttm", "SPEAKER one 1 1 2 <NA> <NA> A <NA> <NA>\n");
    let run = dir.diarist("score words.txt one.rttm").run();
    run.exits(1);
    assert!(run.stderr.contains("nothing of words that could be compared"), "{}", run.stderr);
    dir.diarist("score right.rttm").run().exits(2);
}

/// Names with spaces make RTTM fields ambiguous. A byte order mark is not part of the first field.
#[test]
fn rttm_with_spaces_is_refused_and_a_byte_order_mark_is_not() {
    let dir = Dir::new();
    dir.write("good.rttm", "SPEAKER a 1 0.0 2.0 <NA> <NA> A <NA> <NA>\n");
    dir.write("bom.rttm", "\u{feff}SPEAKER a 1 0.0 2.0 <NA> <NA> A <NA> <NA>\n");
    dir.write("names.rttm", "SPEAKER a 1 0.0 2.0 <NA> <NA> Dr. A <NA> <NA>\n");
    dir.write("files.rttm", "SPEAKER my a 1 0.0 2.0 <NA> <NA> A <NA> <NA>\n");
    for bad in ["names.rttm", "files.rttm"] {
        let outcome = dir.diarist(&format!("score {bad} good.rttm")).run();
        outcome.exits(1).complains(&[bad, "line 1", "11 fields", "`_`"]);
        dir.diarist(&format!("score good.rttm {bad}")).run().exits(1).complains(&[bad, "line 1"]);
    }
    assert_close(&json(&dir, "bom.rttm good.rttm")["all"]["der"][0]["rate"], &0.0.into(), "with a mark");
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_found_rttm_is_scored_or_refused() {
    let found = crate::common::shared("audio/found");
    let dir = Dir::new();
    let score = |reference: &str| {
        dir.diarist("score").arg(found.join(reference)).arg(found.join("hyp.rttm")).arg("--json").run()
    };
    let scores: Value = serde_json::from_str(&score("ref.rttm").exits(0).stdout).unwrap();
    let rate = scores["all"]["der"][0]["rate"].as_f64().unwrap();
    assert!((rate - 0.4379).abs() < 5e-5, "{rate}");
    for reference in ["space.rttm", "dr.rttm"] {
        score(reference).exits(1).complains(&[reference, "line 1", "11 fields"]);
    }
}
