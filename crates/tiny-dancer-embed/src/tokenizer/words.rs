//! Whole words of at most 16 bytes: one probe of a hash table finds a word's id.

/// The longest word in the table, in bytes.
pub(crate) const LONGEST: usize = 16;

/// The bytes of a word, padded with zeros: no word has a byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    low: u64,
    high: u64,
}

/// A mask of the first bytes, by their number.
const MASKS: [Key; LONGEST + 1] = {
    let mut masks = [Key { low: 0, high: 0 }; LONGEST + 1];
    let mut length = 1;
    while length <= LONGEST {
        let ones = u128::MAX >> (128 - 8 * length);
        masks[length] = Key { low: ones as u64, high: (ones >> 64) as u64 };
        length += 1;
    }
    masks
};

impl Key {
    /// The first `length` bytes, at most 16, each with the bits of `fold`.
    #[inline(always)]
    pub(crate) fn new(bytes: &[u8; LONGEST], length: usize, fold: u64) -> Self {
        let whole = u128::from_le_bytes(*bytes);
        let mask = MASKS[length];
        Self { low: (whole as u64 | fold) & mask.low, high: ((whole >> 64) as u64 | fold) & mask.high }
    }

    /// `None` for a word that is too long, or has a byte 0, which no text contains after normalization.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST];
        bytes.get_mut(..word.len())?.copy_from_slice(word);
        (!word.contains(&0)).then(|| Self::new(&bytes, word.len(), 0))
    }

    #[inline(always)]
    fn hash(self) -> u64 {
        // Odd numbers of random bits. The upper bits of a product depend on all bits of its factor.
        let high = self.high.wrapping_mul(0xd6e8_feb8_6659_fd93);
        (self.low ^ (high ^ high >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A word and its id. Vocabularies list frequent words first, and the first finds its own slot free.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    id: u32,
}

const EMPTY: u32 = u32::MAX;

/// The hash table: open addressing, linear probing, at most half full.
#[derive(Debug)]
pub(crate) struct Words {
    slots: Vec<Slot>,
    /// The number of bits by which a hash is shifted to the right.
    shift: u32,
}

impl Words {
    /// The words are distinct.
    pub(crate) fn new(words: impl Iterator<Item = (Key, u32)> + Clone) -> Self {
        let slots = (2 * words.clone().count()).next_power_of_two().max(2);
        let mut it = Self {
            slots: vec![Slot { key: Key { low: 0, high: 0 }, id: EMPTY }; slots],
            shift: u64::BITS - slots.trailing_zeros(),
        };
        for (key, id) in words {
            let place = it.place(key);
            it.slots[place] = Slot { key, id };
        }
        it
    }

    /// The id of a word.
    #[inline(always)]
    pub(crate) fn get(&self, key: Key) -> Option<u32> {
        let id = self.slots[self.place(key)].id;
        (id != EMPTY).then_some(id)
    }

    /// The slot of a word, or the empty one that ends the search for it.
    #[inline(always)]
    fn place(&self, key: Key) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (key.hash() >> self.shift) as usize & mask;
        // Half of the slots are empty, so the search ends.
        while self.slots[place].key != key && self.slots[place].id != EMPTY {
            place = (place + 1) & mask;
        }
        place
    }
}
