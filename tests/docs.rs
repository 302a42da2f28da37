//! Numbers in the documents are the measured ones.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a committed file")
}

/// Median seconds and peak MiB of each (model, beams, contender), from the newest result that has it.
fn peers() -> HashMap<(String, u64, String), (f64, u64)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("results").map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("asr-peers-")));
    files.sort();
    let mut found = HashMap::new();
    for path in files {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for row in json["rows"].as_array().unwrap() {
            let key = (
                row["model"].as_str().unwrap().into(),
                row["beam"].as_u64().unwrap(),
                row["contender"].as_str().unwrap().into(),
            );
            let mut seconds: Vec<f64> =
                row["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
            assert!(seconds.len() >= 5, "{}: fewer than five rounds", path.display());
            seconds.sort_by(f64::total_cmp);
            found.insert(key, (seconds[seconds.len() / 2], row["peak_rss_bytes"].as_u64().unwrap() >> 20));
        }
    }
    found
}

#[test]
fn the_readme_quotes_the_measured_ratios() {
    let (readme, peers) = (file("README.md"), peers());
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| ["| tiny |", "| base |", "| small |"].iter().any(|start| line.starts_with(start)))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let measured = peers.keys().filter(|key| key.2 == "diarist").count();
    assert_eq!(rows.len(), measured, "a row for each measured model and beam size");
    for row in rows {
        let beams: u64 = row[1].parse().unwrap();
        let of = |contender: &str| peers[&(row[0].to_string(), beams, contender.to_string())];
        let ours = of("diarist");
        let contenders = ["CTranslate2 float32", "CTranslate2 int8", "openai-whisper"];
        for (cell, contender) in row[2..].iter().zip(contenders) {
            assert_eq!(*cell, format!("{:.2}", of(contender).0 / ours.0), "{} {beams} {contender}", row[0]);
        }
        assert_eq!(row[5], format!("{} / {} MiB", ours.1, of("CTranslate2 float32").1), "{} {beams} memory", row[0]);
    }
}

/// How many times as long `peer` takes as diarist for each of `keys`, by the newest result called `name`: medians of five
/// rounds at least.
fn ratios(name: &str, peer: &str, keys: &[&str]) -> Vec<f64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let files = std::fs::read_dir(folder).expect("results").map(|f| f.unwrap().path());
    let newest = files.filter(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name))).max();
    let json: Value = serde_json::from_str(&std::fs::read_to_string(newest.expect("a result")).unwrap()).unwrap();
    let median = |contender: &str, key: &str| {
        let row = json["rows"].as_array().unwrap().iter().find(|row| row["contender"] == contender).unwrap();
        let mut values: Vec<f64> = row[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(values.len() >= 5, "fewer than five rounds");
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    keys.iter().map(|key| median(peer, key) / median("diarist", key)).collect()
}

/// All of alignment and diarization, and the parts that the page names.
#[test]
fn the_page_on_speed_quotes_how_fast_words_are_aligned_and_voices_told_apart() {
    let align = ratios("align-peers-", "whisperx.align", &["seconds", "viterbi_seconds"]);
    let diarize = ratios("diarize-peers-", "pyannote.audio", &["seconds", "segmentation_seconds", "embedding_seconds"]);
    for quoted in [
        format!(
            "{:.1} times as fast as `whisperx.align`, the search for the best path alone {:.0} times",
            align[0], align[1]
        ),
        format!(
            "{:.1} times as fast as in pyannote.audio's pipeline, the segmentation {:.1} and the embeddings {:.1} times",
            diarize[0], diarize[1], diarize[2]
        ),
    ] {
        assert!(file("docs/speed.md").replace('\n', " ").contains(&quoted), "docs/speed.md should say: {quoted}");
    }
}

/// A card's numbers are a file of `benches/results`, made by `tests/gpu.sh`; as long as there is none, the README claims
/// nothing, and once there is, it names the file.
#[test]
fn the_readme_claims_no_gpu_that_was_not_measured() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let files: Vec<_> = std::fs::read_dir(folder).expect("results").map(|f| f.unwrap().path()).collect();
    let cards: Vec<_> = files
        .iter()
        .filter(|f| f.file_name().is_some_and(|n| !n.to_string_lossy().contains("-peers-")))
        .filter(|f| f.extension().is_some_and(|extension| extension == "json"))
        .collect();
    let readme = file("README.md");
    assert_eq!(readme.contains("nothing is measured yet"), cards.is_empty(), "README.md against {cards:?}");
    for path in cards {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("](benches/results/{name})")), "{name} is not named in README.md");
        let is_text = |key: &str| json[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("card") && is_text("command"), "{name}: no card or command");
        assert!(!json["card"].as_str().unwrap().contains("emulator"), "{name}: an emulator is no card");
        let commit = json["commit"].as_str().unwrap_or_default();
        assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{name}: commit `{commit}`");
        assert!(json["runs"].as_object().is_some_and(|runs| !runs.is_empty()), "{name}: no runs");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(file("README.md").lines().count() <= 180);
}
