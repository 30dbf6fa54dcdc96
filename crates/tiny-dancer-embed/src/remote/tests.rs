use super::*;
use crate::error::ResponseFlaw as Flaw;
use serde_json::{Value, json};
use server::{Answer, Server};
use std::sync::Mutex;

mod server;

const KEY: &str = "sk-an-example-of-a-key";

/// Time stands still but for delays, which are recorded, and chance is one half.
#[derive(Debug, Default)]
struct Manual {
    now: Mutex<Duration>,
    delays: Mutex<Vec<Duration>>,
}

impl Manual {
    fn advance(&self, duration: Duration) {
        *self.now.lock().unwrap() += duration;
    }

    fn delays(&self) -> Vec<u128> {
        self.delays.lock().unwrap().iter().map(Duration::as_millis).collect()
    }
}

impl Time for Manual {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wait(&self, duration: Duration) {
        self.delays.lock().unwrap().push(duration);
        self.advance(duration);
    }

    fn random(&self) -> f64 {
        0.5
    }
}

fn config(base_url: &str) -> RemoteConfig {
    RemoteConfig {
        base_url: base_url.to_owned(),
        model: "model-1".to_owned(),
        dimensions: 2,
        api_key: Some(KEY.into()),
        // Real time: attempts that are not meant to end by it end long before.
        deadline: Duration::from_secs(60),
        ..RemoteConfig::default()
    }
}

fn remote(config: RemoteConfig) -> (Remote, Arc<Manual>) {
    let time = Arc::new(Manual::default());
    (Remote::with(config, None, Arc::clone(&time) as Arc<dyn Time>).unwrap(), time)
}

/// An embedder that calls a server with these answers.
fn calling(answers: impl IntoIterator<Item = Answer>) -> (Remote, Arc<Manual>, Server) {
    let server = Server::start(answers);
    let (remote, time) = remote(config(&server.url()));
    (remote, time, server)
}

fn good() -> Answer {
    Answer::ok(&json!({"data": [{"index": 0, "embedding": [3, -4]}], "usage": {"prompt_tokens": 5}}))
}

fn embed(remote: &Remote) -> Result<Vec<f32>, EmbedError> {
    let mut vector = vec![9.0];
    let result = remote.embed_into("text", &mut vector);
    assert_eq!(vector.is_empty(), result.is_err());
    result.map(|_| vector)
}

fn kind(remote: &Remote) -> EmbedErrorKind {
    embed(remote).unwrap_err().kind()
}

const VECTOR: [f32; 2] = [0.6, -0.8];

#[test]
fn a_request_has_the_model_the_texts_and_the_key() {
    let (remote, _, server) = calling([good()]);
    let mut vector = vec![9.0];
    let reading = remote.embed_into("Füße\n", &mut vector).unwrap();
    assert_eq!((vector, reading), (VECTOR.to_vec(), Reading::new(5)));
    let [request] = &server.requests()[..] else { panic!("one request") };
    assert!(request.head.starts_with("POST /v1/embeddings HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.body, json!({"model": "model-1", "input": ["Füße\n"]}));
}

#[test]
fn dimensions_are_in_the_request_if_configured_and_without_a_key_there_is_no_header() {
    let server = Server::start([good()]);
    let config =
        RemoteConfig { request_dimensions: true, api_key: None, ..config(&format!("{}/", server.url())) };
    embed(&remote(config).0).unwrap();
    let request = &server.requests()[0];
    assert_eq!((&request.body["dimensions"], request.header("authorization")), (&json!(2), None));
    assert!(request.head.starts_with("POST /v1/embeddings "));
}

/// As many rows as the request has texts, last first: row `i` has length 1 at an angle of its text's number.
fn rows(texts: &[&str]) -> Answer {
    let row = |(index, text): (usize, &&str)| {
        let number: f64 = text.trim_start_matches('t').parse().unwrap();
        json!({"index": index, "embedding": [number.cos(), number.sin()]})
    };
    let data: Vec<_> = texts.iter().enumerate().map(row).rev().collect();
    Answer::ok(&json!({"data": data, "usage": {"prompt_tokens": 10}}))
}

#[test]
fn a_batch_is_split_by_texts_and_bytes_and_keeps_its_order() {
    let texts = ["t1", "t2", "t3", "t0004", "t00000005", "t6", "t7"];
    let batches = [&texts[..2], &texts[2..3], &texts[3..4], &texts[4..5], &texts[5..]];
    let server = Server::start(batches.map(rows));
    let config = RemoteConfig { max_inputs: 2, max_bytes: 6, ..config(&server.url()) };
    let (remote, _) = remote(config);
    let mut vectors = vec![9.0];
    let readings = remote.embed_batch(&texts, &mut vectors).unwrap();
    for (vector, number) in vectors.chunks(2).zip(1..) {
        let expected = [f64::from(number).cos() as f32, f64::from(number).sin() as f32];
        assert!(vector.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{number}: {vector:?}");
    }
    // The count of a batch is not that of a text.
    assert_eq!(readings.iter().map(|reading| reading.tokens).collect::<Vec<_>>(), [0, 0, 10, 10, 10, 0, 0]);
    let sent: Vec<_> = server.requests().iter().map(|request| request.body["input"].clone()).collect();
    assert_eq!(sent, batches.map(|batch| json!(batch)));
}

#[test]
fn a_batch_with_a_failing_call_leaves_no_rows() {
    let server = Server::start([rows(&["t1", "t2"]), Answer::status(400, "", &json!({}))]);
    let (remote, _) = remote(RemoteConfig { max_inputs: 2, ..config(&server.url()) });
    let mut vectors = vec![9.0];
    let error = remote.embed_batch(&["t1", "t2", "t3"], &mut vectors).unwrap_err();
    assert_eq!((error.text, error.source.kind()), (Some(2), EmbedErrorKind::Rejected));
    assert!(vectors.is_empty());
}

#[test]
fn text_without_content_is_an_error_without_a_call() {
    let (remote, _, server) = calling([]);
    let mut vector = vec![9.0];
    for text in ["", " \n\t"] {
        let error = remote.embed_into(text, &mut vector).unwrap_err();
        assert_eq!(error, EmbedError::NoTokens { bytes: text.len() });
    }
    let error = remote.embed_batch(&["a", ""], &mut vector).unwrap_err();
    assert_eq!((error.text, error.source.kind()), (Some(1), EmbedErrorKind::NoTokens));
    assert!(vector.is_empty() && remote.embed_batch(&[], &mut vector).unwrap().is_empty());
    assert!(server.requests().is_empty());
}

#[test]
fn a_failure_is_tried_again_after_a_delay_that_doubles_with_jitter() {
    let failures = [500, 503].map(|status| Answer::status(status, "", &Value::Null));
    let (remote, time, _server) = calling(failures.into_iter().chain([good()]));
    assert_eq!(embed(&remote), Ok(VECTOR.to_vec()));
    assert_eq!(time.delays(), [75, 150]);
}

#[test]
fn attempts_are_limited_and_the_last_failure_is_the_error() {
    let failures =
        [500, 502, 503].map(|status| Answer::status(status, "", &json!({"error": {"code": "down"}})));
    let (remote, _, server) = calling(failures);
    assert_eq!(embed(&remote), Err(EmbedError::Unavailable { status: 503, code: Some("down".to_owned()) }));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_service_says_when_to_try_again() {
    let date = "Retry-After: Sun, 06 Nov 1994 08:49:44 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (header, delay) in [("Retry-After: 2\r\n", 2000), (date, 7000), ("Retry-After: soon\r\n", 75)] {
        let (remote, time, _server) = calling([Answer::status(429, header, &Value::Null), good()]);
        assert_eq!(embed(&remote), Ok(VECTOR.to_vec()));
        assert_eq!(time.delays(), [delay], "{header}");
    }
}

#[test]
fn a_delay_past_the_deadline_ends_the_call_at_once() {
    let body = json!({"error": {"type": "insufficient_quota", "message": "You exceeded your quota"}});
    let (remote, time, server) = calling([Answer::status(429, "Retry-After: 60\r\n", &body)]);
    assert_eq!(embed(&remote), Err(EmbedError::RateLimited { code: Some("insufficient_quota".to_owned()) }));
    assert_eq!((time.delays().len(), server.requests().len()), (0, 1));
}

#[test]
fn a_connection_that_breaks_is_tried_again() {
    for broken in [Answer::Close, Answer::CloseInBody, Answer::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())] {
        let (remote, time, server) = calling([broken.clone(), good()]);
        assert_eq!(embed(&remote), Ok(VECTOR.to_vec()), "{broken:?}");
        assert_eq!((time.delays(), server.requests().len()), (vec![75], 2));
        let (remote, _, server) = calling([broken.clone(), broken.clone(), broken.clone()]);
        assert_eq!(kind(&remote), EmbedErrorKind::Unreachable, "{broken:?}");
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn an_idle_connection_that_the_server_closed_is_replaced() {
    let kept = Answer::Kept(Box::new(good()));
    let (remote, _, server) = calling([kept, good()]);
    for _ in 0..2 {
        assert_eq!(embed(&remote), Ok(VECTOR.to_vec()));
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_port_without_a_server_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (remote, time) = remote(config(&format!("http://{address}/v1")));
    let error = embed(&remote).unwrap_err();
    assert_eq!(error.kind(), EmbedErrorKind::Unreachable);
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    assert_eq!(time.delays().len(), 2);
}

#[test]
fn a_server_that_is_silent_costs_the_deadline_and_no_second_attempt() {
    for silent in [Answer::Silent, Answer::SilentInBody] {
        let server = Server::start([silent]);
        let deadline = Duration::from_millis(50);
        let (remote, _) = remote(RemoteConfig { deadline, ..config(&server.url()) });
        assert_eq!(embed(&remote), Err(EmbedError::DeadlineExceeded { deadline }));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn redirects_are_refused_so_the_key_stays_with_its_host() {
    let other = Server::start([]);
    for status in [301, 302, 307, 308] {
        let header = format!("Location: {}/embeddings\r\n", other.url());
        let (remote, time, _server) = calling([Answer::status(status, &header, &Value::Null)]);
        assert_eq!(embed(&remote), Err(EmbedError::Rejected { status, code: None }));
        assert!(time.delays().is_empty());
    }
    assert!(other.requests().is_empty());
}

#[test]
fn a_refused_call_is_not_repeated_and_its_error_repeats_no_text() {
    let body = json!({"error": {"message": format!("{KEY} is wrong; text"), "code": "invalid_api_key"}});
    let (remote, _, server) = calling([Answer::status(401, "", &body)]);
    let error = embed(&remote).unwrap_err();
    assert_eq!(error, EmbedError::Rejected { status: 401, code: Some("invalid_api_key".to_owned()) });
    assert_eq!(error.to_string(), "the service refused the call (401, invalid_api_key)");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn wrong_answers_are_errors_without_another_attempt() {
    let row = |row: Value| Answer::ok(&json!({ "data": [row] }));
    let flaw = |flaw| EmbedError::InvalidResponse { flaw };
    let max = response::max_bytes(1, 2);
    for (answer, expected) in [
        (Answer::ok(&json!({"data": []})), flaw(Flaw::Count { expected: 1, actual: 0 })),
        (row(json!({"index": 1, "embedding": [1, 2]})), flaw(Flaw::Index { index: 1, count: 1 })),
        (row(json!({"embedding": [1, 2, 3]})), EmbedError::DimensionMismatch { expected: 2, actual: 3 }),
        (row(json!({"embedding": [0, 0]})), EmbedError::ZeroNorm { tokens: 0 }),
        (Answer::ok(&json!("a".repeat(max as usize))), flaw(Flaw::TooLarge { max })),
        (Answer::body("<html>"), flaw(Flaw::Json { line: 1, column: 1 })),
    ] {
        let (remote, _, server) = calling([answer]);
        assert_eq!(embed(&remote), Err(expected));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn an_open_circuit_sends_nothing_and_a_good_probe_closes_it() {
    let bad = || Answer::status(500, "", &Value::Null);
    let server = Server::start([bad(), bad(), bad(), good(), good()]);
    let config = RemoteConfig { attempts: 1, open_after: 2, ..config(&server.url()) };
    let (remote, time) = remote(config);
    for _ in 0..2 {
        assert_eq!(kind(&remote), EmbedErrorKind::Unavailable);
    }
    let open = |seconds| Err(EmbedError::CircuitOpen { retry_after: Duration::from_secs_f64(seconds) });
    assert_eq!(embed(&remote), open(7.5));
    time.advance(Duration::from_secs(7));
    assert_eq!(embed(&remote), open(0.5));
    assert_eq!(server.requests().len(), 2);

    // A probe that fails, and one that succeeds.
    time.advance(Duration::from_millis(500));
    assert_eq!(kind(&remote), EmbedErrorKind::Unavailable);
    assert_eq!(embed(&remote), open(7.5));
    time.advance(Duration::from_millis(7500));
    for _ in 0..2 {
        assert_eq!(embed(&remote), Ok(VECTOR.to_vec()));
    }
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_refused_text_neither_opens_the_circuit_nor_keeps_it_open() {
    let refused = || Answer::status(400, "", &Value::Null);
    let bad = || Answer::status(500, "", &Value::Null);
    let server = Server::start([bad(), refused(), bad(), refused(), good()]);
    let (remote, _) = remote(RemoteConfig { attempts: 1, open_after: 2, ..config(&server.url()) });
    for expected in ["unavailable", "rejected", "unavailable", "rejected"] {
        assert_eq!(kind(&remote).name(), expected);
    }
    assert_eq!(embed(&remote), Ok(VECTOR.to_vec()));
}

#[test]
fn no_debug_and_no_error_shows_the_key() {
    let (remote, _) = remote(config("http://127.0.0.1:1/v1"));
    let shown = format!("{remote:?} {:?} {:?}", remote.config, remote.service);
    assert!(shown.contains("127.0.0.1") && shown.contains("ApiKey(..)") && !shown.contains(KEY), "{shown}");
    for key in [format!("{KEY}\n"), format!("{KEY} "), format!("{KEY}\u{e9}")] {
        let config = RemoteConfig { api_key: Some(key.into()), ..config("http://localhost/v1") };
        let error = Remote::new(config).unwrap_err();
        assert_eq!(error, RemoteConfigError::ApiKey { at: KEY.len() });
    }
    let config = config(&format!("https://user:{KEY}@localhost/v1"));
    let error = Remote::new(config).unwrap_err();
    assert_eq!(error, RemoteConfigError::Credentials);
    assert!(!format!("{error} {error:?}").contains(KEY));
}

#[test]
fn each_field_of_the_configuration_is_checked() {
    let good = config("http://localhost/v1");
    Remote::new(good.clone()).unwrap();
    for base_url in [
        "localhost/v1",
        "ftp://localhost",
        "http://",
        "http:///v1",
        "http://h/v1?a=b",
        "http://h/v1#a",
        "http://h h/",
    ] {
        let base_url = base_url.to_owned();
        let error = Remote::new(RemoteConfig { base_url: base_url.clone(), ..good.clone() }).unwrap_err();
        assert_eq!(error, RemoteConfigError::BaseUrl { base_url });
    }
    let good = || good.clone();
    for (field, config) in [
        ("base_url", RemoteConfig { base_url: String::new(), ..good() }),
        ("model", RemoteConfig { model: String::new(), ..good() }),
        ("dimensions", RemoteConfig { dimensions: 0, ..good() }),
        ("api_key", RemoteConfig { api_key: Some("".into()), ..good() }),
        ("deadline", RemoteConfig { deadline: Duration::ZERO, ..good() }),
        ("max_inputs", RemoteConfig { max_inputs: 0, ..good() }),
        ("attempts", RemoteConfig { attempts: 0, ..good() }),
        ("open_after", RemoteConfig { open_after: 0, ..good() }),
    ] {
        assert_eq!(Remote::new(config).unwrap_err(), RemoteConfigError::Empty { field });
    }
    assert_eq!(
        Remote::new(RemoteConfig::default()).unwrap_err(),
        RemoteConfigError::Empty { field: "model" }
    );
}

#[test]
fn address_model_and_dimensions_determine_the_id() {
    let id = |config: RemoteConfig| *remote(config).0.id();
    let first = id(config("https://host/v1"));
    for same in ["https://HOST/v1/", "https://host:443/v1", "http://host/v1", "http://host:80/v1"] {
        assert_eq!(id(config(same)), first, "{same}");
    }
    let same = RemoteConfig { api_key: None, deadline: Duration::from_secs(1), ..config("https://host/v1") };
    assert_eq!(id(same), first);
    for other in ["https://host2/v1", "https://host/v2", "https://host:8443/v1", "http://host:443/v1"] {
        assert_ne!(id(config(other)), first, "{other}");
    }
    assert_ne!(id(RemoteConfig { model: "model-2".to_owned(), ..config("https://host/v1") }), first);
    assert_ne!(id(RemoteConfig { dimensions: 3, ..config("https://host/v1") }), first);
}

#[test]
fn a_real_server_embeds_texts() {
    let Some(base_url) = std::env::var_os("TINY_DANCER_EMBEDDINGS_URL") else {
        eprintln!("SKIPPED: set TINY_DANCER_EMBEDDINGS_URL to a server of multilingual-e5-small");
        return;
    };
    let config = RemoteConfig {
        base_url: base_url.into_string().unwrap(),
        model: "e5-query".to_owned(),
        dimensions: 384,
        max_inputs: 2,
        deadline: Duration::from_secs(60),
        ..RemoteConfig::default()
    };
    let remote = Remote::new(config.clone()).unwrap();
    let texts = ["How do I sort a list in Python?", "Sorting lists in Python", "A recipe for apple pie"];
    let (mut vectors, mut vector) = (Vec::new(), Vec::new());
    remote.embed_batch(&texts, &mut vectors).unwrap();
    let rows: Vec<_> = vectors.chunks(384).collect();
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    for (text, row) in texts.iter().zip(&rows) {
        assert!(remote.embed_into(text, &mut vector).unwrap().tokens > 3);
        assert!((dot(row, row) - 1.0).abs() < 1e-5 && dot(row, &vector) > 0.999);
    }
    assert!(dot(rows[0], rows[1]) > dot(rows[0], rows[2]));

    let wrong = Remote::new(RemoteConfig { dimensions: 512, ..config.clone() }).unwrap();
    assert_eq!(embed(&wrong), Err(EmbedError::DimensionMismatch { expected: 512, actual: 384 }));
    let base_url = format!("{}/other", config.base_url);
    let wrong = Remote::new(RemoteConfig { base_url, ..config }).unwrap();
    let code = Some("invalid_request_error".to_owned());
    assert_eq!(embed(&wrong), Err(EmbedError::Rejected { status: 404, code }));
}
