//! Tensors of 3D-Speaker's CAM++ in ONNX files of `speakerlab/bin/export_speaker_embedding_onnx.py`, and of
//! sherpa-onnx's `scripts/3dspeaker/export-onnx.py`.
//!
//! The convolutions are in the order in which `DTDNN.py` and `layers.py` call them: the two-dimensional ones of the
//! head; the time-delay layer; for each layer of a block `linear1`, `linear_local` (the only one with several taps) and
//! the two of the gates; one for each transit layer; and the last layer.

use super::graph::Node;
use super::{Found, GraphIndex, Read, wrong};

/// Dilation of the layers of each dense block.
const DILATIONS: [i64; 3] = [1, 2, 2];

/// Adds the network's tensors.
pub(super) fn read(convolutions: &[&Node], walk: &GraphIndex, found: &mut Found) -> Read<()> {
    let mut rest = convolutions.iter().copied();
    let mut next =
        |name: &str| rest.next().ok_or_else(|| (name.to_owned(), "missing; is this 3D-Speaker's CAM++?".to_owned()));
    let head = |name: &str, norm: &str, node: &Node, found: &mut Found| {
        walk.convolution(node, &format!("head.{name}"), Some(&format!("head.{norm}")), found)
    };
    head("conv1", "bn1", next("head.conv1.weight")?, found)?;
    for (stage, block) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let name = format!("layer{stage}.{block}");
        for (conv, norm) in [("conv1", "bn1"), ("conv2", "bn2"), ("shortcut.0", "shortcut.1")] {
            if block == 0 || conv != "shortcut.0" {
                let node = next(&format!("head.{name}.{conv}.weight"))?;
                head(&format!("{name}.{conv}"), &format!("{name}.{norm}"), node, found)?;
            }
        }
    }
    head("conv2", "bn2", next("head.conv2.weight")?, found)?;
    let node = next("xvector.tdnn.linear.weight")?;
    walk.convolution(node, "xvector.tdnn.linear", Some("xvector.tdnn.nonlinear.batchnorm"), found)?;
    let all: Vec<&Node> = rest.collect();
    let taps =
        |at: usize| all.get(at).and_then(|node| walk.tensor(node.inputs.get(1))?.shape.get(2).copied()).unwrap_or(0);
    let mut at = 0;
    for (block, dilation) in DILATIONS.into_iter().enumerate() {
        let mut layers = 0;
        while taps(at + 1) > 1 && at + 3 < all.len() {
            layers += 1;
            let name = format!("xvector.block{}.tdnnd{layers}", block + 1);
            layer(walk, &all[at..at + 4], &name, dilation, found)?;
            at += 4;
        }
        let name = format!("xvector.transit{}", block + 1);
        let Some(node) = all.get(at) else {
            return wrong(&format!("{name}.linear.weight"), "missing; is this 3D-Speaker's CAM++?");
        };
        norm_before(walk, node, &format!("{name}.nonlinear.batchnorm"), found)?;
        let behind = (block + 1 == DILATIONS.len()).then_some("xvector.out_nonlinear.batchnorm");
        walk.convolution(node, &format!("{name}.linear"), behind, found)?;
        at += 1;
    }
    match all.get(at..) {
        Some([node]) => {
            walk.convolution(node, "xvector.dense.linear", Some("xvector.dense.nonlinear.batchnorm"), found)
        }
        _ => wrong("xvector.dense.linear.weight", "is not the last convolution; is this 3D-Speaker's CAM++?"),
    }
}

/// Adds a layer of a dense block; `nodes` are its four convolutions.
fn layer(walk: &GraphIndex, nodes: &[&Node], name: &str, dilation: i64, found: &mut Found) -> Read<()> {
    let named = |part: &str| format!("{name}.{part}");
    norm_before(walk, nodes[0], &named("nonlinear1.batchnorm"), found)?;
    walk.convolution(nodes[0], &named("linear1"), Some(&named("nonlinear2.batchnorm")), found)?;
    let given = nodes[1].number("dilations").unwrap_or(1);
    if given != dilation {
        return wrong(
            &named("cam_layer.linear_local.weight"),
            format!("has taps {given} frames apart, expected {dilation}"),
        );
    }
    for (node, part) in nodes[1..].iter().zip(["linear_local", "linear1", "linear2"]) {
        walk.convolution(node, &named(&format!("cam_layer.{part}")), None, found)?;
    }
    Ok(())
}

/// Adds the batch norm before a node, with a ReLU between the two.
fn norm_before(walk: &GraphIndex, node: &Node, name: &str, found: &mut Found) -> Read<()> {
    let relu = walk.source(node).filter(|relu| relu.op == "Relu");
    match relu.and_then(|relu| walk.source(relu)).filter(|norm| norm.op == "BatchNormalization") {
        Some(norm) => walk.norm(norm, name, found),
        None => wrong(
            &format!("{name}.running_mean"),
            "missing before the layer that it belongs to; is this 3D-Speaker's CAM++?",
        ),
    }
}
