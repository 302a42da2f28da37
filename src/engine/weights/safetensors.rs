//! Reader of safetensors files: the byte ranges of tensors, and the metadata.

use safetensors::SafeTensors;
use serde_json::Value;

use super::contents::Contents;
use super::location::TensorLocation;

/// Reads the header of a file: tensors, and metadata as JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, String> {
    // Checks that all tensors are within the file, that none overlap, and that sizes match shapes.
    SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let (header, info) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let data = header + size_of::<u64>();
    let location = |(name, tensor): (String, &safetensors::tensor::TensorInfo)| {
        let range = data + tensor.data_offsets.0..data + tensor.data_offsets.1;
        TensorLocation::plain(name, tensor.dtype, tensor.shape.clone(), range)
    };
    let notes = info.metadata().iter().flatten();
    let metadata = notes.map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    let locations = info.tensors().into_iter().map(location).collect();
    Ok(Contents { locations, metadata: Value::Object(metadata), ..Contents::default() })
}
