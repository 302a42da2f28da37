//! Integrity checks of downloaded files: size, SHA-256, or Git blob SHA-1.

use std::path::Path;

use sha1::Sha1;

use crate::hub::checksum;

/// Whether the server may send a file compressed, so that the announced size need not match.
pub(super) fn is_text(file: &str) -> bool {
    [".json", ".yaml", ".txt"].iter().any(|ending| file.ends_with(ending))
}

/// Checks `blob` against the etag and size that the hub announced for `file`. The etag of a large (LFS) file is its
/// SHA-256, that of a small file Git's SHA-1 of the blob. If a proxy or another hub sends another etag, JSON files must
/// at least parse. `alive` is called after every mebibyte.
pub(super) fn check(
    blob: &Path,
    etag: &str,
    size: u64,
    file: &str,
    alive: &mut dyn FnMut(),
) -> std::result::Result<(), String> {
    let actual = size_of(blob).map_err(|e| e.to_string())?;
    if actual != size && !is_text(file) {
        return Err(format!("{actual} bytes, expected {size}"));
    }
    check_content(blob, etag, file, alive)
}

/// Checks a file of a snapshot without the network: the name of its blob is the etag. `Some` describes the damage.
pub(super) fn damage(file: &Path, alive: &mut dyn FnMut()) -> Option<String> {
    let blob = file.canonicalize().ok()?;
    let name = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_content(&blob, name, file, alive).err()
}

fn check_content(blob: &Path, etag: &str, file: &str, alive: &mut dyn FnMut()) -> std::result::Result<(), String> {
    if is_sha256(etag) {
        return checksum::check(blob, etag, alive);
    }
    if !is_hex(etag, 40) {
        return check_text(blob, file);
    }
    // Git hashes a header with type and length before the contents.
    let header = format!("blob {}\0", size_of(blob).map_err(|e| e.to_string())?);
    let got = checksum::hash::<Sha1>(blob, &header, alive).map_err(|e| e.to_string())?;
    if got.eq_ignore_ascii_case(etag) { Ok(()) } else { Err(format!("SHA-1 {got}, expected {etag}")) }
}

pub(super) fn is_sha256(etag: &str) -> bool {
    is_hex(etag, 64)
}

fn is_hex(etag: &str, digits: usize) -> bool {
    etag.len() == digits && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

fn check_text(blob: &Path, file: &str) -> std::result::Result<(), String> {
    if !file.ends_with(".json") {
        return Ok(());
    }
    let text = std::fs::read(blob).map_err(|e| e.to_string())?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&text).map(|_| ()).map_err(|e| format!("not JSON: {e}"))
}

pub(super) fn size_of(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes were computed with `git hash-object` and `sha256sum`.
    #[test]
    fn contents_are_compared_with_the_etag() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file.yaml");
        let check = |bytes: &str, etag: &str| {
            std::fs::write(&file, bytes).expect("the file is written");
            check_content(&file, etag, "file.yaml", &mut || {})
        };
        let (git, sha256) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        for etag in [git, sha256, &git.to_uppercase(), "no hash"] {
            assert_eq!(check("hello\n", etag), Ok(()), "{etag}");
        }
        assert!(check("hello", git).is_err_and(|why| why.contains("SHA-1")));
        assert!(check("hello", sha256).is_err_and(|why| why.contains("SHA-256")));
    }
}
