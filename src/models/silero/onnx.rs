//! Reading the weights of Silero's ONNX file: the float tensors of all nodes and subgraphs, by name. No operation is
//! executed.

use std::path::Path;

use crate::error::{Error, Result};
use crate::models::onnx::graph::Graph;

/// Tensor names of the network, and the suffixes of the names in the ONNX file.
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

/// Name of the 8 kHz branch in the ONNX file; its tensors have the same suffixes.
const OTHER_RATE: &str = "else_branch";

/// The float tensors of an ONNX file.
pub(super) struct OnnxTensors {
    tensors: Vec<OnnxTensor>,
}

struct OnnxTensor {
    name: String,
    shape: Vec<usize>,
    /// The values, or the reason why they cannot be read.
    values: std::result::Result<Vec<f32>, String>,
}

impl OnnxTensors {
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::weights(path, "*", "damaged, truncated or not an ONNX file; fetch the model again");
        let graph = Graph::parse(bytes).ok_or_else(damaged)?;
        let mut tensors = Vec::new();
        graph.each_tensor(&mut |name, tensor| {
            if tensor.is_float() {
                let values = tensor.values();
                tensors.push(OnnxTensor { name: name.to_owned(), shape: tensor.shape.clone(), values });
            }
        });
        if tensors.is_empty() { Err(damaged()) } else { Ok(OnnxTensors { tensors }) }
    }

    /// The values of the tensor with the network's name `name`, checked for shape and finite values.
    pub fn tensor(&self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fail = |reason: String| Error::weights(path, name, reason);
        let end = NAMES.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| *theirs);
        let found = self.tensors.iter().find(|t| t.name.ends_with(end) && !t.name.contains(OTHER_RATE));
        let tensor = found.ok_or_else(|| fail(format!("no tensor ends in `{end}`; is this Silero VAD 5 or 6?")))?;
        if tensor.shape != shape {
            return Err(fail(format!("has shape {:?}, expected {shape:?}", tensor.shape)));
        }
        let values = tensor.values.clone().map_err(fail)?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(fail(format!("element {at} is {}; fetch the model again", values[at])));
        }
        Ok(values)
    }
}
