//! The argument `-`: a recording read from the standard input.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use diarist::audio::{self, Audio, DecodeOptions, Progress};
use diarist::pipeline::Input;
use diarist::{Error, Result, output};

/// The name of a recording from the standard input, in messages and file names.
const STDIN: &str = "stdin";

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The recording that an argument names.
pub fn input(file: &Path) -> Input<'_> {
    if is_stdin(file) { Input::Stdin } else { Input::Path(file) }
}

/// The name of a recording in messages and in the names of its results.
pub fn name(file: &Path) -> &Path {
    if is_stdin(file) { Path::new(STDIN) } else { file }
}

/// Decodes the recording that an argument names.
///
/// # Errors
/// Those of [`audio::decode`].
pub fn decode(file: &Path, options: &DecodeOptions, watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    if is_stdin(file) { audio::decode_stdin(options, watch) } else { audio::decode(file, options, watch) }
}

/// The path of each recording's results without extension, from [`output::plan`].
///
/// # Errors
/// [`Error::Config`] if two recordings would get the same path, or if the standard input is named twice.
pub fn plan(files: &[PathBuf], output_dir: &Path) -> Result<Vec<PathBuf>> {
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(Error::config("audio", "-", "the standard input can be read only once; name it once"));
    }
    let names: Vec<PathBuf> = files.iter().map(|file| name(file).to_path_buf()).collect();
    output::plan(&names, output_dir)
}

/// Whether the file is the standard input. Refuses a standard input that is a terminal.
///
/// # Errors
/// [`Error::Audio`] if it is a terminal.
pub fn check(file: &Path) -> Result<bool> {
    if is_stdin(file) && std::io::stdin().is_terminal() {
        let reason = "is a terminal: pipe a recording into it, or redirect it from a file";
        return Err(Error::audio(name(file), reason));
    }
    Ok(is_stdin(file))
}
