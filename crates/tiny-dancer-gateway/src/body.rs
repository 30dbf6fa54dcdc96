//! The body of a request: what it asks for, and the same bytes with another model.
//!
//! Values that are not changed are forwarded with the client's bytes: a number keeps its digits, and keys keep their order.

use crate::config::{Capability, Provider};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use tiny_dancer_embed::MAX_BYTES;

/// A JSON object: its entries in their order, each value as its bytes.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Why a body cannot be routed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyError {
    /// The body is no JSON object.
    #[error("the body is no JSON object: {source}")]
    Json {
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A value has another type.
    #[error("`{key}` cannot be read: {source}")]
    Value {
        /// The key.
        key: &'static str,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// There is no model.
    #[error("`model` is missing")]
    NoModel,
}

impl<'a> Body<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BodyError> {
        serde_json::from_slice(bytes).map_err(|source| BodyError::Json { source })
    }

    /// The JSON of a key. Of repeated keys the last one counts, as in most parsers.
    fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().rev().find(|(name, _)| name == key).map(|(_, json)| &**json)
    }

    /// Whether there is a value other than `null`, `false` and an empty list.
    fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|json| !matches!(json, "null" | "false" | "[]" | "{}"))
    }

    fn value<'b, T: Deserialize<'b>>(&'b self, key: &'static str) -> Result<Option<T>, BodyError> {
        let value = self.get(key).map(serde_json::from_str::<Option<T>>).transpose();
        value.map(Option::flatten).map_err(|source| BodyError::Value { key, source })
    }

    /// Sets a value, in each place of a repeated key.
    pub(crate) fn set(&mut self, key: &'static str, json: &str) {
        let mut found = false;
        for (_, value) in self.entries.iter_mut().filter(|(name, _)| name == key) {
            *value = Cow::Owned(json.to_owned());
            found = true;
        }
        if !found {
            self.entries.push((Cow::Borrowed(key), Cow::Owned(json.to_owned())));
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key);
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(
            2 + self.entries.iter().map(|(key, json)| key.len() + json.len() + 8).sum::<usize>(),
        );
        text.push('{');
        for (index, (key, json)) in self.entries.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&quoted(key));
            text.push(':');
            text.push_str(json);
        }
        text.push('}');
        text.into_bytes()
    }

    pub(crate) fn model(&self) -> Result<Cow<'_, str>, BodyError> {
        self.value("model")?.ok_or(BodyError::NoModel)
    }

    pub(crate) fn is_streamed(&self) -> Result<bool, BodyError> {
        Ok(self.value("stream")?.unwrap_or(false))
    }

    /// Requests the tokens of a stream, which `OpenAI` only counts then. Returns whether the client did not.
    pub(crate) fn request_usage(&mut self) -> Result<bool, BodyError> {
        let mut options = match self.value::<Body<'_>>("stream_options")? {
            Some(Body { entries }) => Body {
                entries: entries
                    .into_iter()
                    .map(|(key, json)| (Cow::Owned(key.into_owned()), Cow::Owned(json.into_owned())))
                    .collect(),
            },
            None => Body { entries: Vec::new() },
        };
        if options.get("include_usage") == Some("true") {
            return Ok(false);
        }
        options.set("include_usage", "true");
        let json = String::from_utf8_lossy(&options.to_bytes()).into_owned();
        self.set("stream_options", &json);
        Ok(true)
    }

    /// What the request is judged by, and what it needs.
    pub(crate) fn conversation(&self, provider: Provider) -> Result<Conversation, BodyError> {
        let messages = self.value::<Vec<Message<'_>>>("messages")?.unwrap_or_default();
        let mut conversation = Conversation::of(&messages);
        let system = self.get("system").unwrap_or_default();
        conversation.bytes += system.len();
        conversation.beginning = beginning(system, &messages);
        conversation.begins = messages.iter().all(|message| message.role != "assistant");
        let tools = ["tools", "functions"].iter().any(|key| self.has(key))
            || messages.iter().any(Message::is_of_tool);
        if tools {
            conversation.needs.push(Capability::Tools);
        }
        let schema = match provider {
            Provider::Openai => {
                self.value::<Kind<'_>>("response_format")?.is_some_and(|format| format.kind != "text")
            }
            Provider::Anthropic => self.has("output_format") || self.has("output_config"),
        };
        if schema {
            conversation.needs.push(Capability::Schema);
        }
        let modalities = self.value::<Vec<Cow<'_, str>>>("modalities")?.unwrap_or_default();
        let has_media = messages.iter().any(|message| message.content.has_media);
        if has_media || self.has("audio") || modalities.iter().any(|name| name != "text") {
            conversation.needs.push(Capability::Media);
        }
        Ok(conversation)
    }
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    entries.push((key, Cow::Borrowed(map.next_value::<&'de RawValue>()?.get())));
                }
                Ok(entries)
            }
        }
        Ok(Self { entries: deserializer.deserialize_map(Entries)? })
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object with a type.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// What a request is judged by, and what it needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The last message of the user, after as much of the messages before as the embedder reads.
    pub(crate) text: String,
    /// The length of all texts.
    pub(crate) bytes: usize,
    /// What it needs of a model besides text.
    pub(crate) needs: Vec<Capability>,
    /// The hash of its instructions and its first question.
    pub(crate) beginning: [u8; 32],
    /// Whether it has no earlier answer.
    pub(crate) begins: bool,
}

impl Conversation {
    fn of(messages: &[Message<'_>]) -> Self {
        let bytes = messages.iter().map(|message| message.content.bytes).sum();
        let last =
            messages.iter().rposition(|message| message.role == "user" && !message.content.text.is_empty());
        let mut texts = Vec::new();
        if let Some(last) = last {
            let mut left = MAX_BYTES.saturating_sub(messages[last].content.text.len());
            texts.push(&messages[last].content.text);
            // Instructions of the system are those of all requests of an application: they don't tell requests apart.
            let before = messages[..last].iter().rev();
            for message in before.filter(|message| matches!(&*message.role, "user" | "assistant")) {
                let text = &message.content.text;
                // One more for the line between two texts.
                let Some(rest) = left.checked_sub(text.len() + 1) else { break };
                left = rest;
                texts.push(text);
            }
        }
        let texts: Vec<&str> =
            texts.into_iter().rev().map(|text| &**text).filter(|text| !text.is_empty()).collect();
        Self { text: texts.join("\n"), bytes, ..Self::default() }
    }
}

/// The hash of instructions, and of the messages up to the first one of the user.
fn beginning(system: &str, messages: &[Message<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(system);
    for message in messages {
        for text in [&*message.role, &message.content.text] {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        if message.role == "user" {
            break;
        }
    }
    hash.finalize().into()
}

/// A message of a conversation.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Content,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
}

impl Message<'_> {
    fn is_of_tool(&self) -> bool {
        matches!(&*self.role, "tool" | "function")
            || self.content.has_tools
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

/// The content of a message: a text, or a list of parts.
#[derive(Debug, Default)]
struct Content {
    text: String,
    /// Of all that is read by a model, texts of tools too.
    bytes: usize,
    has_media: bool,
    has_tools: bool,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text: text.to_owned(), bytes: text.len(), ..Content::default() })
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(json) = parts.next_element::<&'de RawValue>()? {
                    let part: Part<'de> =
                        serde_json::from_str(json.get()).map_err(serde::de::Error::custom)?;
                    match &*part.kind {
                        "text" | "refusal" => {
                            let text = part.text.unwrap_or_default();
                            content.bytes += text.len();
                            if !content.text.is_empty() {
                                content.text.push('\n');
                            }
                            content.text.push_str(&text);
                        }
                        "tool_use" | "tool_result" | "server_tool_use" => {
                            content.has_tools = true;
                            content.bytes += json.get().len();
                        }
                        "thinking" | "redacted_thinking" => content.bytes += json.get().len(),
                        _ => content.has_media = true,
                    }
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests;
