//! Several threads that share one engine. Their chunks are decoded side by side, so that together they take less time than one after
//! another. One caller has lost patience and stops.

use std::time::Instant;

use diarist::api::Recording;
use diarist::config::Options;
use diarist::pipeline::Observer;
use diarist::types::Segment;
use diarist::{Engine, Error, Result, assets};

/// Gives up after the first segment.
#[derive(Default)]
struct Impatient {
    heard: bool,
}

impl Observer for Impatient {
    fn segments(&mut self, segments: &[Segment]) {
        self.heard |= !segments.is_empty();
    }

    fn is_cancelled(&self) -> bool {
        self.heard
    }
}

fn main() -> Result<()> {
    let engine = Engine::builder().build()?;
    let mut recordings: Vec<Recording> = std::env::args().skip(1).map(|file| Recording::Path(file.into())).collect();
    if recordings.is_empty() {
        recordings = vec![Recording::Bytes(assets::SAMPLE.to_vec(), "the sample".into()); 4];
    }
    let (engine, recordings, options, start) = (&engine, &recordings, &Options::default(), Instant::now());
    std::thread::scope(|scope| {
        for (number, recording) in recordings.iter().enumerate() {
            scope.spawn(move || match engine.transcribe(recording.as_input(), options) {
                Ok(transcript) => {
                    let (took, segments) = (start.elapsed().as_secs_f64(), transcript.segments.len());
                    println!("caller {number}: {segments} segments after {took:.2} s");
                }
                Err(error) => println!("caller {number}: {error}"),
            });
        }
        scope.spawn(move || {
            let stopped = engine.transcribe_with_observer(recordings[0].as_input(), options, &mut Impatient::default());
            match stopped {
                Err(Error::Cancelled) => println!("the impatient one is gone"),
                other => println!("the impatient one was too late: {:?}", other.map(|found| found.segments.len())),
            }
        });
    });
    Ok(())
}
