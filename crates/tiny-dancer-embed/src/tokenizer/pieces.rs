//! `WordPiece`: the longest piece first, in time linear in the word.
//!
//! This is `LinMaxMatch` (Song and others, "Fast `WordPiece` Tokenization", EMNLP 2021). Two tries share their nodes: one of
//! pieces that begin a word, one of pieces that continue it. A node from which no edge leads on has a failure link: the
//! pieces that are certain by then, and the node in the trie of continuations where the rest of the word stands. So no byte is
//! read twice.
//!
//! The tries are a double array: the child of a node along a byte is at `base ^ byte`, and is a child of that node if it has
//! this byte as its label, since each base belongs to one node. A node takes four bytes.

use std::collections::VecDeque;

/// Where a word begins.
const START: u32 = 0;
/// Where a word continues.
const CONTINUE: u32 = 1;
/// No failure link: the word has no pieces.
const NONE: u32 = u32::MAX;
/// Bases of one block have nodes of one block.
const BLOCK: usize = 256;
/// A block that refused this many nodes is full enough.
const REFUSALS: u32 = 16;

/// The double array with its failure links.
#[derive(Debug)]
pub(crate) struct Pieces {
    nodes: Vec<Node>,
    failures: Vec<Failure>,
    /// Ids of pieces, to which the failure links refer.
    certain: Vec<u32>,
}

/// A base in the upper 24 bits and a label in the lower 8. The label of a free place is 0, which no word has.
#[derive(Clone, Copy, Debug, Default)]
struct Node(u32);

impl Node {
    #[inline(always)]
    fn child(self, byte: u8) -> usize {
        (self.0 >> 8) as usize ^ usize::from(byte)
    }

    #[inline(always)]
    fn label(self) -> u8 {
        self.0 as u8
    }
}

/// Where the rest of a word stands, and the pieces before it.
#[derive(Clone, Copy, Debug)]
struct Failure {
    node: u32,
    first: u32,
    count: u32,
}

/// A piece without its prefix, and its id.
pub(crate) type Piece<'a> = (&'a [u8], u32);

impl Pieces {
    /// `starts` begin words, `continuations` continue them; none is empty or has a byte 0. Returns the ids of two equal
    /// pieces as an error.
    pub(crate) fn new<'a>(
        mut starts: Vec<Piece<'a>>,
        mut continuations: Vec<Piece<'a>>,
    ) -> Result<Self, (u32, u32)> {
        for pieces in [&mut starts, &mut continuations] {
            // The first 16 bytes as a number have the order of the bytes, and take one comparison.
            pieces.sort_by_cached_key(|(piece, _)| (head(piece), *piece));
            if let Some(pair) = pieces.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err((pair[0].1, pair[1].1));
            }
        }
        Ok(Builder::new(&starts, &continuations).build())
    }

    /// Appends the ids of a word's pieces. Returns false, with nothing appended, where the word has none.
    #[inline]
    pub(crate) fn split(&self, word: impl Iterator<Item = u8>, ids: &mut Vec<u32>) -> bool {
        let before = ids.len();
        let mut node = START as usize;
        for byte in word {
            loop {
                let child = self.nodes[node].child(byte);
                if self.nodes[child].label() == byte {
                    node = child;
                    break;
                }
                let Some(next) = self.fail(node, ids) else {
                    ids.truncate(before);
                    return false;
                };
                node = next;
            }
        }
        while node != CONTINUE as usize {
            let Some(next) = self.fail(node, ids) else {
                ids.truncate(before);
                return false;
            };
            node = next;
        }
        true
    }

    #[inline]
    fn fail(&self, node: usize, ids: &mut Vec<u32>) -> Option<usize> {
        let Failure { node, first, count } = self.failures[node];
        if node == NONE {
            return None;
        }
        ids.extend_from_slice(&self.certain[first as usize..(first + count) as usize]);
        Some(node as usize)
    }
}

/// The first 16 bytes as a number, padded with zeros.
fn head(piece: &[u8]) -> u128 {
    let mut head = [0; 16];
    let length = piece.len().min(16);
    head[..length].copy_from_slice(&piece[..length]);
    u128::from_be_bytes(head)
}

/// A node whose children are still to be placed: they are a range of the sorted pieces.
struct Open {
    node: usize,
    continues: bool,
    from: usize,
    to: usize,
    depth: usize,
}

struct Builder<'a> {
    pieces: [&'a [Piece<'a>]; 2],
    made: Pieces,
    free: Vec<Bits>,
    unused: Vec<Bits>,
    /// Blocks that are tried, with their refusals.
    tried: Vec<(usize, u32)>,
    /// Labels of a node's children, with their ranges of pieces.
    labels: Vec<(u8, usize, usize)>,
}

impl<'a> Builder<'a> {
    fn new(starts: &'a [Piece<'a>], continuations: &'a [Piece<'a>]) -> Self {
        let made = Pieces { nodes: Vec::new(), failures: Vec::new(), certain: Vec::new() };
        let mut it = Self {
            pieces: [starts, continuations],
            made,
            free: Vec::new(),
            unused: Vec::new(),
            tried: Vec::new(),
            labels: Vec::new(),
        };
        it.grow();
        for root in [START, CONTINUE] {
            it.free[0].remove(root as usize);
        }
        // A leaf has base 0, so no other node may have it.
        it.unused[0].remove(0);
        it
    }

    /// Breadth first, so that a failure link leads to a node that exists.
    fn build(mut self) -> Pieces {
        let [starts, continuations] = self.pieces.map(<[_]>::len);
        let mut open = VecDeque::from([
            Open { node: START as usize, continues: false, from: 0, to: starts, depth: 0 },
            Open { node: CONTINUE as usize, continues: true, from: 0, to: continuations, depth: 0 },
        ]);
        while let Some(parent) = open.pop_front() {
            self.place(&parent, &mut open);
        }
        self.made.nodes.shrink_to_fit();
        self.made.failures.shrink_to_fit();
        self.made.certain.shrink_to_fit();
        self.made
    }

    /// Places the children of a node.
    fn place(&mut self, parent: &Open, open: &mut VecDeque<Open>) {
        let pieces = self.pieces[usize::from(parent.continues)];
        let depth = parent.depth;
        let mut labels = std::mem::take(&mut self.labels);
        labels.clear();
        for (at, (piece, _)) in pieces[parent.from..parent.to].iter().enumerate() {
            let (label, at) = (piece[depth], parent.from + at);
            match labels.last_mut() {
                Some((last, _, to)) if *last == label => *to = at + 1,
                _ => labels.push((label, at, at + 1)),
            }
        }
        let base = self.base(&labels);
        self.made.nodes[parent.node].0 |= (base as u32) << 8;
        self.unused[base / BLOCK].remove(base % BLOCK);
        for (label, mut from, to) in labels.iter().copied() {
            let node = base ^ usize::from(label);
            self.free[node / BLOCK].remove(node % BLOCK);
            self.made.nodes[node].0 |= u32::from(label);
            let (piece, id) = pieces[from];
            let is_whole = piece.len() == depth + 1;
            self.made.failures[node] =
                if is_whole { self.whole(id) } else { self.failure(parent.node, label) };
            from += usize::from(is_whole);
            if from < to {
                open.push_back(Open { node, continues: parent.continues, from, to, depth: depth + 1 });
            }
        }
        self.labels = labels;
    }

    /// The failure of a node that is a piece.
    fn whole(&mut self, id: u32) -> Failure {
        self.made.certain.push(id);
        Failure { node: CONTINUE, first: self.made.certain.len() as u32 - 1, count: 1 }
    }

    /// The failure of another node: that of its parent, until an edge leads on.
    fn failure(&mut self, parent: usize, label: u8) -> Failure {
        let mut failure = self.made.failures[parent];
        let mut last = failure;
        let first = self.made.certain.len();
        while last.node != NONE {
            let pieces = last.first as usize..(last.first + last.count) as usize;
            self.made.certain.extend_from_within(pieces);
            let child = self.made.nodes[last.node as usize].child(label);
            if self.made.nodes[child].label() == label {
                failure.node = child as u32;
                failure.first = first as u32;
                failure.count = (self.made.certain.len() - first) as u32;
                return failure;
            }
            last = self.made.failures[last.node as usize];
        }
        self.made.certain.truncate(first);
        Failure { node: NONE, first: 0, count: 0 }
    }

    /// An unused base with a free place for each label.
    fn base(&mut self, labels: &[(u8, usize, usize)]) -> usize {
        for i in 0..self.tried.len() {
            let block = self.tried[i].0;
            if let [(label, ..)] = labels {
                // Most nodes have one child, for which no set is needed.
                let is_unused = |node: &usize| self.unused[block].has(node ^ usize::from(*label));
                if let Some(node) = self.free[block].numbers().find(is_unused) {
                    return (block * BLOCK + node) ^ usize::from(*label);
                }
                self.tried[i].1 += 1;
                continue;
            }
            let mut bases = self.unused[block];
            for (label, ..) in labels {
                bases.intersect(self.free[block].exclusive_or(*label));
            }
            if let Some(base) = bases.numbers().next() {
                return block * BLOCK + base;
            }
            self.tried[i].1 += 1;
        }
        self.tried.retain(|(_, refusals)| *refusals < REFUSALS);
        self.grow();
        self.base(labels)
    }

    fn grow(&mut self) {
        self.tried.push((self.free.len(), 0));
        self.free.push(Bits::ALL);
        self.unused.push(Bits::ALL);
        self.made.nodes.resize(self.free.len() * BLOCK, Node::default());
        let none = Failure { node: NONE, first: 0, count: 0 };
        self.made.failures.resize(self.free.len() * BLOCK, none);
    }
}

/// A set of the numbers below 256.
#[derive(Clone, Copy)]
struct Bits([u64; 4]);

impl Bits {
    const ALL: Self = Self([u64::MAX; 4]);

    fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    fn intersect(&mut self, other: Self) {
        for i in 0..4 {
            self.0[i] &= other.0[i];
        }
    }

    fn has(self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        (0..4).flat_map(move |word| {
            let mut left = self.0[word];
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(64 * word + bit)
            })
        })
    }

    /// The set of `number ^ byte` for its numbers.
    fn exclusive_or(self, byte: u8) -> Self {
        /// The places whose number lacks a bit.
        const WITHOUT: [u64; 6] = [
            0x5555_5555_5555_5555,
            0x3333_3333_3333_3333,
            0x0f0f_0f0f_0f0f_0f0f,
            0x00ff_00ff_00ff_00ff,
            0x0000_ffff_0000_ffff,
            0x0000_0000_ffff_ffff,
        ];
        let mut words = self.0;
        for (bit, without) in WITHOUT.into_iter().enumerate() {
            if byte >> bit & 1 == 1 {
                for word in &mut words {
                    *word = (*word & without) << (1 << bit) | (*word >> (1 << bit)) & without;
                }
            }
        }
        Self([0, 1, 2, 3].map(|i: usize| words[i ^ usize::from(byte >> 6)]))
    }
}
