//! A safe reader of Python pickles, which executes no calls.
//!
//! A pickle is a program for a stack machine that can import and call any Python function. This reader has the stack
//! and the memo, but no imports and no calls. It builds strings, numbers, tuples, lists and dictionaries. An import is
//! recorded as its name ([`Node::Global`]), and a call is recorded with its arguments ([`Node::Call`]). The reader of
//! checkpoints interprets the few calls it knows and ignores the rest.
//!
//! Time and memory are linear in the length of the input: every opcode creates at most one node, only bytes of the
//! input are copied, and there is no recursion.
//!
//! Source: CPython's `pickletools.py` for the opcodes, their arguments and their order on the stack.

use std::collections::HashMap;

/// The error is the reason, as text.
type Result<T> = std::result::Result<T, String>;

/// Index of a node in its [`Pickle`].
pub(super) type Id = usize;

/// A value of a pickle.
#[derive(Debug)]
pub(super) enum Node {
    /// Values that are not needed: None, bytes, long integers, and strings and floats of protocol 0.
    Plain,
    Float(f64),
    /// Integers, and booleans as 0 and 1.
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// In order of insertion; of pairs with the same key, the last one counts.
    Dict(Vec<(Id, Id)>),
    /// An import, not executed.
    Global(Box<Name>),
    /// A call `callable(*arguments)`, not executed, and the state that the BUILD opcode would set on its result.
    Call {
        callable: Id,
        arguments: Id,
        state: Option<Id>,
    },
    /// A persistent id: data that the file stores outside of the pickle, which is a storage.
    Persistent(Id),
}

/// The qualified name of an import.
#[derive(Debug)]
pub(super) struct Name {
    module: String,
    name: String,
}

/// The values of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    /// The result of the pickle.
    pub root: Id,
    /// Number of bytes read, the STOP opcode included.
    pub len: usize,
}

impl Pickle {
    /// Reads the pickle at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Machine {
            input: Input { bytes, at: 0 },
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
        .run()
    }

    /// The node of an id. Panics for ids of other pickles.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The items of a tuple or list; `None` for other nodes, as in all methods below.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        if let Node::Text(text) = self.node(id) { Some(text) } else { None }
    }

    /// An integer that is not negative.
    pub fn size(&self, id: Id) -> Option<usize> {
        if let Node::Int(value) = self.node(id) { usize::try_from(*value).ok() } else { None }
    }

    /// `(module, name)` of an import.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        if let Node::Global(global) = self.node(id) { Some((&global.module, &global.name)) } else { None }
    }

    /// All persistent ids.
    pub fn persistent(&self) -> impl Iterator<Item = Id> {
        (0..self.nodes.len()).filter(|id| matches!(self.nodes[*id], Node::Persistent(_)))
    }

    /// The pairs of a `dict`, `OrderedDict` or `defaultdict`.
    pub fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        if let Node::Dict(pairs) = self.node(id) { Some(pairs) } else { None }
    }
}

/// The bytes, and the current position.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("ends within a value, at byte {}", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads a little-endian number of `width` bytes, at most 8.
    fn number(&mut self, width: usize) -> Result<u64> {
        Ok(self.take(width)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Reads bytes with a length prefix of `width` bytes.
    fn counted(&mut self, width: usize) -> Result<&'a [u8]> {
        let len = self.number(width)?;
        self.take(usize::try_from(len).map_err(|_| "names an impossible length".to_string())?)
    }

    /// Reads up to the next line feed, which is dropped.
    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or("ends within a line")?;
        self.at += len + 1;
        Ok(&rest[..len])
    }
}

fn text(bytes: &[u8]) -> Node {
    Node::Text(String::from_utf8_lossy(bytes).into_owned())
}

/// A little-endian two's complement integer of any width; more than 64 bits give [`Node::Plain`].
fn long(bytes: &[u8]) -> Node {
    let Some(last) = bytes.last() else { return Node::Int(0) };
    if bytes.len() > 8 {
        return Node::Plain;
    }
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

struct Machine<'a> {
    input: Input<'a>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_> {
    fn run(mut self) -> Result<Pickle> {
        loop {
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { nodes: self.nodes, root, len: self.input.at });
            }
            self.step(opcode)?;
        }
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("takes a value from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "takes a value from an empty stack".into())
    }

    fn top(&mut self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| "looks at an empty stack".into())
    }

    /// Pops all values since the last MARK.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let from = self.marks.pop().ok_or("goes back to a mark that is not there")?;
        Ok(self.stack.split_off(from.min(self.stack.len())))
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // ---- protocol and stack ----
            0x80 => self.input.take(1).map(drop), // PROTO
            0x95 => self.input.take(8).map(drop), // FRAME
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            } // MARK
            b'0' => self.pop().map(drop),         // POP
            b'1' => self.pop_mark().map(drop),    // POP_MARK
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            } // DUP
            // ---- the memo ----
            b'q' => {
                let at = self.input.number(1)?;
                self.memoize(at)
            } // BINPUT
            b'r' => {
                let at = self.input.number(4)?;
                self.memoize(at)
            } // LONG_BINPUT
            0x94 => self.memoize(self.memo.len() as u64), // MEMOIZE
            b'h' => {
                let at = self.input.number(1)?;
                self.recall(at)
            } // BINGET
            b'j' => {
                let at = self.input.number(4)?;
                self.recall(at)
            } // LONG_BINGET
            b'a' | b'e' | b's' | b'u' | b'b' | 0x90 => self.fill(opcode),
            b't' | 0x85..=0x87 | b')' | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => self.container(opcode),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'Q' => self.object(opcode),
            _ => self.scalar(opcode),
        }
    }

    fn memoize(&mut self, at: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<()> {
        let id = *self.memo.get(&at).ok_or_else(|| format!("recalls {at}, which it never stored"))?;
        self.stack.push(id);
        Ok(())
    }

    fn scalar(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            b'N' => Node::Plain,                                                     // NONE
            0x88 | 0x89 => Node::Int(i64::from(opcode == 0x88)),                     // NEWTRUE, NEWFALSE
            b'G' => Node::Float(f64::from_bits(self.input.number(8)?.swap_bytes())), // BINFLOAT, big-endian
            b'F' | b'S' | b'V' => self.input.line().map(|_| Node::Plain)?, // FLOAT, STRING, UNICODE of protocol 0
            b'J' => Node::Int(i64::from(self.input.number(4)? as u32 as i32)), // BININT
            b'K' => Node::Int(self.input.number(1)? as i64),               // BININT1
            b'M' => Node::Int(self.input.number(2)? as i64),               // BININT2
            0x8a => long(self.input.counted(1)?),                          // LONG1
            0x8b => long(self.input.counted(4)?),                          // LONG4
            b'X' => text(self.input.counted(4)?),                          // BINUNICODE
            0x8c => text(self.input.counted(1)?),                          // SHORT_BINUNICODE
            0x8d => text(self.input.counted(8)?),                          // BINUNICODE8
            b'U' => text(self.input.counted(1)?),                          // SHORT_BINSTRING, of Python 2
            b'T' => text(self.input.counted(4)?),                          // BINSTRING, of Python 2
            b'B' => self.input.counted(4).map(|_| Node::Plain)?,           // BINBYTES
            b'C' => self.input.counted(1).map(|_| Node::Plain)?,           // SHORT_BINBYTES
            0x8e | 0x96 => self.input.counted(8).map(|_| Node::Plain)?,    // BINBYTES8, BYTEARRAY8
            _ => {
                return Err(format!(
                    "has the opcode {opcode:#04x} at byte {}, which no checkpoint needs",
                    self.input.at - 1
                ));
            }
        };
        self.push(node)
    }

    fn container(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            b't' => Node::Tuple(self.pop_mark()?), // TUPLE
            b')' => Node::Tuple(Vec::new()),       // EMPTY_TUPLE
            0x85..=0x87 => {
                // TUPLE1, TUPLE2, TUPLE3
                let mut items = (0x85..=opcode).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
                items.reverse();
                Node::Tuple(items)
            }
            b']' | 0x8f => Node::List(Vec::new()),       // EMPTY_LIST, EMPTY_SET
            b'l' | 0x91 => Node::List(self.pop_mark()?), // LIST, FROZENSET
            b'}' => Node::Dict(Vec::new()),              // EMPTY_DICT
            _ => {
                let items = self.pop_mark()?;
                Node::Dict(pairs(&items)?)
            } // DICT
        };
        self.push(node)
    }

    /// Adds values to the container below them on the stack. If that is another node, such as a recorded call, the
    /// values are dropped.
    fn fill(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b'a' | b'b' => vec![self.pop()?], // APPEND, BUILD
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            } // SETITEM
            _ => self.pop_mark()?,            // APPENDS, SETITEMS, ADDITEMS
        };
        let target = self.top()?;
        match (opcode, &mut self.nodes[target]) {
            (b'a' | b'e' | 0x90, Node::List(list)) => list.extend(items),
            (b's' | b'u', Node::Dict(dict)) => dict.extend(pairs(&items)?),
            (b'b', Node::Call { state, .. }) => *state = items.first().copied(),
            _ => {}
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            b'c' => {
                // GLOBAL
                let [module, name] =
                    [self.input.line()?, self.input.line()?].map(|l| String::from_utf8_lossy(l).into_owned());
                Node::Global(Box::new(Name { module, name }))
            }
            0x93 => {
                // STACK_GLOBAL
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Text(module), Node::Text(name)) => {
                        Node::Global(Box::new(Name { module: module.clone(), name: name.clone() }))
                    }
                    _ => return Err("has a name that is no text".into()),
                }
            }
            b'Q' => Node::Persistent(self.pop()?), // BINPERSID
            _ => {
                // REDUCE, NEWOBJ, NEWOBJ_EX
                if opcode == 0x92 {
                    self.pop()?;
                }
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)
            }
        };
        self.push(node)
    }

    /// Records a call. `OrderedDict` and `defaultdict` are created as empty dictionaries; later opcodes fill them.
    fn call(&self, callable: Id, arguments: Id) -> Node {
        let known = match &self.nodes[callable] {
            Node::Global(global) => (global.module.as_str(), global.name.as_str()),
            _ => ("", ""),
        };
        match known {
            ("collections", "OrderedDict" | "defaultdict") => Node::Dict(Vec::new()),
            _ => Node::Call { callable, arguments, state: None },
        }
    }
}

/// Pairs of alternating keys and values.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    if !items.len().is_multiple_of(2) {
        return Err("has a key without a value".into());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
