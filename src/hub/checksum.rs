//! Checksums (SHA-256 and others) of files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// The hash of `header` followed by the bytes of a file, in hexadecimal digits. `alive` is called after every mebibyte.
pub(super) fn hash<D: Digest>(path: &Path, header: &str, alive: &mut dyn FnMut()) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (D::new(), vec![0; 1 << 20]);
    hash.update(header);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hash.update(&buffer[..count]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        alive();
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks that the SHA-256 of the file at `path` is `expected` (hexadecimal); the error states both.
pub(super) fn check(path: &Path, expected: &str, alive: &mut dyn FnMut()) -> Result<(), String> {
    let got = hash::<Sha256>(path, "", alive).map_err(|e| e.to_string())?;
    if got.eq_ignore_ascii_case(expected) { Ok(()) } else { Err(format!("SHA-256 {got}, expected {expected}")) }
}
