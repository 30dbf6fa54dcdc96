//! Random draws that can be computed again by those who hold the seed, and that others cannot predict.
//!
//! A router with a rate above 0 ([`RouterConfig::explore`](crate::RouterConfig::explore),
//! [`RouterConfig::shadow_rate`](crate::RouterConfig::shadow_rate)) numbers its decided requests, from a random 64-bit number
//! on. The draws of a request follow from the seed and its number, and the number is in the response. Which request gets which
//! number depends on the order in which they come in: in a batch with the feature `parallel`, on the order of the threads.

use crate::names::names;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;

/// What a draw decides. Draws of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Purpose {
    /// Whether a lightweight answer is judged a second time.
    Audit,
    /// Whether a request that would go to the powerful model goes to the lightweight one.
    Explore,
    /// Whether a lightweight answer is judged.
    Judge,
    /// Whether the lightweight model answers too, for comparison only.
    Shadow,
}

names!(Purpose, "purpose", {
    Audit => "audit",
    Explore => "explore",
    Judge => "judge",
    Shadow => "shadow",
});

/// The secret from which a [`Coin`] draws. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Seed([u8; 16]);

impl Seed {
    /// A seed from sixteen secret bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A seed from the operating system's random numbers.
    ///
    /// # Errors
    /// If the operating system has none.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The result of a draw, with its probability: estimates from a sample divide by it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Draw {
    /// The probability with which it comes true, 0 to 1.
    pub probability: f64,
    /// Whether it came true.
    pub happened: bool,
}

/// Draws for requests by their number.
///
/// A draw is the keyed hash `SipHash-2-4` (Aumasson and Bernstein, INDOCRYPT 2012) of the number and the purpose. So the same
/// seed, number and purpose give the same draw, in any order and on any thread.
///
/// ```
/// use tiny_dancer_core::coin::{Coin, Purpose, Seed};
///
/// let coin = Coin::new(Seed::new(*b"sixteen secrets!"));
/// let draw = coin.draw(7, Purpose::Explore, 0.02);
/// assert_eq!(draw, coin.draw(7, Purpose::Explore, 0.02));
/// assert!(coin.draw(7, Purpose::Shadow, 1.0).happened);
/// ```
#[derive(Clone, Debug)]
pub struct Coin {
    seed: Seed,
}

impl Coin {
    /// A coin that draws from this seed.
    pub fn new(seed: Seed) -> Self {
        Self { seed }
    }

    /// The draw of request `number` for a purpose. A `probability` of 1 or more always happens; of 0, less or NaN, never.
    pub fn draw(&self, number: u64, purpose: Purpose, probability: f64) -> Draw {
        let mut hasher = SipHasher24::new_with_key(&self.seed.0);
        hasher.write(&number.to_le_bytes());
        hasher.write(purpose.name().as_bytes());
        // The upper 53 bits are uniform among the multiples of 2^-53 in [0, 1).
        let uniform = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
        Draw { probability, happened: uniform < probability }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: u64 = 100_000;

    fn coin() -> Coin {
        Coin::new(Seed::new([7; 16]))
    }

    #[test]
    fn a_draw_comes_true_as_often_as_its_probability_says() {
        for purpose in Purpose::ALL {
            for probability in [0.0, 0.01, 0.2, 0.5, 0.99, 1.0] {
                let happened =
                    (0..NUMBERS).filter(|&number| coin().draw(number, purpose, probability).happened).count();
                let share = happened as f64 / NUMBERS as f64;
                // Five standard errors.
                let allowed = 5.0 * (probability * (1.0 - probability) / NUMBERS as f64).sqrt();
                assert!((share - probability).abs() <= allowed, "{purpose}: {share} for {probability}");
            }
        }
    }

    #[test]
    fn draws_of_two_purposes_and_of_two_seeds_are_independent() {
        let other = Coin::new(Seed::new([8; 16]));
        let one = |number| coin().draw(number, Purpose::Explore, 0.5).happened;
        let two: [&dyn Fn(u64) -> bool; 2] =
            [&|number| coin().draw(number, Purpose::Judge, 0.5).happened, &|number| {
                other.draw(number, Purpose::Explore, 0.5).happened
            }];
        for two in two {
            let equal = (0..NUMBERS).filter(|&number| one(number) == two(number)).count();
            let allowed = 5.0 * (0.25 / NUMBERS as f64).sqrt();
            assert!((equal as f64 / NUMBERS as f64 - 0.5).abs() <= allowed, "{equal} of {NUMBERS} are equal");
        }
    }

    #[test]
    fn a_probability_that_is_no_number_never_happens() {
        assert!((0..NUMBERS).all(|number| !coin().draw(number, Purpose::Audit, f64::NAN).happened));
    }

    #[test]
    fn the_debug_of_a_coin_does_not_show_its_seed() {
        assert_eq!(format!("{:?}", coin()), "Coin { seed: Seed(..) }");
    }

    /// Computed in Python from the definition of `SipHash-2-4`, so that a log remains reproducible.
    #[test]
    fn a_seed_gives_the_same_draws_for_ever() {
        let draws = |numbers: std::ops::Range<u64>| {
            numbers.fold(0_u64, |bits, number| {
                bits << 1 | u64::from(coin().draw(number, Purpose::Judge, 0.5).happened)
            })
        };
        assert_eq!([draws(0..64), draws(64..128)], [0xe454_9580_d2a4_7aee, 0x9747_f71d_6745_f336]);
    }
}
