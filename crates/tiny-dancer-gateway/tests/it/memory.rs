//! What is known survives a restart.

use crate::models::{Model, answer};
use crate::running::{EASY, Running, chat, config, header, parsed};
use serde_json::json;
use tiny_dancer_gateway::Config;

#[tokio::test]
async fn a_verdict_after_a_restart_is_evidence_on_the_request_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (folder.path().join("key"), folder.path().join("memory.db"));
    std::fs::write(&key, "a secret").unwrap();
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let root = format!("mode = \"live\"\nid_key_file = {:?}", key.display().to_string());
    let tables = format!("[memory]\npath = {:?}\n", file.display().to_string());
    let text = config(powerful.port, lightweight.port, &root, &tables);

    let mut before = Running::start(&text).await;
    let response = before.ask(EASY, "").await;
    let id = header(&response, "x-tiny-dancer-id").to_owned();
    assert_eq!(header(&response, "x-tiny-dancer-model"), "lightweight");
    drop(response.bytes().await.unwrap());
    let observe = text.replace("live", "observe");
    let observe = Config::parse(&observe, &|variable| Some(format!("sk-{variable}")));
    before.gateway.reload(observe).unwrap();
    drop(before.ask(EASY, "").await.bytes().await.unwrap());
    before.stop();
    before.task.await.unwrap();
    before.gateway.flush();
    // The decision log has what was delivered, and no text.
    let mut logged = Vec::new();
    before.gateway.memory().log(|entry| logged.push(entry)).unwrap();
    let served = logged[0].served.clone().unwrap();
    assert_eq!((served.usage[0].model.as_str(), served.usage[0].tokens.output), ("small", 4));
    // Each decision with the mode of its time.
    let modes: Vec<_> = logged.iter().map(|entry| entry.mode.as_deref()).collect();
    assert_eq!(modes, [Some("live"), Some("observe")]);
    drop(before.gateway);

    let after = Running::start_empty(&text).await;
    let evidence = after.evidence();
    let judged = after.post("/v1/feedback", &format!(r#"{{"id":"{id}","score":0}}"#)).await;
    assert_eq!(parsed(judged).await, json!({"result": "accepted"}));
    assert_eq!(after.evidence(), evidence + 1);
    drop(after);
    let bytes = std::fs::read(&file).unwrap();
    let asked = chat(EASY, "");
    let question = asked.split('"').find(|part| part.contains("password")).unwrap();
    assert!(
        !bytes.windows(question.len()).any(|window| window == question.as_bytes()),
        "no prompt is stored"
    );
}
