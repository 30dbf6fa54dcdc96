//! Shadows: the lightweight model answers, too, and a judge compares, off the client's path.

use crate::models::{Model, Step, answer, events, json, stream};
use crate::running::{EASY, HARD, Running, config, header};
use serde_json::{Value, json as value};

/// A gateway that observes and compares all requests.
async fn observe(tables: &str) -> (Running, Model, Model) {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let running = Running::start(&config(powerful.port, lightweight.port, "", tables)).await;
    (running, powerful, lightweight)
}

/// An answer with this content.
fn says(content: &str) -> Vec<Step> {
    let body = value!({"model": "m", "choices": [{"message": {"content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10}});
    json("200 OK", "", &body.to_string())
}

const EXACT: &str = "[shadow]\nrate = 1.0\n[judge]\nkind = \"exact\"\n";

#[tokio::test]
async fn both_answers_are_compared_and_the_verdict_is_evidence() {
    let (running, _powerful, lightweight) = observe(EXACT).await;
    let response = running.ask(EASY, "").await;
    assert_eq!(header(&response, "x-tiny-dancer-model"), "powerful");
    drop(response.bytes().await.unwrap());
    running.until(r#"shadows_total{result="worse"}"#, 1.0).await;
    lightweight.acts(answer("big"));
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="no_worse"}"#, 1.0).await;
    assert_eq!(running.evidence(), 62);
    assert_eq!(running.metric(r#"tokens_total{kind="output",model="small"}"#).await, 8.0);
}

#[tokio::test]
async fn a_streamed_answer_is_compared_with_one_that_is_not_streamed() {
    let (running, powerful, lightweight) = observe(EXACT).await;
    powerful.acts(stream(&events("big", &["I am ", "small."], true)));
    drop(running.ask(EASY, r#","stream":true"#).await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="no_worse"}"#, 1.0).await;
    let got = lightweight.got()[0].json();
    assert_eq!(
        (&got["stream"], &got["stream_options"], &got["model"]),
        (&value!(false), &Value::Null, &value!("small"))
    );
}

#[tokio::test]
async fn a_language_model_judges_after_the_client_has_its_answer() {
    let judge = Model::start(vec![]).await;
    let mut script = vec![Step::Wait];
    script.extend(says("They are the same.\nTIE"));
    judge.acts(script);
    let tables = format!(
        "[shadow]\nrate = 1.0\n[judge]\nconcurrent = 1\nkind = \"model\"\nprovider = \"openai\"\nmodel = \"judge\"\n\
         base_url = \"http://127.0.0.1:{}/v1\"\nprices = {{ input = 5.0, output = 10.0 }}\n",
        judge.port
    );
    let (running, ..) = observe(&tables).await;
    let text = running.ask(EASY, "").await.text().await.unwrap();
    assert!(text.contains("I am big."), "{text}");
    judge.until_called().await;
    // There is room for one comparison, and that one waits.
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="dropped"}"#, 1.0).await;
    judge.go_on();
    running.until(r#"shadows_total{result="no_worse"}"#, 1.0).await;
    let prompt = judge.got()[0].json()["messages"][0]["content"].clone();
    let prompt = prompt.as_str().unwrap();
    for part in [EASY, "I am big.", "I am small."] {
        assert!(prompt.contains(part), "{part} is not in\n{prompt}");
    }
    let cost = running.metric(r#"cost_total{model="judge"}"#).await;
    assert!((cost - 5_100.0 / 1e6).abs() < 1e-12, "{cost}");
}

#[tokio::test]
async fn a_webhook_judges_by_scores() {
    let judge = Model::start(json("200 OK", "", r#"{"lightweight":0.3,"powerful":0.9}"#)).await;
    let tables = format!(
        "[shadow]\nrate = 1.0\n[judge]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{}/compare\"\n",
        judge.port
    );
    let (running, ..) = observe(&tables).await;
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="worse"}"#, 1.0).await;
    let got = &judge.got()[0];
    assert!(got.head.starts_with("POST /compare HTTP"), "{}", got.head);
    let json = got.json();
    assert_eq!((&json["question"], &json["lightweight"]), (&value!(EASY), &value!("I am small.")));
    assert_eq!(json["powerful"], "I am big.");
    judge.acts(json_of("{}"));
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="undecided"}"#, 1.0).await;
}

fn json_of(body: &str) -> Vec<Step> {
    json("200 OK", "", body)
}

#[tokio::test]
async fn money_that_is_spent_and_models_that_fail_do_not_touch_the_client() {
    let tables = format!("{EXACT}daily_cost = 0.000001\n");
    let (running, _powerful, lightweight) = observe(&tables).await;
    assert_eq!(running.ask(HARD, "").await.status(), 200);
    running.until(r#"shadows_total{result="worse"}"#, 1.0).await;
    assert_eq!(running.ask(HARD, "").await.status(), 200);
    running.until(r#"shadows_total{result="over_limit"}"#, 1.0).await;
    assert_eq!(lightweight.got().len(), 1);

    let (running, _powerful, lightweight) = observe(EXACT).await;
    lightweight.acts(json("500 Internal Server Error", "", "{}"));
    assert_eq!(running.ask(HARD, "").await.status(), 200);
    running.until(r#"shadows_total{result="failed"}"#, 1.0).await;
}

#[tokio::test]
async fn a_comparison_is_finished_after_the_stop() {
    let (mut running, _powerful, lightweight) = observe(EXACT).await;
    let mut script = vec![Step::Wait];
    script.extend(answer("small"));
    lightweight.acts(script);
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    lightweight.until_called().await;
    running.stop();
    let address = running.url.strip_prefix("http://").unwrap().to_owned();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    lightweight.go_on();
    let drained = running.task.await.unwrap();
    assert_eq!((drained.requests_finished, drained.cut_off), (true, 0));
    assert_eq!(running.gateway.memory().stats().evidence, 61, "the verdict is evidence");
}

#[tokio::test]
async fn a_comparison_that_takes_longer_than_the_drain_is_stopped_and_counted() {
    let (mut running, _powerful, lightweight) = observe(&format!("[timeouts]\ndrain = 0.05\n{EXACT}")).await;
    lightweight.acts(vec![Step::Hang]);
    drop(running.ask(EASY, "").await.bytes().await.unwrap());
    lightweight.until_called().await;
    running.stop();
    let drained = running.task.await.unwrap();
    assert_eq!((drained.requests_finished, drained.cut_off), (true, 1));
    let families = running.registry.gather();
    let shadows =
        families.iter().find(|family| family.name() == "tiny_dancer_gateway_shadows_total").unwrap();
    let is_stopped = |metric: &&prometheus::proto::Metric| metric.get_label()[0].value() == "stopped";
    let stopped = shadows.get_metric().iter().find(is_stopped).unwrap();
    assert_eq!(stopped.get_counter().get_value(), 1.0);
}

#[tokio::test]
async fn a_request_that_the_lightweight_model_is_not_given_has_no_shadow() {
    let (running, _powerful, lightweight) = observe(EXACT).await;
    drop(running.ask(HARD, r#","tools":[{}]"#).await.bytes().await.unwrap());
    drop(running.ask(HARD, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="worse"}"#, 1.0).await;
    assert_eq!(lightweight.got().len(), 1);
}
