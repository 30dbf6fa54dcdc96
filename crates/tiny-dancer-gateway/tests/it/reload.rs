//! A new configuration while the gateway runs.

use crate::models::{Model, answer, chunk, events, json, last, send};
use crate::running::{EASY, HARD, Running, config, header};
use tiny_dancer_gateway::{Config, ConfigError, ReloadError};

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &|variable| Some(format!("sk-{variable}")))
}

async fn models() -> (Model, Model) {
    (Model::start(answer("big")).await, Model::start(answer("small")).await)
}

#[tokio::test]
async fn a_request_ends_with_the_configuration_that_it_began_with() {
    let (powerful, lightweight) = models().await;
    let events = events("small", &["one", "two"], false);
    let mut script = vec![send(crate::models::STREAM), chunk(&events[0]), crate::models::Step::Wait];
    script.extend(events[1..].iter().map(|event| chunk(event)));
    script.push(last());
    lightweight.acts(script);
    let running = Running::start(&config(powerful.port, lightweight.port, "mode = \"live\"", "")).await;
    let mut response = running.ask(EASY, r#","stream":true"#).await;
    let first = response.chunk().await.unwrap().unwrap();

    let other = Model::start(answer("other")).await;
    let new = config(powerful.port, other.port, "mode = \"live\"", "").replace("\"small\"", "\"other\"");
    running.gateway.reload(read(&new)).unwrap();
    let next = running.ask(EASY, "").await;
    assert_eq!((header(&next, "x-tiny-dancer-model"), other.got().len()), ("lightweight", 1));
    assert_eq!(other.got()[0].json()["model"], "other");
    assert!(next.text().await.unwrap().contains("I am other."));

    lightweight.go_on();
    let mut text = first.to_vec();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert_eq!(String::from_utf8(text).unwrap(), events.concat());
    assert_eq!(running.metric(r#"requests_total{result="answered"}"#).await, 2.0);
    assert_eq!(running.metric(r#"upstream_calls_total{model="small",result="success"}"#).await, 1.0);
    assert_eq!(running.metric(r#"upstream_calls_total{model="other",result="success"}"#).await, 1.0);
    assert_eq!(running.evidence(), 60, "the memory is the same");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_leaves_the_previous_one() {
    let (powerful, lightweight) = models().await;
    let text = config(powerful.port, lightweight.port, "mode = \"live\"", "");
    let running = Running::start(&text).await;
    let mistaken = read(&text.replace("live", "on"));
    let error = running.gateway.reload(mistaken).unwrap_err();
    assert!(error.to_string().contains("mode: unknown variant `on`"), "{error}");
    assert_eq!(running.metric("config_last_reload_successful").await, 0.0);
    let moved = text.replace("mode = \"live\"", "mode = \"observe\"").replace("127.0.0.1:0", "127.0.0.1:9");
    let error = running.gateway.reload(read(&moved)).unwrap_err();
    let ReloadError::Restart { changes } = error else { panic!("{error}") };
    assert_eq!((changes.len(), changes[0].key, &*changes[0].new), (1, "listen", "127.0.0.1:9"));
    assert_eq!(
        header(&running.ask(EASY, "").await, "x-tiny-dancer-model"),
        "lightweight",
        "the mode is live"
    );

    running.gateway.reload(read(&text.replace("live", "observe"))).unwrap();
    assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "observe");
    for result in ["invalid", "restart_required", "success"] {
        let reloads = format!("config_reloads_total{{result=\"{result}\"}}");
        assert_eq!(running.metric(&reloads).await, 1.0, "{result}");
    }
    assert_eq!(running.metric("config_last_reload_successful").await, 1.0);
    assert!(running.metric("config_last_reload_timestamp_seconds").await > 1.7e9);
}

#[tokio::test]
async fn a_circuit_stays_open_unless_its_model_changes() {
    let (powerful, lightweight) = models().await;
    lightweight.acts(json("429 Too Many Requests", "retry-after: 60\r\n", "{}"));
    let text = config(powerful.port, lightweight.port, "mode = \"live\"", "");
    let running = Running::start(&text).await;
    drop(running.ask(EASY, "").await);
    lightweight.acts(answer("small"));
    running.gateway.reload(read(&text.replace("input = 1.0", "input = 2.0"))).unwrap();
    assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "lightweight_unavailable");
    assert_eq!(running.metric(r#"upstream_circuit_open{model="small"}"#).await, 1.0);
    running.gateway.reload(read(&text.replace("\"small\"", "\"other\""))).unwrap();
    assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "confident");
    let text =
        running.client.get(format!("{}/metrics", running.url)).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains(r#"upstream_circuit_open{model="small"}"#), "no model has this circuit");
}

#[tokio::test]
async fn a_place_stays_taken() {
    let (powerful, lightweight) = models().await;
    let mut script = vec![crate::models::Step::Wait];
    script.extend(answer("big"));
    powerful.acts(script);
    let text = config(powerful.port, lightweight.port, "", "[limits]\nconcurrent = 1\nqueue = 0");
    let running = Running::start(&text).await;
    let others = async {
        powerful.until_called().await;
        powerful.acts(answer("big"));
        running.gateway.reload(read(&text)).unwrap();
        let second = running.ask(HARD, "").await.status();
        running.gateway.reload(read(&text.replace("concurrent = 1", "concurrent = 2"))).unwrap();
        let third = running.ask(HARD, "").await.status();
        powerful.go_on();
        (second.as_u16(), third.as_u16())
    };
    let (first, others) = tokio::join!(running.ask(HARD, ""), others);
    assert_eq!((first.status().as_u16(), others), (200, (503, 200)));
}
