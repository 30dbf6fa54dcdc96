//! What earlier exchanges of a conversation cost the decision on its last question, on measured prompts. The data is not part of the
//! repository; the test prints the figures of docs/gateway.md.

use crate::models::{Model, answer};
use crate::running::{Running, config, parsed, remember_one};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::Path;
use tiny_dancer_memory::Verdict;

const PAIR: [&str; 2] = ["llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct"];
/// The other rows are remembered.
const QUESTIONS: usize = 1000;

struct Row {
    prompt: String,
    verdict: Verdict,
}

fn read(folder: &Path) -> Vec<Row> {
    let file = std::fs::File::open(folder.join("dcrouter.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(file).unwrap()).unwrap();
    let row = |line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let [lightweight, powerful] = PAIR.map(|model| row["scores"][model].as_f64().unwrap() as f32);
        Row {
            prompt: row["prompt"].as_str().unwrap().to_owned(),
            verdict: Verdict::judged(lightweight, powerful),
        }
    };
    text.lines().map(row).collect()
}

/// The probability that a question whose lightweight answer is worse has the lower confidence of two.
fn auc(judged: &[(f64, bool)]) -> f64 {
    let of = |worse: bool| judged.iter().filter(move |(_, is_worse)| *is_worse == worse);
    let (mut won, mut pairs) = (0.0, 0.0);
    for (bad, _) in of(true) {
        for (good, _) in of(false) {
            pairs += 1.0;
            won += if good > bad { 1.0 } else { f64::from(u8::from(good == bad)) / 2.0 };
        }
    }
    won / pairs
}

#[tokio::test]
async fn earlier_exchanges_of_real_rows_make_a_confidence_say_less_about_the_last_question() {
    let Some(folder) = std::env::var_os("TINY_DANCER_DATA") else {
        eprintln!("SKIPPED: TINY_DANCER_DATA is not set: the folder of routing data");
        return;
    };
    let mut rows = read(folder.as_ref());
    rows.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
    let remembered = rows.split_off(QUESTIONS);
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let running = Running::start_empty(&config(powerful.port, lightweight.port, "", "")).await;
    for row in &remembered {
        remember_one(&running.gateway, &row.prompt, row.verdict);
    }
    let mut areas = Vec::new();
    for exchanges in [0, 1, 2, 4, 8] {
        let mut judged = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            // What was asked before is about something else, and so are the answers.
            let before = (0..exchanges).flat_map(|back| {
                let other = &remembered[(number * 8 + back) % remembered.len()].prompt;
                [
                    json!({ "role": "user", "content": other }),
                    json!({ "role": "assistant", "content": "I see." }),
                ]
            });
            let messages: Vec<_> = before.chain([json!({ "role": "user", "content": row.prompt })]).collect();
            let decided = running.post("/v1/decide", &json!({ "messages": messages }).to_string()).await;
            let confidence = parsed(decided).await["confidence"].as_f64().unwrap();
            let Verdict { lightweight, powerful, .. } = row.verdict;
            judged.push((confidence, powerful.is_some_and(|powerful| lightweight < powerful)));
        }
        areas.push(auc(&judged));
        eprintln!("{exchanges} exchanges before: AUC {:.3}", auc(&judged));
    }
    assert!(areas[0] > 0.55, "the lone question is judged better than by chance: {areas:?}");
}
