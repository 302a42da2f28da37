//! Who speaks when, against references; and voices that are known.

mod conversations;
mod pyannote;
mod steps;
mod voices;
mod words;

use std::path::Path;

use diarist::api::{Compute, Device};
use diarist::audio;
use diarist::diarize::diarizer::DynDiarizer;
use diarist::diarize::recipe::Recipe;
use diarist::hub::DiarizerSource;

use crate::common;

/// The published networks, and the folder that they were opened from.
struct Open {
    diarizer: Box<dyn DynDiarizer>,
    _folder: tempfile::TempDir,
}

/// The networks as a folder without a `config.yaml`.
fn open() -> Open {
    open_with(None)
}

/// The networks as a folder, with the text of a `config.yaml` or without one.
fn open_with(config: Option<&str>) -> Open {
    let folder = tempfile::tempdir().unwrap();
    if let Some(config) = config {
        std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    }
    for (part, real) in [("segmentation", "segmentation-3.0"), ("embedding", "campplus")] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
        for file in std::fs::read_dir(common::real(real)).unwrap().flatten() {
            // The config.yaml of the segmentation is that of its training.
            if file.path().extension().is_some_and(|ending| ending != "yaml") {
                let file = file.path().canonicalize().unwrap();
                let link = folder.path().join(part).join(file.file_name().unwrap());
                std::os::unix::fs::symlink(file, link).unwrap();
            }
        }
    }
    let device = Compute { device: Device::Cpu, ..Compute::default() }.open().unwrap();
    let recipe = Recipe::open(folder.path()).unwrap();
    let diarizer = device.diarizer(&DiarizerSource::Recipe(Box::new(recipe))).unwrap();
    Open { diarizer, _folder: folder }
}

fn samples(path: &Path) -> Vec<f32> {
    let forever = |_| std::ops::ControlFlow::Continue(());
    audio::decode(path, &audio::DecodeOptions::default(), forever).unwrap().samples
}
