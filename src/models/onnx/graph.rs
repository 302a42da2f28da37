//! ONNX parser: nodes, tensors and metadata of a file. No operation is executed.
//!
//! Source: `onnx.proto3` (onnx/onnx); its field numbers are in the comments of the functions that read them.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};

use super::proto::{Value, numbers, read_message, text};

/// Maximum depth of nested graphs, which are the branches of conditions. Silero's has four.
const MAX_DEPTH: usize = 8;
/// Maximum number of nodes, attributes, tensors and metadata entries together, since an entry of a few bytes in a file
/// takes much more memory. CAM++ has 3300 nodes.
const MAX_ENTRIES: usize = 1 << 15;
/// Maximum number of axes of a tensor, and of integers in an attribute.
const MOST_NUMBERS: usize = 64;

/// An ONNX file.
#[derive(Default)]
pub(crate) struct Graph<'a> {
    /// In the order of the file, which is topological.
    pub nodes: Vec<Node<'a>>,
    /// Initializers by name, and the tensors of constant nodes by the name of the node's output.
    pub tensors: BTreeMap<String, Tensor<'a>>,
    /// `metadata_props` of the file.
    pub metadata: HashMap<String, String>,
}

/// A node: an operation with its inputs and attributes.
#[derive(Default)]
pub(crate) struct Node<'a> {
    pub op: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Attributes that are integers, or lists of them.
    pub numbers: HashMap<String, Vec<i64>>,
    /// Attributes that are floats.
    pub floats: HashMap<String, f32>,
    /// Attributes that are strings.
    pub texts: HashMap<String, String>,
    /// Attributes that are graphs: the branches of a condition.
    pub graphs: Vec<Graph<'a>>,
}

/// A tensor; its data is borrowed from the file.
#[derive(Clone, Default)]
pub(crate) struct Tensor<'a> {
    pub shape: Vec<usize>,
    /// `TensorProto.DataType`.
    kind: u64,
    bytes: &'a [u8],
    /// Whether the data is in another file (`data_location` EXTERNAL).
    is_external: bool,
}

impl<'a> Graph<'a> {
    /// Parses the graph of a file; `None` if the bytes are not an ONNX file, or are truncated.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut graph = Graph::default();
        let mut count = 0;
        // ModelProto: graph = 7, metadata_props = 14
        read_message(bytes, |field, value| match (field, value) {
            (7, Value::Bytes(bytes)) => graph.read(bytes, 0, &mut count),
            (14, Value::Bytes(bytes)) => {
                count_one(&mut count)?;
                let (mut key, mut text_value) = (String::new(), String::new());
                // StringStringEntryProto: key = 1, value = 2
                read_message(bytes, |field, value| {
                    match (field, value) {
                        (1, Value::Bytes(bytes)) => key = text(bytes),
                        (2, Value::Bytes(bytes)) => text_value = text(bytes),
                        _ => {}
                    }
                    Some(())
                })?;
                graph.metadata.insert(key, text_value);
                Some(())
            }
            _ => Some(()),
        })?;
        (!graph.nodes.is_empty()).then_some(graph)
    }

    /// GraphProto: node = 1, initializer = 5.
    fn read(&mut self, bytes: &'a [u8], depth: usize, count: &mut usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        read_message(bytes, |field, value| match (field, value) {
            (1, Value::Bytes(bytes)) => {
                count_one(count)?;
                let (node, constant) = Node::read(bytes, depth, count)?;
                if let (Some(tensor), Some(name)) = (constant, node.outputs.first()) {
                    self.tensors.insert(name.clone(), tensor);
                }
                self.nodes.push(node);
                Some(())
            }
            (5, Value::Bytes(bytes)) => {
                count_one(count)?;
                let (name, tensor) = Tensor::read(bytes)?;
                self.tensors.insert(name, tensor);
                Some(())
            }
            _ => Some(()),
        })
    }

    /// Calls `visit` with the name of each tensor and the tensor, in this graph and in nested ones.
    pub fn each_tensor(&self, visit: &mut impl FnMut(&str, &Tensor<'a>)) {
        self.tensors.iter().for_each(|(name, tensor)| visit(name, tensor));
        self.nodes.iter().flat_map(|node| &node.graphs).for_each(|graph| graph.each_tensor(visit));
    }

    /// Calls `visit` with each node of this graph and of nested ones.
    pub fn each_node<'g>(&'g self, visit: &mut impl FnMut(&'g Node<'a>)) {
        for node in &self.nodes {
            visit(node);
            node.graphs.iter().for_each(|graph| graph.each_node(visit));
        }
    }
}

fn count_one(count: &mut usize) -> Option<()> {
    *count += 1;
    (*count <= MAX_ENTRIES).then_some(())
}

impl<'a> Node<'a> {
    /// NodeProto: input = 1, output = 2, op_type = 4, attribute = 5. Returns the node, and its tensor attribute if it
    /// is a constant.
    fn read(bytes: &'a [u8], depth: usize, count: &mut usize) -> Option<(Self, Option<Tensor<'a>>)> {
        let (mut node, mut constant) = (Node::default(), None);
        read_message(bytes, |field, value| {
            match (field, value) {
                (1, Value::Bytes(name)) => node.inputs.push(text(name)),
                (2, Value::Bytes(name)) => node.outputs.push(text(name)),
                (4, Value::Bytes(name)) => node.op = text(name),
                (5, Value::Bytes(bytes)) => constant = node.attribute(bytes, depth, count)?.or(constant.take()),
                _ => {}
            }
            (node.inputs.len().max(node.outputs.len()) <= MAX_ENTRIES).then_some(())
        })?;
        Some((node, constant))
    }

    /// AttributeProto: name = 1, f = 2, i = 3, s = 4, t = 5, g = 6, ints = 8. Stores the attribute in the node; returns
    /// it if it is a tensor.
    fn attribute(&mut self, bytes: &'a [u8], depth: usize, count: &mut usize) -> Option<Option<Tensor<'a>>> {
        count_one(count)?;
        let (mut name, mut all, mut tensor) = (String::new(), Vec::new(), None);
        let (mut float, mut string) = (None, None);
        read_message(bytes, |field, value| {
            match (field, value) {
                (1, Value::Bytes(bytes)) => name = text(bytes),
                (2, Value::Bytes(bytes)) => float = bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)),
                (3 | 8, value) => numbers(&value, &mut all)?,
                (4, Value::Bytes(bytes)) => string = Some(text(bytes)),
                (5, Value::Bytes(bytes)) => tensor = Some(Tensor::read(bytes)?.1),
                (6, Value::Bytes(bytes)) => {
                    let mut graph = Graph::default();
                    graph.read(bytes, depth + 1, count)?;
                    self.graphs.push(graph);
                }
                _ => {}
            }
            Some(())
        })?;
        if let Some(float) = float {
            self.floats.insert(name.clone(), float);
        }
        if let Some(string) = string {
            self.texts.insert(name.clone(), string);
        }
        if !all.is_empty() && all.len() <= MOST_NUMBERS {
            self.numbers.insert(name, all.into_iter().map(|number| number as i64).collect());
        }
        Some(tensor)
    }

    /// The first integer of an attribute.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(name)?.first().copied()
    }
}

impl<'a> Tensor<'a> {
    /// TensorProto: dims = 1, data_type = 2, float_data = 4, name = 8, raw_data = 9, data_location = 14.
    fn read(bytes: &'a [u8]) -> Option<(String, Self)> {
        let (mut tensor, mut name, mut shape) = (Tensor::default(), String::new(), Vec::new());
        read_message(bytes, |field, value| {
            match (field, value) {
                (1, value) => numbers(&value, &mut shape)?,
                (2, Value::Number(kind)) => tensor.kind = kind,
                (4 | 9, Value::Bytes(bytes)) => tensor.bytes = bytes,
                (8, Value::Bytes(bytes)) => name = text(bytes),
                (14, Value::Number(location)) => tensor.is_external = location != 0,
                _ => {}
            }
            (shape.len() <= MOST_NUMBERS).then_some(())
        })?;
        tensor.shape = shape.into_iter().map(|size| usize::try_from(size).ok()).collect::<Option<_>>()?;
        Some((name, tensor))
    }

    /// Size of the data in the file, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the data type is f32, f16 or bf16.
    pub fn is_float(&self) -> bool {
        matches!(self.kind, FLOAT | FLOAT16 | BFLOAT16)
    }

    /// The values as f32, or the reason why they cannot be read.
    pub fn values(&self) -> Result<Vec<f32>, String> {
        if self.is_external {
            return Err("is in a file beside this one, which is not read; save the model as one file".into());
        }
        let pairs = || self.bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match self.kind {
            FLOAT => self.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            FLOAT16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            BFLOAT16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            kind => {
                return Err(format!(
                    "is of ONNX type {kind}; f32, f16 and bf16 can be read, use a model that is not quantised"
                ));
            }
        };
        let expected = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if expected != Some(values.len()) {
            return Err(format!(
                "has {} values and shape {:?}; the file is damaged, fetch it again",
                values.len(),
                self.shape
            ));
        }
        Ok(values)
    }
}

/// TensorProto.DataType
const FLOAT: u64 = 1;
const FLOAT16: u64 = 10;
const BFLOAT16: u64 = 16;
