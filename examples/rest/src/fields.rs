//! The options of a request as they came, by name: short values only, so that no body can be spent on them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::Value;

use crate::errors::Fault;

/// More options than there are.
const MAX_FIELDS: usize = 64;
/// Longer than any prompt that a model looks at.
pub const MAX_LENGTH: usize = 16 * 1024;

/// Names, spelled with underscores, and values.
#[derive(Debug, Default)]
pub struct Fields(BTreeMap<String, Value>);

/// A text, a number, `true`, `false` or `null`: what an option can be. Anything else is refused before it is read.
#[derive(Debug)]
pub struct Scalar(pub Value);

impl Fields {
    /// Takes note of one.
    ///
    /// # Errors
    /// 422 for one too many, one too long, and one that came before.
    pub fn insert(&mut self, name: &str, value: Value) -> Result<(), Fault> {
        let length = name.len() + value.as_str().map_or(0, str::len);
        if self.0.len() == MAX_FIELDS || length > MAX_LENGTH {
            let rule = format!("there may be {MAX_FIELDS} options of {MAX_LENGTH} bytes");
            return Err(Fault::options(rule));
        }
        match self.0.insert(name.replace('-', "_"), value) {
            None => Ok(()),
            Some(_) => Err(Fault::options(format!("option `{name}` is given twice"))),
        }
    }

    /// The value of an option; `None` if it was not given, or is `null`. Forms and some clients write numbers and switches as text.
    ///
    /// # Errors
    /// 422 if it is of another type.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let written = value.as_str().map(str::to_ascii_lowercase);
        match serde_json::from_value(value) {
            Ok(value) => Ok(value),
            Err(error) => match written.and_then(|text| serde_json::from_str(&text).ok()) {
                Some(value) => Ok(value),
                None => Err(Fault::options(format!("option `{name}`: {error}"))),
            },
        }
    }

    /// Whether a switch is on.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn switch(&mut self, name: &str) -> Result<bool, Fault> {
        Ok(self.take(name)?.unwrap_or(false))
    }

    /// After every option that is known has been taken.
    ///
    /// # Errors
    /// 422 naming the others; `known` says what there is.
    pub fn finish(self, known: &str) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
        Err(Fault::options(format!("unknown: {}; there are {known}", names.join(", "))))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a text, a number, true, false or null")
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.into()))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(values: &[(&str, Value)]) -> Fields {
        let mut fields = Fields::default();
        values.iter().for_each(|(name, value)| fields.insert(name, value.clone()).unwrap());
        fields
    }

    #[test]
    fn values_may_be_written_as_text() {
        let mut given = fields(&[
            ("num-speakers", json!("2")),
            ("chunk_size", json!(5)),
            ("diarize", json!("True")),
            ("initial_prompt", json!("2024")),
            ("language", json!(null)),
        ]);
        assert_eq!(given.take::<usize>("num_speakers").unwrap(), Some(2));
        assert_eq!(given.take::<f64>("chunk_size").unwrap(), Some(5.0));
        assert!(given.switch("diarize").unwrap() && !given.switch("fill_nearest").unwrap());
        assert_eq!(given.take::<String>("initial_prompt").unwrap().as_deref(), Some("2024"));
        assert_eq!(given.take::<String>("language").unwrap(), None);
        given.finish("nothing").unwrap();
    }

    #[test]
    fn what_cannot_be_is_named() {
        let told = fields(&[("num_speakers", json!("two"))]).take::<usize>("num_speakers").unwrap_err().to_string();
        assert!(told.starts_with("422") && told.contains("num_speakers") && told.contains("two"), "{told}");
        let told =
            fields(&[("lang", json!("en")), ("speakers", json!(2))]).finish("`language`").unwrap_err().to_string();
        assert!(told.contains("`lang`, `speakers`") && told.contains("`language`"), "{told}");
        assert!(fields(&[("a-b", json!(1))]).insert("a_b", json!(2)).is_err());
        assert!(Fields::default().insert("a", "x".repeat(MAX_LENGTH).into()).is_err());
    }

    #[test]
    fn lists_and_objects_are_no_options() {
        assert!(serde_json::from_str::<Scalar>("[1]").is_err() && serde_json::from_str::<Scalar>("{}").is_err());
        for text in ["null", "true", "3", "-3", "0.5", "\"x\""] {
            assert_eq!(serde_json::from_str::<Scalar>(text).unwrap().0.to_string(), text);
        }
    }
}
