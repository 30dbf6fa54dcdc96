//! What BERT's uncased normalizer does with each character.
//!
//! The table `table/characters.txt` is made from the crate `tokenizers`, character by character, so that ids are equal and
//! stay equal when a compiler brings a newer version of Unicode. A test compares the two.

/// The table as text. A line has a character or a range, in hexadecimal, and one of these words:
///
/// - `drop`: a control character, or an accent (`Mn`), which is removed;
/// - `break`: an accent that is removed, but ends a run of marks that are ordered;
/// - `space`: whitespace;
/// - `alone`: punctuation or an ideograph, which is a word;
/// - `mark` and a number: it stays, and a run of such marks is ordered by these numbers (canonical ordering);
/// - `hangul`: syllables that are decomposed by arithmetic;
/// - characters: the lower case of its decomposition, without accents.
///
/// Other characters stay.
pub(crate) const TABLE: &str = include_str!("../../table/characters.txt");

/// How a character is normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Character {
    Keep,
    Drop,
    Break,
    Space,
    Alone,
    Mark(u8),
    Hangul,
    /// The place of its replacement; see [`Characters::replacement`].
    Replace(u16),
}

/// The longest replacement.
const LONGEST: usize = 3;

/// Characters of a block.
const BLOCK: usize = 128;

/// The table in memory: characters of a block stand together, and equal blocks once.
#[derive(Debug)]
pub(crate) struct Characters {
    blocks: Vec<u16>,
    values: Vec<[Character; BLOCK]>,
    replacements: Vec<Replacement>,
}

#[derive(Debug)]
struct Replacement {
    length: usize,
    characters: [char; LONGEST],
}

impl Replacement {
    fn read(text: &str) -> Option<Self> {
        let mut it = Self { length: 0, characters: ['\0'; LONGEST] };
        for character in text.split(' ') {
            *it.characters.get_mut(it.length)? = char::from_u32(number(character)?)?;
            it.length += 1;
        }
        Some(it)
    }
}

fn number(hexadecimal: &str) -> Option<u32> {
    u32::from_str_radix(hexadecimal, 16).ok()
}

impl Characters {
    /// Reads the table of this crate.
    pub(crate) fn new() -> Self {
        let values = vec![[Character::Keep; BLOCK]];
        let mut it =
            Self { blocks: vec![0; (char::MAX as usize + 1) / BLOCK], values, replacements: Vec::new() };
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            it.read(line).expect("a test reads the table");
        }
        it
    }

    fn read(&mut self, line: &str) -> Option<()> {
        let (range, what) = line.split_once(' ')?;
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let (first, last) = (number(first)? as usize, number(last)? as usize);
        let value = match what {
            "alone" => Character::Alone,
            "break" => Character::Break,
            "drop" => Character::Drop,
            "hangul" => Character::Hangul,
            "space" => Character::Space,
            _ => {
                if let Some(class) = what.strip_prefix("mark ") {
                    Character::Mark(class.parse().ok()?)
                } else {
                    self.replacements.push(Replacement::read(what)?);
                    Character::Replace(self.replacements.len() as u16 - 1)
                }
            }
        };
        for block in first / BLOCK..=last / BLOCK {
            let start = block * BLOCK;
            if first <= start && start + BLOCK - 1 <= last {
                // A range of whole blocks has its values once.
                let before = usize::from(self.blocks[block.saturating_sub(1)]);
                if self.values[before] == [value; BLOCK] {
                    self.blocks[block] = before as u16;
                } else {
                    self.blocks[block] = self.push(value);
                }
                continue;
            }
            if self.blocks[block] == 0 {
                self.blocks[block] = self.push(Character::Keep);
            }
            let values = &mut self.values[usize::from(self.blocks[block])];
            values[first.max(start) - start..=last.min(start + BLOCK - 1) - start].fill(value);
        }
        Some(())
    }

    fn push(&mut self, value: Character) -> u16 {
        self.values.push([value; BLOCK]);
        self.values.len() as u16 - 1
    }

    #[inline]
    pub(crate) fn get(&self, character: char) -> Character {
        let code = character as usize;
        self.values[self.blocks[code / BLOCK] as usize][code % BLOCK]
    }

    /// What stands instead of a character.
    #[inline]
    pub(crate) fn replacement(&self, place: u16) -> &[char] {
        let Replacement { length, characters } = &self.replacements[place as usize];
        &characters[..*length]
    }
}

/// The two or three letters of a syllable (Unicode, section 3.12).
#[inline]
pub(crate) fn letters_of_hangul(syllable: char) -> impl Iterator<Item = char> {
    const VOWELS: u32 = 21;
    const FINALS: u32 = 28;
    let place = syllable as u32 - 0xac00;
    let last = place % FINALS;
    let letters = [
        Some(0x1100 + place / (VOWELS * FINALS)),
        Some(0x1161 + place / FINALS % VOWELS),
        (last > 0).then_some(0x11a7 + last),
    ];
    letters.into_iter().flatten().filter_map(char::from_u32)
}
