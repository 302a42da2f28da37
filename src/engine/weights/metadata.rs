//! Metadata of a PyTorch checkpoint as JSON: the hyperparameters of the network, and pyannote's task specification.
//!
//! Python objects are not constructed. Their pickle is written as
//! `{"class": "module.Name", "arguments": [...], "state": {...}}`.

use serde_json::{Map, Value};

use super::pickle::{Id, Node, Pickle};

/// The entries of the checkpoint's dictionary that are read.
const ENTRIES: [&str; 3] = ["hyper_parameters", "pyannote.audio", "dims"];
/// Largest number of values read per entry; real ones have a few dozen. Nested references in a small pickle can expand
/// to an exponential number of values.
const MAX_VALUES: usize = 4096;
/// Largest nesting depth.
const MAX_DEPTH: usize = 16;

/// The [`ENTRIES`] of a checkpoint's dictionary. Values beyond the limits, or of other types, are null.
pub(super) fn metadata(values: &Pickle) -> Value {
    let top = values.pairs(values.root).unwrap_or_default();
    let entry = |name: &&str| {
        let (_, value) = top.iter().rev().find(|(key, _)| values.text(*key) == Some(name))?;
        Some((name.to_string(), Reader { values, left: MAX_VALUES }.read(*value, MAX_DEPTH)))
    };
    Value::Object(ENTRIES.iter().filter_map(entry).collect())
}

struct Reader<'a> {
    values: &'a Pickle,
    /// Values that may still be read.
    left: usize,
}

impl Reader<'_> {
    fn read(&mut self, id: Id, depth: usize) -> Value {
        let (Some(left), Some(depth)) = (self.left.checked_sub(1), depth.checked_sub(1)) else { return Value::Null };
        self.left = left;
        match self.values.node(id) {
            Node::Plain | Node::Persistent(_) => Value::Null,
            Node::Float(value) => Value::from(*value),
            Node::Int(value) => Value::from(*value),
            Node::Text(text) => Value::from(text.as_str()),
            Node::Global(_) => Value::from(self.name(id)),
            Node::Tuple(items) | Node::List(items) => self.list(items, depth),
            Node::Dict(pairs) => self.dictionary(pairs, depth),
            Node::Call { callable, arguments, state } => {
                let mut object = Map::new();
                object.insert("class".into(), self.name(*callable).into());
                object.insert("arguments".into(), self.read(*arguments, depth));
                if let Some(state) = state {
                    object.insert("state".into(), self.read(*state, depth));
                }
                Value::Object(object)
            }
        }
    }

    fn name(&self, id: Id) -> String {
        self.values.global(id).map_or_else(String::new, |(module, name)| format!("{module}.{name}"))
    }

    fn list(&mut self, items: &[Id], depth: usize) -> Value {
        let count = items.len().min(self.left);
        items[..count].iter().map(|item| self.read(*item, depth)).collect()
    }

    fn dictionary(&mut self, pairs: &[(Id, Id)], depth: usize) -> Value {
        let mut object = Map::new();
        for (key, value) in pairs.iter().take(self.left) {
            if let Some(key) = self.values.text(*key) {
                let value = self.read(*value, depth);
                object.insert(key.to_string(), value);
            }
        }
        Value::Object(object)
    }
}
