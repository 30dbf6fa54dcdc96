//! Both models and the judge, which act: an answer says the score that the real model had, and the judge compares scores.

use crate::traffic::Row;
use anyhow::Result;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Prices of a million tokens, input and output: about those of a large and of a small model of one vendor.
pub(crate) const POWERFUL: [f64; 2] = [2.5, 10.0];
pub(crate) const LIGHTWEIGHT: [f64; 2] = [0.15, 0.6];
pub(crate) const JUDGE: [f64; 2] = [0.4, 1.6];

/// The tokens of an answer.
const OUTPUT: usize = 200;

/// The judge thinks, so that verdicts come some requests late: some twenty in this week, which lasts a minute.
const THINKS: Duration = Duration::from_millis(80);

/// Models that listen at a port.
pub(crate) struct Models {
    pub(crate) port: u16,
}

/// About four bytes are a token.
fn tokens(text: &str) -> usize {
    text.len() / 4 + 8
}

/// The price of an answer.
pub(crate) fn cost([input, output]: [f64; 2], prompt: &str) -> f64 {
    (tokens(prompt) as f64 * input + OUTPUT as f64 * output) / 1e6
}

impl Models {
    pub(crate) async fn start(week: &[Row]) -> Result<Self> {
        let rows: HashMap<String, Row> = week.iter().map(|row| (row.prompt.clone(), row.clone())).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let service = Router::new().route("/v1/chat/completions", post(answer)).with_state(Arc::new(rows));
        // It ends with the program.
        tokio::spawn(axum::serve(listener, service).into_future());
        Ok(Self { port })
    }
}

async fn answer(
    State(rows): State<Arc<HashMap<String, Row>>>,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, String)> {
    let refused = |what: &str| (StatusCode::BAD_REQUEST, what.to_owned());
    let body: Value = serde_json::from_slice(&body).map_err(|error| refused(&error.to_string()))?;
    let prompt = body["messages"][0]["content"].as_str().ok_or_else(|| refused("no content"))?;
    let (text, output) = match body["model"].as_str() {
        Some("judge") => {
            tokio::time::sleep(THINKS).await;
            (verdict(prompt).ok_or_else(|| refused("no scores"))?.to_owned(), 2)
        }
        model => {
            let row = rows.get(prompt).ok_or_else(|| refused("another prompt"))?;
            let score = if model == Some("powerful") { row.powerful } else { row.lightweight };
            (format!("SCORE {score}"), OUTPUT)
        }
    };
    Ok(Json(json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": tokens(prompt), "completion_tokens": output, "total_tokens": tokens(prompt) + output },
    })))
}

/// The judge's word on the scores of two answers.
fn verdict(prompt: &str) -> Option<&'static str> {
    let mut scores =
        prompt.rsplitn(3, "SCORE ").take(2).map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    let (b, a) = (scores.next()??, scores.next()??);
    Some(match a.total_cmp(&b) {
        std::cmp::Ordering::Greater => "A",
        std::cmp::Ordering::Less => "B",
        std::cmp::Ordering::Equal => "TIE",
    })
}
