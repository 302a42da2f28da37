//! Tensors of WeSpeaker's ResNet34 in ONNX files of `wespeaker/bin/export_onnx.py`, under the names of pyannote's
//! checkpoint.
//!
//! The convolutions are in the order in which `models/resnet.py` calls them: the first one, then two for each block,
//! and a third one with one tap (the shortcut) in the first block of each stage but the first.

use super::graph::{Graph, Node};
use super::{Found, GraphIndex, Read, wrong};

/// Adds the network's tensors.
pub(super) fn read(graph: &Graph, convolutions: &[&Node], walk: &GraphIndex, found: &mut Found) -> Read<()> {
    let taps = |node: Option<&&Node>| node.and_then(|node| walk.tensor(node.inputs.get(1))?.shape.get(2).copied());
    let mut rest = convolutions;
    let mut take = |name: String, norm: String, found: &mut Found| -> Read<()> {
        let Some((node, others)) = rest.split_first() else {
            return wrong(&format!("{name}.weight"), "missing; is this WeSpeaker's ResNet34?");
        };
        rest = others;
        walk.convolution(node, &name, Some(&norm), found)
    };
    take("resnet.conv1".into(), "resnet.bn1".into(), found)?;
    let (mut stage, mut block, mut left) = (1, 0, convolutions.len() - 1);
    while left > 0 {
        let first = convolutions.len() - left;
        let has_shortcut = taps(convolutions.get(first + 2)) == Some(1);
        if has_shortcut {
            (stage, block) = (stage + 1, 0);
        }
        let name = format!("resnet.layer{stage}.{block}");
        take(format!("{name}.conv1"), format!("{name}.bn1"), found)?;
        take(format!("{name}.conv2"), format!("{name}.bn2"), found)?;
        if has_shortcut {
            take(format!("{name}.shortcut.0"), format!("{name}.shortcut.1"), found)?;
        }
        left = left.saturating_sub(if has_shortcut { 3 } else { 2 });
        block += 1;
    }
    last(graph, walk, found)
}

/// Adds the last layer; the mean embedding that the file subtracts from its output is folded into the bias.
fn last(graph: &Graph, walk: &GraphIndex, found: &mut Found) -> Read<()> {
    const NAME: &str = "resnet.seg_1";
    let mut layers = graph.nodes.iter().filter(|node| node.op == "Gemm");
    let (Some(node), None) = (layers.next(), layers.next()) else {
        return wrong(
            &format!("{NAME}.weight"),
            "is not the only linear layer; is this WeSpeaker's ResNet34 with one embedding layer?",
        );
    };
    if node.number("transB") != Some(1) {
        return wrong(&format!("{NAME}.weight"), "lies another way round than expected");
    }
    let weight = walk.operand(node, 1, &format!("{NAME}.weight"))?;
    found.add(format!("{NAME}.weight"), weight)?;
    let name = format!("{NAME}.bias");
    let bias = walk.operand(node, 2, &name)?;
    let mut values = found.values(&name, bias)?;
    if let Some(reader) = walk.reader(node).filter(|reader| reader.op == "Sub") {
        let mean = found.values("mean_vec", walk.operand(reader, 1, "mean_vec")?)?;
        if mean.len() != values.len() {
            return wrong("mean_vec", format!("has {} values, the embedding {}", mean.len(), values.len()));
        }
        values.iter_mut().zip(mean).for_each(|(bias, mean)| *bias -= mean);
    }
    found.add_values(name, &bias.shape, values);
    Ok(())
}
