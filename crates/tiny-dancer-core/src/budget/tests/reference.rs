//! The rule, written from the formulas of the design, one answer after the other and without any thought of speed.

use crate::budget::{JudgeRate, QualityBudget, Settlement};

/// An answer of the lightweight model.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    q: f64,
    drawn: bool,
    deadline: u64,
    /// The first verdict and its time.
    first: Option<(bool, u64)>,
    /// Whether any verdict was worse.
    worse: bool,
    cancelled: bool,
}

impl Answer {
    /// Whether it counts as judged and found worse, or is pending.
    fn is_charged(&self) -> bool {
        let is_good = matches!(self.first, Some((false, _))) && !self.worse;
        self.drawn && !self.cancelled && !is_good
    }
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    budget: QualityBudget,
    pub(super) answers: Vec<Answer>,
    pub(super) delivered: u64,
    entered: bool,
}

impl Reference {
    pub(super) fn new(budget: &QualityBudget) -> Self {
        let entered = matches!(budget.judge_rate, JudgeRate::Fixed(q) if q < 1.0);
        Self { budget: budget.clone(), answers: Vec::new(), delivered: 0, entered }
    }

    fn timeout(&self) -> u64 {
        self.budget.judgement_timeout.as_millis() as u64
    }

    fn is_held(&self, answer: &Answer, now: u64) -> bool {
        let settled = answer.first.map_or(answer.deadline, |(_, at)| at.min(answer.deadline));
        answer.drawn && !answer.cancelled && now < settled + self.timeout()
    }

    /// `U`, with `more` answers of probability `q` as if they were judged and found worse.
    pub(super) fn bound_with(&self, more: u64, q: f64) -> f64 {
        let charged = self.answers.iter().filter(|answer| answer.is_charged()).map(|answer| answer.q);
        let rates: Vec<f64> = charged.chain((0..more).map(|_| q)).collect();
        let certain = rates.iter().filter(|&&q| q == 1.0).count() as f64;
        let least = match self.budget.judge_rate {
            JudgeRate::Adaptive { floor } => floor,
            JudgeRate::Fixed(q) => q,
        };
        let sampled: Vec<f64> = rates.into_iter().filter(|&q| q < 1.0).collect();
        if sampled.is_empty() && !self.entered {
            return certain;
        }
        let thetas = (0..7).map(|i| 0.85 * -(1.0 - least).ln() / 2.0_f64.powi(i));
        let by_chance = thetas.map(|theta| {
            let s = |q: f64| -(1.0 - (1.0 - (-theta).exp()) / q).ln();
            (sampled.iter().map(|&q| s(q)).sum::<f64>() + (7.0 / self.budget.delta).ln()) / theta
        });
        certain + by_chance.fold(f64::INFINITY, f64::min)
    }

    pub(super) fn allowed(&self, delivered: u64) -> f64 {
        self.budget.loss_rate * delivered as f64 + self.budget.burst
    }

    /// By how much the next answer fits the budget, and the probability with which it is judged.
    pub(super) fn next(&self) -> (f64, f64) {
        let slack = |q| self.allowed(self.delivered + 1) - self.bound_with(1, q);
        match self.budget.judge_rate {
            JudgeRate::Fixed(q) => (slack(q), q),
            JudgeRate::Adaptive { floor } if self.entered || slack(floor) >= 0.0 => (slack(floor), floor),
            JudgeRate::Adaptive { .. } => (slack(1.0), 1.0),
        }
    }

    pub(super) fn has_slot(&self, now: u64) -> bool {
        let held = self.answers.iter().filter(|answer| self.is_held(answer, now)).count();
        held < self.budget.max_judgements as usize
    }

    pub(super) fn admit(&mut self, q: f64, drawn: bool, now: u64) {
        self.entered |= q < 1.0;
        let deadline = now + self.timeout();
        self.answers.push(Answer { q, drawn, deadline, first: None, worse: false, cancelled: false });
    }

    pub(super) fn settle(&mut self, answer: usize, worse: bool, now: u64) -> Settlement {
        let held = self.is_held(&self.answers[answer], now);
        let answer = &mut self.answers[answer];
        if !answer.drawn {
            return Settlement::Undrawn;
        }
        if !held {
            return Settlement::Unknown;
        }
        let expired = now >= answer.deadline;
        let was_good = matches!(answer.first, Some((false, _))) && !answer.worse;
        let settlement = match answer.first {
            None if !expired => Settlement::Settled,
            None if !worse => Settlement::Restored,
            Some(_) if was_good && worse => Settlement::Withdrawn,
            _ => Settlement::Confirmed,
        };
        answer.first.get_or_insert((worse, now));
        answer.worse |= worse;
        settlement
    }

    pub(super) fn cancel(&mut self, answer: usize, now: u64) -> bool {
        let held = self.is_held(&self.answers[answer], now);
        let answer = &mut self.answers[answer];
        let cancelled = held && answer.first.is_none();
        answer.cancelled |= cancelled;
        cancelled
    }

    pub(super) fn pending(&self, now: u64) -> u64 {
        let is_pending = |answer: &&Answer| {
            answer.drawn && !answer.cancelled && answer.first.is_none() && now < answer.deadline
        };
        self.answers.iter().filter(is_pending).count() as u64
    }
}
