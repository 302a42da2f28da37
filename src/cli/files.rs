//! Checks of input files and output folders before work starts, and messages about written files.

use std::path::{Path, PathBuf};

use diarist::{Error, Result};

use super::inputs::shown;
use super::{console, stdin, wording};

/// Prints the names of the files that were written.
pub(super) fn tell_written(files: &[PathBuf]) {
    let names: Vec<String> = files.iter().map(|file| shown(file)).collect();
    console::line(&console::printable(&format!("wrote {}", names.join(", "))));
}

/// The recordings that exist, each with the path of its results, and whether any are missing. Prints an error for each
/// missing one.
pub(super) fn those_readable<'a>(
    files: &'a [PathBuf],
    stems: &'a [PathBuf],
) -> (Vec<(&'a PathBuf, &'a PathBuf)>, bool) {
    let is_readable =
        |file: &PathBuf| readable(file).inspect_err(|error| console::error(&wording::error(error))).is_ok();
    let todo: Vec<_> = files.iter().zip(stems).filter(|(file, _)| is_readable(file)).collect();
    let failed = todo.len() < files.len();
    (todo, failed)
}

/// Refuses a path that does not exist or is a directory, before the model is loaded.
pub(super) fn readable(file: &Path) -> Result<()> {
    if stdin::check(file)? {
        return Ok(());
    }
    let reason = match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => "is a directory; name the recordings in it".to_string(),
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let pattern = file.to_string_lossy().contains(['*', '?', '[']);
            let hint = if pattern { "; the shell hands on a pattern that matches nothing" } else { "" };
            format!("no such file{hint}")
        }
        Err(e) => format!("cannot be read: {e}"),
    };
    Err(Error::audio(file, reason))
}

/// Creates the folder for the results and tests that it is writable, before hours of work depend on it.
pub(super) fn writable(folder: &Path) -> Result<()> {
    let refuse = |e: std::io::Error| {
        let text = format!("results cannot be written here: {e}; give another --output-dir");
        Error::io(folder, std::io::Error::new(e.kind(), text))
    };
    if folder.exists() && !folder.is_dir() {
        return Err(refuse(std::io::Error::from(std::io::ErrorKind::NotADirectory)));
    }
    std::fs::create_dir_all(folder).map_err(refuse)?;
    let probe: PathBuf = folder.join(format!(".diarist-{}.probe", std::process::id()));
    std::fs::File::create_new(&probe).map_err(refuse)?;
    std::fs::remove_file(&probe).map_err(refuse)
}
