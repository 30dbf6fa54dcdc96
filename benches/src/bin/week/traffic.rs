//! The traffic of the week: rows of the data, whose outcomes are measured.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

pub(crate) const DAYS: usize = 7;
pub(crate) const PER_DAY: usize = 1500;

/// A request, and the scores of both answers.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) prompt: String,
    pub(crate) lightweight: f64,
    pub(crate) powerful: f64,
}

/// What is sent on a day.
pub(crate) fn name(day: usize) -> &'static str {
    match day {
        4 => "exams",
        5 => "half exams",
        _ => "mixed",
    }
}

/// The week's requests: mixed ones; on the fifth day exams, which are harder and which another pair of models answers, as after a
/// change of both; on the sixth half of each. The router's model has seen none of their outcomes.
pub(crate) fn week(data: &Path) -> Result<Vec<Row>> {
    let own = ("lightweight_correct", "powerful_correct");
    let mut mixed = read(&data.join("routellm.jsonl.zst"), own, |row| row["split"] == "test")?;
    let pair = ("llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct");
    mixed.extend(read(&data.join("dcrouter.jsonl.zst"), pair, |_| true)?);
    let pair = ("Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct");
    let mut exams = read(&data.join("mmlu-pro.jsonl.zst"), pair, |_| true)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    mixed.shuffle(&mut rng);
    exams.shuffle(&mut rng);
    // A prompt has one pair of answers.
    let mut seen = HashSet::new();
    for rows in [&mut mixed, &mut exams] {
        rows.retain(|row| seen.insert(row.prompt.clone()));
    }
    let mut week = Vec::new();
    for day in 0..DAYS {
        let exams_today = match name(day) {
            "exams" => PER_DAY,
            "half exams" => PER_DAY / 2,
            _ => 0,
        };
        ensure!(
            exams.len() >= exams_today && mixed.len() >= PER_DAY - exams_today,
            "the data has too few rows"
        );
        let mut today = exams.split_off(exams.len() - exams_today);
        today.extend(mixed.split_off(mixed.len() - (PER_DAY - exams_today)));
        today.shuffle(&mut rng);
        week.extend(today);
    }
    Ok(week)
}

fn read(
    file: &Path,
    (lightweight, powerful): (&str, &str),
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Row>> {
    let name = || file.display().to_string();
    let text = zstd::decode_all(std::fs::File::open(file).with_context(name)?).with_context(name)?;
    let mut rows = Vec::new();
    for line in std::str::from_utf8(&text)?.lines() {
        let row: Value = serde_json::from_str(line).with_context(name)?;
        if !wanted(&row) {
            continue;
        }
        let score = |model: &str| row[model].as_f64().or_else(|| row["scores"][model].as_f64());
        let prompt = row["prompt"].as_str();
        if let (Some(prompt), Some(lightweight), Some(powerful)) =
            (prompt, score(lightweight), score(powerful))
        {
            rows.push(Row { prompt: prompt.to_owned(), lightweight, powerful });
        }
    }
    Ok(rows)
}
