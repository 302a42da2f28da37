//! Where results go, and how they get there whole.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{OutputFormat, SubtitleOptions, render, rttm};
use crate::error::{Error, Result};
use crate::types::Transcript;

/// Where the results of each recording go, without extension: `output_dir/<name of the recording>`, WhisperX's names.
///
/// `talk.wav` and `talk.mp3`, or `monday/talk.wav` and `tuesday/talk.wav`, would write the same files. WhisperX lets
/// the last one win. Here that is an error, found before any work is done, rather than a made-up name that the next
/// program in the chain does not know.
///
/// # Errors
/// [`Error::Config`] naming both recordings if two would write the same files, or one that has no name.
pub fn plan(recordings: &[PathBuf], output_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut taken: HashMap<PathBuf, &PathBuf> = HashMap::new();
    let mut out = Vec::with_capacity(recordings.len());
    for recording in recordings {
        let stem = recording.file_stem().ok_or_else(|| {
            Error::config("audio", recording.display(), "is not the name of a file, so its results would have none")
        })?;
        let target = output_dir.join(stem);
        if let Some(other) = taken.insert(target.clone(), recording) {
            let rule = format!(
                "would write the same files as `{}` ({}.*); rename one, or run them apart with another `output_dir`",
                other.display(),
                target.display()
            );
            return Err(Error::config("audio", recording.display(), rule));
        }
        out.push(target);
    }
    Ok(out)
}

/// Writes `<stem>.<extension>` for each format, creating the folder if need be; `stem` is from [`plan`]. Returns the
/// files written.
///
/// Each file is written under another name in the same folder and then renamed: whoever looks sees the old file, none,
/// or the new one in full. A file of that name is replaced.
///
/// # Errors
/// [`Error::Io`] naming the file that could not be written, [`Error::Config`] if an option cannot be honoured. Files
/// written before the error stay.
pub fn write_all(
    formats: &[OutputFormat],
    transcript: &Transcript,
    stem: &Path,
    options: &SubtitleOptions,
) -> Result<Vec<PathBuf>> {
    options.check()?;
    if let Some(folder) = stem.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    let mut written = Vec::with_capacity(formats.len());
    for &format in formats {
        let path = with_ending(stem, format.extension());
        let text = match format {
            OutputFormat::Rttm => {
                rttm::rttm(&stem.file_name().unwrap_or_default().to_string_lossy(), &transcript.turns)?
            }
            _ => render(format, transcript, options)?,
        };
        write_whole(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

/// `<stem>.<ending>`, the bytes of the name kept. Not [`Path::with_extension`], which would take the `.5` of `chapter 1.5`
/// for an extension.
pub fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_os_string();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Replaces `path` by `contents`, in one step, as [`write_all`] does.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Short, since the name of the file may already be as long as the file system allows.
    let temporary = path.with_file_name(format!(".diarist-{}-{number}.part", std::process::id()));
    let result = write_synced(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    result.map_err(|e| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        Error::io(path, e)
    })
}

/// Until the contents are on the disk, a rename could survive a power cut that they do not.
fn write_synced(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
