//! A file pinned to a commit and a SHA-256.

use std::path::Path;

use super::checksum;

/// A file of a repository at one commit, with its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published<'a> {
    /// Organisation/name on the hub.
    pub repo: &'a str,
    /// The commit (not a branch, whose contents may change).
    pub revision: &'a str,
    /// The file's path in the repository.
    pub file: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in 64 hexadecimal digits.
    pub sha256: &'a str,
}

impl Published<'_> {
    /// The URL of the file on the hub at `endpoint`, for a download by hand.
    pub fn address(&self, endpoint: &str) -> String {
        format!("{endpoint}/{}/resolve/{}/{}", self.repo, self.revision, self.file)
    }

    /// Checks size and SHA-256 of the file at `path`. The error describes the difference.
    pub(super) fn check(&self, path: &Path, alive: &mut dyn FnMut()) -> std::result::Result<(), String> {
        let bytes = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
        if bytes != self.bytes {
            return Err(format!("{bytes} bytes, expected {}", self.bytes));
        }
        checksum::check(path, self.sha256, alive)
    }
}
