//! A process whose requests draw judgements of a quality budget is killed at random moments. The account that it leaves charges all
//! that it drew, but for what was refunded.

use crate::killed::{kills, start};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;
use tiny_dancer_core::budget::JudgeRate;
use tiny_dancer_core::{QualityBudget, Router, RouterConfig};
use tiny_dancer_memory::{Context, Keeping, Memory, MemoryConfig, Reader, SqliteReader, Verdict};

/// The variable by which a process knows the file that it writes.
const FILE: &str = "TINY_DANCER_LEASED_FILE";

/// A budget that each answer fits, so that only leases limit what is drawn.
fn router() -> Router {
    let budget = QualityBudget {
        judge_rate: JudgeRate::Fixed(1.0),
        burst: 1e9,
        judgement_timeout: Duration::from_secs(1),
        ..Default::default()
    };
    Router::new(RouterConfig { budget: Some(budget), explore: 1.0, ..Default::default() }).unwrap()
}

/// The process that is killed. As a test it does nothing.
#[test]
fn draws_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let memory = Memory::open_with(path, MemoryConfig::default()).unwrap();
    let mut router = router();
    if let Some(state) = memory.stored_account().unwrap() {
        router.restore_account(&state).unwrap();
    }
    let _keeper = memory.keep_account(&router, Keeping::default()).unwrap();
    let say = |word: &str| {
        println!("account {word}");
        std::io::stdout().flush().unwrap();
    };
    for number in 0.. {
        let answer = memory.route(router.begin(), &[0.6, 0.8], Context::default()).unwrap();
        if answer.response.ticket.is_none() {
            // It waits for the next lease.
            memory.flush().unwrap();
        } else {
            say("drawn");
            if number % 2 == 0 {
                say("refunded");
                memory.record(&router, answer.id, Verdict::judged(1.0, 1.0)).unwrap();
            }
        }
    }
}

/// The charges of the stored account, if there is one.
fn charged(path: &Path) -> u64 {
    let account = SqliteReader::open(path).and_then(|reader| reader.account());
    account.ok().flatten().map_or(0, |state| state.certain)
}

#[test]
fn the_account_that_a_kill_leaves_charges_all_that_was_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let (mut drawn, mut refunded) = (0_u64, 0_u64);
    for kill in 0..kills() / 2 {
        let mut child = start("leased::draws_until_it_is_killed", FILE, &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut count = |line: &str| {
            drawn += u64::from(line.contains("account drawn"));
            refunded += u64::from(line.contains("account refunded"));
        };
        for _ in 0..(kill * 37) % 200 {
            count(&lines.next().expect("it ends only when it is killed").unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| count(&line));
        assert!(charged(&path) + refunded >= drawn, "{} of {drawn}, {refunded} refunded", charged(&path));
    }
    assert!(drawn > 100);
}
