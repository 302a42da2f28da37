//! Value types of command-line options, and their parsers.

use std::str::FromStr;

use clap::ValueEnum;

/// A value, or `None`, spelled as in Python, for "switched off".
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

/// Parses `True` and `False`, also in lower case.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" => Ok(true),
        "False" | "false" => Ok(false),
        _ => Err("expected True or False".into()),
    }
}

/// Parses a finite number within `[low, high]`.
pub fn within(text: &str, low: f64, high: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= low && value <= high => Ok(value),
        _ => Err(format!("expected a number from {low} to {high}")),
    }
}

/// Parses a probability.
pub fn probability(text: &str) -> Result<f64, String> {
    within(text, 0.0, 1.0)
}

/// Output formats of `diarize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum TurnFormat {
    /// A line per turn.
    Rttm,
    /// An object per recording.
    Json,
}

/// The device to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A GPU if there is a usable one, else the CPU.
    Auto,
    /// The CPU, with one thread per core or `--threads`.
    Cpu,
    /// A GPU, by number; without a number, `--device-index`.
    Cuda(Option<usize>),
}

impl FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().map_err(|_| format!("`{digits}` is not the number of a GPU"));
        match text.split_once(':') {
            None if text == "auto" => Ok(Device::Auto),
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "cuda" => Ok(Device::Cuda(None)),
            Some(("cuda", digits)) => Ok(Device::Cuda(Some(number(digits)?))),
            _ => Err("expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

/// Parses a number of bytes: `8000000000`, `8G`, `7.5GiB`, `500MB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        _ => return Err(format!("`{unit}` is no unit; use M, G, MiB or GiB")),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value > 0.0 && value * scale < 1e18 => Ok((value * scale) as u64),
        _ => Err("expected a number of bytes, for example 8G".into()),
    }
}

/// The task of the recogniser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// The words as spoken.
    Transcribe,
    /// The words in English.
    Translate,
}

/// Least severe log messages that are shown.
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
    fn devices_have_numbers() {
        assert_eq!("auto".parse(), Ok(Device::Auto));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(None)));
        assert_eq!("cuda:3".parse(), Ok(Device::Cuda(Some(3))));
        for bad in ["cuda:", "cuda:-1", "cuda:x", "cpu:0", "gpu", ""] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("8G"), Ok(8_000_000_000));
        assert_eq!(bytes("7.5GiB"), Ok(8_053_063_680));
        assert_eq!(bytes("12345"), Ok(12345));
        for bad in ["", "G", "0", "-1G", "1T", "1e30", "NaN", "inf"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_out_of_range_and_nan_are_refused() {
        assert_eq!(probability("0.5"), Ok(0.5));
        for bad in ["1.5", "-0.1", "NaN", "inf", "", "0,5"] {
            assert!(probability(bad).is_err(), "{bad}");
        }
    }
}
