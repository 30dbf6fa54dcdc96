//! The wrong rules: each was once taken for right. Tests show that they overdraw.

use super::{Admitted, Kind, Ledger, Ordering, Rule, State, Terms, Word};

impl Ledger {
    pub(super) fn admit_wrongly(
        &self,
        kind: Kind,
        terms: Terms,
        now: impl Fn() -> u64,
        draw: impl FnOnce() -> bool,
    ) -> Option<Admitted> {
        let (certain, sampled) = (self.certain.load(Ordering::SeqCst), self.sampled.load(Ordering::SeqCst));
        let hold = |slot| Some(Admitted::Judged(self.hold(kind, slot, now() + terms.timeout)));
        match self.rule {
            Rule::Right => unreachable!("it is not wrong"),
            Rule::OneForEachPending => {
                let is_pending = |word: Word| word.state == State::Pending && now() < word.deadline;
                let words = self.slots.iter().map(|slot| Word::unpack(slot.word.load(Ordering::SeqCst)));
                let pending = words.filter(|word| is_pending(*word)).count() as u64;
                // Only its own charge counts in full.
                let bound = self.bound_of(certain, sampled + 1 - pending.min(sampled)) + pending as f64;
                (bound <= terms.allowed).then_some(())?;
                let slot = self.reserve(terms.timeout, &now)?;
                if draw() {
                    self.count(kind).fetch_add(1, Ordering::SeqCst);
                    return hold(slot);
                }
                self.slots[slot].word.store(Word::FREE.pack(), Ordering::SeqCst);
                Some(Admitted::Unjudged)
            }
            Rule::CoinFirst => {
                if !draw() {
                    return Some(Admitted::Unjudged);
                }
                self.charge(kind, terms.allowed).then_some(())?;
                hold(self.reserve(terms.timeout, &now)?)
            }
            Rule::DropDrawn => {
                self.charge(kind, terms.allowed).then_some(())?;
                let place = draw().then(|| self.reserve(terms.timeout, &now)).flatten();
                if let Some(slot) = place {
                    return hold(slot);
                }
                self.count(kind).fetch_sub(1, Ordering::SeqCst);
                Some(Admitted::Unjudged)
            }
            Rule::ReadFirst => {
                let bound = match kind {
                    Kind::Certain => self.bound_of(certain + 1, sampled),
                    Kind::Sampled => self.bound_of(certain, sampled + 1),
                };
                (bound <= terms.allowed).then_some(())?;
                let slot = self.reserve(terms.timeout, &now)?;
                self.count(kind).fetch_add(1, Ordering::SeqCst);
                if draw() {
                    return hold(slot);
                }
                self.slots[slot].word.store(Word::FREE.pack(), Ordering::SeqCst);
                self.count(kind).fetch_sub(1, Ordering::SeqCst);
                Some(Admitted::Unjudged)
            }
        }
    }
}
