//! Requests that are routed, and requests that pass.

use crate::models::{Model, answer, chunk, events, json, last, send, stream};
use crate::running::{EASY, HARD, Running, chat, config, header, parsed};
use serde_json::{Value, json as value};

#[tokio::test]
async fn a_request_is_answered_by_the_model_that_the_decision_names() {
    let (running, powerful, lightweight) = Running::live().await;
    let response = running.ask(EASY, r#","temperature":0.70000000000000001"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "x-tiny-dancer-model"), "lightweight");
    assert_eq!(header(&response, "x-tiny-dancer-decided"), "lightweight");
    assert_eq!(header(&response, "x-tiny-dancer-reason"), "confident");
    assert!(header(&response, "x-tiny-dancer-confidence").parse::<f32>().unwrap() > 0.85);
    assert_eq!(header(&response, "x-request-id"), "r-1", "headers of the model are passed on");
    assert!(response.headers().get("set-cookie").is_none());
    assert_eq!(parsed(response).await["choices"][0]["message"]["content"], "I am small.");
    let got = &lightweight.got()[0];
    assert_eq!(got.body, chat(EASY, r#","temperature":0.70000000000000001"#).replace("auto", "small"));
    assert!(got.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", got.head);
    assert_eq!(got.header("authorization"), Some("Bearer sk-SMALL"));

    let response = running.ask(HARD, "").await;
    assert_eq!(header(&response, "x-tiny-dancer-model"), "powerful");
    assert_eq!(header(&response, "x-tiny-dancer-reason"), "low_confidence");
    assert_eq!(powerful.got()[0].json()["model"], "big");

    assert_eq!(running.metric(r#"requests_total{result="answered"}"#).await, 2.0);
    let served = r#"served_total{decided="lightweight",reason="confident",served="lightweight"}"#;
    assert_eq!(running.metric(served).await, 1.0);
    assert_eq!(running.metric(r#"tokens_total{kind="cached_input",model="small"}"#).await, 5.0);
    let cost = running.metric(r#"cost_total{model="small"}"#).await;
    assert!((cost - (4.0 + 0.5 + 12.0) / 1e6).abs() < 1e-12, "{cost}");
}

#[tokio::test]
async fn the_baseline_is_what_the_powerful_model_would_have_cost() {
    let (running, ..) = Running::live().await;
    for question in [EASY, HARD] {
        drop(running.ask(question, "").await.bytes().await.unwrap());
    }
    // A request that passes costs the same without the gateway.
    drop(
        running
            .post("/v1/chat/completions", r#"{"model":"small","messages":[]}"#)
            .await
            .bytes()
            .await
            .unwrap(),
    );
    let (big, small) = ((9.0 * 10.0 + 4.0 * 30.0) / 1e6, (4.0 + 0.5 + 12.0) / 1e6);
    let baseline = running.metric("baseline_cost_total").await;
    assert!((baseline - (2.0 * big + small)).abs() < 1e-12, "{baseline}");

    let status = running.gateway.status();
    assert_eq!((status.answered, status.routed, status.lightweight, status.open), (3, 2, 1, 0));
    assert_eq!(status.reasons, [("confident", 1), ("low_confidence", 1)]);
    assert!((status.cost - (big + 2.0 * small)).abs() < 1e-12, "{status:?}");
    assert_eq!(status.baseline, Some(baseline));
    assert_eq!(status.first_byte.last(), Some(&(f64::INFINITY, 3)));
    assert_eq!((status.budget, status.open_circuits), (None, vec![]));
}

#[tokio::test]
async fn in_mode_observe_the_decision_is_shown_and_the_powerful_model_answers() {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let running = Running::start(&config(powerful.port, lightweight.port, "", "")).await;
    let response = running.ask(EASY, "").await;
    assert_eq!(header(&response, "x-tiny-dancer-decided"), "lightweight");
    assert_eq!(header(&response, "x-tiny-dancer-model"), "powerful");
    assert_eq!(header(&response, "x-tiny-dancer-reason"), "observe");
    assert_eq!((powerful.got().len(), lightweight.got().len()), (1, 0));
}

#[tokio::test]
async fn chunks_arrive_as_they_come_and_unchanged_but_for_the_usage_that_was_not_asked_for() {
    let (running, _powerful, lightweight) = Running::live().await;
    let events = events("small", &["one", "two"], true);
    let mut script = vec![send(crate::models::STREAM), chunk(&events[0]), crate::models::Step::Wait];
    script.extend(events[1..].iter().map(|event| chunk(event)));
    script.push(last());
    lightweight.acts(script);

    let mut response = running.ask(EASY, r#","stream":true"#).await;
    assert_eq!(header(&response, "content-type"), "text/event-stream");
    assert_eq!(header(&response, "x-tiny-dancer-model"), "lightweight");
    // The model waits, so the first event was not held back.
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(first, events[0].as_bytes());
    lightweight.go_on();
    let mut rest = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        rest.extend(chunk);
    }
    let expected: String = [&events[1], &events[2], &events[4]].map(String::as_str).concat();
    assert_eq!(String::from_utf8(rest).unwrap(), expected);
    assert_eq!(lightweight.got()[0].json()["stream_options"], value!({"include_usage": true}));
    assert_eq!(running.metric(r#"tokens_total{kind="output",model="small"}"#).await, 4.0);

    // A client that asks for the usage gets it.
    lightweight.acts(stream(&events));
    let asked = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let text = running.ask(EASY, asked).await.text().await.unwrap();
    assert_eq!(text, events.concat());
}

#[tokio::test]
async fn another_model_passes_through_unchanged() {
    let (running, powerful, lightweight) = Running::live().await;
    let body = r#"{ "model" : "whisper-9", "messages":"not read" }"#;
    let response = running.post("/v1/chat/completions?x=1", body).await;
    assert!(response.headers().get("x-tiny-dancer-id").is_none());
    assert_eq!(response.status(), 200);
    let got = &powerful.got()[0];
    assert_eq!(got.body, body);
    assert!(got.head.starts_with("POST /v1/chat/completions?x=1 "), "{}", got.head);

    running.post("/v1/chat/completions", r#"{"model":"small","messages":[]}"#).await;
    assert_eq!(lightweight.got().len(), 1, "a configured model is called where it is");
    running.post("/v1/responses", r#"{"model":"auto","input":"Hi"}"#).await;
    assert_eq!(powerful.got()[1].json(), value!({"model": "big", "input": "Hi"}));
    running.post("/v1/embeddings", r#"{"model":"e","input":"Hi"}"#).await;
    assert!(powerful.got()[2].head.starts_with("POST /v1/embeddings "));
    assert_eq!(running.metric(r#"upstream_calls_total{model="other",result="success"}"#).await, 2.0);
}

#[tokio::test]
async fn the_tokens_of_what_passes_are_counted_and_cost_what_the_configured_model_costs() {
    let (running, powerful, lightweight) = Running::live().await;
    let request = running.client.post(format!("{}/v1/chat/completions", running.url));
    let request = request.header("accept-encoding", "gzip").body(r#"{"model":"small","messages":[]}"#);
    drop(request.send().await.unwrap().bytes().await.unwrap());
    assert_eq!(lightweight.got()[0].header("accept-encoding"), None, "a compressed answer cannot be read");
    assert_eq!(running.metric(r#"tokens_total{kind="cached_input",model="small"}"#).await, 5.0);
    let cost = running.metric(r#"cost_total{model="small"}"#).await;
    assert!((cost - (4.0 + 0.5 + 12.0) / 1e6).abs() < 1e-12, "{cost}");

    // A stream that the client did not request the tokens of keeps each of its bytes.
    let sent = events("big", &["one"], true);
    powerful.acts(stream(&sent));
    let streamed =
        running.post("/v1/chat/completions", r#"{"model":"big","stream":true,"messages":[]}"#).await;
    assert_eq!(streamed.text().await.unwrap(), sent.concat());
    assert_eq!(running.metric(r#"tokens_total{kind="output",model="big"}"#).await, 4.0);

    let usage = r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":5},"output_tokens":4}"#;
    let response = format!(r#"{{"object":"response","model":"other-1","usage":{usage}}}"#);
    powerful.acts(json("200 OK", "", &response));
    drop(running.post("/v1/responses", r#"{"model":"other","input":"Hi"}"#).await.bytes().await.unwrap());
    let stored = running.client.get(format!("{}/v1/responses/r-1", running.url));
    drop(stored.send().await.unwrap().bytes().await.unwrap());
    assert_eq!(
        running.metric(r#"tokens_total{kind="input",model="other"}"#).await,
        4.0,
        "it is counted once"
    );
    assert_eq!(running.metric(r#"cost_total{model="other"}"#).await, 0.0, "its prices are not known");
    powerful.acts(json(
        "200 OK",
        "",
        r#"{"object":"list","data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
    ));
    drop(running.post("/v1/embeddings", r#"{"model":"e","input":"Hi"}"#).await.bytes().await.unwrap());
    assert_eq!(running.metric(r#"tokens_total{kind="input",model="other"}"#).await, 12.0);
}

#[tokio::test]
async fn the_other_interface_and_unknown_paths_answer_404_and_say_why() {
    let (running, ..) = Running::live().await;
    let response = running.post("/v1/messages", "{}").await;
    assert_eq!(response.status(), 404);
    let message = parsed(response).await["error"]["message"].clone();
    assert_eq!(message, "this gateway has the interface of openai: POST /v1/chat/completions");
    let response = running.post("/v2", "{}").await;
    assert_eq!(response.status(), 404);
    let response = running.client.get(format!("{}/v1/chat/completions", running.url)).send().await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn the_models_are_the_routed_names_and_both_models() {
    let (running, ..) = Running::live().await;
    let response = running.client.get(format!("{}/v1/models", running.url)).send().await.unwrap();
    let models: Value = parsed(response).await;
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(ids, ["auto", "big", "small"]);
}

#[tokio::test]
async fn anthropics_interface_is_routed_and_streamed() {
    let events = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c-1\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ];
    let script = stream(&events.map(str::to_owned));
    let (powerful, lightweight) = (Model::start(script.clone()).await, Model::start(script).await);
    let text = config(powerful.port, lightweight.port, "mode = \"live\"", "");
    let running = Running::start(&text.replace("openai", "anthropic").replace("/v1\"", "\"")).await;
    let request = running.client.post(format!("{}/v1/messages", running.url));
    let request = request.header("x-api-key", "of the client").header("anthropic-version", "2023-06-01");
    let body = chat(EASY, r#","stream":true,"max_tokens":50"#);
    let response = request.body(body.clone()).send().await.unwrap();
    assert_eq!(header(&response, "x-tiny-dancer-model"), "lightweight");
    assert_eq!(response.text().await.unwrap(), events.concat());
    let got = &lightweight.got()[0];
    assert!(got.head.starts_with("POST /v1/messages HTTP"), "{}", got.head);
    assert_eq!(got.header("x-api-key"), Some("sk-SMALL"));
    assert_eq!(got.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(got.body, body.replace("auto", "small"));
    assert_eq!(running.metric(r#"tokens_total{kind="output",model="small"}"#).await, 12.0);

    let refused = parsed(running.post("/v1/chat/completions", "{}").await).await;
    assert_eq!(refused["error"]["type"], "not_found_error");
    assert_eq!(running.post("/v1/messages/count_tokens", r#"{"model":"auto"}"#).await.status(), 200);
    assert_eq!(powerful.got()[0].json()["model"], "big");
}

#[tokio::test]
async fn a_decision_without_a_call_and_its_feedback_become_evidence() {
    let (running, powerful, lightweight) = Running::live().await;
    let decision: Value = parsed(running.post("/v1/decide", &chat(EASY, "")).await).await;
    assert_eq!((&decision["model"], &decision["name"]), (&value!("lightweight"), &value!("small")));
    assert_eq!(powerful.got().len() + lightweight.got().len(), 0);

    let entries = running.evidence();
    let running = &running;
    let judge = |id: &Value, word: &str| {
        let body = format!(r#"{{"id":{id},{word}}}"#);
        async move { running.post("/v1/feedback", &body).await }
    };
    let accepted = judge(&decision["id"], r#""good_enough":true"#).await;
    assert_eq!(parsed(accepted).await, value!({"result": "accepted"}));
    assert_eq!(running.evidence(), entries + 1);
    let again = judge(&decision["id"], r#""good_enough":true"#).await;
    assert_eq!(parsed(again).await, value!({"result": "repeated"}));
    let invented = judge(&value!("td-00"), r#""score":1.0"#).await;
    assert_eq!(invented.status(), 404);
    let out_of_range = judge(&decision["id"], r#""score":1.5"#).await;
    assert_eq!(out_of_range.status(), 400);

    let of_powerful = running.ask(HARD, "").await;
    let id = value!(header(&of_powerful, "x-tiny-dancer-id"));
    let powerful = parsed(judge(&id, r#""score":1.0"#).await).await;
    assert_eq!(powerful, value!({"result": "powerful"}));
}

#[tokio::test]
async fn a_request_of_one_client_is_judged_by_that_client_alone() {
    use sha2::{Digest, Sha256};
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let client = |name: &str| {
        let digest = const_hex::encode(Sha256::digest(format!("key of {name}")));
        format!("[[clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n")
    };
    let tables = format!("{}{}", client("a"), client("b"));
    let root = "mode = \"live\"\nshared_memory = true";
    let running = Running::start(&config(powerful.port, lightweight.port, root, &tables)).await;
    assert_eq!(running.ask(EASY, "").await.status(), 401);
    let post = |path: &str, key: &str, body: String| {
        running
            .client
            .post(format!("{}{path}", running.url))
            .bearer_auth(format!("key of {key}"))
            .body(body)
            .send()
    };
    assert_eq!(post("/v1/chat/completions", "c", chat(EASY, "")).await.unwrap().status(), 401);
    let response = post("/v1/chat/completions", "a", chat(EASY, "")).await.unwrap();
    assert_eq!(response.status(), 200);
    let id = header(&response, "x-tiny-dancer-id");
    let word = format!(r#"{{"id":"{id}","score":0}}"#);
    assert_eq!(post("/v1/feedback", "b", word.clone()).await.unwrap().status(), 404);
    assert_eq!(post("/v1/feedback", "a", word).await.unwrap().status(), 200);
    assert_eq!(running.metric(r#"requests_total{result="refused"}"#).await, 2.0);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_in_the_interfaces_own_form() {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let limits = "[limits]\nbody_bytes = 200";
    let running = Running::start(&config(powerful.port, lightweight.port, "", limits)).await;
    let response = running.post("/v1/chat/completions", "{").await;
    assert_eq!(response.status(), 400);
    assert_eq!(parsed(response).await["error"]["type"], "invalid_request_error");
    let response = running.ask(&"a".repeat(200), "").await;
    assert_eq!(response.status(), 413);
    let message = parsed(response).await["error"]["message"].clone();
    assert_eq!(message, "the body has more than 200 bytes");
    assert_eq!(powerful.got().len(), 0);
}

#[tokio::test]
async fn an_error_of_the_powerful_model_is_passed_on_as_it_is() {
    let (running, powerful, _lightweight) = Running::live().await;
    let body = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
    powerful.acts(json("429 Too Many Requests", "retry-after: 0\r\n", body));
    let response = running.ask(HARD, "").await;
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (429, "0"));
    assert_eq!(response.text().await.unwrap(), body);
    assert_eq!(running.metric(r#"requests_total{result="failed"}"#).await, 1.0);
    assert_eq!(running.metric(r#"upstream_calls_total{model="big",result="rate_limited"}"#).await, 1.0);
}
