//! Thrift's compact protocol: the part that a writer of spans needs.

/// The type of the value that follows. For a boolean it is also the value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    True = 1,
    False = 2,
    I32 = 5,
    I64 = 6,
    Double = 7,
    Text = 8,
    List = 9,
    Struct = 12,
}

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// The last field that was written in the open struct.
    last: i16,
    /// The same for the structs around it.
    outer: Vec<i16>,
}

impl From<Vec<u8>> for Writer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Begins a struct within the field that was written last.
    pub(crate) fn enter(&mut self) {
        self.outer.push(std::mem::take(&mut self.last));
    }

    /// Ends the struct that was entered last.
    pub(crate) fn leave(&mut self) {
        self.stop();
        self.last = self.outer.pop().unwrap_or_default();
    }

    /// The end of a struct.
    pub(crate) fn stop(&mut self) {
        self.bytes.push(0);
    }

    /// The head of a field. Fields ascend, by at most 15.
    pub(crate) fn field(&mut self, number: i16, kind: Kind) {
        let distance = number - self.last;
        debug_assert!((1..=15).contains(&distance), "field {number} after field {}", self.last);
        self.bytes.push((distance as u8) << 4 | kind as u8);
        self.last = number;
    }

    pub(crate) fn bool_field(&mut self, number: i16, value: bool) {
        self.field(number, if value { Kind::True } else { Kind::False });
    }

    pub(crate) fn i32_field(&mut self, number: i16, value: i32) {
        self.field(number, Kind::I32);
        self.zigzag(i64::from(value));
    }

    pub(crate) fn i64_field(&mut self, number: i16, value: i64) {
        self.field(number, Kind::I64);
        self.zigzag(value);
    }

    pub(crate) fn double(&mut self, value: f64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    /// The head of a list of `count` values.
    pub(crate) fn list(&mut self, kind: Kind, count: usize) {
        if count < 15 {
            self.bytes.push((count as u8) << 4 | kind as u8);
        } else {
            self.bytes.push(0xf0 | kind as u8);
            self.varint(count as u64);
        }
    }

    /// Bytes that are already encoded.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63) as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
