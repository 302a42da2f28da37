//! The weights of Silero's ONNX file. Just enough of the format for that: the float tensors of all nodes and graphs, by
//! name. Nothing in it is executed.
//!
//! Source: `onnx.proto3` (onnx/onnx); field numbers are given where they are used.

use std::path::Path;

use crate::error::{Error, Result};

/// The network's names, and the ends of the names in the ONNX file.
const NAMES: [(&str, &str); 15] = [
    ("stft_conv.weight", "stft.forward_basis_buffer"),
    ("conv1.weight", "encoder.0.reparam_conv.weight"),
    ("conv1.bias", "encoder.0.reparam_conv.bias"),
    ("conv2.weight", "encoder.1.reparam_conv.weight"),
    ("conv2.bias", "encoder.1.reparam_conv.bias"),
    ("conv3.weight", "encoder.2.reparam_conv.weight"),
    ("conv3.bias", "encoder.2.reparam_conv.bias"),
    ("conv4.weight", "encoder.3.reparam_conv.weight"),
    ("conv4.bias", "encoder.3.reparam_conv.bias"),
    ("lstm_cell.weight_ih", "decoder.rnn.weight_ih"),
    ("lstm_cell.weight_hh", "decoder.rnn.weight_hh"),
    ("lstm_cell.bias_ih", "decoder.rnn.bias_ih"),
    ("lstm_cell.bias_hh", "decoder.rnn.bias_hh"),
    ("final_conv.weight", "decoder.decoder.2.weight"),
    ("final_conv.bias", "decoder.decoder.2.bias"),
];

/// The file's branch for 8 kHz, which has tensors of the same names.
const OTHER_RATE: &str = "else_branch";

/// Graphs within graphs: the branches of a condition. Silero nests four deep.
const MAX_DEPTH: usize = 8;

/// The float tensors of an ONNX file.
pub(super) struct OnnxTensors {
    tensors: Vec<OnnxTensor>,
}

struct OnnxTensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl OnnxTensors {
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut tensors = Vec::new();
        // ModelProto.graph = 7
        let read = read_message(bytes, |field, value| match (field, value) {
            (7, Value::Bytes(graph)) => read_graph(graph, &mut tensors, 0),
            _ => Some(()),
        });
        match read {
            Some(()) if !tensors.is_empty() => Ok(OnnxTensors { tensors }),
            _ => Err(Error::weights(path, "*", "damaged, truncated or not an ONNX file; fetch the model again")),
        }
    }

    /// The tensor the network calls `name`.
    pub fn tensor(&self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fail = |reason: String| Error::weights(path, name, reason);
        let end = NAMES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| *theirs);
        let found = self.tensors.iter().find(|t| t.name.ends_with(end) && !t.name.contains(OTHER_RATE));
        let tensor = found.ok_or_else(|| fail(format!("no tensor ends in `{end}`; is this Silero VAD 5 or 6?")))?;
        if tensor.shape != shape || tensor.values.len() != shape.iter().product::<usize>() {
            return Err(fail(format!("has shape {:?}, expected {shape:?}", tensor.shape)));
        }
        if let Some(at) = tensor.values.iter().position(|v| !v.is_finite()) {
            return Err(fail(format!("element {at} is {}; fetch the model again", tensor.values[at])));
        }
        Ok(tensor.values.clone())
    }
}

/// GraphProto: node = 1, initializer = 5.
fn read_graph(bytes: &[u8], out: &mut Vec<OnnxTensor>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    read_message(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(node)) => read_node(node, out, depth),
        (5, Value::Bytes(tensor)) => {
            out.extend(read_tensor(tensor)?);
            Some(())
        }
        _ => Some(()),
    })
}

/// NodeProto: output = 2, attribute = 5; AttributeProto: t = 5, g = 6. A constant goes by the name of the node's
/// output: its own name is the same in both branches.
fn read_node(bytes: &[u8], out: &mut Vec<OnnxTensor>, depth: usize) -> Option<()> {
    let mut output = String::new();
    read_message(bytes, |field, value| match (field, value) {
        (2, Value::Bytes(name)) => {
            output = String::from_utf8_lossy(name).into_owned();
            Some(())
        }
        (5, Value::Bytes(attribute)) => read_message(attribute, |field, value| match (field, value) {
            (5, Value::Bytes(tensor)) => {
                out.extend(read_tensor(tensor)?.map(|tensor| OnnxTensor { name: output.clone(), ..tensor }));
                Some(())
            }
            (6, Value::Bytes(graph)) => read_graph(graph, out, depth + 1),
            _ => Some(()),
        }),
        _ => Some(()),
    })
}

/// TensorProto: dims = 1, data_type = 2 (1 is float), name = 8, raw_data = 9. `Some(None)` for other types.
fn read_tensor(bytes: &[u8]) -> Option<Option<OnnxTensor>> {
    let mut tensor = OnnxTensor { name: String::new(), shape: Vec::new(), values: Vec::new() };
    let mut is_float = false;
    read_message(bytes, |field, value| {
        match (field, value) {
            (1, Value::Number(size)) => tensor.shape.push(usize::try_from(size).ok()?),
            (1, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    tensor.shape.push(usize::try_from(varint(&mut packed)?).ok()?);
                }
            }
            (2, Value::Number(kind)) => is_float = kind == 1,
            (8, Value::Bytes(name)) => tensor.name = String::from_utf8_lossy(name).into_owned(),
            (9, Value::Bytes(raw)) => {
                let floats = raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                tensor.values = floats.collect();
            }
            _ => {}
        }
        Some(())
    })?;
    Some(is_float.then_some(tensor))
}

/// What a field holds.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `visit` with each field of a protobuf message; `None` if it ends in the middle of one, or `visit` says so.
fn read_message<'a>(mut bytes: &'a [u8], mut visit: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        visit(key >> 3, value)?;
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// Seven bits a byte, the low ones first; the highest bit says that more follow.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
