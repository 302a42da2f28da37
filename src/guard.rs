//! A panic in somebody else's parser or decoder is bad input, not the end of the program.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of a library that reads files. Symphonia 0.6 can be made to panic by a damaged recording (its ADPCM decoders
/// overflow, for one), tokenizers 0.22 by a damaged `tokenizer.json`, and a service must survive its users' files.
/// Whoever calls this throws away what panicked, so nothing half-changed is used again. The error is the panic's message.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("its reader failed: {}", text.as_deref().unwrap_or("it gave no reason"))
    })
}
