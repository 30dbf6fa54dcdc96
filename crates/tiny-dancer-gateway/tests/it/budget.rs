//! The quality budget: what it admits, how its judgements are made, and what a judgement that is not made costs.

use crate::models::{Model, STREAM, Step, answer, chunk, events, json, send, stream};
use crate::running::{EASY, HARD, Running, chat, config, header, parsed};
use serde_json::json as value;

/// Each lightweight answer is judged.
const ALL: &str = "judge_rate = 1.0\n";
const EXACT: &str = "kind = \"exact\"\n";

/// A gateway in a mode with a budget and a judge.
async fn start(root: &str, budget: &str, judge: &str) -> (Running, Model, Model) {
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let tables = format!("[budget]\n{budget}\n[judge]\n{judge}\n");
    (Running::start(&config(powerful.port, lightweight.port, root, &tables)).await, powerful, lightweight)
}

async fn live(budget: &str, judge: &str) -> (Running, Model, Model) {
    start("mode = \"live\"", budget, judge).await
}

/// A judge that acts, and its configuration.
async fn webhook(script: Vec<Step>) -> (Model, String) {
    let judge = Model::start(script).await;
    let lines = format!("kind = \"webhook\"\nurl = \"http://127.0.0.1:{}/compare\"\n", judge.port);
    (judge, lines)
}

fn scores(lightweight: f32, powerful: f32) -> Vec<Step> {
    json("200 OK", "", &value!({"lightweight": lightweight, "powerful": powerful}).to_string())
}

fn no_verdict() -> Vec<Step> {
    json("200 OK", "", "{}")
}

fn after_wait(script: Vec<Step>) -> Vec<Step> {
    [vec![Step::Wait], script].concat()
}

/// Sends requests one after the other, each once what is allowed can be drawn. Returns why each had its model.
async fn ask(running: &Running, requests: u32) -> Vec<String> {
    let mut reasons = Vec::new();
    for _ in 0..requests {
        running.gateway.flush();
        let before = running.metric(r#"requests_total{result="answered"}"#).await;
        let response = running.ask(EASY, "").await;
        assert_eq!(response.status(), 200);
        reasons.push(header(&response, "x-tiny-dancer-reason").to_owned());
        let is_lightweight = header(&response, "x-tiny-dancer-model") == "lightweight";
        let is_admitted = reasons.last().is_some_and(|reason| reason == "confident");
        assert_eq!(is_lightweight, is_admitted);
        drop(response.bytes().await.unwrap());
        running.until(r#"requests_total{result="answered"}"#, before + 1.0).await;
    }
    reasons
}

async fn judged(running: &Running, result: &str, count: f64) {
    running.until(&format!("judgements_total{{result=\"{result}\"}}"), count).await;
}

#[tokio::test]
async fn a_budget_opens_once_enough_answers_are_delivered() {
    let (running, ..) = live("judge_rate = 0.5\nloss_rate = 0.5", EXACT).await;
    let missing = running.metric("budget_missing_answers").await;
    assert!(missing > 2.0, "{missing}");
    let mut expected = vec!["budget_spent"; missing as usize];
    expected.push("confident");
    assert_eq!(ask(&running, expected.len() as u32).await, expected);
    let spent = r#"served_total{decided="powerful",reason="budget_spent",served="powerful"}"#;
    assert_eq!(running.metric(spent).await, missing);
}

#[tokio::test]
async fn a_judgement_that_the_judge_does_not_make_is_worse_and_the_budget_recovers_by_further_answers() {
    let (_judge, lines) = webhook(no_verdict()).await;
    let (running, ..) = live(&format!("{ALL}burst = 1.0\nloss_rate = 0.1"), &lines).await;
    let evidence = running.evidence();
    let mut expected = vec!["budget_spent"; 30];
    // One is allowed at first, and one more by each ten answers.
    for admitted in [0, 9, 19, 29] {
        expected[admitted] = "confident";
    }
    for (number, expected) in expected.into_iter().enumerate() {
        assert_eq!(ask(&running, 1).await, [expected], "request {number}");
        if expected == "confident" {
            judged(&running, "undecided", (number / 9 + 1) as f64).await;
        }
    }
    assert_eq!(running.evidence(), evidence, "what is not known is no evidence");
    assert_eq!(running.metric("budget_bound_answers").await, 4.0);
    assert_eq!(running.metric(r#"budget_judgements{state="worse"}"#).await, 4.0);
}

#[tokio::test]
async fn pending_judgements_count_as_worse_until_they_are_made() {
    let (judge, lines) = webhook(after_wait(scores(0.7, 0.7))).await;
    let (running, powerful, _lightweight) = live(&format!("{ALL}burst = 2.0\nloss_rate = 0.1"), &lines).await;
    let mut expected = vec!["budget_spent"; 10];
    for admitted in [0, 1, 9] {
        expected[admitted] = "confident";
    }
    assert_eq!(ask(&running, 10).await, expected);
    assert_eq!(running.metric(r#"judgements_total{result="no_worse"}"#).await, 0.0);
    for _ in 0..3 {
        judge.go_on();
    }
    judged(&running, "no_worse", 3.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 0.0);
    assert_eq!(ask(&running, 1).await, ["confident"]);
    assert_eq!(powerful.got().len(), 7 + 4);
    let question = judge.got()[0].json();
    assert_eq!(question["lightweight"], "I am small.");
    assert_eq!((&question["powerful"], &question["question"]), (&value!("I am big."), &value!(EASY)));
}

#[tokio::test]
async fn requests_at_the_same_time_do_not_spend_the_same_money() {
    let (_judge, lines) = webhook(vec![Step::Hang]).await;
    let (running, _powerful, lightweight) =
        live(&format!("{ALL}burst = 3.0\nloss_rate = 0.01"), &lines).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let request = running.client.post(format!("{}/v1/chat/completions", running.url));
        let request = request.body(chat(EASY, "")).send();
        requests.spawn(async { drop(request.await.unwrap().bytes().await.unwrap()) });
    }
    requests.join_all().await;
    // Two at once can refuse each other.
    let lightweight = lightweight.got().len();
    assert!((1..=3).contains(&lightweight), "{lightweight}");
}

#[tokio::test]
async fn a_wrong_answer_is_worse_and_evidence_and_one_within_the_margin_is_neither() {
    let (judge, lines) = webhook(scores(0.5, 0.75)).await;
    let (running, _powerful, lightweight) = live(&format!("{ALL}margin = 0.25"), &lines).await;
    let evidence = running.evidence();
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "no_worse", 1.0).await;
    judge.acts(scores(0.25, 0.75));
    lightweight.acts(stream(&events("small", &["I am ", "wrong."], true)));
    drop(running.ask(EASY, r#","stream":true"#).await.bytes().await.unwrap());
    judged(&running, "worse", 1.0).await;
    assert_eq!(judge.got()[1].json()["lightweight"], "I am wrong.");
    assert_eq!(running.evidence(), evidence + 2);
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);
    assert_eq!(running.metric(r#"budget_settlements_total{settlement="settled"}"#).await, 2.0);
}

#[tokio::test]
async fn only_drawn_answers_are_judged_and_the_draw_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.db");
    let lines = format!("{EXACT}[memory]\npath = {:?}\n", file.display().to_string());
    let (running, powerful, lightweight) = live("judge_rate = 0.5\nburst = 1000", &lines).await;
    lightweight.acts(answer("big"));
    assert_eq!(ask(&running, 40).await, ["confident"; 40]);
    running.gateway.finish_comparisons().await;
    let count = running.metric(r#"judgements_total{result="no_worse"}"#).await;
    // With 40 coins, another number has a probability of one in a million.
    assert!((5.0..=35.0).contains(&count), "{count}");
    assert_eq!(powerful.got().len() as f64, count);
    running.gateway.flush();
    let mut draws = Vec::new();
    running.gateway.memory().log(|entry| draws.push(entry.draws.judge.unwrap())).unwrap();
    assert!(draws.iter().all(|draw| draw.probability == 0.5));
    assert_eq!((draws.len(), draws.iter().filter(|draw| draw.happened).count() as f64), (40, count));
}

#[tokio::test]
async fn a_powerful_model_that_does_not_answer_the_judge_makes_the_answer_worse() {
    let (running, powerful, _lightweight) = live(ALL, EXACT).await;
    powerful.acts(json("500 Internal Server Error", "", "{}"));
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "failed", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);
}

#[tokio::test]
async fn a_lightweight_answer_without_text_is_worse() {
    let (running, _powerful, lightweight) = live(ALL, EXACT).await;
    lightweight.acts(json("200 OK", "", r#"{"choices":[{"message":{"content":null}}]}"#));
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "undecided", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);
}

#[tokio::test]
async fn a_judgement_without_room_in_the_queue_is_not_drawn_and_the_powerful_model_answers() {
    let (judge, lines) = webhook(after_wait(scores(1.0, 1.0))).await;
    let (running, ..) = live(ALL, &format!("queue = 1\n{lines}")).await;
    assert_eq!(ask(&running, 3).await, ["confident", "budget_spent", "budget_spent"]);
    judge.go_on();
    judged(&running, "no_worse", 1.0).await;
    assert_eq!(ask(&running, 1).await, ["confident"]);
}

#[tokio::test]
async fn a_drawn_judgement_waits_for_its_turn_where_a_shadow_is_dropped() {
    let (judge, lines) = webhook(after_wait(scores(1.0, 1.0))).await;
    let lines = format!("concurrent = 1\n{lines}[shadow]\nrate = 1.0\n");
    let (running, powerful, _lightweight) = live(ALL, &lines).await;
    assert_eq!(ask(&running, 2).await, ["confident"; 2]);
    judge.until_called().await;
    drop(running.ask(HARD, "").await.bytes().await.unwrap());
    running.until(r#"shadows_total{result="dropped"}"#, 1.0).await;
    assert_eq!(powerful.got().len(), 2, "the second judgement has not begun");
    judge.go_on();
    judge.go_on();
    judged(&running, "no_worse", 2.0).await;
    assert_eq!(powerful.got().len(), 3);
}

#[tokio::test]
async fn without_money_for_a_judgement_the_powerful_model_answers() {
    let (running, _powerful, lightweight) = live(ALL, &format!("daily_cost = 0.0\n{EXACT}")).await;
    assert_eq!(ask(&running, 1).await, ["budget_spent"]);
    assert_eq!(lightweight.got().len(), 0);

    let (running, _powerful, lightweight) = live(ALL, &format!("daily_cost = 0.000001\n{EXACT}")).await;
    lightweight.acts(answer("big"));
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "no_worse", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 0.0);
    assert_eq!(ask(&running, 2).await, ["budget_spent"; 2]);
}

#[tokio::test]
async fn what_was_spent_on_a_day_is_spent_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.db");
    let tables = |cost: f64| {
        format!("daily_cost = {cost:?}\n{EXACT}[memory]\npath = {:?}\n", file.display().to_string())
    };
    let (running, powerful, lightweight) = live(ALL, &tables(1000.0)).await;
    // Of a judgement the powerful answer is paid; the lightweight one would have been anyway.
    let usage = r#""usage":{"prompt_tokens":1000000,"completion_tokens":0}"#;
    let text =
        |text| json("200 OK", "", &format!(r#"{{"choices":[{{"message":{{"content":{text}}}}}],{usage}}}"#));
    powerful.acts(text("\"big\""));
    lightweight.acts(text("\"big\""));
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "no_worse", 1.0).await;
    powerful.acts(text("null"));
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "undecided", 1.0).await;
    end(running).await;

    for (limit, expected) in [(20.0, "budget_spent"), (20.001, "confident")] {
        let (running, _powerful, lightweight) = live(ALL, &tables(limit)).await;
        lightweight.acts(answer("big"));
        assert_eq!(ask(&running, 1).await, [expected], "2 judgements have cost 10.0 each");
        end(running).await;
    }
}

/// Stops a gateway, so that another one may open its memory.
async fn end(mut running: Running) {
    running.stop();
    let Running { gateway, task, .. } = running;
    task.await.unwrap();
    gateway.close();
}

#[tokio::test]
async fn requests_that_the_lightweight_model_is_not_given_are_no_part_of_the_budget() {
    let cases = [
        ("", "", "observe"),
        ("mode = \"canary\"\ncanary_share = 0.0", "", "canary"),
        ("mode = \"live\"\nmin_evidence = 1000", "", "little_evidence"),
        ("mode = \"live\"", r#","tools":[{}]"#, "capability"),
        ("mode = \"canary\"\ncanary_share = 1.0", r#","tools":[{}]"#, "capability"),
    ];
    for (root, more, reason) in cases {
        // It allows nothing, and shows each answer.
        let (running, powerful, _lightweight) =
            start(root, &format!("{ALL}burst = 0.0\nloss_rate = 0.001"), EXACT).await;
        for _ in 0..256 {
            let response = running.ask(EASY, more).await;
            assert_eq!(header(&response, "x-tiny-dancer-decided"), "lightweight", "{reason}");
            assert_eq!(header(&response, "x-tiny-dancer-reason"), reason);
            drop(response.bytes().await.unwrap());
        }
        running.until(r#"requests_total{result="answered"}"#, 256.0).await;
        assert_eq!(running.metric("budget_answers").await, 0.0, "{reason}");
        assert_eq!(running.metric("budget_bound_answers").await, 0.0, "{reason}");
        assert_eq!(powerful.got().len(), 256, "no judge compares");
    }
}

#[tokio::test]
async fn an_admission_that_the_lightweight_model_does_not_serve_is_cancelled_and_the_answer_deposited() {
    let (running, powerful, lightweight) = live(&format!("{ALL}burst = 1.0\nloss_rate = 0.001"), EXACT).await;
    lightweight.acts(json("500 Internal Server Error", "", "{}"));
    for reason in ["lightweight_failed"; 5].into_iter().chain(["lightweight_unavailable"]) {
        running.gateway.flush();
        let response = running.ask(EASY, "").await;
        assert_eq!(header(&response, "x-tiny-dancer-decided"), "lightweight", "{reason}");
        assert_eq!(header(&response, "x-tiny-dancer-reason"), reason);
        assert_eq!(running.metric("budget_bound_answers").await, 0.0, "{reason}");
        drop(response.bytes().await.unwrap());
    }
    // Each cancellation shows the answers before it.
    assert_eq!(running.metric("budget_answers").await, 5.0);
    assert_eq!(powerful.got().len(), 6, "no judge compares");
}

#[tokio::test]
async fn in_a_canary_s_share_answers_are_judged_and_deposited() {
    let root = "mode = \"canary\"\ncanary_share = 1.0";
    let (running, _powerful, lightweight) = start(root, ALL, EXACT).await;
    lightweight.acts(answer("big"));
    assert_eq!(ask(&running, 2).await, ["confident"; 2]);
    judged(&running, "no_worse", 2.0).await;
    assert_eq!(running.metric("budget_answers").await, 2.0);
}

#[tokio::test]
async fn a_decision_without_a_call_is_never_lightweight_under_a_budget() {
    let (running, ..) = live(&format!("{ALL}burst = 1.0"), EXACT).await;
    for _ in 0..2 {
        let decision = parsed(running.post("/v1/decide", &chat(EASY, "")).await).await;
        assert_eq!((&decision["model"], &decision["decided"]), (&value!("powerful"), &value!("lightweight")));
        assert_eq!(decision["reason"], "unjudged");
    }
    assert_eq!(running.metric("budget_answers").await, 0.0);
    let (running, ..) = live(&format!("{ALL}burst = 0.0"), EXACT).await;
    let decision = parsed(running.post("/v1/decide", &chat(EASY, "")).await).await;
    assert_eq!((&decision["model"], &decision["reason"]), (&value!("powerful"), &value!("budget_spent")));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_worse() {
    let (running, powerful, lightweight) = live(ALL, EXACT).await;
    lightweight.acts(vec![send(STREAM), chunk(&events("small", &["one"], false)[0])]);
    let response = running.ask(EASY, r#","stream":true"#).await;
    assert!(response.bytes().await.is_err());
    judged(&running, "broken", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);
    assert_eq!(running.metric("budget_answers").await, 0.0);
    assert_eq!(powerful.got().len(), 0);
}

#[tokio::test]
async fn an_answer_whose_client_hangs_up_is_worse_and_before_its_first_byte_it_is_none() {
    let endless = vec![send(STREAM), Step::Endless(format!("a\r\n{}\r\n", "data: {}\n\n").into_bytes())];
    let (running, _powerful, mut lightweight) = live(ALL, EXACT).await;
    lightweight.acts(endless);
    let mut response = running.ask(EASY, r#","stream":true"#).await;
    response.chunk().await.unwrap();
    drop(response);
    lightweight.hung_up.recv().await.unwrap();
    judged(&running, "broken", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);

    let (running, _powerful, mut lightweight) = live(ALL, EXACT).await;
    lightweight.acts(vec![Step::Hang]);
    let request = tokio::time::timeout(std::time::Duration::from_millis(50), running.ask(EASY, "")).await;
    assert!(request.is_err());
    lightweight.hung_up.recv().await.unwrap();
    running.until(r#"requests_total{result="cancelled"}"#, 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 0.0);
    assert_eq!(running.metric(r#"budget_judgements{state="pending"}"#).await, 0.0);
}

#[tokio::test]
async fn judgements_that_have_begun_can_be_waited_for_at_a_stop() {
    let (judge, lines) = webhook(after_wait(scores(1.0, 1.0))).await;
    let (running, ..) = live(ALL, &lines).await;
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judge.until_called().await;
    let gateway = std::sync::Arc::clone(&running.gateway);
    let finish = tokio::spawn(async move { gateway.finish_comparisons().await });
    tokio::task::yield_now().await;
    assert!(!finish.is_finished());
    judge.go_on();
    finish.await.unwrap();
    assert_eq!(running.metric(r#"judgements_total{result="no_worse"}"#).await, 1.0);
}

#[tokio::test]
async fn an_account_is_continued_after_a_restart_and_another_promise_begins_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let (_judge, lines) = webhook(no_verdict()).await;
    let text = |budget: &str| {
        let file = folder.path().join("memory.db").display().to_string();
        let tables = format!("[budget]\n{ALL}{budget}\n[judge]\n{lines}[memory]\npath = {file:?}\n");
        config(powerful.port, lightweight.port, "mode = \"live\"", &tables)
    };
    let running = Running::start(&text("burst = 1.0")).await;
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "undecided", 1.0).await;
    end(running).await;

    let running = Running::start_empty(&text("burst = 1.0")).await;
    assert_eq!(ask(&running, 1).await, ["budget_spent"]);
    assert_eq!(running.metric("budget_bound_answers").await, 1.0);
    end(running).await;

    let running = Running::start_empty(&text("burst = 2.0")).await;
    assert_eq!(ask(&running, 1).await, ["confident"], "the promise is that of the new burst");
    judged(&running, "undecided", 1.0).await;
    assert_eq!(running.metric("budget_bound_answers").await, 2.0);
    end(running).await;

    let running = Running::start_empty(&text("burst = 1.0\ndelta = 0.01")).await;
    assert_eq!(running.metric("budget_bound_answers").await, 0.0);
    assert_eq!(ask(&running, 1).await, ["confident"]);
    end(running).await;
}

#[tokio::test]
async fn a_reload_keeps_the_account_and_cannot_change_the_budget() {
    let (_judge, lines) = webhook(no_verdict()).await;
    let (powerful, lightweight) = (Model::start(answer("big")).await, Model::start(answer("small")).await);
    let text = |root: &str, burst: f64, queue: u32| {
        let tables = format!("[budget]\n{ALL}burst = {burst:?}\n[judge]\nqueue = {queue}\n{lines}");
        let text = config(powerful.port, lightweight.port, root, &tables);
        tiny_dancer_gateway::Config::parse(&text, &|_| Some("sk".to_owned()))
    };
    let tables = format!("[budget]\n{ALL}burst = 1.0\n[judge]\n{lines}");
    let running = Running::start(&config(powerful.port, lightweight.port, "mode = \"live\"", &tables)).await;
    assert_eq!(ask(&running, 1).await, ["confident"]);
    judged(&running, "undecided", 1.0).await;
    let canary = "mode = \"canary\"\ncanary_share = 1.0";
    running.gateway.reload(text(canary, 1.0, 9)).unwrap();
    assert_eq!(ask(&running, 1).await, ["budget_spent"]);
    let error = running.gateway.reload(text(canary, 2.0, 9)).unwrap_err().to_string();
    assert!(error.starts_with("a restart is required for budget ("), "{error}");
}
