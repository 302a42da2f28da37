//! The specification of a PyanNet checkpoint: window length, classes, output head and stride, from pyannote's
//! `Specifications` and hyper-parameters, or from JSON in the metadata of safetensors.

use serde_json::{Map, Value};

use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::units::SAMPLE_RATE;

/// Key in the metadata of safetensors whose value is the specification as JSON, with pyannote's field names: `duration`
/// in seconds, `classes` as a list of names, `powerset_max_classes`, and `stride` in samples.
pub const METADATA: &str = "pyannet";
/// Maximum length of a window in seconds; a longer one is damage.
const MAX_DURATION: f64 = 60.0;
/// Maximum number of classes.
const MAX_CLASSES: usize = 64;

/// The output layer of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Independent probabilities of the classes: sigmoid.
    MultiLabel,
    /// Natural logarithms of the probabilities of all sets of at most this many classes: log-softmax.
    Powerset(usize),
}

/// The specification that a network was trained for.
#[derive(Clone, Debug, PartialEq)]
pub struct Specification {
    /// Length of a window in samples.
    pub window: usize,
    /// Names of the classes: the speakers of a window. Their order differs between windows.
    pub classes: Vec<String>,
    /// The output layer.
    pub head: Head,
    /// Stride of the first convolution, in samples.
    pub stride: usize,
}

impl Specification {
    /// Reads the specification of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Model`] if there is none, or if it is not that of a supported segmentation network.
    pub fn read(weights: &Weights) -> Result<Self> {
        let wrong = |reason: String| Error::model(weights.origin(), reason);
        let facts = weights.metadata();
        if let Some(text) = facts[METADATA].as_str() {
            let json: Value = serde_json::from_str(text).map_err(|e| wrong(format!("`{METADATA}` is no JSON: {e}")))?;
            let object = json.as_object().ok_or_else(|| wrong(format!("`{METADATA}` is no JSON object")))?;
            return Self::parse(object, &json["stride"]).map_err(wrong);
        }
        let said = &facts["pyannote.audio"]["specifications"];
        let Some(state) = said["state"].as_object() else {
            let cure = "expected pyannote's pytorch_model.bin, or safetensors with `pyannet` in their metadata";
            return Err(wrong(format!("does not say what its network was trained for; {cure}")));
        };
        let hyper = &facts["hyper_parameters"];
        for (name, only) in [("sample_rate", SAMPLE_RATE as u64), ("num_channels", 1)] {
            if let Some(value) = hyper[name].as_u64().filter(|value| *value != only) {
                return Err(wrong(format!("`{name}` is {value}; only {only} is known")));
            }
        }
        Self::parse(state, &hyper["sincnet"]["stride"]).map_err(wrong)
    }

    fn parse(said: &Map<String, Value>, stride: &Value) -> std::result::Result<Self, String> {
        // A pickled enumeration is a call of its class with the value as the only argument.
        let choice = |name: &str| said.get(name).and_then(|value| value["arguments"][0].as_u64());
        if choice("resolution").is_some_and(|resolution| resolution != 1) {
            return Err("is a network for whole windows, not for frames".into());
        }
        let seconds = said.get("duration").and_then(Value::as_f64);
        let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= MAX_DURATION);
        let seconds = seconds.ok_or_else(|| format!("`duration` is not above 0 and at most {MAX_DURATION} seconds"))?;
        let names =
            said.get("classes").and_then(Value::as_array).filter(|names| (1..=MAX_CLASSES).contains(&names.len()));
        let names = names.ok_or_else(|| format!("`classes` is not a list of 1 to {MAX_CLASSES} names"))?;
        let classes = names.iter().map(|name| name.as_str().unwrap_or_default().to_string()).collect::<Vec<_>>();
        let most = said.get("powerset_max_classes").and_then(Value::as_u64).map(|most| most as usize);
        let head = match (most, choice("problem")) {
            (Some(most), None | Some(1)) if most <= classes.len() => Head::Powerset(most),
            (None, None | Some(0 | 2)) => Head::MultiLabel,
            (most, problem) => {
                return Err(format!(
                    "is of problem {problem:?} with powerset_max_classes {most:?}, which is not known"
                ));
            }
        };
        let stride = stride.as_u64().unwrap_or(10) as usize;
        if !(1..=SAMPLE_RATE).contains(&stride) {
            return Err(format!("has a stride of {stride} samples"));
        }
        Ok(Specification { window: (seconds * SAMPLE_RATE as f64).floor() as usize, classes, head, stride })
    }

    /// `V`: scores per frame.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::MultiLabel => self.classes.len(),
            Head::Powerset(_) => self.powerset().len(),
        }
    }

    /// The sets of classes of a powerset head, in the order of its outputs: the empty set, single classes, pairs, and
    /// so on.
    ///
    /// Source: pyannote.audio `utils/powerset.py::Powerset`.
    pub fn powerset(&self) -> Vec<Vec<usize>> {
        let most = if let Head::Powerset(most) = self.head { most } else { 0 };
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut last = 0..1;
        for _ in 0..most {
            let from = sets.len();
            for i in last {
                let next = sets[i].last().map_or(0, |class| class + 1);
                for class in next..self.classes.len() {
                    let mut set = sets[i].clone();
                    set.push(class);
                    sets.push(set);
                }
                if sets.len() > MAX_CLASSES * MAX_CLASSES {
                    // Too many sets; the check of the classifier's shape then refuses the checkpoint.
                    return sets;
                }
            }
            last = from..sets.len();
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powersets_are_in_the_order_of_pyannote() {
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        let specification = Specification { window: 1, classes, head: Head::Powerset(2), stride: 10 };
        let expected: [&[usize]; 7] = [&[], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];
        assert_eq!(specification.powerset(), expected);
    }
}
