//! Reader of safetensors files: the byte ranges of tensors, and the metadata.

use safetensors::SafeTensors;
use serde_json::Value;

use super::found::Found;
use super::place::Place;

/// Reads the header of a file: tensors, and metadata as JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Found, String> {
    // Checks that all tensors are within the file, that none overlap, and that sizes match shapes.
    SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let data = header + size_of::<u64>();
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        Place::plain(name, info.dtype, info.shape.clone(), range)
    };
    let notes = metadata.metadata().iter().flatten();
    let facts = notes.map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    let places = metadata.tensors().into_iter().map(place).collect();
    Ok(Found { places, facts: Value::Object(facts), ..Found::default() })
}
