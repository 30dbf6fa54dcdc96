//! Fields: a parsed JSON object whose errors name the field, its value and the expected value.
//!
//! An unknown key belongs to the user and is reported as unread. If it is spelt almost like a known key that the
//! object lacks, it is refused: a misspelt `powerful_correct` would otherwise silently change the training.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use tiny_dancer_core::Metadata;

/// The accepted values of a score, such as `lightweight_correct`.
const SCORE: &str = "a number from 0 to 1, true or false";

/// What is wrong with one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Two fields are there that exclude each other.
    #[error("both {field} and {other} are there, expected one of them")]
    Both {
        /// The first field.
        field: &'static str,
        /// The second field.
        other: &'static str,
    },
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
        /// The column of the error, from 1.
        column: usize,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A required field is missing.
    #[error("{field} is missing, expected {expected}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The accepted values.
        expected: &'static str,
    },
    /// An unknown key is spelt almost like a known key that the object lacks.
    #[error("unknown key {found:?}, expected {expected:?}")]
    Misspelt {
        /// The unknown key.
        found: String,
        /// The known key.
        expected: &'static str,
    },
    /// Neither of two fields is there, of which one is required.
    #[error("neither {field} nor {other} is there")]
    Neither {
        /// The first field.
        field: &'static str,
        /// The second field.
        other: &'static str,
    },
    /// A prompt has no vector.
    #[error("id {id:?}: {source}")]
    Prompt {
        /// The row's id.
        id: String,
        /// Why.
        source: PromptError,
    },
    /// The subject is given twice with different values.
    #[error("subject is {subject:?}, but metadata says {metadata:?}")]
    Subject {
        /// The value of `subject`.
        subject: String,
        /// The value of `metadata.subject`.
        metadata: String,
    },
    /// A field has a value that is not accepted.
    #[error("{field} is {actual}, expected {expected}")]
    Unexpected {
        /// The field, with the place of the value inside it.
        field: String,
        /// Its value.
        actual: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// The line is not UTF-8.
    #[error("not UTF-8 (byte {byte})")]
    Utf8 {
        /// The first invalid byte, from 1.
        byte: usize,
        /// Why.
        source: std::str::Utf8Error,
    },
}

/// Why a prompt has no vector. No text of a prompt is in an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The vector has another number of elements than those before.
    #[error("the prompt's vector has {actual} dimensions, expected {expected}")]
    Dimension {
        /// Its dimensions.
        actual: usize,
        /// The dimensions of the vectors before.
        expected: usize,
    },
    /// The prompt has no text, or only whitespace.
    #[error("prompt is empty")]
    Empty,
    /// There is no prompt, and no file of embeddings either.
    #[error("prompt is missing, expected text, since no file has the embeddings")]
    Missing,
    /// The vector has no direction: an element is NaN or infinite, or all are zero.
    #[error("the prompt's vector has norm {norm}")]
    Norm {
        /// Its norm.
        norm: f32,
    },
    /// The embedder refuses the prompt.
    #[error("the prompt can't be embedded: {source}")]
    Refused {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A parsed JSON object, from which each method takes a field out.
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
    /// Parses one line. It may hold other keys than the `known` ones.
    ///
    /// # Errors
    /// The line is not a JSON object, or one of its keys is a misspelt known key.
    pub fn parse(line: &[u8], known: &[&'static str]) -> Result<Self, FieldError> {
        let line = std::str::from_utf8(line)
            .map_err(|source| FieldError::Utf8 { byte: source.valid_up_to() + 1, source })?;
        let Object(values) = serde_json::from_str(line).map_err(|error| not_json(&error))?;
        let mut unread = vec![];
        for found in values.keys().filter(|key| !known.contains(&key.as_str())) {
            let intended = known.iter().find(|&&key| !values.contains_key(key) && alike(found, key));
            if let Some(&expected) = intended {
                return Err(FieldError::Misspelt { found: found.clone(), expected });
            }
            unread.push(found.clone());
        }
        Ok(Self { values, unread })
    }

    /// The unknown keys, sorted.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Takes any value out; `None` if the field is missing or null.
    pub fn any(&mut self, field: &str) -> Option<Value> {
        self.values.remove(field).filter(|value| !value.is_null())
    }

    /// Takes text out.
    ///
    /// # Errors
    /// The field holds no text.
    pub fn text(&mut self, field: &str) -> Result<Option<String>, FieldError> {
        self.typed(field, "text", |value| value.as_str().map(str::to_owned))
    }

    /// Takes the text of `prompt` out.
    ///
    /// # Errors
    /// The field holds no text. The error has the kind of its value only, so that no part of a prompt is printed.
    pub fn prompt(&mut self) -> Result<Option<String>, FieldError> {
        let kind = match self.any("prompt") {
            None => return Ok(None),
            Some(Value::String(text)) => return Ok(Some(text)),
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
            Some(_) => "a number, true or false",
        };
        Err(FieldError::Unexpected { field: "prompt".to_owned(), actual: kind.to_owned(), expected: "text" })
    }

    /// Takes a score out, from 0 to 1; true is 1, false 0.
    ///
    /// # Errors
    /// The field holds no score.
    pub fn score(&mut self, field: &str) -> Result<Option<f64>, FieldError> {
        self.typed(field, SCORE, score)
    }

    /// Takes an object of scores out, by their names.
    ///
    /// # Errors
    /// The field holds no object, or a value in it is no score.
    pub fn scores(&mut self, field: &str) -> Result<Option<BTreeMap<String, f64>>, FieldError> {
        let Some(value) = self.any(field) else { return Ok(None) };
        let Value::Object(pairs) = value else {
            return Err(unexpected(field.to_owned(), &value, "an object of scores"));
        };
        let pair = |(name, value): (String, Value)| match score(&value) {
            Some(score) => Ok((name, score)),
            None => Err(unexpected(format!("{field}.{name}"), &value, SCORE)),
        };
        pairs.into_iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// Takes a required score out.
    ///
    /// # Errors
    /// The field is missing, or holds no score.
    pub fn required_score(&mut self, field: &'static str) -> Result<f64, FieldError> {
        self.score(field)?.ok_or(FieldError::Missing { field, expected: SCORE })
    }

    /// Takes a whole number out.
    ///
    /// # Errors
    /// The field holds no whole number.
    pub fn integer(&mut self, field: &str) -> Result<Option<i64>, FieldError> {
        self.typed(field, "a whole number", Value::as_i64)
    }

    /// Takes a count out.
    ///
    /// # Errors
    /// The field holds no whole number of 0 or more.
    pub fn count(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        self.typed(field, "a whole number, 0 or more", Value::as_u64)
    }

    /// Takes a list of numbers out.
    ///
    /// # Errors
    /// The field holds no list of numbers.
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

    /// Takes `metadata` out with `subject`, which is short for the pair of that name in it.
    ///
    /// # Errors
    /// `subject` holds no text, `metadata` is no object of texts, or the two subjects differ.
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

/// A score, from 0 to 1; true is 1, false 0.
fn score(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(is) => Some(f64::from(u8::from(*is))),
        number => number.as_f64().filter(|score| (0.0..=1.0).contains(score)),
    }
}

/// The error of a field whose value is not accepted.
pub(crate) fn unexpected(field: String, value: &Value, expected: &'static str) -> FieldError {
    /// Characters of the value that the error shows.
    const SHOWN: usize = 40;
    let mut actual = value.to_string();
    if let Some((end, _)) = actual.char_indices().nth(SHOWN) {
        actual.truncate(end);
        actual.push_str("...");
    }
    FieldError::Unexpected { field, actual, expected }
}

fn not_json(error: &serde_json::Error) -> FieldError {
    // The text is a single line, so serde_json's line number is always 1 and is left out.
    let (column, mut text) = (error.column(), error.to_string());
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    FieldError::Json { column, source: text.into() }
}

/// Whether `found` is likely a misspelt `known`: equal except for case and signs, or with at most two typing errors
/// and at most one for every four letters.
fn alike(found: &str, known: &str) -> bool {
    let letters = |key: &str| -> String {
        key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (found, known) = (letters(found), letters(known));
    let errors = strsim::damerau_levenshtein(&found, &known);
    errors == 0 || (errors <= 2 && 4 * errors <= known.len())
}

/// An object without duplicate keys.
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
