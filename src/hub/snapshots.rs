//! The hub cache's directory layout, as in huggingface_hub: `models--ORGANISATION--NAME/snapshots/COMMIT/FILE`, where
//! each file is a symbolic link to `blobs/ETAG`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One commit of a repository in a cache.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    /// Whether its download by this program was interrupted: the last file may be damaged.
    pub(super) unfinished: bool,
}

/// The components of a snapshot folder's path.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "fetch"), allow(dead_code))]
pub(super) struct Place {
    /// The cache folder.
    pub(super) root: PathBuf,
    pub(super) repo: String,
    pub(super) commit: String,
}

/// Name of a repository's folder in a cache.
pub(super) fn folder_of(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}

/// The inverse of [`folder_of`]; `None` for other names.
pub(super) fn repo_of(folder: &str) -> Option<String> {
    let name = folder.strip_prefix("models--")?;
    Some(name.replacen("--", "/", 1))
}

/// The folder of huggingface_hub's lock files of a repository. Programs that list a cache ignore it.
fn locks(root: &Path, repo: &str) -> PathBuf {
    root.join(".locks").join(folder_of(repo))
}

/// The file that is locked while a repository is downloaded.
#[cfg_attr(not(feature = "fetch"), allow(dead_code))]
pub(super) fn lock_file(root: &Path, repo: &str) -> PathBuf {
    locks(root, repo).join("diarist.lock")
}

/// The file that marks an unfinished download: it exists from the start of the download of a commit until all its files
/// are complete and checked.
pub(super) fn unfinished_mark(root: &Path, repo: &str, commit: &str) -> PathBuf {
    locks(root, repo).join(format!("{commit}.diarist-unfinished"))
}

/// The snapshots of a repository in a cache: the commit in `refs/main` first, then from the newest to the oldest.
/// Snapshots that were downloaded by commit or copied by hand have no `refs/main`.
pub(super) fn snapshots(root: &Path, repo: &str) -> Vec<Snapshot> {
    let cached = root.join(folder_of(repo));
    let main = std::fs::read_to_string(cached.join("refs").join("main")).unwrap_or_default();
    let entries = std::fs::read_dir(cached.join("snapshots")).into_iter().flatten().flatten();
    let mut found: Vec<(bool, SystemTime, Snapshot)> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| {
            let name = entry.file_name();
            let changed = entry.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let unfinished = name.to_str().is_some_and(|commit| unfinished_mark(root, repo, commit).exists());
            (name.to_str() == Some(main.trim()), changed, Snapshot { folder: entry.path(), unfinished })
        })
        .collect();
    found.sort_by(|a, b| (b.0, b.1, &b.2.folder).cmp(&(a.0, a.1, &a.2.folder)));
    found.into_iter().map(|(_, _, snapshot)| snapshot).collect()
}

/// The repositories in a cache, as `organisation/name`, sorted.
pub(super) fn repos(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut repos: Vec<String> = entries.filter_map(|entry| repo_of(entry.file_name().to_str()?)).collect();
    repos.sort_unstable();
    repos
}

/// The cache, repository and commit of a snapshot's folder; `None` for other folders.
#[cfg_attr(not(feature = "fetch"), allow(dead_code))]
pub(super) fn place(folder: &Path) -> Option<Place> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let cached = snapshots.parent()?;
    let repo = repo_of(cached.file_name()?.to_str()?)?;
    Some(Place { root: cached.parent()?.to_path_buf(), repo, commit: folder.file_name()?.to_str()?.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_comes_first_and_then_the_newest() {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--org--name");
        assert!(snapshots(cache.path(), "org/name").is_empty());
        for (commit, age) in [("older", 30), ("oldest", 40), ("newest", 10), ("broken", 20)] {
            let folder = repo.join("snapshots").join(commit);
            std::fs::create_dir_all(&folder).unwrap();
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            std::fs::File::open(&folder).unwrap().set_modified(then).unwrap();
        }
        let order = || -> Vec<(String, bool)> {
            let name = |s: Snapshot| (s.folder.file_name().unwrap().to_str().unwrap().to_string(), s.unfinished);
            snapshots(cache.path(), "org/name").into_iter().map(name).collect()
        };
        let mark = unfinished_mark(cache.path(), "org/name", "broken");
        std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
        std::fs::write(&mark, "").unwrap();
        let expected = |names: [&str; 4]| names.map(|name| (name.to_string(), name == "broken")).to_vec();
        assert_eq!(order(), expected(["newest", "broken", "older", "oldest"]));
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "oldest\n").unwrap();
        std::fs::remove_file(&mark).unwrap();
        assert_eq!(
            order().into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["oldest", "newest", "broken", "older"]
        );
        assert!(order().iter().all(|(_, unfinished)| !unfinished));
        assert_eq!(repos(cache.path()), ["org/name"]);
        let place = place(&repo.join("snapshots/newest")).unwrap();
        assert_eq!((place.root.as_path(), place.repo.as_str()), (cache.path(), "org/name"));
        assert_eq!(super::place(&repo), None);
    }
}
