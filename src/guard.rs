//! Catches panics of third-party parsers and decoders and turns them into errors about the input file.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs library code that parses an untrusted file, and returns the message of a panic as the error. Needed because
/// Symphonia 0.6 panics on some damaged recordings (its ADPCM decoders overflow, for example), tokenizers 0.22 on a
/// damaged `tokenizer.json`, and a server must survive its users' files.
///
/// Unwind safety: after an error the caller must drop every object that `work` borrowed mutably.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("its reader failed: {}", text.as_deref().unwrap_or("it gave no reason"))
    })
}
