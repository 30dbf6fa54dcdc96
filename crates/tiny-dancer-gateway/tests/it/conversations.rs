//! Conversations that stay with their model.

use crate::models::{Model, answer, json};
use crate::running::{EASY, HARD, Running, config, header};
use serde_json::json as value;
use tiny_dancer_gateway::Config;

/// An answer to so many tokens of input.
fn long(input: u64) -> Vec<crate::models::Step> {
    let body = value!({"model": "m", "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": input, "completion_tokens": 10}});
    json("200 OK", "", &body.to_string())
}

async fn live(tables: &str) -> (Running, Model, Model) {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let text = config(powerful.port, lightweight.port, "mode = \"live\"", tables);
    (Running::start(&text).await, powerful, lightweight)
}

/// The reason for the model of a question in a conversation, which the header names.
async fn named(running: &Running, name: &str, question: &str) -> String {
    let request = running.client.post(format!("{}/v1/chat/completions", running.url));
    let request = request.header("x-tiny-dancer-conversation", name);
    let response = request.body(crate::running::chat(question, "")).send().await.unwrap();
    let reason = header(&response, "x-tiny-dancer-reason").to_owned();
    drop(response.bytes().await.unwrap());
    reason
}

/// The same of a conversation with an answer after its first question, and its last question.
async fn begun(running: &Running, first: &str, last: &str) -> String {
    let message = |role: &str, content: &str| value!({"role": role, "content": content});
    let messages = [message("user", first), message("assistant", "Yes."), message("user", last)];
    let response = running
        .post("/v1/chat/completions", &value!({"model": "auto", "messages": messages}).to_string())
        .await;
    let reason = header(&response, "x-tiny-dancer-reason").to_owned();
    drop(response.bytes().await.unwrap());
    reason
}

#[tokio::test]
async fn a_conversation_that_became_difficult_stays_with_the_powerful_model() {
    let (running, powerful, lightweight) = live("").await;
    let mut reasons = Vec::new();
    for question in [EASY, HARD, EASY] {
        reasons.push(named(&running, "a", question).await);
    }
    assert_eq!(reasons, ["confident", "low_confidence", "conversation"]);
    assert_eq!((powerful.got().len(), lightweight.got().len()), (2, 1));
    assert_eq!(named(&running, "b", EASY).await, "confident", "another conversation");
    let served = r#"served_total{decided="lightweight",reason="conversation",served="powerful"}"#;
    assert_eq!(running.metric(served).await, 1.0);

    let text = config(powerful.port, lightweight.port, "mode = \"live\"", "[conversations]\nstick = false");
    let off = Config::parse(&text, &|_| Some("sk".to_owned())).unwrap();
    running.gateway.reload(Ok::<_, std::convert::Infallible>(off)).unwrap();
    assert_eq!(named(&running, "a", EASY).await, "confident");
}

#[tokio::test]
async fn a_long_conversation_stays_while_the_cache_is_worth_more_than_what_it_waives() {
    // The prices of the powerful model have no cached input, so they begin with a cheaper one.
    let (running, powerful, _lightweight) = live("").await;
    let text = config(powerful.port, powerful.port, "mode = \"observe\"", "")
        .replace("{ input = 10.0, output = 30.0 }", "{ input = 10.0, cached_input = 0.2, output = 30.0 }");
    let read = |text: &str| Config::parse(text, &|_| Some("sk".to_owned()));
    running.gateway.reload(read(&text)).unwrap();
    powerful.acts(long(100_000));
    assert_eq!(named(&running, "a", EASY).await, "observe");
    running.gateway.reload(read(&text.replace("observe", "live"))).unwrap();
    // Each request saves 0.1 x 100,010 + 27 x 10, and the loss is 0.9 x 100,010 a million: after the eighth it goes down.
    let mut reasons = Vec::new();
    for _ in 0..10 {
        reasons.push(named(&running, "a", EASY).await);
    }
    assert_eq!(reasons.iter().filter(|reason| *reason == "conversation").count(), 8, "{reasons:?}");
    assert_eq!(reasons[8..], ["confident", "confident"]);
    // The same at its second request, but the answers had no tokens.
    running.gateway.reload(read(&text)).unwrap();
    powerful.acts(json("200 OK", "", "{}"));
    assert_eq!(named(&running, "b", EASY).await, "observe");
    running.gateway.reload(read(&text.replace("observe", "live"))).unwrap();
    assert_eq!(named(&running, "b", EASY).await, "confident");
}

#[tokio::test]
async fn without_a_header_the_beginning_is_the_conversation_and_a_first_question_begins_another() {
    let (running, ..) = live("").await;
    assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "confident");
    assert_eq!(begun(&running, EASY, HARD).await, "low_confidence");
    assert_eq!(begun(&running, EASY, EASY).await, "conversation");
    assert_eq!(begun(&running, "Hello.", EASY).await, "confident", "another beginning");
    assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "confident");
    assert_eq!(begun(&running, EASY, EASY).await, "confident", "the older conversation is another one");
}
