//! A gateway under load and a quality budget, while its models go up and down, answer badly, its memory's file is locked and
//! freed, and its configuration is replaced: each request has one end, and nothing leaks. It counts the file descriptors of the process, so this is a test binary of its own.
//!
//! It takes a few seconds, or as many as `TINY_DANCER_CHAOS_SECONDS` says:
//! `TINY_DANCER_CHAOS_SECONDS=3600 cargo test -p tiny-dancer-gateway --test chaos -- --nocapture`.
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use running::{EASY, HARD, Running, chat, config};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tiny_dancer::Clock;
use tiny_dancer_gateway::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[path = "it/models.rs"]
#[expect(dead_code, reason = "this test has a model of its own")]
mod models;
#[path = "it/running.rs"]
#[expect(dead_code, reason = "this test uses a part of it")]
mod running;

/// The clients that send requests at the same time.
const CLIENTS: u64 = 24;
/// So many requests are answered at a time, and so many wait, so that some are refused.
const LIMITS: &str = "[limits]\nconcurrent = 16\nqueue = 4\n";
/// The wait in the queue is the second configuration's only difference.
fn timeouts(queue: f64) -> String {
    format!("[timeouts]\nqueue = {queue}\nfirst_byte = 0.2\nanswer = 0.2\nidle = 0.2\n")
}

/// How a model acts.
#[derive(Clone, Copy)]
enum Act {
    Answers,
    Breaks,
    Closes,
    Fails,
    Hangs,
    Refuses,
    Stalls,
}

/// What a model does at times, in place of what is drawn.
#[derive(Clone, Debug, Default)]
struct Times {
    is_down: Arc<AtomicBool>,
    stalls: Arc<AtomicBool>,
}

/// A model at a port, which acts at random.
async fn model(name: &'static str, seed: u64, times: Times) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let act = match rng.random_range(0..100) {
                _ if times.is_down.load(Ordering::Relaxed) => Act::Closes,
                _ if times.stalls.load(Ordering::Relaxed) => Act::Stalls,
                0..80 => Act::Answers,
                80..85 => Act::Breaks,
                85..88 => Act::Closes,
                88..94 => Act::Fails,
                94..97 => Act::Refuses,
                _ => Act::Hangs,
            };
            tokio::spawn(async move {
                // The gateway may hang up at any time.
                let _ = play(stream, name, act).await;
            });
        }
    });
    port
}

/// Plays one answer, and closes the connection.
async fn play(mut stream: TcpStream, name: &str, act: Act) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (end + 4, length.map_or(0, |length| length.parse().unwrap()));
        }
    };
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await?;
    }
    let is_stream = String::from_utf8_lossy(&bytes[head..]).contains(r#""stream":true"#);
    let steps = if is_stream {
        models::stream(&models::events(name, &["one ", "two ", "three"], true))
    } else {
        models::answer(name)
    };
    let mut answer: Vec<u8> = Vec::new();
    for step in steps {
        let models::Step::Send(bytes) = step else { unreachable!("an answer only sends") };
        answer.extend(bytes);
    }
    match act {
        Act::Answers => stream.write_all(&answer).await,
        Act::Breaks => stream.write_all(&answer[..answer.len() * 2 / 3]).await,
        Act::Closes => Ok(()),
        Act::Fails => {
            stream.write_all(b"HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").await
        }
        Act::Hangs => {
            hung_up(&mut stream).await;
            Ok(())
        }
        Act::Refuses => {
            let head =
                b"HTTP/1.1 429 Busy\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(head).await
        }
        Act::Stalls => {
            stream.write_all(&answer[..answer.len() * 2 / 3]).await?;
            hung_up(&mut stream).await;
            Ok(())
        }
    }
}

/// Waits until the gateway hangs up, which sends nothing more.
async fn hung_up(stream: &mut TcpStream) {
    let _ = stream.read_u8().await;
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    made: AtomicU64,
    whole: AtomicU64,
    hung_up: AtomicU64,
}

/// Sends requests until the end.
async fn send(url: String, seed: u64, end: Arc<AtomicBool>, counts: Arc<Seen>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    while !end.load(Ordering::Relaxed) {
        let body = match rng.random_range(0..20) {
            0 => "{".to_owned(),
            1 => chat(HARD, r#","stream":"perhaps""#),
            kind => chat(
                if rng.random() { EASY } else { HARD },
                if kind % 2 == 0 { r#","stream":true"# } else { "" },
            ),
        };
        let request = client.post(format!("{url}/v1/chat/completions")).body(body);
        let request = request.header("content-type", "application/json");
        let response = request.send().await.unwrap();
        counts.made.fetch_add(1, Ordering::Relaxed);
        let status = response.status();
        if rng.random_range(0..20) == 0 {
            counts.hung_up.fetch_add(1, Ordering::Relaxed);
            drop(response);
            continue;
        }
        let body = response.bytes().await;
        if status == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            // A client waits before it sends again.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if status.is_success()
            && body.is_ok_and(|body| body.ends_with(b"}") || body.ends_with(b"data: [DONE]\n\n"))
        {
            counts.whole.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Locks the memory's file now and then, as another program may.
fn lock(file: &Path, end: &AtomicBool) -> u64 {
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut locked = 0;
    while !end.load(Ordering::Relaxed) {
        if connection.execute_batch("BEGIN IMMEDIATE").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
            connection.execute_batch("COMMIT").unwrap();
            locked += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    locked
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_end_while_models_and_memory_fail_and_nothing_leaks() {
    let seconds = std::env::var("TINY_DANCER_CHAOS_SECONDS").map_or(8, |seconds| seconds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.db");
    let (powerful_times, lightweight_times) = (Times::default(), Times::default());
    let powerful = model("big", 1, powerful_times.clone()).await;
    let lightweight = model("small", 2, lightweight_times.clone()).await;
    let text = |queue| {
        let (timeouts, file) = (timeouts(queue), file.display().to_string());
        let tables = format!(
            "{LIMITS}{timeouts}[memory]\npath = {file:?}\n[shadow]\nrate = 0.1\n[budget]\n[judge]\nkind = \"exact\"\n"
        );
        config(powerful, lightweight, "mode = \"live\"", &tables)
    };
    let texts = [text(0.02), text(0.03)];
    let mut running = Running::start(&texts[0]).await;

    let end = Arc::new(AtomicBool::new(false));
    let locking = std::thread::spawn({
        let end = Arc::clone(&end);
        let file = file.clone();
        move || lock(&file, &end)
    });
    let replacing = std::thread::spawn({
        let (end, gateway) = (Arc::clone(&end), Arc::clone(&running.gateway));
        move || {
            for text in texts.iter().cycle().skip(1).take_while(|_| !end.load(Ordering::Relaxed)) {
                let config = Config::parse(text, &|variable| Some(format!("sk-{variable}")));
                gateway.reload(config).unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    });
    // A first part fills all pools and caches, the second one is compared with it.
    let (clock, mut before) = (Clock::system(), None);
    let start = clock.tick();
    let seen = Arc::new(Seen::default());
    for part in [0.3, 1.0] {
        let part_end = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (url, part_end) = (running.url.clone(), Arc::clone(&part_end));
                tokio::spawn(send(url, number + (part * 100.0) as u64, part_end, Arc::clone(&seen)))
            })
            .collect();
        while clock.since(start).as_secs_f64() < part * f64::from(seconds) {
            // Each is down once in ten seconds. Then its circuit is open for five.
            let tenth = clock.since(start).as_millis() / 100 % 100;
            powerful_times.is_down.store((10..15).contains(&tenth), Ordering::Relaxed);
            lightweight_times.is_down.store((25..30).contains(&tenth), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        part_end.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        running.until("requests_in_flight", 0.0).await;
        let now = (descriptors(), resident_megabytes());
        println!("after {:.0} s: {} descriptors, {:.0} MB", clock.since(start).as_secs_f64(), now.0, now.1);
        before.get_or_insert(now);
    }
    // Most answers are whole before their clients hang up. Here one of them is not.
    powerful_times.is_down.store(false, Ordering::Relaxed);
    powerful_times.stalls.store(true, Ordering::Relaxed);
    while running.metric(r#"requests_total{result="cancelled"}"#).await == 0.0 {
        drop(running.ask(HARD, "").await);
        seen.made.fetch_add(1, Ordering::Relaxed);
        seen.hung_up.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.until("requests_in_flight", 0.0).await;
    end.store(true, Ordering::Relaxed);
    let locks = locking.join().unwrap();
    replacing.join().unwrap();
    let reloads = running.metric(r#"config_reloads_total{result="success"}"#).await;

    let mut ends = BTreeMap::new();
    for result in ["answered", "cancelled", "failed", "refused"] {
        ends.insert(result, running.metric(&format!(r#"requests_total{{result="{result}"}}"#)).await as u64);
    }
    let made = seen.made.load(Ordering::Relaxed);
    println!("{seen:?}, {ends:?}, locked {locks} times, replaced {reloads} times");
    assert!(locks > 0 && reloads > 1.0);
    assert_eq!(ends.values().sum::<u64>(), made, "{seen:?} {ends:?}");
    assert!(ends.values().all(|count| *count > 0), "each end is tried: {ends:?}");
    let (whole, hung_up) = (seen.whole.load(Ordering::Relaxed), seen.hung_up.load(Ordering::Relaxed));
    assert!((whole..=whole + hung_up).contains(&ends["answered"]), "{seen:?} {ends:?}");
    assert_eq!(running.metric("requests_queued").await, 0.0);

    running.stop();
    assert!((&mut running.task).await.unwrap().requests_finished, "all requests are finished");
    running.gateway.flush();
    let (descriptors_before, megabytes_before) = before.unwrap();
    // Connections to models stay open for later requests.
    assert!(descriptors() <= descriptors_before + 2 * CLIENTS as usize, "{} descriptors", descriptors());
    // Two queues of 8,192 requests fill, and what is remembered grows. In ten minutes, a leak of 1 kB a request would be more.
    let growth = resident_megabytes() - megabytes_before;
    assert!(growth < 128.0 + made as f64 / 2000.0, "{growth} MB more after {made} requests");
}
