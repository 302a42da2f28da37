//! The turns of `open` on real recordings are those of its Python form (`tuning/open_diarization.py`) with pyannote.audio's and
//! 3D-Speaker's own code for the networks. Golden: `tests/reference/open_stages.py`.

use diarist::diarize::Options;

use super::{open, samples};
use crate::common::{json, shared};

/// Seconds of a frame of the segmentation.
const FRAME: f64 = 270.0 / 16_000.0;

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn turns_are_those_of_the_reference() {
    let (open, golden) = (open(), json("real/open.json"));
    let recordings = golden["recordings"].as_object().unwrap();
    assert_eq!(recordings.len(), 8);
    for (name, recording) in recordings {
        let folder = if ["falcon", "sample"].contains(&name.as_str()) { "audio/dialogue" } else { "audio/ami" };
        let samples = samples(&shared(folder).join(format!("{name}.wav")));
        let found = open.diarizer.diarize(&samples, &Options::default(), &mut ()).unwrap().turns;
        let want = recording["turns"].as_array().unwrap();
        assert_eq!(found.len(), want.len(), "{name}: {found:?}");
        for (turn, want) in found.iter().zip(want) {
            let near = |got: f64, want: &serde_json::Value| (got - want.as_f64().unwrap()).abs() <= 1.01 * FRAME;
            let cluster = format!("SPEAKER_{:02}", want[2].as_u64().unwrap());
            let same = near(turn.span.start.0, &want[0]) && near(turn.span.end.0, &want[1]) && turn.speaker == cluster;
            assert!(same, "{name}: {turn:?}, expected {want}");
        }
    }
}
