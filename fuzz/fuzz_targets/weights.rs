//! Fuzzes the safetensors parser: an error, or tensors that have the stated shape and only finite values.
#![no_main]

use diarist::engine::weights::Weights;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if let Some(repaired) = repaired(bytes) {
        read(&repaired);
    }
});

fn read(bytes: &[u8]) {
    let parsed = SafeTensors::deserialize(bytes);
    let Ok(weights) = Weights::from_bytes("fuzz", bytes.to_vec()) else { return };
    let parsed = parsed.expect("what the format forbids is refused");
    for (name, view) in parsed.tensors() {
        let shape = view.shape();
        if let Ok(values) = weights.tensor(&name, shape) {
            assert_eq!(values.len(), shape.iter().product::<usize>());
            assert!(values.len() * 2 <= bytes.len(), "more values than the file can hold");
            assert!(values.iter().all(|value| value.is_finite()));
        }
        let mut longer = shape.to_vec();
        longer.push(1);
        assert!(weights.contains(&name) && weights.tensor(&name, &longer).is_err());
        assert!(weights.tensor(&name, &[usize::MAX, usize::MAX]).is_err() || shape == [usize::MAX, usize::MAX]);
        if let [rows, cols] = *shape
            && rows != cols
        {
            assert!(weights.matrix(&name, cols, rows).is_err());
        }
    }
    assert!(weights.tensor("no such tensor", &[]).is_err() || weights.contains("no such tensor"));
}

/// The same JSON header with the right header length and the right amount of data, because mutations rarely keep both
/// consistent.
fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let json = bytes.get(8..)?;
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<Value>();
    let header = values.next()?.ok()?;
    let length = values.byte_offset();
    let ends = header.as_object()?.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    let wanted = ends.max().filter(|end| *end <= 1 << 16)? as usize;
    let mut out = (length as u64).to_le_bytes().to_vec();
    out.extend(&json[..length]);
    let data = json[length..].iter().copied().chain(std::iter::repeat(0));
    out.extend(data.take(wanted));
    Some(out)
}
