//! The kinds of values that options take.

use std::str::FromStr;

use clap::ValueEnum;

/// A value, or Python's `None` for "switched off".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrNone<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "None" | "none") {
            return Ok(OrNone(None));
        }
        text.parse().map(|value| OrNone(Some(value))).map_err(|_| "expected a number or None".into())
    }
}

impl<T: std::fmt::Display> std::fmt::Display for OrNone<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("None"),
        }
    }
}

/// `true` and `false`, also as Python writes them.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" => Ok(true),
        "False" | "false" => Ok(false),
        _ => Err("expected True or False".into()),
    }
}

/// A finite number within `[low, high]`.
pub fn within(text: &str, low: f64, high: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= low && value <= high => Ok(value),
        _ => Err(format!("expected a number from {low} to {high}")),
    }
}

/// A probability.
pub fn probability(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

/// The names of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The best there is: in this version, the CPU.
    Auto,
    /// All cores, or as many as `--threads` says.
    Cpu,
    /// Not in this version.
    #[value(hide = true)]
    Cuda,
}

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ComputeType {
    /// What is best on the device: on the CPU, float16 where the file has no more, else float32.
    Default,
    /// Four bytes a weight: exact.
    Float32,
    /// Two bytes a weight.
    Float16,
    /// One byte a weight.
    Int8,
}

/// What to write down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// The words as spoken.
    Transcribe,
    /// The words in English.
    Translate,
}

/// How much is told on stderr about what goes on inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Each step.
    Info,
    /// What may need attention.
    Warning,
    /// Failures.
    Error,
    /// The same as error.
    Critical,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_read_as_python_writes_it() {
        assert_eq!("None".parse::<OrNone<f64>>(), Ok(OrNone(None)));
        assert_eq!("0.2".parse::<OrNone<f64>>(), Ok(OrNone(Some(0.2))));
        assert!("x".parse::<OrNone<u32>>().is_err());
        assert_eq!(OrNone::<u32>(None).to_string(), "None");
    }

    #[test]
    fn numbers_out_of_range_and_nan_are_refused() {
        assert_eq!(probability("0.5"), Ok(0.5));
        for bad in ["1.5", "-0.1", "NaN", "inf", "", "0,5"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }
}
