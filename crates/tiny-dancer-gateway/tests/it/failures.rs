//! Models that misbehave, clients that hang up, and more requests than there is room for.

use crate::models::{Model, STREAM, Step, answer, chunk, events, json, send, stream};
use crate::running::{EASY, HARD, Running, chat, config, header, parsed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const STREAMED: &str = r#","stream":true"#;
/// Short enough for a test that waits for it.
const SOON: &str = "[timeouts]\nfirst_byte = 0.05\nanswer = 0.05\nidle = 0.05\nbody = 0.05\n";

/// A gateway in mode live, with more tables.
async fn live(tables: &str) -> (Running, Model, Model) {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let text = config(powerful.port, lightweight.port, "mode = \"live\"", tables);
    (Running::start(&text).await, powerful, lightweight)
}

/// All bytes of an answer until its end, and whether it broke off.
async fn read(mut response: reqwest::Response) -> (String, bool) {
    let mut bytes = Vec::new();
    let broke = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend(chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    (String::from_utf8(bytes).unwrap(), broke)
}

#[tokio::test]
async fn if_the_lightweight_model_fails_before_its_first_byte_the_powerful_one_answers_once() {
    let cases = [
        ("server_error", json("500 Internal Server Error", "", "{}")),
        ("client_error", json("401 Unauthorized", "", "{}")),
        ("broken", vec![send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")]),
        ("broken", vec![send("garbage\r\n\r\n")]),
        ("broken", vec![]),
        ("timeout", vec![Step::Hang]),
        ("timeout", vec![send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), Step::Hang]),
    ];
    for (result, script) in cases {
        for more in ["", STREAMED] {
            let (running, powerful, lightweight) = live(SOON).await;
            lightweight.acts(script.clone());
            let response = running.ask(EASY, more).await;
            assert_eq!(response.status(), 200, "{result}");
            assert_eq!(header(&response, "x-tiny-dancer-decided"), "lightweight");
            assert_eq!(header(&response, "x-tiny-dancer-model"), "powerful");
            assert_eq!(header(&response, "x-tiny-dancer-reason"), "lightweight_failed");
            assert_eq!(parsed(response).await["choices"][0]["message"]["content"], "I am big.");
            assert_eq!((powerful.got().len(), lightweight.got().len()), (1, 1));
            let calls = format!(r#"upstream_calls_total{{model="small",result="{result}"}}"#);
            assert_eq!(running.metric(&calls).await, 1.0, "{result}");
            assert_eq!(running.metric(r#"requests_total{result="answered"}"#).await, 1.0);
        }
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_has_a_status_of_its_own() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let lightweight = Model::start(answer("small")).await;
    let running = Running::start(&config(closed, lightweight.port, "mode = \"live\"", SOON)).await;
    let response = running.ask(HARD, "").await;
    assert_eq!(response.status(), 502);
    let message = parsed(response).await["error"]["message"].clone();
    assert_eq!(message, "the model big gave no answer (unreachable)");
    for _ in 1..5 {
        assert_eq!(running.ask(HARD, "").await.status(), 502);
    }
    let response = running.ask(HARD, "").await;
    assert_eq!(response.status(), 503, "five failures in a row open the circuit");
    assert!(header(&response, "retry-after").parse::<u64>().unwrap() <= 6);
    assert_eq!(running.metric(r#"upstream_circuit_open{model="big"}"#).await, 1.0);
    assert_eq!(running.metric(r#"requests_total{result="failed"}"#).await, 5.0);
    assert_eq!(running.metric(r#"requests_total{result="refused"}"#).await, 1.0);
}

#[tokio::test]
async fn a_powerful_model_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let (running, powerful, _lightweight) = live(SOON).await;
    powerful.acts(vec![Step::Hang]);
    assert_eq!(running.ask(HARD, "").await.status(), 504);
    assert_eq!(running.metric(r#"requests_total{result="failed"}"#).await, 1.0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too_and_no_other_model_is_called() {
    let events = events("small", &["one"], false);
    let begun = || vec![send(STREAM), chunk(&events[0])];
    let with = |step: Step| begun().into_iter().chain([step]).collect::<Vec<_>>();
    for (result, script) in
        [("broken", begun()), ("broken", with(send("zz\r\nno chunk"))), ("timeout", with(Step::Hang))]
    {
        let (running, powerful, lightweight) = live(SOON).await;
        lightweight.acts(script);
        let (text, broke) = read(running.ask(EASY, STREAMED).await).await;
        assert_eq!((text.as_str(), broke), (events[0].as_str(), true), "{result}");
        assert_eq!(powerful.got().len(), 0);
        let calls = format!(r#"upstream_calls_total{{model="small",result="{result}"}}"#);
        assert_eq!(running.metric(&calls).await, 1.0);
        assert_eq!(running.metric(r#"requests_total{result="failed"}"#).await, 1.0);
    }
}

#[tokio::test]
async fn a_stream_without_its_end_keeps_the_bytes_that_were_held_back() {
    let (running, _powerful, lightweight) = live("").await;
    lightweight.acts(stream(&["data: {}\n\n".to_owned(), "data: {\"half".to_owned()]));
    assert_eq!(
        read(running.ask(EASY, STREAMED).await).await,
        ("data: {}\n\ndata: {\"half".to_owned(), false)
    );
}

#[tokio::test]
async fn a_lightweight_model_that_names_a_wait_is_not_called_for_that_time() {
    for wait in ["60", "Sun, 06 Nov 1994 08:50:37 GMT\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT"] {
        let (running, powerful, lightweight) = live("").await;
        lightweight.acts(json("429 Too Many Requests", &format!("retry-after: {wait}\r\n"), "{}"));
        assert_eq!(header(&running.ask(EASY, "").await, "x-tiny-dancer-reason"), "lightweight_failed");
        lightweight.acts(answer("small"));
        let response = running.ask(EASY, "").await;
        assert_eq!(header(&response, "x-tiny-dancer-reason"), "lightweight_unavailable", "{wait}");
        assert_eq!((powerful.got().len(), lightweight.got().len()), (2, 1));
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_call_to_the_model() {
    let endless = vec![send(STREAM), Step::Endless(format!("a\r\n{}\r\n", "data: {}\n\n").into_bytes())];
    let (running, _powerful, mut lightweight) = live("").await;
    lightweight.acts(endless);
    let mut response = running.ask(EASY, STREAMED).await;
    response.chunk().await.unwrap();
    drop(response);
    lightweight.hung_up.recv().await.unwrap();
    running.until(r#"requests_total{result="cancelled"}"#, 1.0).await;
    running.until(r#"upstream_calls_total{model="small",result="cancelled"}"#, 1.0).await;
    running.until("requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_first_byte_ends_the_call_too() {
    let (running, mut powerful, _lightweight) = live("").await;
    powerful.acts(vec![Step::Hang]);
    let mut stream = raw(&running, &chat(HARD, "")).await;
    powerful.until_called().await;
    stream.shutdown().await.unwrap();
    drop(stream);
    powerful.hung_up.recv().await.unwrap();
    running.until(r#"requests_total{result="cancelled"}"#, 1.0).await;
    running.until("requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_its_place_is_free_again() {
    let (running, _powerful, mut lightweight) = live("[timeouts]\nidle = 0.05").await;
    let events = "data: {}\n\n".repeat(100);
    lightweight
        .acts(vec![send(STREAM), Step::Endless(format!("{:x}\r\n{events}\r\n", events.len()).into_bytes())]);
    let _stream = raw(&running, &chat(EASY, STREAMED)).await;
    lightweight.hung_up.recv().await.unwrap();
    running.until(r#"requests_total{result="cancelled"}"#, 1.0).await;
    running.until("requests_in_flight", 0.0).await;
}

/// Sends a request over a connection of its own.
async fn raw(running: &Running, body: &str) -> TcpStream {
    let address = running.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_sends_half_a_body_is_refused_in_time() {
    let (running, ..) = live(SOON).await;
    let address = running.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_request_waits_for_a_place_and_one_too_many_is_refused() {
    let (running, powerful, _lightweight) = live("[limits]\nconcurrent = 1\nqueue = 1").await;
    let mut script = vec![Step::Wait];
    script.extend(answer("big"));
    powerful.acts(script);
    let (first, second) = (running.ask(HARD, ""), running.ask(HARD, ""));
    let (first, second) = (Box::pin(first), Box::pin(second));
    let third = async {
        powerful.until_called().await;
        running.until("requests_queued", 1.0).await;
        let response = running.ask(HARD, "").await;
        powerful.go_on();
        powerful.go_on();
        response
    };
    let (first, second, third) = tokio::join!(first, second, third);
    assert_eq!((third.status().as_u16(), header(&third, "retry-after")), (503, "1"));
    assert_eq!(parsed(third).await["error"]["type"], "overloaded_error");
    // A place is free again at the end of an answer, not before.
    let (first, second) = tokio::join!(read(first), read(second));
    assert!(first.0.contains("I am big.") && second.0.contains("I am big."));
    running.until("requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_client_has_a_limit_of_its_own() {
    use sha2::{Digest, Sha256};
    let digest = const_hex::encode(Sha256::digest("key"));
    let tables =
        format!("[limits]\nconcurrent_per_client = 1\n[[clients]]\nname = \"a\"\nkey_sha256 = \"{digest}\"");
    let (running, powerful, _lightweight) = live(&tables).await;
    let mut script = vec![Step::Wait];
    script.extend(answer("big"));
    powerful.acts(script);
    let ask = || {
        let request = running.client.post(format!("{}/v1/chat/completions", running.url)).bearer_auth("key");
        request.body(chat(HARD, "")).send()
    };
    let second = async {
        powerful.until_called().await;
        let response = ask().await.unwrap();
        powerful.go_on();
        response
    };
    let (first, second) = tokio::join!(ask(), second);
    assert_eq!((first.unwrap().status().as_u16(), second.status().as_u16()), (200, 429));
}

#[tokio::test]
async fn an_open_stream_is_finished_after_the_stop_and_no_request_is_accepted() {
    let (mut running, _powerful, lightweight) = live("").await;
    let events = events("small", &["one", "two"], false);
    let mut script = vec![send(STREAM), chunk(&events[0]), Step::Wait];
    script.extend(stream(&events[1..]).into_iter().skip(1));
    lightweight.acts(script);
    let mut response = running.ask(EASY, STREAMED).await;
    let first = response.chunk().await.unwrap().unwrap();
    running.stop();
    let address = running.url.strip_prefix("http://").unwrap().to_owned();
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    lightweight.go_on();
    let (rest, broke) = read(response).await;
    assert_eq!((String::from_utf8(first.to_vec()).unwrap() + &rest, broke), (events.concat(), false));
    assert!(running.task.await.unwrap().requests_finished);
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_drain_is_aborted() {
    let (mut running, powerful, _lightweight) = live("[timeouts]\ndrain = 0.05").await;
    powerful.acts(vec![Step::Hang]);
    let _stream = raw(&running, &chat(HARD, "")).await;
    powerful.until_called().await;
    running.stop();
    assert!(!running.task.await.unwrap().requests_finished);
}
