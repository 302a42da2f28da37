//! What a checkpoint of PyTorch says of itself beside its tensors, as JSON: the sizes its network was built with, and
//! pyannote's specification of what it was trained for. Objects become what their pickle writes down of them
//! (`{"class": "module.Name", "arguments": [...], "state": {...}}`); none is made.

use serde_json::{Map, Value};

use super::pickle::{Id, Node, Pickle};

/// The entries of a checkpoint's dictionary that are read.
const NAMED: [&str; 3] = ["hyper_parameters", "pyannote.audio", "dims"];
/// Most values read of an entry. A pickle can name one value a thousand times over, and that one another, and so on; the
/// specification of a network has a few dozen.
const MOST: usize = 4096;
/// Most levels of them.
const DEEPEST: usize = 16;

/// The entries of [`NAMED`] in a checkpoint's dictionary; null for what is too much, too deep or of no interest.
pub(super) fn facts(values: &Pickle) -> Value {
    let top = values.pairs(values.root).unwrap_or_default();
    let entry = |name: &&str| {
        let (_, value) = top.iter().rev().find(|(key, _)| values.text(*key) == Some(name))?;
        Some((name.to_string(), Reader { values, left: MOST }.read(*value, DEEPEST)))
    };
    Value::Object(NAMED.iter().filter_map(entry).collect())
}

struct Reader<'a> {
    values: &'a Pickle,
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
