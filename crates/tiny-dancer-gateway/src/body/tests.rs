use super::*;

fn conversation(json: &str) -> Conversation {
    Body::read(json.as_bytes()).unwrap().conversation(Provider::Openai).unwrap()
}

#[test]
fn all_that_is_not_changed_keeps_its_bytes() {
    let json = r#"{"model":"auto","temperature":0.70000000000000001,"seed":12345678901234567890123,"x":{ "b":1, "a" :2 },"messages":[{"role":"user","content":"\u00e9"}]}"#;
    let mut body = Body::read(json.as_bytes()).unwrap();
    body.set("model", &quoted("gpt \"5\""));
    let expected = json.replace(r#""auto""#, r#""gpt \"5\"""#);
    assert_eq!(String::from_utf8(body.to_bytes()).unwrap(), expected);
}

#[test]
fn a_repeated_model_is_replaced_in_each_place() {
    let mut body = Body::read(br#"{"model":"a","model":"b"}"#).unwrap();
    assert_eq!(body.model().unwrap(), "b");
    body.set("model", "\"c\"");
    assert_eq!(body.to_bytes(), br#"{"model":"c","model":"c"}"#);
}

#[test]
fn the_usage_of_a_stream_is_requested_beside_other_options() {
    let usage = |json: &str| {
        let mut body = Body::read(json.as_bytes()).unwrap();
        let added = body.request_usage().unwrap();
        (added, String::from_utf8(body.to_bytes()).unwrap())
    };
    assert_eq!(usage("{}"), (true, r#"{"stream_options":{"include_usage":true}}"#.to_owned()));
    assert_eq!(
        usage(r#"{"stream_options":{"include_obfuscation":false}}"#),
        (true, r#"{"stream_options":{"include_obfuscation":false,"include_usage":true}}"#.to_owned())
    );
    let asked = r#"{"stream_options":{"include_usage":true}}"#;
    assert_eq!(usage(asked), (false, asked.to_owned()));
    assert!(usage(r#"{"stream_options":null}"#).0);
}

#[test]
fn a_request_is_judged_by_the_last_message_of_the_user_and_what_is_before_it() {
    let judged = conversation(
        r#"{"messages":[
            {"role":"system","content":"You are a pirate."},
            {"role":"user","content":"Who wrote Emma?"},
            {"role":"assistant","content":"Jane Austen."},
            {"role":"user","content":[{"type":"text","text":"When?"}]},
            {"role":"assistant","content":"Well,"}]}"#,
    );
    assert_eq!(judged.text, "Who wrote Emma?\nJane Austen.\nWhen?");
    assert_eq!(judged.needs, []);
}

#[test]
fn messages_before_the_last_one_are_read_from_the_nearest_on_while_they_fit_whole() {
    let long = "a".repeat(MAX_BYTES - 11);
    let judged = conversation(&format!(
        r#"{{"messages":[{{"role":"user","content":"first"}},{{"role":"assistant","content":"{long}"}},
            {{"role":"user","content":"b"}},{{"role":"user","content":"123456789"}}]}}"#
    ));
    assert!(judged.text == "b\n123456789");
    let judged = conversation(&format!(
        r#"{{"messages":[{{"role":"assistant","content":"{long}"}},{{"role":"user","content":"123456789"}}]}}"#
    ));
    assert_eq!(judged.text.len(), MAX_BYTES - 1);
}

#[test]
fn tools_schemas_and_media_are_needs() {
    use Capability::{Media, Schema, Tools};
    let needs = |json: &str| conversation(json).needs;
    assert_eq!(needs(r#"{"tools":[{"type":"function"}]}"#), [Tools]);
    assert_eq!(needs(r#"{"tools":[],"messages":[{"role":"tool","content":"4"}]}"#), [Tools]);
    assert_eq!(needs(r#"{"response_format":{"type":"json_object"}}"#), [Schema]);
    assert_eq!(needs(r#"{"response_format":{"type":"text"},"messages":null}"#), []);
    assert_eq!(needs(r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#), [Media]);
    assert_eq!(needs(r#"{"modalities":["text","audio"]}"#), [Media]);
    assert_eq!(needs(r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[{}]}]}"#), [Tools]);
}

#[test]
fn a_conversation_is_known_by_its_instructions_and_its_first_question() {
    let with = |system: &str, question: &str, rest: &str| {
        conversation(&format!(
            r#"{{"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{question}"}}{rest}]}}"#
        ))
    };
    let more = r#",{"role":"assistant","content":"Yes."},{"role":"user","content":"And?"}"#;
    let (first, later) = (with("s", "q", ""), with("s", "q", more));
    assert_eq!(first.beginning, later.beginning);
    assert!(first.begins && !later.begins);
    for other in [with("t", "q", more), with("s", "r", more), with("sq", "", more)] {
        assert_ne!(other.beginning, first.beginning);
    }
    let anthropic = |system: &str| {
        let json = format!(r#"{{"system":"{system}","messages":[{{"role":"user","content":"q"}}]}}"#);
        Body::read(json.as_bytes()).unwrap().conversation(Provider::Anthropic).unwrap().beginning
    };
    assert_ne!(anthropic("s"), anthropic("t"));
}

#[test]
fn the_parts_of_anthropic_are_read() {
    let json = r#"{"system":"You are a pirate.","messages":[{"role":"user","content":[
        {"type":"tool_result","tool_use_id":"1","content":"4"},{"type":"text","text":"And now?"}]}]}"#;
    let judged = Body::read(json.as_bytes()).unwrap().conversation(Provider::Anthropic).unwrap();
    assert_eq!((&*judged.text, &judged.needs[..]), ("And now?", &[Capability::Tools][..]));
    assert!(judged.bytes > 19 + 8);
}

#[test]
fn a_body_that_cannot_be_read_names_the_key() {
    let error = |json: &str| {
        let body = Body::read(json.as_bytes()).map_err(|error| error.to_string());
        body.and_then(|body| {
            body.model().map_err(|error| error.to_string())?;
            body.conversation(Provider::Openai).map_err(|error| error.to_string())
        })
        .unwrap_err()
    };
    assert!(error("[]").starts_with("the body is no JSON object: invalid type: sequence"));
    assert!(error("{").starts_with("the body is no JSON object: EOF"));
    assert_eq!(error("{}"), "`model` is missing");
    assert!(error(r#"{"model":5}"#).starts_with("`model` cannot be read: invalid type: integer `5`"));
    let error = error(r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#);
    assert!(error.starts_with("`messages` cannot be read: missing field `type`"), "{error}");
}
