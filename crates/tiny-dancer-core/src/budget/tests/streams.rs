//! Whole streams of requests against the truth: how often is a budget overdrawn?

use super::*;
use std::collections::VecDeque;

/// How a stream chooses which of the lightweight answers are worse. It sees all coins before.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// All of them.
    AlwaysWorse,
    /// One in ten.
    OneInTen,
    /// All, as long as fewer were found than the probability says; then none.
    WhileLucky,
    /// Bad times and good times of 200 requests.
    Waves,
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    judge_rate: JudgeRate,
    burst: f64,
    max_judgements: u32,
    /// How many requests later the verdict comes, and the share of verdicts that never come.
    delay: usize,
    lost: f64,
    rule: Rule,
}

impl Setting {
    const USUAL: Self = Self {
        judge_rate: JudgeRate::Fixed(0.2),
        burst: 10.0,
        max_judgements: 1024,
        delay: 20,
        lost: 0.0,
        rule: Rule::Right,
    };
}

/// A small generator, so that the streams are the same each time.
struct Chance(u64);

impl Chance {
    fn happens(&mut self, probability: f64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }
}

/// One stream: whether there were ever more worse answers than allowed, and the lightweight share.
fn run(stream: Stream, setting: Setting, seed: u64) -> (bool, f64) {
    const LENGTH: u64 = 4000;
    let (clock, manual) = Clock::manual(1_700_000_000);
    let budget = QualityBudget {
        judge_rate: setting.judge_rate,
        burst: setting.burst,
        max_judgements: setting.max_judgements,
        judgement_timeout: Duration::from_secs(1000),
        ..Default::default()
    };
    let mut account = Account::new(&budget, clock).unwrap();
    account.ledger.rule = setting.rule;
    let coin = Coin::new(Seed::new([seed.to_le_bytes(), [7; 8]].concat().try_into().unwrap()));
    let mut chance = Chance(seed);
    let mut due: VecDeque<(u64, Ticket, bool)> = VecDeque::new();
    let (mut worse, mut lightweight, mut overdrawn) = (0_u64, 0_u64, false);
    // Of the worse answers: the sum of the probabilities that they are judged, and how many are.
    let (mut expected, mut found) = (0.0, 0.0);
    for number in 0..LENGTH {
        manual.advance(Duration::from_secs(1));
        while due.front().is_some_and(|&(at, ..)| at <= number) {
            let (_, ticket, is_worse) = due.pop_front().unwrap();
            if !chance.happens(setting.lost) {
                account.settle(&ticket, is_worse);
            }
        }
        let is_worse = match stream {
            Stream::AlwaysWorse => true,
            Stream::OneInTen => chance.happens(0.1),
            Stream::WhileLucky => found <= expected,
            Stream::Waves => number / 200 % 2 == 0 && chance.happens(0.6),
        };
        if let Some(ticket) = account.admit(0.9, |q| coin.draw(number, Purpose::Judge, q)) {
            lightweight += 1;
            worse += u64::from(is_worse);
            if is_worse {
                expected += ticket.judge.probability;
                found += f64::from(u8::from(ticket.judge.happened));
            }
            if ticket.judge.happened {
                due.push_back((number + setting.delay as u64, ticket, is_worse));
            }
        }
        account.answered();
        overdrawn |= worse as f64 > budget.loss_rate * (number + 1) as f64 + budget.burst;
    }
    (overdrawn, lightweight as f64 / LENGTH as f64)
}

const STREAMS: u64 = 400;
const ALL: [Stream; 4] = [Stream::AlwaysWorse, Stream::OneInTen, Stream::WhileLucky, Stream::Waves];

fn overdrawn(stream: Stream, setting: Setting) -> u64 {
    (0..STREAMS).map(|seed| u64::from(run(stream, setting, seed).0)).sum()
}

/// `delta` of the streams, and three standard deviations more.
fn most() -> f64 {
    let expected = STREAMS as f64 * 0.05;
    expected + 3.0 * (expected * 0.95).sqrt()
}

#[test]
fn a_budget_is_overdrawn_in_at_most_delta_of_all_streams() {
    for judge_rate in [JudgeRate::Fixed(0.2), JudgeRate::Fixed(0.5), JudgeRate::Adaptive { floor: 0.2 }] {
        for stream in ALL {
            for delay in [0, 100] {
                let setting = Setting { judge_rate, delay, ..Setting::USUAL };
                let overdrawn = overdrawn(stream, setting);
                assert!(overdrawn as f64 <= most(), "{overdrawn} of {STREAMS}: {stream:?}, {setting:?}");
            }
        }
    }
}

#[test]
fn a_budget_whose_answers_are_all_judged_is_never_overdrawn() {
    for stream in ALL {
        let setting = Setting { judge_rate: JudgeRate::Fixed(1.0), lost: 0.1, delay: 100, ..Setting::USUAL };
        assert_eq!(overdrawn(stream, setting), 0, "{stream:?}");
    }
}

#[test]
fn lost_verdicts_and_a_shortage_of_slots_do_not_overdraw() {
    for (lost, max_judgements) in [(0.1, 1024), (0.0, 3)] {
        let setting = Setting { lost, max_judgements, delay: 50, ..Setting::USUAL };
        let overdrawn = overdrawn(Stream::AlwaysWorse, setting);
        assert!(overdrawn as f64 <= most(), "{overdrawn} of {STREAMS}: {setting:?}");
    }
}

/// The rules that were found wrong overdraw nearly always, so these tests would notice them.
#[test]
fn each_wrong_rule_overdraws_nearly_always() {
    let pending = Setting { rule: Rule::OneForEachPending, delay: 400, burst: 40.0, ..Setting::USUAL };
    let coin = Setting { rule: Rule::CoinFirst, ..Setting::USUAL };
    let dropped = Setting { rule: Rule::DropDrawn, max_judgements: 1, delay: 400, ..Setting::USUAL };
    for setting in [pending, coin, dropped] {
        let overdrawn = overdrawn(Stream::AlwaysWorse, setting);
        assert!(overdrawn as f64 >= 0.9 * STREAMS as f64, "{overdrawn} of {STREAMS}: {setting:?}");
    }
}

/// Requests whose confidences are evenly spread and right: of those with confidence `c` a share `1 - c` is worse.
fn requests(seed: u64) -> Vec<(f32, bool)> {
    let mut chance = Chance(seed + 1000);
    let confidence = |chance: &mut Chance| {
        (0..20).fold(0.0_f32, |sum, bit| sum + if chance.happens(0.5) { 0.5_f32.powi(bit + 1) } else { 0.0 })
    };
    (0..4000)
        .map(|_| {
            let confidence = confidence(&mut chance);
            (confidence, chance.happens(f64::from(1.0 - confidence)))
        })
        .collect()
}

/// The largest lightweight share of a fixed threshold that loses no more than is allowed, known afterwards.
fn best_fixed(requests: &[(f32, bool)], allowed: f64) -> f64 {
    let mut ordered = requests.to_vec();
    ordered.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut lost = 0.0;
    let kept = ordered.iter().take_while(|(_, worse)| {
        lost += f64::from(u8::from(*worse));
        lost <= allowed
    });
    kept.count() as f64 / requests.len() as f64
}

/// The lightweight share of a paced account over that of the best fixed threshold, on average.
fn paced(judge_rate: JudgeRate, delay: usize) -> f64 {
    const FIRST: Thresholds = Thresholds { confidence_threshold: 0.85, max_uncertainty: 1.0 };
    let ratio = |seed| {
        let budget = QualityBudget { judge_rate, ..Default::default() };
        let account = Account::new(&budget, Clock::manual(0).0).unwrap();
        let coin = Coin::new(Seed::new([9; 16]));
        let (requests, mut lightweight) = (requests(seed), 0);
        let mut due: VecDeque<(usize, Ticket, bool)> = VecDeque::new();
        for (number, &(confidence, worse)) in requests.iter().enumerate() {
            while due.front().is_some_and(|&(at, ..)| at <= number) {
                let (_, ticket, worse) = due.pop_front().unwrap();
                account.settle(&ticket, worse);
            }
            let passes = account.thresholds(FIRST).reason(confidence, 0.0) == crate::Reason::Confident;
            let draw = |q| coin.draw(seed << 32 | number as u64, Purpose::Judge, q);
            if passes && let Some(ticket) = account.admit(confidence, draw) {
                lightweight += 1;
                due.push_back((number + delay, ticket, worse));
            }
            account.decided(FIRST, passes.then_some(confidence));
            account.answered();
        }
        let length = requests.len() as f64;
        f64::from(lightweight) / length / best_fixed(&requests, budget.loss_rate * length + budget.burst)
    };
    (0..20).map(ratio).sum::<f64>() / 20.0
}

#[test]
fn where_each_answer_is_judged_pacing_nearly_reaches_the_share_of_the_best_fixed_threshold() {
    let ratio = paced(JudgeRate::Fixed(1.0), 0);
    assert!(ratio >= 0.95, "{ratio}");
}

#[test]
fn where_one_answer_in_five_is_judged_pacing_reaches_half_of_that_share() {
    for judge_rate in [JudgeRate::Fixed(0.2), JudgeRate::Adaptive { floor: 0.2 }] {
        let ratio = paced(judge_rate, 20);
        assert!(ratio >= 0.5, "{ratio}: {judge_rate:?}");
    }
}
