//! Names of output files, and atomic writes.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{OutputFormat, SubtitleOptions, render, rttm};
use crate::error::{Error, Result};
use crate::types::Transcript;

/// The output path of each recording without extension: `output_dir/<name of the recording>`, as WhisperX names its
/// files.
///
/// `talk.wav` and `talk.mp3`, or `monday/talk.wav` and `tuesday/talk.wav`, would write the same files. In WhisperX the
/// last one overwrites the others. Here it is an error before any work is done. A made-up name would avoid it, but the
/// programs that read the files would not know that name.
///
/// # Errors
/// [`Error::Config`] naming both recordings if two would write the same files, or naming a recording without a file
/// name.
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

/// Writes `<stem>.<extension>` for each format and creates the folder if necessary; `stem` is from [`plan`]. Returns
/// the paths of the files written.
///
/// Each file is written atomically: under another name in the same folder, then renamed. Readers see the old file, no
/// file, or the complete new file. An existing file is replaced.
///
/// # Errors
/// [`Error::Io`] naming the file that could not be written, [`Error::Config`] for invalid options. Files written before
/// the error are kept.
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
        let path = append_extension(stem, format.extension());
        let text = match format {
            OutputFormat::Rttm => {
                rttm::rttm(&stem.file_name().unwrap_or_default().to_string_lossy(), &transcript.turns)?
            }
            _ => render(format, transcript, options)?,
        };
        write_atomically(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

/// `<stem>.<ending>`; the name need not be UTF-8. Unlike [`Path::with_extension`], it appends: the `.5` of `chapter
/// 1.5` is not an extension.
pub fn append_extension(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_os_string();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Writes `contents` to `path` atomically, as [`write_all`] does.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_atomically(path: &Path, contents: &[u8]) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // A short name that does not contain the file's, which may already be as long as the file system allows.
    let temporary = path.with_file_name(format!(".diarist-{}-{number}.part", std::process::id()));
    let result = write_synced(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    result.map_err(|e| {
        // Only the first error is reported.
        let _ = fs::remove_file(&temporary);
        Error::io(path, e)
    })
}

/// Writes a new file and syncs it to the disk. Without the sync, the later rename could survive a power failure that
/// the contents do not.
fn write_synced(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
