//! Tensors of pyannote's PyanNet in ONNX files: segmentation-3.0 as sherpa-onnx exports it
//! (`scripts/pyannote/segmentation/export-onnx.py`), and other exports of the same network.
//!
//! The SincNet filters are either stored as parameters, if the exporter kept the formulas that compute them, or as the
//! weight of a convolution. LSTMs have the gates in ONNX's order (input, output, forget, cell) and both biases
//! concatenated. Linear layers are `MatMul` nodes with a transposed weight.

use std::collections::HashMap;

use serde_json::json;

use super::graph::{Graph, Node, Tensor};
use super::{Found, GraphIndex, Read, wrong};
use crate::models::pyannet::METADATA;
use crate::units::SAMPLE_RATE;

/// Shape of the SincNet filters: filters, input channels, taps.
const FILTERS: [usize; 3] = [80, 1, 251];
/// ONNX's index of each gate in PyTorch's order: input, forget, cell, output.
const GATES: [usize; 4] = [0, 2, 3, 1];
/// Default stride of the SincNet filters in pyannote, in samples.
const STRIDE: i64 = 10;

/// Adds the tensors of the network, and its specification as metadata.
pub(super) fn read(graph: &Graph, walk: &GraphIndex, found: &mut Found) -> Read<()> {
    sincnet(graph, walk, found)?;
    let of = |op: &'static str| graph.nodes.iter().filter(move |node| node.op == op);
    for (layer, node) in of("LSTM").enumerate() {
        lstm(walk, node, layer, found)?;
    }
    // A `MatMul` with a stored weight on the right is a linear layer. Those in the formulas of the filters have the
    // stored operand on the left, or a weight of one row.
    let products: Vec<(&Node, &Tensor)> = of("MatMul")
        .filter_map(|node| Some((node, walk.tensor(node.inputs.get(1))?)))
        .filter(|(_, weight)| weight.shape.len() == 2 && weight.shape[0] > 1)
        .collect();
    let Some(((classifier, _), linear)) = products.split_last() else {
        return wrong("classifier.weight", "missing; is this a PyanNet?");
    };
    for (layer, (node, _)) in linear.iter().enumerate() {
        linear_layer(walk, node, &format!("linear.{layer}"), found)?;
    }
    let classes = linear_layer(walk, classifier, "classifier", found)?;
    found.metadata = Some(HashMap::from([(METADATA.to_owned(), specification(graph, classes)?)]));
    Ok(())
}

/// The specification as JSON: from the metadata of the file, or else that of segmentation-3.0.
fn specification(graph: &Graph, classes: usize) -> Read<String> {
    let number = |name: &str| graph.metadata.get(name).and_then(|text| text.parse::<u64>().ok());
    let (speakers, most) = match (number("num_speakers"), number("powerset_max_classes")) {
        (Some(speakers), Some(most)) => (speakers, most),
        _ if classes == 7 => (3, 2),
        _ => {
            return wrong(
                "classifier.weight",
                format!("has {classes} classes, and the file does not say what they are; segmentation-3.0 has 7"),
            );
        }
    };
    if speakers > classes as u64 {
        return wrong("num_speakers", format!("is {speakers}, of {classes} classes"));
    }
    if let Some(rate) = number("sample_rate").filter(|rate| *rate != SAMPLE_RATE as u64) {
        return wrong("sample_rate", format!("is {rate}; only {SAMPLE_RATE} is known"));
    }
    let window = number("window_size").unwrap_or(10 * SAMPLE_RATE as u64);
    let names: Vec<String> = (1..=speakers).map(|speaker| format!("speaker#{speaker}")).collect();
    let mut stride = STRIDE;
    graph.each_node(&mut |node| {
        if node.op == "Conv" && node.number("strides").is_some_and(|given| given > 1) {
            stride = node.number("strides").unwrap_or(STRIDE);
        }
    });
    let duration = window as f64 / SAMPLE_RATE as f64;
    Ok(json!({"duration": duration, "classes": names, "powerset_max_classes": most, "stride": stride}).to_string())
}

/// Adds the tensors of SincNet.
fn sincnet(graph: &Graph, walk: &GraphIndex, found: &mut Found) -> Read<()> {
    let norms: Vec<&Node> = graph.nodes.iter().filter(|node| node.op == "InstanceNormalization").collect();
    for (at, name) in ["wav_norm1d", "norm1d.0", "norm1d.1", "norm1d.2"].into_iter().enumerate() {
        let name = format!("sincnet.{name}");
        let Some(node) = norms.get(at) else { return wrong(&format!("{name}.weight"), "missing; is this a PyanNet?") };
        found.add(format!("{name}.weight"), walk.operand(node, 1, &name)?)?;
        found.add(format!("{name}.bias"), walk.operand(node, 2, &name)?)?;
    }
    let mut convolutions = Vec::new();
    for node in graph.nodes.iter().filter(|node| node.op == "Conv") {
        let Some(weight) = walk.tensor(node.inputs.get(1)) else { continue };
        if weight.shape == FILTERS {
            found.add("sincnet.conv1d.0.weight", weight)?;
        } else {
            convolutions.push(node);
        }
    }
    for (at, node) in convolutions.iter().enumerate() {
        walk.convolution(node, &format!("sincnet.conv1d.{}", at + 1), None, found)?;
    }
    let parameter = |name: &str| format!("sincnet.conv1d.0.filterbank.{name}");
    let mut first: Option<Read<()>> = None;
    graph.each_tensor(&mut |name, tensor| {
        // Newer exporters put the convolution with the filters into a branch of a condition.
        if tensor.shape == FILTERS && tensor.is_float() && first.is_none() && !graph.tensors.contains_key(name) {
            first = Some(found.add("sincnet.conv1d.0.weight", tensor));
        }
    });
    first.unwrap_or(Ok(()))?;
    for name in ["low_hz_", "band_hz_", "window_", "n_"].map(parameter) {
        if let Some(tensor) = walk.tensor(Some(&name)) {
            found.add(name, tensor)?;
        }
    }
    Ok(())
}

/// Adds a bidirectional LSTM: W `[2, 4 H, K]`, R `[2, 4 H, H]`, B `[2, 8 H]`.
fn lstm(walk: &GraphIndex, node: &Node, layer: usize, found: &mut Found) -> Read<()> {
    let name =
        |kind: &str, direction: usize| format!("lstm.{kind}_l{layer}{}", if direction == 1 { "_reverse" } else { "" });
    let direction = node.texts.get("direction").map_or("forward", String::as_str);
    if direction != "bidirectional" || node.numbers.contains_key("layout") && node.number("layout") != Some(0) {
        return wrong(
            &name("weight_ih", 0),
            format!("is of an LSTM that is {direction}, expected bidirectional, frames first"),
        );
    }
    let hidden = node.number("hidden_size").and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    for (at, kinds) in [(1, &["weight_ih"][..]), (2, &["weight_hh"]), (3, &["bias_ih", "bias_hh"])] {
        let tensor = walk.operand(node, at, &name(kinds[0], 0))?;
        let values = found.values(&name(kinds[0], 0), tensor)?;
        // `part` is the number of values of one tensor for one direction; a bias counts as one column.
        let columns = if kinds.len() == 1 { tensor.shape.get(2).copied().unwrap_or(0) } else { 1 };
        let part = 4 * hidden * columns;
        if part == 0 || Some(values.len()) != part.checked_mul(2 * kinds.len()) {
            return wrong(&name(kinds[0], 0), format!("has shape {:?}, of {hidden} hidden units", tensor.shape));
        }
        for (i, values) in values.chunks_exact(part).enumerate() {
            let gates = GATES.iter().flat_map(|gate| &values[gate * hidden * columns..][..hidden * columns]);
            let shape = if kinds.len() == 1 { vec![4 * hidden, columns] } else { vec![4 * hidden] };
            found.add_values(name(kinds[i % kinds.len()], i / kinds.len()), &shape, gates.copied().collect());
        }
    }
    Ok(())
}

/// Adds a linear layer: a `MatMul` with a weight `[K, N]`, and the bias of the following `Add`. Returns `N`.
fn linear_layer(walk: &GraphIndex, node: &Node, name: &str, found: &mut Found) -> Read<usize> {
    let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
    let weight = walk.operand(node, 1, &weight_name)?;
    let values = found.values(&weight_name, weight)?;
    let [inputs, outputs] = [weight.shape[0], weight.shape[1]];
    let transposed = (0..outputs * inputs).map(|at| values[at % inputs * outputs + at / inputs]).collect();
    found.add_values(weight_name, &[outputs, inputs], transposed);
    let sum = walk.reader(node).filter(|sum| sum.op == "Add");
    let bias = sum.and_then(|sum| sum.inputs.iter().find_map(|name| walk.tensor(Some(name))));
    match bias {
        Some(bias) => found.add(bias_name, bias)?,
        None => return wrong(&bias_name, "missing; is this a PyanNet?"),
    }
    Ok(outputs)
}
