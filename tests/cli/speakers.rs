//! Speaker diarization: `diarize`, `transcribe --diarize`, and their errors.

use diarist::diarize::recipe::{Location, Recipe};
use diarist::hub::DiarizerSource;
use serde_json::Value;

use crate::common::pipeline::{self, CENTROID, VBX};
use crate::dsl::Dir;

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

impl Dir {
    /// Writes a pipeline with random weights.
    fn pipeline(&self, name: &str, config: &str) {
        pipeline::write(&self.path(name), config, &pipeline::segmentation(4.0, true));
    }

    /// Writes a pipeline whose segmentation is a malicious pickle: unpickling it in Python runs `touch trapped`.
    fn trap(&self, name: &str) {
        self.pipeline(name, CENTROID);
        std::fs::remove_file(self.path(&format!("{name}/segmentation/model.safetensors"))).unwrap();
        let trap = std::fs::read(crate::common::data("torch/trap.bin")).unwrap();
        assert!(trap.windows(13).any(|part| part == b"touch trapped"));
        self.write(&format!("{name}/segmentation/pytorch_model.bin"), trap);
    }
}

/// Parses RTTM lines to start, duration and speaker. Each line must belong to this recording.
fn turns(rttm: &str, recording: &str) -> Vec<(f64, f64, String)> {
    let turn = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, name, channel, start, length, a, b, speaker, c, d] = fields[..] else { panic!("{line}") };
        assert_eq!([kind, name, channel, a, b, c, d], ["SPEAKER", recording, "1", "<NA>", "<NA>", "<NA>", "<NA>"]);
        let number = |text: &str| {
            assert_eq!(text.split_once('.').unwrap().1.len(), 3, "{line}");
            text.parse::<f64>().unwrap()
        };
        (number(start), number(length), speaker.to_owned())
    };
    rttm.lines().map(turn).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn turns_are_printed_or_written() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("a talk.wav", 6.0);
    dir.speech("b.wav", 3.0);
    let outcome = dir.diarist("diarize --diarize-model model").arg("a talk.wav").run();
    let printed = turns(&outcome.exits(0).without_complaint().stdout, "a_talk");
    assert!(!printed.is_empty() && printed.is_sorted_by(|a, b| a.0 <= b.0), "{printed:?}");
    assert!(printed.iter().all(|(start, length, speaker)| {
        *length > 0.0 && start + length < 6.01 && speaker.starts_with("SPEAKER_0")
    }));
    let run = dir.diarist("diarize b.wav --diarize_model model -o out").arg("a talk.wav").run();
    assert_eq!(
        run.exits(0).without_complaint().stdout,
        "wrote out/b.rttm\nwrote out/a talk.rttm\nwrote 2 files to out\n"
    );
    assert_eq!(turns(&dir.read("out/a talk.rttm"), "a_talk"), printed);
    assert!(!turns(&dir.read("out/b.rttm"), "b").is_empty());
    let run = dir.diarist("diarize b.wav --diarize_model model -f json --speaker-embeddings --num-speakers 1").run();
    let found = json(&run.exits(0).without_complaint().stdout);
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["audio", "duration", "diarization", "turns", "exclusive", "speaker_embeddings"]);
    assert_eq!(found["diarization"], serde_json::json!({"pipeline": "model"}));
    assert_eq!(found["speaker_embeddings"]["SPEAKER_00"].as_array().unwrap().len(), pipeline::SIZE);
    assert!(found["turns"].as_array().unwrap().iter().all(|turn| turn["speaker"] == "SPEAKER_00"));
    let exclusive = found["exclusive"].as_array().unwrap();
    assert!(exclusive.windows(2).all(|pair| pair[0]["end"].as_f64() <= pair[1]["start"].as_f64()), "{exclusive:?}");
}

#[test]
fn words_and_segments_have_speakers() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("talk.wav", 6.0);
    let args = format!("transcribe talk.wav {BUILTIN} --diarize --diarize_model model --vad energy");
    let outcome =
        dir.diarist(&format!("{args} --num-speakers 1 --fill-nearest --speaker_embeddings -f all,rttm")).run();
    outcome.exits(0).without_complaint();
    let found = json(&dir.read("talk.json"));
    for key in ["segments", "word_segments", "language", "speaker_embeddings", "turns"] {
        assert!(!found[key].is_null(), "{key}");
    }
    for segment in found["segments"].as_array().unwrap() {
        assert_eq!(segment["speaker"], "SPEAKER_00", "{segment}");
        assert!(segment["words"].as_array().unwrap().iter().all(|word| word["speaker"] == "SPEAKER_00"), "{segment}");
    }
    assert_eq!(found["word_segments"].as_array().unwrap().len(), words(&found).len());
    assert_eq!(found["speaker_embeddings"]["SPEAKER_00"].as_array().unwrap().len(), pipeline::SIZE);
    let first = found["segments"][0]["text"].as_str().unwrap().trim();
    for file in ["talk.txt", "talk.srt", "talk.vtt"] {
        assert!(dir.read(file).contains(&format!("[SPEAKER_00]: {first}")), "{}", dir.read(file));
    }
    assert_eq!(turns(&dir.read("talk.rttm"), "talk").len(), found["turns"].as_array().unwrap().len());
    // Segments are split where the speaker changes, unless --whole-segments is given.
    dir.diarist(&format!("{args} -f json -o cut --fill-nearest")).run().exits(0);
    let cut = json(&dir.read("cut/talk.json"));
    for segment in cut["segments"].as_array().unwrap() {
        let own = segment["words"].as_array().unwrap().iter().all(|word| word["speaker"] == segment["speaker"]);
        assert!(own, "{segment}");
    }
    dir.diarist(&format!("{args} -f json -o whole --whole-segments --sentence-speakers")).run().exits(0);
    let whole = json(&dir.read("whole/talk.json"));
    assert_eq!(whole["segments"].as_array().unwrap().len(), found["segments"].as_array().unwrap().len());
    assert_eq!(words(&whole).len(), words(&cut).len());
    assert!(whole["speaker_embeddings"].is_null());
}

fn words(found: &Value) -> Vec<&Value> {
    found["segments"].as_array().unwrap().iter().flat_map(|s| s["words"].as_array().unwrap()).collect()
}

#[test]
fn vad_uses_the_segmentation_network() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("talk.wav", 6.0);
    let args = format!("transcribe talk.wav {BUILTIN} --no_align -f json --diarize --diarize_model model");
    dir.diarist(&format!("{args} -o a")).run().exits(0);
    dir.diarist(&format!("{args} -o b --vad pyannote")).run().exits(0);
    dir.diarist(&format!("{args} -o c --vad-model model")).run().exits(0);
    assert_eq!(dir.read("a/talk.json"), dir.read("b/talk.json"));
    assert_eq!(dir.read("a/talk.json"), dir.read("c/talk.json"));
    dir.diarist("vad talk.wav --vad pyannote --vad-model model").run().exits(0).without_complaint().prints(&["speech"]);
    let missing = dir.diarist("vad talk.wav --vad-model pyannote/segmentation-3.0").run();
    missing.exits(1).complains(&["pyannote/segmentation-3.0", "downloads are switched off", "HF_TOKEN"]);
}

#[test]
fn silence_and_very_short_recordings_have_no_turns() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.silence("silence.wav", 7.0);
    dir.speech("short.wav", 0.2);
    let outcome = dir.diarist("diarize silence.wav short.wav --diarize-model model").run();
    assert_eq!(outcome.exits(0).without_complaint().stdout, "");
    let args = format!("transcribe silence.wav short.wav {BUILTIN} --diarize --diarize-model model -f json,rttm");
    dir.diarist(&args).run().exits(0);
    assert_eq!((dir.read("silence.rttm").as_str(), dir.read("short.rttm").as_str()), ("", ""));
    assert!(json(&dir.read("silence.json"))["segments"].as_array().unwrap().is_empty());
}

#[test]
fn if_only_diarization_fails_the_transcript_is_written() {
    let dir = Dir::new();
    pipeline::write_mute(&dir.path("model"));
    dir.speech("talk.wav", 6.0);
    let args = "--diarize-model model";
    for vad in ["", "--vad energy"] {
        let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f json --diarize {args} {vad}")).run();
        outcome.exits(1).complains(&["talk.wav", "has no speakers", "embeddings", "zero or not a number"]);
        let found = json(&dir.read("talk.json"));
        assert!(!words(&found).is_empty() && found["turns"].is_null() && found["segments"][0]["speaker"].is_null());
        assert!(found["diarization"].is_null(), "{found}");
    }
    dir.diarist(&format!("diarize talk.wav {args}")).run().exits(1).complains(&["talk.wav", "zero or not a number"]);
}

#[test]
fn a_number_of_speakers_that_cannot_be_met_is_a_warning_with_the_recording() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("a talk.wav", 6.0);
    dir.silence("silence.wav", 6.0);
    let args = "--diarize-model model --num-speakers 400";
    let outcome = dir.diarist(&format!("diarize silence.wav -f json {args}")).arg("a talk.wav").run();
    outcome.exits(0).complains(&["a talk.wav: --num-speakers 400 cannot be met: ", "silence.wav: --num-speakers 400"]);
    assert_eq!(outcome.stderr.lines().count(), 2, "{}", outcome.stderr);
    let told: Vec<Value> = outcome.stdout.lines().map(|line| json(line)["warnings"].clone()).collect();
    assert!(told[0][0].as_str().unwrap().contains("nobody speaks"), "{told:?}");
    assert!(told[1][0].as_str().unwrap().contains("speakers found"), "{told:?}");
    let outcome =
        dir.diarist(&format!("transcribe {BUILTIN} --diarize {args} --verbose False -f json")).arg("a talk.wav").run();
    outcome.exits(0).complains(&["a talk.wav: --num-speakers 400 cannot be met: "]);
    assert_eq!(json(&dir.read("a talk.json"))["warnings"], told[1]);
    let outcome =
        dir.diarist("diarize --diarize-model model --min-speakers 300 --max-speakers 400").arg("a talk.wav").run();
    outcome.exits(0).complains(&["a talk.wav: --min-speakers 300 cannot be met: "]);
    let outcome = dir.diarist("diarize silence.wav --diarize-model model --max-speakers 3").arg("a talk.wav").run();
    outcome.exits(0).without_complaint();
}

#[test]
fn a_recording_with_nan_is_refused_by_name() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    let mut samples = vec![0.1f32; 32_000];
    samples[20_000] = f32::NAN;
    dir.float_wav("nan.wav", &samples);
    dir.diarist("diarize nan.wav --diarize-model model").run().exits(1).complains(&["nan.wav", "not a finite number"]);
}

#[test]
fn numbers_that_contradict_each_other_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    for command in
        ["diarize a.wav --diarize-model model", "transcribe a.wav --diarize --diarize-model model --model builtin"]
    {
        for (args, parts) in [
            ("--min_speakers 3 --max_speakers 2", ["min-speakers", "max-speakers"]),
            ("--num-speakers 0", ["num-speakers", "at least 1"]),
            ("--num-speakers 2 --max-speakers 3", ["--num-speakers", "--max-speakers"]),
            ("--min_speakers x", ["--min-speakers", "invalid"]),
        ] {
            let outcome = dir.diarist(&format!("{command} {args}")).run();
            assert_eq!(outcome.exits(2).complains(&parts).stdout, "", "{args}");
        }
    }
    for option in
        ["--min_speakers 2", "--speaker_embeddings", "--diarize_model x/y", "--fill-nearest", "--speakers model"]
    {
        let outcome = dir.diarist(&format!("transcribe a.wav --model builtin {option}")).run();
        outcome.exits(2).complains(&["has no effect without --diarize"]);
    }
    dir.diarist("diarize a.wav --diarize-model model --speaker-embeddings")
        .run()
        .exits(2)
        .complains(&["--output-format json"]);
}

#[test]
fn invalid_pipelines_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("file.bin", "x");
    dir.write("empty/readme.txt", "x");
    for (model, status, parts) in [
        ("./nowhere", 1, ["nowhere", "config.yaml"]),
        ("file.bin", 1, ["file.bin", "give the folder of the pipeline"]),
        ("empty", 1, ["empty", "config.yaml"]),
        ("small", 2, ["diarize-model", "community-1"]),
        ("pyannote/speaker-diarization-3.1", 1, ["downloads are switched off", "HF_TOKEN"]),
    ] {
        let outcome = dir.diarist(&format!("diarize talk.wav --diarize-model {model}")).run();
        assert_eq!(outcome.exits(status).complains(&parts).stdout, "", "{model}");
    }
    dir.diarist("diarize talk.wav")
        .run()
        .exits(1)
        .complains(&["speaker-diarization-community-1", "--diarize-model FOLDER"]);
}

/// No code in a pipeline's files is executed.
#[test]
fn nothing_in_a_pipeline_is_executed() {
    let dir = Dir::new();
    dir.speech("talk.wav", 4.0);
    let with = |line: &str| CENTROID.replacen("version: 3.1.0\n", &format!("{line}\n"), 1);
    let name = "pyannote.audio.pipelines.SpeakerDiarization";
    for (config, parts) in [
        (CENTROID.replace(name, "os.system"), ["names the class `os.system`", "not loaded"]),
        (
            with("preprocessors:\n  audio:\n    name: subprocess.run\n    params: {args: [touch, trapped]}"),
            ["preprocessors", "not done"],
        ),
        (with("x: !!python/object/apply:os.system ['touch trapped']"), ["python/object/apply:os.system", "line 1"]),
        (with("x: &a [1]\ny: *a"), ["alias", "line 2"]),
        (
            CENTROID.replace("$model/segmentation", "$model/../../secret"),
            ["pipeline.params.segmentation", "out of the folder"],
        ),
        (CENTROID.replace("AgglomerativeClustering", "OracleClustering"), ["OracleClustering", "VBxClustering"]),
        (CENTROID.replace("min_cluster_size", "surprise"), ["params.clustering.surprise", "not known"]),
        (CENTROID.replace("0.7045654963945799", "lots"), ["threshold", "expected a number"]),
        (VBX.replace("Fa: 0.07", "Fa: -1"), ["params.clustering.Fa", "expected 0.000001 to"]),
        (VBX.replace("    Fa:", "    contact: 0.1\n    Fa:"), ["params.clustering.contact", "not known"]),
        ("[1, 2".into(), ["no YAML", "config.yaml"]),
    ] {
        dir.pipeline("bad", &config);
        for command in ["diarize talk.wav", "transcribe talk.wav --model builtin --diarize"] {
            let outcome = dir.diarist(&format!("{command} --diarize-model bad")).run();
            assert_eq!(outcome.exits(1).complains(&parts).stdout, "", "{config}");
        }
    }
    dir.trap("trap");
    let outcome = dir.diarist("diarize talk.wav --diarize-model trap").run();
    outcome.exits(1).complains(&["trap/segmentation/pytorch_model.bin", "trained for"]);
    let outcome = dir.diarist("vad talk.wav --vad pyannote --vad-model trap").run();
    outcome.exits(1).complains(&["trained for"]);
    dir.pipeline("trap2", CENTROID);
    std::fs::rename(dir.path("trap/segmentation/pytorch_model.bin"), dir.path("trap2/embedding/pytorch_model.bin"))
        .unwrap();
    std::fs::remove_file(dir.path("trap2/embedding/model.safetensors")).unwrap();
    dir.diarist("diarize talk.wav --diarize-model trap2").run().exits(1).complains(&["embedding/pytorch_model.bin"]);
    assert!(!dir.files().iter().any(|file| file.contains("trapped")), "{:?}", dir.files());
}

#[test]
fn enrolled_voices_give_names() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("talk.wav", 6.0);
    dir.speech("known/Anna Berg.wav", 6.0);
    dir.write("known/.DS_Store", "x");
    let args = "--diarize-model model --num-speakers 1 --speakers known";
    let outcome = dir.diarist(&format!("diarize talk.wav {args}")).run();
    let found = turns(&outcome.exits(0).without_complaint().stdout, "talk");
    assert!(!found.is_empty() && found.iter().all(|(_, _, speaker)| speaker == "Anna_Berg"), "{found:?}");
    let outcome =
        dir.diarist(&format!("transcribe talk.wav {BUILTIN} --diarize {args} -f txt,json --speaker-embeddings")).run();
    outcome.exits(0).without_complaint();
    assert!(dir.read("talk.txt").starts_with("[Anna Berg]: "), "{}", dir.read("talk.txt"));
    assert!(!json(&dir.read("talk.json"))["speaker_embeddings"]["Anna Berg"].is_null());
}

#[test]
fn bad_enrolment_recordings_are_refused_before_any_recording_is_read() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("talk.wav", 4.0);
    dir.write("text/Anna/notes.wav", "This is no recording.");
    std::fs::create_dir(dir.path("none")).unwrap();
    dir.silence("silent/Ben.wav", 5.0);
    for (folder, parts) in [
        ("text", ["text/Anna/notes.wav", "not a recording"]),
        ("none", ["none", "no recordings of speakers"]),
        ("missing", ["missing", "No such file"]),
        ("silent", ["silent/Ben.wav", "nobody"]),
    ] {
        for command in ["diarize talk.wav".to_owned(), format!("transcribe talk.wav {BUILTIN} --diarize")] {
            let outcome = dir.diarist(&format!("{command} --diarize-model model --speakers {folder}")).run();
            outcome.exits(1).complains(&parts[..1]);
            assert_eq!(outcome.stdout, "", "{folder}");
        }
        dir.diarist(&format!("diarize talk.wav --diarize-model model --speakers {folder}")).run().complains(&parts);
    }
}

#[test]
fn help_names_the_options() {
    let dir = Dir::new();
    dir.diarist("--help").run().exits(0).prints(&["diarist diarize talk.mp3", "--diarize"]);
    let whisperx =
        ["--diarize", "--min-speakers", "--max-speakers", "--diarize-model", "--speaker-embeddings", "--hf-token"];
    dir.diarist("transcribe --help")
        .run()
        .exits(0)
        .prints(&whisperx)
        .prints(&["--num-speakers", "--speakers <FOLDER>"]);
    dir.diarist("diarize --help").run().exits(0).prints(&whisperx[1..]).prints(&["RTTM", "exclusive"]);
}

#[test]
fn a_recipe_resolves_the_locations_of_its_networks() {
    let dir = Dir::new();
    dir.pipeline("model", VBX);
    let recipe = Recipe::open(&dir.path("model")).unwrap();
    assert_eq!(recipe.segmentation, Location::Local(dir.path("model/segmentation")));
    let hub = CENTROID.replace("$model/segmentation", "pyannote/segmentation-3.0");
    let recipe = Recipe::parse(&hub, &dir.path("model")).unwrap();
    assert_eq!(recipe.segmentation, Location::Repository("pyannote/segmentation-3.0".into()));
    let mapping = "\n      checkpoint: $model\n      subfolder: embedding";
    let recipe = Recipe::parse(&CENTROID.replace("$model/embedding", mapping), &dir.path("model")).unwrap();
    assert_eq!(recipe.embedding, Location::Local(dir.path("model/embedding")));
    let source = diarist::hub::Hub::from_env().find_diarizer(dir.path("model").to_str().unwrap()).unwrap();
    assert!(matches!(source, Some(DiarizerSource::Recipe(found)) if found.exclude_overlap));
}

#[test]
fn speakers_of_whole_segments_are_announced() {
    let dir = Dir::new();
    dir.pipeline("model", CENTROID);
    dir.speech("talk.wav", 6.0);
    let run = |args: &str| {
        dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f json --diarize --diarize-model model {args}")).run()
    };
    run("--no-align").exits(0).complains(&["each segment gets one speaker", "leave out --no-align"]);
    assert!(!run("").exits(0).stderr.contains("each segment"));
    // A manifest and the worker, too.
    dir.write("list.txt", "talk.wav\n");
    let args = format!("{BUILTIN} --diarize --diarize-model model --no-align");
    let outcome = dir.diarist(&format!("transcribe --manifest list.txt --jsonl out.jsonl {args}")).run();
    outcome.exits(0).complains(&["each segment gets one speaker"]);
    let outcome = dir.diarist(&format!("worker {args}")).stdin(std::process::Stdio::null()).run();
    outcome.exits(0).complains(&["each segment gets one speaker"]);
}
