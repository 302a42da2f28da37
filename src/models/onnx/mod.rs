//! Reading the weights of diarization networks from ONNX files, under the names of the original checkpoints. No
//! operation of a file is executed.
//!
//! Exporters fold batch norms into convolutions, transpose weights, and rename both. Tensors are therefore found by the
//! nodes that read them, in the order of the file, and not by name.
//!
//! | file | network | recognised by |
//! |---|---|---|
//! | `campplus.rs` | 3D-Speaker's CAM++ | one-dimensional convolutions |
//! | `resnet34.rs` | WeSpeaker's ResNet34 | only two-dimensional convolutions |
//! | `pyannet.rs` | pyannote's PyanNet | LSTMs |

mod campplus;
pub(crate) mod graph;
mod proto;
mod pyannet;
mod resnet34;

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use self::graph::{Graph, Node, Tensor};
use crate::engine::weights::Weights;
use crate::error::{Error, Result};

/// Reads the weights of one of the networks above from the bytes of an ONNX file; `path` names it in errors.
///
/// # Errors
/// [`Error::Weights`] for a file of another network, or a damaged one.
pub fn weights(path: &Path, bytes: &[u8]) -> Result<Weights> {
    let damaged = || Error::weights(path, "*", "damaged, truncated or not an ONNX file; fetch the model again");
    let graph = Graph::parse(bytes).ok_or_else(damaged)?;
    let walk = GraphIndex::new(&graph);
    let convolutions: Vec<&Node> = graph.nodes.iter().filter(|node| node.op == "Conv").collect();
    let axes = |node: &&Node| walk.tensor(node.inputs.get(1)).map_or(0, |tensor| tensor.shape.len());
    let mut found = Found { budget: bytes.len().saturating_mul(2), ..Found::default() };
    let read = if graph.nodes.iter().any(|node| node.op == "LSTM") {
        pyannet::read(&graph, &walk, &mut found)
    } else if convolutions.iter().any(|node| axes(node) == 3) {
        campplus::read(&convolutions, &walk, &mut found)
    } else if !convolutions.is_empty() {
        resnet34::read(&graph, &convolutions, &walk, &mut found)
    } else {
        Err(("*".into(), "holds none of CAM++, ResNet34 and PyanNet".into()))
    };
    read.map_err(|(name, reason)| Error::weights(path, name, reason))?;
    found.weights(path)
}

/// Name of a tensor or field, and the reason why it is wrong.
type Wrong = (String, String);
type Read<T> = std::result::Result<T, Wrong>;

fn wrong<T>(name: &str, reason: impl Into<String>) -> Read<T> {
    Err((name.to_owned(), reason.into()))
}

/// Tensors read so far, under the names of the checkpoint.
#[derive(Default)]
struct Found {
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Bytes of tensors that may still be read, initially twice the size of the file. Exporters store equal biases
    /// once, so a tensor may be read repeatedly; the limit stops damaged files that use a large tensor any number of
    /// times.
    budget: usize,
    /// Metadata of the resulting safetensors.
    metadata: Option<HashMap<String, String>>,
}

impl Found {
    fn add(&mut self, name: impl Into<String>, tensor: &Tensor) -> Read<()> {
        let name = name.into();
        let values = self.values(&name, tensor)?;
        self.add_values(name, &tensor.shape, values);
        Ok(())
    }

    fn values(&mut self, name: &str, tensor: &Tensor) -> Read<Vec<f32>> {
        let more_than_once =
            || (name.to_owned(), "and others are read more than once; export the model anew".to_owned());
        self.budget = self.budget.checked_sub(tensor.size()).ok_or_else(more_than_once)?;
        tensor.values().map_err(|reason| (name.to_owned(), reason))
    }

    fn add_values(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) {
        self.tensors.push((name.into(), shape.to_vec(), values));
    }

    /// The tensors as weights, by way of safetensors in memory.
    fn weights(self, path: &Path) -> Result<Weights> {
        let bytes: Vec<Vec<u8>> =
            self.tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(bytes.len());
        for ((name, shape, _), bytes) in self.tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.push((name, view.map_err(|e| Error::weights(path, name, e.to_string()))?));
        }
        let file = safetensors::serialize(views, self.metadata);
        let file = file.map_err(|e| Error::weights(path, "*", e.to_string()))?;
        Weights::from_bytes(&path.display().to_string(), file)
    }
}

/// A graph with an index from each value to the nodes that produce and read it.
struct GraphIndex<'g, 'a> {
    graph: &'g Graph<'a>,
    /// The node that produces a value, by the name of the value.
    producer: HashMap<&'g str, &'g Node<'a>>,
    /// The nodes that read a value, by the name of the value.
    readers: HashMap<&'g str, Vec<&'g Node<'a>>>,
}

impl<'g, 'a> GraphIndex<'g, 'a> {
    fn new(graph: &'g Graph<'a>) -> Self {
        let (mut producer, mut readers) = (HashMap::new(), HashMap::<&str, Vec<&Node>>::new());
        for node in &graph.nodes {
            producer.extend(node.outputs.iter().map(|name| (name.as_str(), node)));
            node.inputs.iter().for_each(|name| readers.entry(name).or_default().push(node));
        }
        GraphIndex { graph, producer, readers }
    }

    /// The tensor of this name, followed through `Identity` nodes.
    fn tensor(&self, name: Option<&String>) -> Option<&'g Tensor<'a>> {
        let mut name = name?.as_str();
        // At most as many steps as nodes: a damaged file may have a cycle.
        for _ in 0..=self.graph.nodes.len() {
            if let Some(tensor) = self.graph.tensors.get(name) {
                return Some(tensor);
            }
            let node = self.producer.get(name).filter(|node| node.op == "Identity")?;
            name = node.inputs.first()?;
        }
        None
    }

    /// The tensor that is input `at` of a node; `name` is the checkpoint's name for errors.
    fn operand(&self, node: &Node, at: usize, name: &str) -> Read<&'g Tensor<'a>> {
        let missing = || (name.to_owned(), format!("missing in the `{}` that it is looked for in", node.op));
        self.tensor(node.inputs.get(at)).ok_or_else(missing)
    }

    /// The node that reads a node's first output; `None` if there are several or none.
    fn reader(&self, node: &Node) -> Option<&'g Node<'a>> {
        match self.readers.get(node.outputs.first()?.as_str())?.as_slice() {
            [reader] => Some(reader),
            _ => None,
        }
    }

    /// The node that produces a node's first input.
    fn source(&self, node: &Node) -> Option<&'g Node<'a>> {
        self.producer.get(node.inputs.first()?.as_str()).copied()
    }

    /// Adds the tensors of a convolution under `name`, and those of the following batch norm, unless it was folded,
    /// under `norm`.
    fn convolution(&self, node: &Node, name: &str, norm: Option<&str>, found: &mut Found) -> Read<()> {
        found.add(format!("{name}.weight"), self.operand(node, 1, &format!("{name}.weight"))?)?;
        if let Some(bias) = self.tensor(node.inputs.get(2)) {
            found.add(format!("{name}.bias"), bias)?;
        }
        // Between the last layer and its norm, the time axis is removed.
        let mut reader = self.reader(node);
        if reader.is_some_and(|reader| matches!(reader.op.as_str(), "Squeeze" | "Reshape" | "Flatten")) {
            reader = reader.and_then(|squeeze| self.reader(squeeze));
        }
        match (norm, reader) {
            (Some(norm), Some(reader)) if reader.op == "BatchNormalization" => self.norm(reader, norm, found),
            _ => Ok(()),
        }
    }

    /// Adds the tensors of a batch norm under `name`.
    fn norm(&self, node: &Node, name: &str, found: &mut Found) -> Read<()> {
        let epsilon = node.floats.get("epsilon").copied().unwrap_or(1e-5);
        if (epsilon - 1e-5).abs() > 1e-8 {
            return wrong(name, format!("adds {epsilon} to the variance, expected 1e-5"));
        }
        for (at, kind) in ["weight", "bias", "running_mean", "running_var"].into_iter().enumerate() {
            let name = format!("{name}.{kind}");
            found.add(name.as_str(), self.operand(node, at + 1, &name)?)?;
        }
        Ok(())
    }
}
