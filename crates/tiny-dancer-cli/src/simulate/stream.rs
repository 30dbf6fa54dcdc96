//! Streams: rows in an order in which they could arrive as requests.
//!
//! A stream is drawn from the rows of all files: a number of rows at random, each with the pair of models in use, and then
//! sorted by its [`Order`]. Streams with one number hold the same rows in any order but `pair-after-pair`.

use super::SimulateError;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::str::FromStr;
use tiny_dancer::parts::core::names;
use tiny_dancer_train::curve::Outcome;
use tiny_dancer_train::matrix::{LIGHTWEIGHT, Matrix, POWERFUL, Scores};

/// An order of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Order {
    /// At random.
    Random,
    /// One subject after the other. The subjects are in random order.
    BySubject,
    /// One file after the other, in the order of the arguments.
    ByFile,
    /// By the mean score of all models in the file, the highest first. Of equal scores, at random.
    EasyToHard,
    /// The same with the lowest first.
    HardToEasy,
    /// One pair of models after the other, each with its share of the rows.
    PairAfterPair,
}

names!(Order, "order", {
    Random => "random",
    BySubject => "by-subject",
    ByFile => "by-file",
    EasyToHard => "easy-to-hard",
    HardToEasy => "hard-to-easy",
    PairAfterPair => "pair-after-pair",
});

/// A lightweight and a powerful model, by their names in the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) lightweight: String,
    pub(crate) powerful: String,
}

impl Default for Pair {
    fn default() -> Self {
        Self { lightweight: LIGHTWEIGHT.to_owned(), powerful: POWERFUL.to_owned() }
    }
}

impl FromStr for Pair {
    type Err = SimulateError;

    fn from_str(text: &str) -> Result<Self, SimulateError> {
        let names = text.split_once(',').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(','));
        let (lightweight, powerful) = names.ok_or_else(|| SimulateError::Pair { text: text.to_owned() })?;
        Ok(Self { lightweight: lightweight.to_owned(), powerful: powerful.to_owned() })
    }
}

/// One request of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The row.
    pub(crate) row: usize,
    /// The pair of models in use.
    pub(crate) pair: usize,
}

/// The rows of all files, and their outcomes with each pair of models.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// One for each file.
    files: Vec<Matrix>,
    /// The file of each row, and the place in it.
    places: Vec<(usize, usize)>,
    /// For each pair of models and each row the outcome, where the row has both scores.
    outcomes: Vec<Vec<Option<Outcome>>>,
}

impl Rows {
    /// Joins the files.
    pub(crate) fn new(files: Vec<Matrix>, pairs: &[Pair]) -> Result<Self, SimulateError> {
        let (first, others) = files.split_first().ok_or(SimulateError::NoRows)?;
        for other in others {
            if other.embedder != first.embedder {
                let (first, other) = (first.embedder.clone(), other.embedder.clone());
                return Err(SimulateError::Embedder { first, other });
            }
            let (first, other) = (first.embeddings.ncols(), other.embeddings.ncols());
            if first != other {
                return Err(SimulateError::Dimension { first, other });
            }
        }
        let place = |(file, matrix): (usize, &Matrix)| (0..matrix.rows.len()).map(move |row| (file, row));
        let places: Vec<_> = files.iter().enumerate().flat_map(place).collect();
        if places.is_empty() {
            return Err(SimulateError::NoRows);
        }
        let all = || files.iter().flat_map(|matrix| &matrix.rows);
        let outcomes = pairs.iter().map(|pair| {
            let of = |row: &Scores| {
                let score = |model: &str| row.by_model.get(model).copied();
                Some(Outcome { lightweight: score(&pair.lightweight)?, powerful: score(&pair.powerful)? })
            };
            all().map(of).collect()
        });
        let outcomes: Vec<Vec<Option<Outcome>>> = outcomes.collect();
        for (number, row) in all().enumerate() {
            if outcomes.iter().all(|of| of[number].is_none()) {
                return Err(SimulateError::NoPair { id: row.id.clone() });
            }
        }
        Ok(Self { files, places, outcomes })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.files.iter().flat_map(|matrix| &matrix.rows).map(|row| row.id.as_str())
    }

    /// The embedder of all rows, if it is known.
    pub(crate) fn embedder(&self) -> Option<&str> {
        self.files[0].embedder.as_deref()
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.files[0].embeddings.ncols()
    }

    pub(crate) fn pairs(&self) -> usize {
        self.outcomes.len()
    }

    /// A row's vector.
    pub(crate) fn embedding(&self, row: usize) -> Vec<f32> {
        let (file, place) = self.places[row];
        self.files[file].embeddings.row(place).to_vec()
    }

    /// The outcome of a row with a pair of models, if the row has both scores.
    pub(crate) fn outcome(&self, Request { row, pair }: Request) -> Option<Outcome> {
        self.outcomes[pair][row]
    }

    /// The pairs whose scores a row has.
    fn pairs_of(&self, row: usize) -> impl Iterator<Item = usize> {
        (0..self.pairs()).filter(move |&pair| self.outcomes[pair][row].is_some())
    }

    /// The orders that make sense for these rows.
    pub(crate) fn orders(&self) -> Vec<Order> {
        Order::ALL.into_iter().filter(|order| self.check(*order).is_ok()).collect()
    }

    /// Checks whether the rows have what an order needs.
    pub(crate) fn check(&self, order: Order) -> Result<(), SimulateError> {
        let lacks = |lacks| Err(SimulateError::Order { order, lacks });
        let subjects = || self.files.iter().flat_map(|matrix| &matrix.rows).any(|row| row.subject.is_some());
        match order {
            Order::BySubject if !subjects() => lacks("rows with a subject"),
            Order::ByFile if self.files.len() < 2 => lacks("several files"),
            Order::PairAfterPair if self.pairs() < 2 => lacks("several pairs of models"),
            _ => Ok(()),
        }
    }

    /// Draws a stream of at most `requests` requests.
    pub(crate) fn draw(&self, order: Order, requests: usize, seed: u64, number: u64) -> Vec<Request> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let mut rows: Vec<usize> = (0..self.len()).collect();
        rows.shuffle(&mut rng);
        rows.truncate(requests);
        // Of several pairs each has its share of the rows.
        let pair = |(place, &row): (usize, &usize)| {
            let mut pairs = self.pairs_of(row);
            let dealt = if order == Order::PairAfterPair { place % self.pairs_of(row).count() } else { 0 };
            Request { row, pair: pairs.nth(dealt).unwrap_or_default() }
        };
        let mut stream: Vec<Request> = rows.iter().enumerate().map(pair).collect();
        let facts = |row: usize| {
            let (file, place) = self.places[row];
            &self.files[file].rows[place]
        };
        let ease = |request: &Request| facts(request.row).mean();
        // The sorts are stable: what is equal stays in random order.
        match order {
            Order::Random => {}
            Order::BySubject => {
                let mut ranks: BTreeMap<Option<&str>, u64> = BTreeMap::new();
                for (_, row) in self.places.iter().map(|&(file, place)| (file, &self.files[file].rows[place]))
                {
                    ranks.entry(row.subject.as_deref()).or_default();
                }
                for rank in ranks.values_mut() {
                    *rank = rng.random();
                }
                stream.sort_by_key(|request| ranks[&facts(request.row).subject.as_deref()]);
            }
            Order::ByFile => stream.sort_by_key(|request| self.places[request.row].0),
            Order::EasyToHard => stream.sort_by(|a, b| ease(b).total_cmp(&ease(a))),
            Order::HardToEasy => stream.sort_by(|a, b| ease(a).total_cmp(&ease(b))),
            Order::PairAfterPair => stream.sort_by_key(|request| request.pair),
        }
        stream
    }
}

#[cfg(test)]
mod tests;
