//! Opening the weights of a network from a file of any supported format, or from the folder that holds it.

use std::path::Path;

use super::onnx;
use crate::engine::weights::{LAYOUTS, Weights};
use crate::error::{Error, Result};

/// File name extensions of weights.
const EXTENSIONS: [&str; 6] = ["safetensors", "bin", "pt", "pth", "ckpt", "onnx"];

/// Opens a file of weights, or the weights in a folder: files with the names of [`LAYOUTS`], or else the only file with
/// one of [`EXTENSIONS`].
pub(super) fn open(path: &Path) -> Result<Weights> {
    if !path.is_dir() {
        return open_file(path);
    }
    if LAYOUTS.iter().any(|(single, index)| path.join(single).is_file() || path.join(index).is_file()) {
        return Weights::open(path);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let file = entry.map_err(|e| Error::io(path, e))?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && file.is_file() {
            found.push(file);
        }
    }
    match found.as_slice() {
        [file] => open_file(file),
        // Fails, with an error that names the files that a folder should hold.
        [] => Weights::open(path),
        several => {
            let names: Vec<String> =
                several.iter().filter_map(|file| Some(file.file_name()?.display().to_string())).collect();
            Err(Error::weights(
                path,
                "*",
                format!("holds several files of weights, {}; name one of them", names.join(" and ")),
            ))
        }
    }
}

fn open_file(path: &Path) -> Result<Weights> {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        let bytes = std::fs::read(path).map_err(|e| Error::weights(path, "*", format!("cannot be opened: {e}")))?;
        return onnx::weights(path, &bytes);
    }
    Weights::open_file(path)
}
