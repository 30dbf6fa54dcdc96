//! A reader of Thrift's compact protocol, for any message.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Double(f64),
    Int(i64),
    List(Vec<Value>),
    Struct(BTreeMap<i16, Value>),
    Text(String),
}

impl Value {
    /// A field of a struct.
    pub(crate) fn field(&self, number: i16) -> Option<&Value> {
        match self {
            Self::Struct(fields) => fields.get(&number),
            other => panic!("{other:?} is no struct"),
        }
    }

    pub(crate) fn text(&self, number: i16) -> &str {
        match self.field(number) {
            Some(Self::Text(text)) => text,
            other => panic!("field {number} is {other:?}"),
        }
    }

    pub(crate) fn int(&self, number: i16) -> i64 {
        match self.field(number) {
            Some(Self::Int(value)) => *value,
            other => panic!("field {number} is {other:?}"),
        }
    }

    pub(crate) fn list(&self, number: i16) -> &[Value] {
        match self.field(number) {
            Some(Self::List(values)) => values,
            None => &[],
            other => panic!("field {number} is {other:?}"),
        }
    }
}

/// A one-way message: its name and its arguments.
pub(crate) fn message(bytes: &[u8]) -> (String, Value) {
    let mut reader = Reader(bytes);
    assert_eq!((reader.byte(), reader.byte()), (0x82, 0x81), "compact, one-way");
    reader.varint();
    let name = reader.text();
    let arguments = reader.value(12);
    assert!(reader.0.is_empty(), "{} bytes after the message", reader.0.len());
    (name, arguments)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (&byte, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        byte
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn zigzag(&mut self) -> i64 {
        let value = self.varint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    fn text(&mut self) -> String {
        let length = self.varint() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn value(&mut self, kind: u8) -> Value {
        match kind {
            1 => Value::Bool(true),
            2 => Value::Bool(false),
            4..=6 => Value::Int(self.zigzag()),
            7 => {
                let (double, rest) = self.0.split_first_chunk::<8>().unwrap();
                self.0 = rest;
                Value::Double(f64::from_le_bytes(*double))
            }
            8 => Value::Text(self.text()),
            9 => {
                let head = self.byte();
                let count = if head >> 4 == 15 { self.varint() } else { u64::from(head >> 4) };
                Value::List((0..count).map(|_| self.value(head & 15)).collect())
            }
            12 => {
                let (mut fields, mut number) = (BTreeMap::new(), 0);
                loop {
                    let head = self.byte();
                    if head == 0 {
                        return Value::Struct(fields);
                    }
                    number =
                        if head >> 4 == 0 { self.zigzag() as i16 } else { number + i16::from(head >> 4) };
                    let value = self.value(head & 15);
                    assert_eq!(fields.insert(number, value), None, "field {number} twice");
                }
            }
            other => panic!("a value of kind {other}"),
        }
    }
}
