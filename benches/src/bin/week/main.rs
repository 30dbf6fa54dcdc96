//! A simulated week of a gateway, from observing to live under a quality budget: `cargo xtask bench --week`.
//!
//! The prompts and the outcomes are measured ones, from the folder of `TINY_DANCER_DATA`: each model that acts gives an answer with
//! the score that the real one had. All else is real: HTTP, embeddings, the memory in a file, the judge's calls, the budget. Since
//! the scores are known, so is the truth: how many answers of the lightweight model were worse.
#![expect(clippy::print_stdout, reason = "the record goes to standard output")]

mod figures;
mod models;
mod traffic;

use anyhow::{Context, Result, ensure};
use models::Models;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer_gateway::{Config, Drained, Gateway, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use traffic::{DAYS, PER_DAY, Row};

/// A point of the record has so many requests.
const STEP: usize = 100;

/// Between two requests. Without it a week lasts four seconds, and leases of judgements wait for the disk most of the time.
const PAUSE: Duration = Duration::from_millis(4);

/// The promise.
const LOSS_RATE: f64 = 0.05;
const BURST: f64 = 10.0;

/// The configuration of a day: what its operator has learnt to trust.
fn settings(day: usize) -> &'static str {
    match day {
        0 | 1 => "mode = \"observe\"",
        2 => "mode = \"canary\"\ncanary_share = 0.25",
        _ => "mode = \"live\"",
    }
}

fn configuration(day: usize, models: u16, folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let model = |table: &str, [input, output]: [f64; 2]| {
        format!(
            "[{table}]\nprovider = \"openai\"\nmodel = \"{table}\"\nbase_url = \"http://127.0.0.1:{models}/v1\"\n\
             prices = {{ input = {input:?}, output = {output:?} }}\n"
        )
    };
    let judge = model("judge", models::JUDGE);
    format!(
        "version = 1\nlisten = \"127.0.0.1:0\"\n{}\nid_key_file = {:?}\n{}{}{judge}kind = \"model\"\n\
         [memory]\npath = {:?}\n[shadow]\nrate = 0.2\n[budget]\nloss_rate = {LOSS_RATE}\nburst = {BURST:?}\n",
        settings(day),
        file("key"),
        model("powerful", models::POWERFUL),
        model("lightweight", models::LIGHTWEIGHT),
        file("memory.db"),
    )
}

/// A running gateway.
struct Running {
    gateway: Arc<Gateway>,
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

impl Running {
    async fn start(text: &str) -> Result<Self> {
        let config = Config::parse(text, &|_| None)?;
        let listener = TcpListener::bind(config.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let gateway = Arc::new(Gateway::new(config, &Registry::new())?);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, Arc::clone(&gateway), async {
            // It ends also if the sender is dropped.
            let _ = stopped.await;
        }));
        Ok(Self { gateway, url, stop, task })
    }

    async fn stop(self) -> Result<()> {
        drop(self.stop);
        let drained = self.task.await?;
        ensure!(drained.requests_finished && drained.cut_off == 0, "{drained:?}");
        self.gateway.close();
        Ok(())
    }
}

/// What is known after some requests.
#[derive(Clone, Debug, Default)]
struct Point {
    requests: usize,
    /// Since the last point.
    lightweight: usize,
    /// Answers under the budget.
    answers: u64,
    /// Of the answers of the lightweight model under the budget, those that were worse. This is the truth.
    worse: u64,
    allowed: f64,
    bound: f64,
    /// The probability with which the next lightweight answer is judged.
    judge_rate: f64,
    cost: f64,
    baseline: f64,
    /// The mean score of the answers since the last point, and what the powerful model alone would have had.
    score: f64,
    powerful_score: f64,
}

/// How often the week is run: what is drawn is another sample each time.
const WEEKS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let data = std::env::var_os("TINY_DANCER_DATA")
        .context("TINY_DANCER_DATA is not set: the folder of the data")?;
    let pictures = std::env::args_os().nth(1).map(PathBuf::from);
    let rows = traffic::week(data.as_ref())?;
    let models = Models::start(&rows).await?;
    let mut weeks = Vec::new();
    for _ in 0..WEEKS {
        weeks.push(week(&rows, &models).await?);
    }
    let (points, reasons) = &weeks[0];
    if let Some(folder) = pictures {
        for (name, figure) in
            [("week-budget", figures::budget(points)), ("week-share", figures::share(points))]
        {
            let [_, png] = figure.write(name, &folder)?;
            std::fs::remove_file(png)?;
        }
    }
    let saved: Vec<f64> = weeks.iter().map(|(points, _)| saved_live(points)).collect();
    println!("{}", record(points, reasons, &saved));
    Ok(())
}

/// Runs a week, and returns its points, and how often each reason was given on each day.
async fn week(rows: &[Row], models: &Models) -> Result<(Vec<Point>, Vec<BTreeMap<String, usize>>)> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("key"), "the week's secret")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut points: Vec<Point> = Vec::new();
    let (mut now, mut spent) = (Point::default(), 0.0);
    let mut reasons: Vec<BTreeMap<String, usize>> = vec![BTreeMap::new(); DAYS];
    // Each day begins with a restart, as a deployment does.
    for day in 0..DAYS {
        let running = Running::start(&configuration(day, models.port, folder.path())).await?;
        for row in &rows[day * PER_DAY..(day + 1) * PER_DAY] {
            tokio::time::sleep(PAUSE).await;
            let reason = send(&client, &running.url, row, &mut now).await?;
            *reasons[day].entry(reason).or_default() += 1;
            ensure!(
                now.worse as f64 <= LOSS_RATE * now.answers as f64 + BURST,
                "the budget is overdrawn: {now:?}"
            );
            if now.requests.is_multiple_of(STEP) {
                let status = running.gateway.status();
                let budget = status.budget.context("the gateway has no budget")?;
                (now.allowed, now.bound, now.judge_rate) = (budget.allowed, budget.bound, budget.judge_rate);
                now.cost = spent + status.cost;
                let point = now.clone();
                (now.lightweight, now.score, now.powerful_score) = (0, 0.0, 0.0);
                points.push(point);
            }
        }
        running.stop().await?;
        spent = points.last().map_or(0.0, |point| point.cost);
    }
    Ok((points, reasons))
}

/// The share of the cost that was saved since the first live day.
fn saved_live(points: &[Point]) -> f64 {
    let first = (0..DAYS).find(|day| settings(*day).contains("live")).unwrap_or(0);
    let (before, last) = (&points[first * PER_DAY / STEP - 1], &points[points.len() - 1]);
    1.0 - (last.cost - before.cost) / (last.baseline - before.baseline)
}

/// Sends a request and counts what came. Returns the reason.
async fn send(client: &reqwest::Client, url: &str, row: &Row, now: &mut Point) -> Result<String> {
    let body = json!({ "model": "auto", "messages": [{ "role": "user", "content": row.prompt }] });
    let request = client.post(format!("{url}/v1/chat/completions"));
    let response = request.header("content-type", "application/json").body(body.to_string()).send().await?;
    ensure!(response.status().is_success(), "{}", response.status());
    let header = |name: &str| -> Result<String> {
        Ok(response.headers().get(name).with_context(|| format!("no {name}"))?.to_str()?.to_owned())
    };
    let (served, reason) = (header("x-tiny-dancer-model")?, header("x-tiny-dancer-reason")?);
    response.bytes().await?;
    let is_lightweight = served == "lightweight";
    now.requests += 1;
    now.lightweight += usize::from(is_lightweight);
    if reason != "observe" && reason != "canary" {
        now.answers += 1;
    }
    now.worse += u64::from(is_lightweight && row.lightweight < row.powerful);
    now.score += if is_lightweight { row.lightweight } else { row.powerful };
    now.powerful_score += row.powerful;
    now.baseline += models::cost(models::POWERFUL, &row.prompt);
    Ok(reason)
}

fn record(points: &[Point], reasons: &[BTreeMap<String, usize>], saved: &[f64]) -> Value {
    let per_day = PER_DAY / STEP;
    let days = (0..DAYS).map(|day| {
        let of_day = &points[day * per_day..(day + 1) * per_day];
        let before = day.checked_sub(1).map(|day| &points[(day + 1) * per_day - 1]);
        let last = &of_day[per_day - 1];
        let sum = |of: fn(&Point) -> f64| of_day.iter().map(of).sum::<f64>();
        let since = |of: fn(&Point) -> f64| of(last) - before.map_or(0.0, of);
        json!({
            "mode": settings(day).split('"').nth(1),
            "traffic": traffic::name(day),
            "lightweight_share": sum(|point| point.lightweight as f64) / PER_DAY as f64,
            "score": sum(|point| point.score) / PER_DAY as f64,
            "powerful_score": sum(|point| point.powerful_score) / PER_DAY as f64,
            "worse": since(|point| point.worse as f64),
            "cost": since(|point| point.cost),
            "baseline": since(|point| point.baseline),
            "reasons": reasons[day],
        })
    });
    let points = points.iter().map(|point| {
        let Point { requests, answers, worse, allowed, bound, judge_rate, cost, baseline, .. } = point;
        json!([requests, answers, worse, allowed, bound, judge_rate, cost, baseline])
    });
    json!({
        "loss_rate": LOSS_RATE, "burst": BURST, "requests_a_day": PER_DAY,
        "saved_live_by_week": saved,
        "days": days.collect::<Vec<_>>(),
        "columns": ["requests", "answers", "worse", "allowed", "bound", "judge_rate", "cost", "baseline"],
        "points": points.collect::<Vec<_>>(),
    })
}
