//! What is charged to the budget, and the slots of the judgements that are due. Lock-free.
//!
//! A charge is an answer that was judged and found worse, or whose judgement is pending. There are two counts: of answers
//! that were certain to be judged, and of those that were judged by chance. Admission **adds its charge first, then reads
//! both counts**, and takes the charge back if the bound is too large. These accesses are sequentially consistent, so of
//! two requests that are admitted at once, at least one reads the charge of the other, and the two cannot spend the same
//! money. Both may be refused, which is safe.
//!
//! A slot is one word, as a circuit is, with the ticket's generation beside it:
//!
//! ```text
//! bits  0..3   state
//! bit   3      judged by chance: the count to which it is charged
//! bits  4..22  the lower bits of the generation
//! bits 22..64  deadline, Unix milliseconds (42 bits: until 2109)
//! ```
//!
//! Time alone changes no slot: a slot that is still pending after its deadline has expired. Its charge remains, so no
//! request waits for a sweep.

#[cfg(test)]
use super::Rule;
use super::bound::Bound;
use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use super::{HeldTicket, Settlement, TicketState};

/// How many slots admission looks at. Slots become free about in the order in which they were taken, so if the slots
/// after the last one taken are in use, the others are too.
const PROBES: usize = 64;

/// The room of a ledger without a limit.
const UNLIMITED: u64 = u64::MAX;

/// The room of a ledger that is closed. What requests in flight give back does not open it.
const CLOSED: u64 = u64::MAX - 1;

/// How an answer is judged, which is the count to which it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Certain,
    Sampled,
}

/// The place of a drawn judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) generation: u64,
}

/// What the coin said of an admitted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    Judged(Place),
    Unjudged,
}

/// What is allowed at an admission, and when its judgement expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) allowed: f64,
    pub(super) timeout: u64,
}

/// A consistent reading of a ledger: each refund that its tickets can bring is among its charges.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) certain: u64,
    pub(super) sampled: u64,
    pub(super) entered: bool,
    pub(super) room: Option<u64>,
    /// How many leased judgements may still be drawn.
    pub(super) undrawn: u64,
    pub(super) next_generation: u64,
    pub(super) judged: u64,
    pub(super) worse: u64,
    pub(super) expired: u64,
    pub(super) tickets: Vec<HeldTicket>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// The bound on answers that are judged by chance; `None` where each answer is judged.
    bound: Option<Bound>,
    certain: AtomicU64,
    sampled: AtomicU64,
    /// Whether the logarithm is part of the bound for good.
    entered: AtomicBool,
    /// How many judgements may still be drawn, less those of requests whose coin has not fallen.
    room: AtomicU64,
    /// The generation up to which judgements are leased; 0 without leases.
    leased: AtomicU64,
    slots: Box<[Slot]>,
    /// Where the next free slot is looked for.
    cursor: AtomicUsize,
    next_generation: AtomicU64,
    judged: AtomicU64,
    worse: AtomicU64,
    /// Judgements that expired and whose slot is in use again.
    expired: AtomicU64,
    #[cfg(test)]
    pub(super) rule: Rule,
}

#[derive(Debug, Default)]
struct Slot {
    word: AtomicU64,
    generation: AtomicU64,
}

impl Ledger {
    /// A ledger with this many slots that continues from a snapshot. Tickets beyond the last slot are forfeited.
    pub(super) fn new(bound: Option<Bound>, slots: usize, from: &Snapshot) -> Self {
        let slots: Box<[Slot]> = (0..slots).map(|_| Slot::default()).collect();
        for ticket in &from.tickets {
            if let Some(slot) = slots.get(ticket.slot as usize) {
                slot.generation.store(ticket.generation, Ordering::SeqCst);
                slot.word.store(Word::of(ticket).pack(), Ordering::SeqCst);
            }
        }
        // The slots that become free first are after the one that was taken last.
        let last = from.tickets.iter().max_by_key(|ticket| ticket.generation);
        let cursor = last.map_or(0, |ticket| ticket.slot as usize + 1) % slots.len().max(1);
        Self {
            bound,
            certain: AtomicU64::new(from.certain),
            sampled: AtomicU64::new(from.sampled),
            entered: AtomicBool::new(from.entered),
            room: AtomicU64::new(from.room.unwrap_or(UNLIMITED)),
            leased: AtomicU64::new(0),
            slots,
            cursor: AtomicUsize::new(cursor),
            next_generation: AtomicU64::new(from.next_generation),
            judged: AtomicU64::new(from.judged),
            worse: AtomicU64::new(from.worse),
            expired: AtomicU64::new(from.expired),
            #[cfg(test)]
            rule: Rule::Right,
        }
    }

    /// Admits an answer of the lightweight model, or refuses it. Then `draw` draws whether it is judged.
    #[inline]
    pub(super) fn admit(
        &self,
        kind: Kind,
        terms: Terms,
        now: impl Fn() -> u64,
        draw: impl FnOnce() -> bool,
    ) -> Option<Admitted> {
        #[cfg(test)]
        if self.rule != Rule::Right {
            return self.admit_wrongly(kind, terms, now, draw);
        }
        self.charge(kind, terms.allowed).then_some(())?;
        let Some(slot) = self.reserve(terms.timeout, &now) else {
            self.count(kind).fetch_sub(1, Ordering::SeqCst);
            return None;
        };
        if kind == Kind::Sampled && !self.has_entered() {
            self.enter();
        }
        if draw() {
            return Some(Admitted::Judged(self.hold(kind, slot, now() + terms.timeout)));
        }
        self.slots[slot].word.store(Word::FREE.pack(), Ordering::Release);
        self.cursor.store(slot, Ordering::Relaxed);
        self.give_back_room();
        self.count(kind).fetch_sub(1, Ordering::SeqCst);
        Some(Admitted::Unjudged)
    }

    /// Adds the charge of one answer, unless the bound is then larger than allowed.
    #[inline]
    fn charge(&self, kind: Kind, allowed: f64) -> bool {
        let count = self.count(kind);
        let before = count.fetch_add(1, Ordering::SeqCst);
        let (certain, sampled) = match kind {
            Kind::Certain => (before + 1, self.sampled.load(Ordering::SeqCst)),
            Kind::Sampled => (self.certain.load(Ordering::SeqCst), before + 1),
        };
        let fits = self.bound_of(certain, sampled) <= allowed;
        if !fits {
            count.fetch_sub(1, Ordering::SeqCst);
        }
        fits
    }

    /// Reserves room and a slot.
    #[inline]
    fn reserve(&self, timeout: u64, now: &impl Fn() -> u64) -> Option<usize> {
        self.take_room().then_some(())?;
        let slot = self.free_slot(timeout, now);
        if slot.is_none() {
            self.give_back_room();
        }
        slot
    }

    #[inline]
    fn take_room(&self) -> bool {
        let mut room = self.room.load(Ordering::SeqCst);
        while room != UNLIMITED {
            let Some(less) = room.checked_sub(1).filter(|_| room != CLOSED) else { return false };
            match self.room.compare_exchange_weak(room, less, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(newer) => room = newer,
            }
        }
        true
    }

    fn give_back_room(&self) {
        self.add_room(1);
    }

    /// Adds to the number of judgements that may still be drawn, if it is limited.
    pub(super) fn add_room(&self, more: u64) {
        let mut room = self.room.load(Ordering::SeqCst);
        while room < CLOSED {
            let sum = room.saturating_add(more).min(CLOSED - 1);
            match self.room.compare_exchange_weak(room, sum, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(newer) => room = newer,
            }
        }
    }

    /// Sets the number of judgements that may still be drawn; `None` is unlimited.
    pub(super) fn set_room(&self, room: Option<u64>) {
        self.room.store(room.map_or(UNLIMITED, |room| room.min(CLOSED - 1)), Ordering::SeqCst);
    }

    /// Adds judgements that are stored beforehand.
    pub(super) fn grant(&self, judgements: u64) {
        // They are leased first: a snapshot in between has them.
        let given = self.next_generation.load(Ordering::SeqCst);
        let leased = self.leased.load(Ordering::SeqCst).max(given);
        self.leased.store(leased.saturating_add(judgements), Ordering::SeqCst);
        self.add_room(judgements);
    }

    /// Lets no further judgement be drawn. Requests that have room by now are charged, so that a snapshot has what they draw.
    pub(super) fn close(&self) {
        self.room.store(CLOSED, Ordering::SeqCst);
        self.leased.store(0, Ordering::SeqCst);
    }

    pub(super) fn room(&self) -> Option<u64> {
        match self.room.load(Ordering::SeqCst) {
            UNLIMITED => None,
            CLOSED => Some(0),
            room => Some(room),
        }
    }

    /// Finds a slot that is free, or whose ticket is no longer held, and reserves it.
    #[inline]
    fn free_slot(&self, timeout: u64, now: &impl Fn() -> u64) -> Option<usize> {
        let start = self.cursor.load(Ordering::Relaxed);
        for probe in 0..self.slots.len().min(PROBES) {
            let slot = (start + probe) % self.slots.len();
            let word = &self.slots[slot].word;
            let bits = word.load(Ordering::Acquire);
            let held = Word::unpack(bits);
            let free =
                held.state == State::Free || held.state != State::Reserved && held.is_over(now(), timeout);
            if free
                && word
                    .compare_exchange(bits, Word::RESERVED.pack(), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                if held.state == State::Pending {
                    self.expired.fetch_add(1, Ordering::Relaxed);
                }
                self.cursor.store((slot + 1) % self.slots.len(), Ordering::Relaxed);
                return Some(slot);
            }
        }
        None
    }

    /// Makes a reserved slot pending.
    fn hold(&self, kind: Kind, slot: usize, deadline: u64) -> Place {
        let generation = self.next_generation.fetch_add(1, Ordering::SeqCst);
        self.slots[slot].generation.store(generation, Ordering::Release);
        let word = Word { state: State::Pending, kind, generation: Word::low(generation), deadline };
        self.slots[slot].word.store(word.pack(), Ordering::Release);
        Place { slot: slot as u32, generation }
    }

    /// Settles a judgement, or corrects one that is still held.
    pub(super) fn settle(&self, place: Place, worse: bool, now: u64, timeout: u64) -> Settlement {
        let settled = self.change(place, now, timeout, |word| {
            let expired = now >= word.deadline;
            match (word.state, worse) {
                (State::Pending, _) => {
                    let state = if worse { State::Worse } else { State::Good };
                    // It was settled by the verdict now, or by its timeout before.
                    let deadline = if expired { word.deadline } else { now } + timeout;
                    let settlement = match (expired, worse) {
                        (false, _) => Settlement::Settled,
                        (true, false) => Settlement::Restored,
                        (true, true) => Settlement::Confirmed,
                    };
                    (Some(Word { state, deadline, ..word }), settlement)
                }
                (State::Good, true) => (Some(Word { state: State::Worse, ..word }), Settlement::Withdrawn),
                _ => (None, Settlement::Confirmed),
            }
        });
        let Some((word, settlement)) = settled else { return Settlement::Unknown };
        if word.state == State::Pending {
            self.judged.fetch_add(1, Ordering::Relaxed);
        }
        match settlement {
            Settlement::Settled | Settlement::Restored if !worse => {
                self.count(word.kind).fetch_sub(1, Ordering::SeqCst);
            }
            Settlement::Withdrawn => {
                self.count(word.kind).fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        if worse && word.state != State::Worse {
            self.worse.fetch_add(1, Ordering::Relaxed);
        }
        settlement
    }

    /// Takes a pending judgement back, of an answer of which no byte was delivered. Returns whether it was pending.
    ///
    /// Room that comes from a lease is not given back: the stored account may have this ticket as pending, so what is drawn
    /// in its room would not be in it.
    pub(super) fn cancel(&self, place: Place, now: u64, timeout: u64, leased: bool) -> bool {
        let cancelled = self.change(place, now, timeout, |word| {
            ((word.state == State::Pending).then_some(Word::FREE), word.state == State::Pending)
        });
        let Some((word, true)) = cancelled else { return false };
        self.count(word.kind).fetch_sub(1, Ordering::SeqCst);
        if !leased {
            self.give_back_room();
        }
        true
    }

    /// Replaces the word of a ticket that is held. Returns the word before, and what `change` returns.
    fn change<T>(
        &self,
        place: Place,
        now: u64,
        timeout: u64,
        change: impl Fn(Word) -> (Option<Word>, T),
    ) -> Option<(Word, T)> {
        let slot = self.slots.get(place.slot as usize)?;
        let mut bits = slot.word.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(bits);
            let is_held = !matches!(word.state, State::Free | State::Reserved);
            // A word that changes after the generation was read fails to be replaced.
            if !is_held
                || slot.generation.load(Ordering::Acquire) != place.generation
                || word.is_over(now, timeout)
            {
                return None;
            }
            let (next, result) = change(word);
            let Some(next) = next else { return Some((word, result)) };
            match slot.word.compare_exchange_weak(bits, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((word, result)),
                Err(newer) => bits = newer,
            }
        }
    }

    fn count(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Certain => &self.certain,
            Kind::Sampled => &self.sampled,
        }
    }

    /// The bound for these counts.
    #[inline]
    pub(super) fn bound_of(&self, certain: u64, sampled: u64) -> f64 {
        let entered = sampled > 0 || self.entered.load(Ordering::SeqCst);
        let by_chance = self.bound.as_ref().filter(|_| entered).map_or(0.0, |bound| bound.of(sampled));
        certain as f64 + by_chance
    }

    /// The bound as it is, with pending judgements as worse.
    pub(super) fn bound(&self) -> f64 {
        self.bound_of(self.certain.load(Ordering::SeqCst), self.sampled.load(Ordering::SeqCst))
    }

    /// The bound that the next admission of this kind has.
    #[inline]
    pub(super) fn next_bound(&self, kind: Kind) -> f64 {
        let (certain, sampled) = (self.certain.load(Ordering::SeqCst), self.sampled.load(Ordering::SeqCst));
        match kind {
            Kind::Certain => self.bound_of(certain + 1, sampled),
            Kind::Sampled => self.bound_of(certain, sampled + 1),
        }
    }

    /// Makes the logarithm a part of the bound, for good.
    pub(super) fn enter(&self) {
        self.entered.store(true, Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn has_entered(&self) -> bool {
        self.entered.load(Ordering::SeqCst)
    }

    /// Reads the ledger while requests continue.
    ///
    /// Leased judgements that are not drawn are counted by generations, which are read before the charges: a judgement that is
    /// drawn in between is counted and charged. `room` does not count them, since a request in flight has taken some of it and
    /// gives it back.
    ///
    /// A ticket of a generation that was not yet given when the charges were read is charged again, since its charge may
    /// have been missed. All others that are pending were charged before, and still are.
    pub(super) fn snapshot(&self, now: u64, timeout: u64) -> Snapshot {
        let room = self.room();
        let leased = self.leased.load(Ordering::SeqCst);
        let next_generation = self.next_generation.load(Ordering::SeqCst);
        let mut snapshot = Snapshot {
            room,
            undrawn: room.unwrap_or(0).max(leased.saturating_sub(next_generation)),
            next_generation,
            entered: self.has_entered(),
            certain: self.certain.load(Ordering::SeqCst),
            sampled: self.sampled.load(Ordering::SeqCst),
            judged: self.judged.load(Ordering::Relaxed),
            worse: self.worse.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            tickets: Vec::new(),
        };
        for (index, slot) in self.slots.iter().enumerate() {
            let bits = slot.word.load(Ordering::SeqCst);
            let generation = slot.generation.load(Ordering::SeqCst);
            let word = Word::unpack(bits);
            let Some(state) = word.state.ticket().filter(|_| Word::low(generation) == word.generation) else {
                continue;
            };
            if word.is_over(now, timeout) {
                snapshot.expired += u64::from(word.state == State::Pending);
                continue;
            }
            if word.state == State::Pending && generation >= next_generation {
                let count = match word.kind {
                    Kind::Certain => &mut snapshot.certain,
                    Kind::Sampled => &mut snapshot.sampled,
                };
                *count += 1;
            }
            snapshot.tickets.push(HeldTicket {
                slot: index as u32,
                generation,
                state,
                sampled: word.kind == Kind::Sampled,
                deadline: word.deadline,
            });
        }
        snapshot
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Between admission and the coin.
    Reserved,
    Pending,
    Good,
    Worse,
}

impl State {
    /// The state of a ticket that a saved account holds.
    fn ticket(self) -> Option<TicketState> {
        match self {
            Self::Free | Self::Reserved => None,
            Self::Pending => Some(TicketState::Pending),
            Self::Good => Some(TicketState::Good),
            Self::Worse => Some(TicketState::Worse),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    state: State,
    kind: Kind,
    /// The lower bits of the generation.
    generation: u64,
    /// Pending: until when the judgement is due. Settled: until when the slot is kept.
    deadline: u64,
}

impl Word {
    const FREE: Self = Self { state: State::Free, kind: Kind::Certain, generation: 0, deadline: 0 };
    const RESERVED: Self = Self { state: State::Reserved, ..Self::FREE };
    const GENERATION_BITS: u32 = 18;
    const DEADLINE_SHIFT: u32 = 4 + Self::GENERATION_BITS;

    fn of(ticket: &HeldTicket) -> Self {
        Self {
            state: match ticket.state {
                TicketState::Pending => State::Pending,
                TicketState::Good => State::Good,
                TicketState::Worse => State::Worse,
            },
            kind: if ticket.sampled { Kind::Sampled } else { Kind::Certain },
            generation: Self::low(ticket.generation),
            deadline: ticket.deadline,
        }
    }

    fn low(generation: u64) -> u64 {
        generation & ((1 << Self::GENERATION_BITS) - 1)
    }

    /// Whether the ticket is no longer held.
    fn is_over(self, now: u64, timeout: u64) -> bool {
        let kept_for = if self.state == State::Pending { timeout } else { 0 };
        now >= self.deadline + kept_for
    }

    fn pack(self) -> u64 {
        self.state as u64
            | u64::from(self.kind == Kind::Sampled) << 3
            | self.generation << 4
            | self.deadline << Self::DEADLINE_SHIFT
    }

    fn unpack(bits: u64) -> Self {
        Self {
            state: match bits & 7 {
                0 => State::Free,
                1 => State::Reserved,
                2 => State::Pending,
                3 => State::Good,
                _ => State::Worse,
            },
            kind: if bits & 8 == 0 { Kind::Certain } else { Kind::Sampled },
            generation: Self::low(bits >> 4),
            deadline: bits >> Self::DEADLINE_SHIFT,
        }
    }
}

#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "the model checker compiles the ledger again")]
#[path = "wrong.rs"]
mod wrong;
