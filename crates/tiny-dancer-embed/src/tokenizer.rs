//! The tokenizer: `WordPiece` of BERT's uncased vocabulary, in time linear in the text.
//!
//! Ids are those of the crate `tokenizers` with `BertNormalizer`, `BertPreTokenizer` and `WordPiece`, without special tokens: a
//! text that contains `[SEP]` contains three words. Almost all of a prompt is ASCII. There, 64 bytes at a time become
//! masks of letters and punctuation ([`Instructions::classes`]), each word is one probe of a hash table ([`Words`]), and a word
//! that is not in it is split by [`Pieces`]. Other characters are looked up one at a time in [`Characters`].

mod characters;
mod pieces;
mod words;

use crate::kernel::{Classes, Instructions};
pub(crate) use characters::TABLE as CHARACTERS;
use characters::{Character, Characters, letters_of_hangul};
use pieces::Pieces;
use words::{Key, Words};

/// A word of more characters is unknown, as in BERT.
const LONGEST_WORD: usize = 100;

/// The bytes of a window: 64 whose classes are looked up, and 16 so that a word which begins in them is whole.
const WINDOW: usize = 64 + words::LONGEST;

/// The bit that makes an upper-case letter of ASCII a lower-case one, and leaves digits as they are, in each byte.
const LOWER: u64 = u64::from_ne_bytes([0x20; 8]);

/// A vocabulary, ready to tokenize.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    words: Words,
    pieces: Pieces,
    characters: Characters,
    pub(crate) unknown: u32,
}

/// Two tokens of a vocabulary are equal, or `[UNK]` is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Repeated { first: u32, second: u32 },
    MissingUnknown,
}

impl Tokenizer {
    /// The tokens by their ids; `##` begins one that continues a word.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a str> + Clone) -> Result<Self, Flaw> {
        let tokens = (0..).zip(tokens);
        let (mut starts, mut continuations) = (Vec::new(), Vec::new());
        for (id, token) in tokens.clone() {
            match token.strip_prefix("##") {
                // `##` alone is no piece, and never a word, since each `#` is one.
                Some("") => {}
                Some(rest) => continuations.push((rest.as_bytes(), id)),
                None => starts.push((token.as_bytes(), id)),
            }
        }
        let unknown = starts.iter().find(|(token, _)| *token == b"[UNK]").ok_or(Flaw::MissingUnknown)?.1;
        let keys = starts.iter().filter_map(|(token, id)| Some((Key::of(token)?, *id)));
        let words = Words::new(keys);
        let repeated = |(first, second)| Flaw::Repeated { first, second };
        let pieces = Pieces::new(starts, continuations).map_err(repeated)?;
        Ok(Self { words, pieces, characters: Characters::new(), unknown })
    }

    /// Appends the ids of a text's tokens, at most one for each byte.
    #[inline(always)]
    pub(crate) fn tokenize<I: Instructions>(&self, instructions: I, text: &str, ids: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let read = if let Some(window) = rest.first_chunk() {
                self.window(instructions, window, ids)
            } else {
                let mut window = [b' '; WINDOW];
                window[..rest.len()].copy_from_slice(rest);
                self.window(instructions, &window, ids)
            };
            at += read;
            if read == 0 {
                at += self.slowly(&text[at..], ids);
            }
        }
    }

    /// Tokenizes the words of the first 64 bytes, up to one that may not end in them or has a character outside ASCII.
    /// Returns the number of bytes read.
    #[inline(always)]
    fn window<I: Instructions>(&self, instructions: I, window: &[u8; WINDOW], ids: &mut Vec<u32>) -> usize {
        let Some(classified) = window.first_chunk() else { return 0 };
        let Classes { word, punctuation, other } = instructions.classes(classified);
        // The words before the first other byte, without the one that it may continue.
        let clean = other.trailing_zeros();
        let before = |bits: u32| u64::MAX.checked_shr(64 - bits).unwrap_or(0);
        let clean_words = word & before(clean);
        let read = clean - (clean_words << (64 - clean.max(1))).leading_ones() * u32::from(clean > 0);
        let mut starts = (word & !(word << 1) | punctuation) & before(read);
        while starts != 0 {
            let start = starts.trailing_zeros();
            starts &= starts - 1;
            // Punctuation is a word of one byte, whose bits stay.
            let is_punctuation = punctuation >> start & 1;
            let length = (!(word >> start)).trailing_zeros().max(1) as usize;
            let fold = LOWER & is_punctuation.wrapping_sub(1);
            let start = start as usize;
            let Some(head) = window[start..].first_chunk() else { break };
            if length <= words::LONGEST
                && let Some(id) = self.words.get(Key::new(head, length, fold))
            {
                ids.push(id);
            } else {
                self.split(&window[start..start + length], fold as u8, ids);
            }
        }
        read as usize
    }

    /// Splits a word that is not in the table, of ASCII, with these bits added to each byte.
    #[inline(never)]
    fn split(&self, word: &[u8], fold: u8, ids: &mut Vec<u32>) {
        if !self.pieces.split(word.iter().map(|byte| byte | fold), ids) {
            ids.push(self.unknown);
        }
    }

    /// Tokenizes character by character to the end of a word after which ASCII follows. Returns the number of bytes read.
    #[inline(never)]
    fn slowly(&self, text: &str, ids: &mut Vec<u32>) -> usize {
        let mut word = Word::new(self, ids);
        for (at, character) in text.char_indices() {
            if at > 0 && character.is_ascii() && word.is_empty() {
                word.end();
                return at;
            }
            word.add(character);
        }
        word.end();
        text.len()
    }
}

/// A word that is read character by character.
struct Word<'a> {
    tokenizer: &'a Tokenizer,
    ids: &'a mut Vec<u32>,
    /// UTF-8.
    bytes: [u8; 4 * LONGEST_WORD],
    length: usize,
    characters: usize,
    /// Marks at the end, which are not yet in their order.
    marks: [(u8, char); LONGEST_WORD],
    marked: usize,
}

impl<'a> Word<'a> {
    fn new(tokenizer: &'a Tokenizer, ids: &'a mut Vec<u32>) -> Self {
        Self {
            tokenizer,
            ids,
            bytes: [0; 4 * LONGEST_WORD],
            length: 0,
            characters: 0,
            marks: [(0, '\0'); LONGEST_WORD],
            marked: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.characters == 0
    }

    fn add(&mut self, character: char) {
        let tokenizer = self.tokenizer;
        match tokenizer.characters.get(character) {
            Character::Keep => self.keep(character),
            Character::Drop => {}
            Character::Break => self.settle(),
            Character::Space => self.end(),
            Character::Alone => {
                self.end();
                self.keep(character);
                self.end();
            }
            Character::Mark(class) => {
                self.characters += 1;
                // Of a word that is too long nothing is kept.
                if self.characters <= LONGEST_WORD {
                    self.marks[self.marked] = (class, character);
                    self.marked += 1;
                }
            }
            Character::Hangul => letters_of_hangul(character).for_each(|letter| self.keep(letter)),
            Character::Replace(place) => {
                for &character in tokenizer.characters.replacement(place) {
                    self.add(character);
                }
            }
        }
    }

    /// Appends a character that is not a mark.
    fn keep(&mut self, character: char) {
        self.settle();
        self.characters += 1;
        if self.characters <= LONGEST_WORD {
            self.append(character);
        }
    }

    fn append(&mut self, character: char) {
        self.length += character.encode_utf8(&mut self.bytes[self.length..]).len();
    }

    /// Appends the marks in their canonical order: by class, and those of one class as they stood.
    fn settle(&mut self) {
        if self.marked > 0 {
            // An insertion sort needs no memory.
            for end in 1..self.marked {
                let mut at = end;
                while at > 0 && self.marks[at - 1].0 > self.marks[at].0 {
                    self.marks.swap(at - 1, at);
                    at -= 1;
                }
            }
            for i in 0..self.marked {
                self.append(self.marks[i].1);
            }
            self.marked = 0;
        }
    }

    /// Appends the word's ids, and begins the next word.
    fn end(&mut self) {
        if self.characters == 0 {
            // An accent that was dropped may have begun a run of marks.
            return;
        }
        self.settle();
        let tokenizer = self.tokenizer;
        let word = &self.bytes[..self.length];
        if self.characters > LONGEST_WORD {
            self.ids.push(tokenizer.unknown);
        } else if let Some(id) = Key::of(word).and_then(|key| tokenizer.words.get(key)) {
            self.ids.push(id);
        } else {
            tokenizer.split(word, 0, self.ids);
        }
        (self.length, self.characters) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
