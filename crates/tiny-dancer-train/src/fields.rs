//! Fields: one JSON object, taken apart so that an error names the field, what it holds and what is expected.
//!
//! A key that is none of the known ones belongs to the user, and is reported as unread. Where it is spelt almost like a
//! known key that the object lacks, it is refused: a misspelt `powerful_correct` would otherwise change what is
//! learnt without a word.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use tiny_dancer_core::Metadata;

/// What `lightweight_correct` and its like may hold.
const SCORE: &str = "a number from 0 to 1, true or false";

/// What is wrong with one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Two rows have one id.
    #[error("id is {id:?}, as in line {first}")]
    DuplicateId {
        /// The id.
        id: String,
        /// The earlier line, from 1.
        first: usize,
    },
    /// The line is not one JSON object.
    #[error("not a JSON object: {source} (column {column})")]
    Json {
        /// Where, from 1.
        column: usize,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A field that must be there is not.
    #[error("{field} is missing, expected {expected}")]
    Missing {
        /// Which one.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// A key is spelt almost like a known one, which the object lacks.
    #[error("unknown key {found:?}, expected {expected:?}")]
    Misspelt {
        /// The key.
        found: String,
        /// The known one.
        expected: &'static str,
    },
    /// A line says nothing of how its request went.
    #[error("neither lightweight_correct nor success_rate is there")]
    NoOutcome,
    /// The subject is given twice, and differs.
    #[error("subject is {subject:?}, but metadata says {metadata:?}")]
    Subject {
        /// At the top.
        subject: String,
        /// Within `metadata`.
        metadata: String,
    },
    /// A field holds something else.
    #[error("{field} is {actual}, expected {expected}")]
    Unexpected {
        /// Which one, with the place inside it.
        field: String,
        /// What it holds.
        actual: String,
        /// What it must hold.
        expected: &'static str,
    },
    /// The line is not UTF-8.
    #[error("not UTF-8 (byte {byte})")]
    Utf8 {
        /// The first byte that is not, from 1.
        byte: usize,
        /// Why.
        source: std::str::Utf8Error,
    },
}

/// One JSON object.
///
/// ```
/// use tiny_dancer_train::fields::Fields;
///
/// let mut row = Fields::parse(br#"{"id": "a", "lightweight_correct": true}"#, &["id", "lightweight_correct"])?;
/// assert_eq!(row.text("id")?.as_deref(), Some("a"));
/// assert_eq!(row.score("lightweight_correct")?, Some(1.0));
/// # Ok::<(), tiny_dancer_train::fields::FieldError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fields {
    values: BTreeMap<String, Value>,
    unread: Vec<String>,
}

impl Fields {
    /// Parses one line whose keys are `known`, and maybe others.
    ///
    /// # Errors
    /// The line is not a JSON object, or one of its keys is a misspelt one.
    pub fn parse(line: &[u8], known: &[&'static str]) -> Result<Self, FieldError> {
        let line = std::str::from_utf8(line)
            .map_err(|source| FieldError::Utf8 { byte: source.valid_up_to() + 1, source })?;
        let Object(values) = serde_json::from_str(line).map_err(|error| not_json(&error))?;
        let mut unread = vec![];
        for found in values.keys().filter(|key| !known.contains(&key.as_str())) {
            let meant = known.iter().find(|&&key| !values.contains_key(key) && alike(found, key));
            if let Some(&expected) = meant {
                return Err(FieldError::Misspelt { found: found.clone(), expected });
            }
            unread.push(found.clone());
        }
        Ok(Self { values, unread })
    }

    /// The keys that are none of the known ones, sorted.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Takes any value out; `None` where there is none, or null.
    pub fn any(&mut self, field: &str) -> Option<Value> {
        self.values.remove(field).filter(|value| !value.is_null())
    }

    /// Takes text out.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn text(&mut self, field: &str) -> Result<Option<String>, FieldError> {
        self.typed(field, "text", |value| value.as_str().map(str::to_owned))
    }

    /// Takes a score out, from 0 to 1; true is 1, false 0.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn score(&mut self, field: &str) -> Result<Option<f64>, FieldError> {
        self.typed(field, SCORE, |value| match value {
            Value::Bool(is) => Some(f64::from(u8::from(*is))),
            number => number.as_f64().filter(|score| (0.0..=1.0).contains(score)),
        })
    }

    /// Takes a score out that must be there.
    ///
    /// # Errors
    /// The field is missing, or holds something else.
    pub fn required_score(&mut self, field: &'static str) -> Result<f64, FieldError> {
        self.score(field)?.ok_or(FieldError::Missing { field, expected: SCORE })
    }

    /// Takes a whole number out.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn integer(&mut self, field: &str) -> Result<Option<i64>, FieldError> {
        self.typed(field, "a whole number", Value::as_i64)
    }

    /// Takes a count out.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn count(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        self.typed(field, "a whole number, 0 or more", Value::as_u64)
    }

    /// Takes numbers out.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn vector(&mut self, field: &str) -> Result<Option<Vec<f32>>, FieldError> {
        let Some(value) = self.any(field) else { return Ok(None) };
        let Value::Array(elements) = value else {
            return Err(unexpected(field.to_owned(), &value, "a list of numbers"));
        };
        let element = |(i, element): (usize, &Value)| {
            let number = element.as_f64().map(|number| number as f32);
            number.ok_or_else(|| unexpected(format!("{field}[{i}]"), element, "a number"))
        };
        elements.iter().enumerate().map(element).collect::<Result<_, _>>().map(Some)
    }

    /// Takes `metadata` out, and `subject`, which is short for the pair of that name within it.
    ///
    /// # Errors
    /// A field holds something else, or the two subjects differ.
    pub fn metadata(&mut self) -> Result<Option<Metadata>, FieldError> {
        let subject = self.text("subject")?;
        let mut metadata = match self.any("metadata") {
            None => None,
            Some(Value::Object(pairs)) => {
                let pair = |(key, value): (String, Value)| match value {
                    Value::String(text) => Ok((key, text)),
                    other => Err(unexpected(format!("metadata.{key}"), &other, "text")),
                };
                Some(pairs.into_iter().map(pair).collect::<Result<Metadata, _>>()?)
            }
            Some(other) => {
                return Err(unexpected("metadata".to_owned(), &other, "an object of texts"));
            }
        };
        if let Some(subject) = subject {
            let pairs = metadata.get_or_insert_default();
            let within = pairs.entry("subject".to_owned()).or_insert_with(|| subject.clone());
            if *within != subject {
                return Err(FieldError::Subject { subject, metadata: within.clone() });
            }
        }
        Ok(metadata)
    }

    fn typed<T>(
        &mut self,
        field: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(value) = self.any(field) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| unexpected(field.to_owned(), &value, expected))
    }
}

/// The error of a field that holds another value.
pub(crate) fn unexpected(field: String, value: &Value, expected: &'static str) -> FieldError {
    /// Enough to find it by.
    const SHOWN: usize = 40;
    let mut actual = value.to_string();
    if let Some((end, _)) = actual.char_indices().nth(SHOWN) {
        actual.truncate(end);
        actual.push_str("...");
    }
    FieldError::Unexpected { field, actual, expected }
}

fn not_json(error: &serde_json::Error) -> FieldError {
    // There is one line, so its number says nothing.
    let (column, mut text) = (error.column(), error.to_string());
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    FieldError::Json { column, source: text.into() }
}

/// Whether a key is likely to be another one misspelt: but for case and signs the same, or at most two slips away in a
/// word of some length.
fn alike(found: &str, known: &str) -> bool {
    let letters = |key: &str| -> String {
        key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (found, known) = (letters(found), letters(known));
    let slips = strsim::damerau_levenshtein(&found, &known);
    slips == 0 || (slips <= 2 && 4 * slips <= known.len())
}

/// An object that has each key once.
struct Object(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut values = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if values.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    values.insert(key, value);
                }
                Ok(Object(values))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests;
