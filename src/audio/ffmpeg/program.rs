//! Finds the ffmpeg program.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Finds `ffmpeg` as a shell does: the first executable file of that name in the folders of PATH. Relative folders are
/// skipped for safety: they depend on the current folder and may contain anything.
pub(in crate::audio) fn find() -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?)
}

fn find_in(path: &OsStr) -> Option<PathBuf> {
    let name = format!("ffmpeg{}", env::consts::EXE_SUFFIX);
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .find(|file| executable(file))
}

#[cfg(unix)]
fn executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_executable_files_in_absolute_folders_of_the_path_are_found() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["folder", "plain", "good"] {
            std::fs::create_dir_all(place(name)).unwrap();
        }
        std::fs::create_dir(place("folder/ffmpeg")).unwrap();
        std::fs::write(place("plain/ffmpeg"), "").unwrap();
        std::fs::set_permissions(place("plain/ffmpeg"), std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(place("good/ffmpeg"), "").unwrap();
        std::fs::set_permissions(place("good/ffmpeg"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path =
            env::join_paths([PathBuf::new(), ".".into(), place("folder"), place("plain"), place("good")]).unwrap();
        assert_eq!(find_in(&path), Some(place("good/ffmpeg")));
        assert_eq!(find_in(OsStr::new("")), None);
        assert_eq!(find_in(&env::join_paths([place("folder"), place("plain")]).unwrap()), None);
    }
}
