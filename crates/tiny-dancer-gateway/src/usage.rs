//! What an answer says about itself: the model, the tokens, and why it ended.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tiny_dancer_memory::Tokens;

/// What is known of an answer. Of an answer that cannot be read it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The model's own name for itself, such as one with a date.
    pub(crate) model: Option<String>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) finish_reasons: Vec<String>,
    /// Whether a stream has had its last event.
    pub(crate) is_complete: bool,
    /// Whether a stream had an event that is an error.
    pub(crate) has_error: bool,
    /// The text, if it is collected.
    pub(crate) text: Option<String>,
}

/// The longest text that is collected. A longer one is not compared.
const LONGEST: usize = 64 << 10;

impl Usage {
    /// Reads the data of an event. Returns whether it is only there because tokens were requested.
    pub(crate) fn event(&mut self, data: &[u8]) -> bool {
        if data == b"[DONE]" {
            self.is_complete = true;
            return false;
        }
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(data) else { return false };
        match answer.kind.as_deref() {
            Some("message_stop" | "response.completed" | "response.incomplete") => self.is_complete = true,
            Some("error" | "response.failed") => self.has_error = true,
            _ => self.has_error |= answer.error.is_some(),
        }
        let only_usage = answer.usage.is_some() && says_nothing(data);
        self.read(answer);
        only_usage
    }

    /// Reads an answer that is not streamed.
    pub(crate) fn whole(&mut self, body: &[u8]) {
        if let Ok(answer) = serde_json::from_slice(body) {
            self.read(answer);
        }
    }

    /// Collects the text, too.
    pub(crate) fn with_text() -> Self {
        Self { text: Some(String::new()), ..Self::default() }
    }

    fn read_text(&mut self, answer: &Answer<'_>) {
        let Some(text) = &mut self.text else { return };
        // Of several choices the first one is compared.
        let choice = answer.choices.iter().flatten().next();
        let contents = [
            choice.and_then(|choice| choice.message.as_ref()?.content),
            choice.and_then(|choice| choice.delta.as_ref()?.content),
            answer.content,
        ];
        for content in contents.into_iter().flatten() {
            push_text(text, content);
        }
        if let Some(part) = answer.delta.as_ref().and_then(|delta| delta.text.as_ref()) {
            text.push_str(part);
        }
        if text.len() > LONGEST {
            self.text = None;
        }
    }

    fn read(&mut self, answer: Answer<'_>) {
        self.read_text(&answer);
        if let Some(model) = answer.model {
            self.model = Some(model.into_owned());
        }
        let reasons = answer.choices.into_iter().flatten().filter_map(|choice| choice.finish_reason);
        let reasons =
            reasons.chain(answer.stop_reason).chain(answer.delta.and_then(|delta| delta.stop_reason));
        self.finish_reasons.extend(reasons.map(Cow::into_owned));
        if let Some(counts) = answer.usage {
            let tokens = self.tokens.get_or_insert_default();
            if let Some(input) = counts.prompt_tokens {
                let cached = counts.prompt_tokens_details.and_then(|details| details.cached_tokens);
                tokens.cached_input = cached.unwrap_or(0).min(input);
                tokens.input = input - tokens.cached_input;
            }
            if let (Some(input), Some(Details { cached_tokens })) =
                (counts.input_tokens, counts.input_tokens_details)
            {
                // Of OpenAI's responses, whose input has what was read from the cache.
                tokens.cached_input = cached_tokens.unwrap_or(0).min(input);
                tokens.input = input - tokens.cached_input;
            } else if let Some(input) = counts.input_tokens {
                // Of Anthropic, whose input is that which is neither read from the cache nor written to it.
                tokens.input = input.saturating_add(counts.cache_creation_input_tokens.unwrap_or(0));
            }
            if let Some(cached) = counts.cache_read_input_tokens {
                tokens.cached_input = cached;
            }
            if let Some(output) = counts.completion_tokens.or(counts.output_tokens) {
                tokens.output = output;
            }
        }
        if let Some(message) = answer.message {
            self.read(*message);
        }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    /// The answer within an event.
    #[serde(borrow, default, alias = "response")]
    message: Option<Box<Answer<'a>>>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Said<'a>>,
    #[serde(borrow, default)]
    delta: Option<Said<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// Whether an event has choices of which none says anything. `OpenAI`'s last event has no choices, and that of LiteLLM's proxy has one
/// with an empty delta.
fn says_nothing(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(default)]
        delta: serde_json::Map<String, Value>,
        finish_reason: Option<serde::de::IgnoredAny>,
    }
    let is_empty = |choice: &Choice| {
        choice.finish_reason.is_none() && choice.delta.values().all(|value| value.is_null() || value == "")
    };
    serde_json::from_slice(data).is_ok_and(|Said { choices }| choices.iter().all(is_empty))
}

/// Appends the text of a content: a string, or a list of parts. Others have none.
fn push_text(text: &mut String, content: &RawValue) {
    match serde_json::from_str(content.get()) {
        Ok(Value::String(part)) => text.push_str(&part),
        Ok(Value::Array(parts)) => {
            for part in parts.iter().filter(|part| part["type"] == "text") {
                text.push_str(part["text"].as_str().unwrap_or_default());
            }
        }
        _ => {}
    }
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens: Option<u64>,
    input_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_tokens_and_a_choice_that_says_nothing_is_only_usage() {
        let of = |choice: &str| {
            let event =
                format!(r#"{{"choices":[{choice}],"usage":{{"prompt_tokens":9,"completion_tokens":4}}}}"#);
            let mut usage = Usage::default();
            let only = usage.event(event.as_bytes());
            assert_eq!(usage.tokens.map(|tokens| tokens.output), Some(4), "{event}");
            only
        };
        assert!(of(r#"{"index":0,"delta":{}}"#));
        assert!(of(r#"{"index":0,"delta":{"content":"","tool_calls":null},"finish_reason":null}"#));
        assert!(!of(r#"{"index":0,"delta":{"content":"a"}}"#));
        assert!(!of(r#"{"index":0,"delta":{"tool_calls":[{}]}}"#));
        assert!(!of(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#));
        assert!(!of(r#"{"index":0,"delta":{}},{"index":1,"delta":{"content":"a"}}"#));
    }

    #[test]
    fn a_stream_of_openai_is_read_and_its_last_event_before_the_end_is_only_usage() {
        let mut usage = Usage::default();
        let only = |usage: &mut Usage, data: &str| usage.event(data.as_bytes());
        assert!(!only(
            &mut usage,
            r#"{"model":"m-1","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}"#
        ));
        assert!(!only(
            &mut usage,
            r#"{"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#
        ));
        let counts =
            r#"{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}"#;
        assert!(only(&mut usage, &format!(r#"{{"model":"m-1","choices":[],"usage":{counts}}}"#)));
        assert!(!usage.is_complete && !only(&mut usage, "[DONE]"));
        let expected = Usage {
            model: Some("m-1".into()),
            tokens: Some(Tokens { input: 5, cached_input: 4, output: 2 }),
            finish_reasons: vec!["stop".into()],
            is_complete: true,
            has_error: false,
            text: None,
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_stream_of_anthropic_is_read() {
        let mut usage = Usage::default();
        for data in [
            r#"{"type":"message_start","message":{"type":"message","model":"c-1","usage":{"input_tokens":3,"cache_read_input_tokens":7,"cache_creation_input_tokens":2,"output_tokens":1}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12}}"#,
            r#"{"type":"message_stop"}"#,
        ] {
            assert!(!usage.event(data.as_bytes()));
        }
        assert_eq!(usage.tokens, Some(Tokens { input: 5, cached_input: 7, output: 12 }));
        assert_eq!(
            (usage.model.as_deref(), &usage.finish_reasons[..]),
            (Some("c-1"), &["end_turn".to_owned()][..])
        );
        assert!(usage.is_complete && !usage.has_error);
    }

    #[test]
    fn a_response_and_the_stream_of_one_are_read() {
        let response = r#"{"object":"response","model":"m-1","error":null,"output":[],"usage":{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":2,"total_tokens":11}}"#;
        let expected = Some(Tokens { input: 5, cached_input: 4, output: 2 });
        let mut whole = Usage::default();
        whole.whole(response.as_bytes());
        assert_eq!((whole.tokens, whole.model.as_deref()), (expected, Some("m-1")));

        let mut usage = Usage::default();
        let begun =
            r#"{"type":"response.created","response":{"object":"response","model":"m-1","usage":null}}"#;
        let part = r#"{"type":"response.output_text.delta","delta":"a"}"#;
        for data in [begun, part] {
            assert!(!usage.event(data.as_bytes()) && usage.tokens.is_none() && !usage.is_complete);
        }
        let end = format!(r#"{{"type":"response.completed","response":{response}}}"#);
        assert!(!usage.event(end.as_bytes()) && usage.is_complete && !usage.has_error);
        assert_eq!((usage.tokens, usage.model.as_deref()), (expected, Some("m-1")));
        usage.event(br#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#);
        assert!(usage.has_error);
    }

    #[test]
    fn the_tokens_of_embeddings_are_input() {
        let mut usage = Usage::default();
        usage.whole(br#"{"object":"list","data":[{"embedding":[0.5]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#);
        assert_eq!(usage.tokens, Some(Tokens { input: 8, cached_input: 0, output: 0 }));
    }

    #[test]
    fn the_text_of_each_form_is_collected_up_to_a_limit() {
        let event = |data: &str| {
            let mut usage = Usage::with_text();
            usage.event(data.as_bytes());
            usage.text
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(event(r#"{"choices":[{"delta":{"content":"a\u00e9"}}]}"#), some("a\u{e9}"));
        assert_eq!(
            event(r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}"#),
            some("a")
        );
        assert_eq!(event(r#"{"choices":[{"message":{"content":null}}]}"#), some(""));
        assert_eq!(
            event(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#),
            some("a")
        );
        let parts = r#"{"content":[{"type":"thinking","text":"x"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
        assert_eq!(event(parts), some("ab"));
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(event(&format!(r#"{{"choices":[{{"delta":{{"content":"{long}"}}}}]}}"#)), None);
    }

    #[test]
    fn an_answer_that_cannot_be_read_leaves_nothing() {
        let mut usage = Usage::default();
        usage.whole(b"<html>");
        assert!(!usage.event(b"{\"choices\":") && usage == Usage::default());
        usage.event(br#"{"type":"error","error":{"type":"overloaded_error"}}"#);
        assert!(usage.has_error);
    }
}
