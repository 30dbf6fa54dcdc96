//! The record: what was counted when it was last renewed, by kernel and minor version of `rustc`.
//!
//! Another kernel executes other instructions, and another minor version of `rustc` makes other ones of the same code, so
//! each has counts of its own.

use super::Counts;
use super::callgrind::Counted;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::fmt;
use std::fs;
use std::path::Path;

pub(super) const FILE: &str = "benches/record/instructions.json";

/// What counts depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key(String);

impl Key {
    /// Of a kernel's name and of what `rustc --version` says.
    pub(super) fn new(kernel: &str, rustc: &str) -> Result<Self> {
        let version = rustc.split_whitespace().nth(1).with_context(|| format!("rustc is {rustc:?}"))?;
        let (minor, _) = version.rsplit_once('.').with_context(|| format!("rustc is {rustc:?}"))?;
        Ok(Self(format!("{kernel}, rustc {minor}")))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All counts that are kept.
#[derive(Debug)]
pub(super) struct Record(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    key: Key,
    rustc: String,
    valgrind: String,
    counts: Counts,
}

impl Record {
    /// What the file says; a missing file is empty.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Self(Vec::new()));
        }
        let text = fs::read_to_string(path).context(FILE)?;
        Self::parse(&text).context(FILE)
    }

    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(FILE);
        fs::create_dir_all(path.parent().unwrap_or(&path)).context(FILE)?;
        fs::write(path, self.text()?).context(FILE)
    }

    /// What is kept for this key; nothing if it is new.
    pub(super) fn counts(&self, key: &Key) -> &[(String, u64)] {
        self.0.iter().find(|kept| kept.key == *key).map_or(&[], |kept| &kept.counts)
    }

    /// Replaces what was counted for this key.
    pub(super) fn renew(&mut self, key: &Key, counted: &Counted) {
        self.0.retain(|kept| kept.key != *key);
        self.0.push(Kept {
            key: key.clone(),
            rustc: counted.rustc.clone(),
            valgrind: counted.valgrind.clone(),
            counts: counted.counts.clone(),
        });
    }

    fn text(&self) -> Result<String> {
        let kept = |kept: &Kept| {
            let counts: Map<_, _> =
                kept.counts.iter().map(|(id, count)| (id.clone(), json!(count))).collect();
            let about =
                json!({ "rustc": kept.rustc, "valgrind": kept.valgrind, "instructions_a_request": counts });
            (kept.key.0.clone(), about)
        };
        let counted: Map<_, _> = self.0.iter().map(kept).collect();
        let record = json!({ "command": super::BLESS, "counted": counted });
        Ok(serde_json::to_string_pretty(&record)? + "\n")
    }

    fn parse(text: &str) -> Result<Self> {
        let record: Value = serde_json::from_str(text)?;
        let counted = record["counted"].as_object().context("it has no \"counted\"")?;
        Ok(Self(counted.iter().map(|(key, about)| Kept::parse(key, about)).collect::<Result<_>>()?))
    }
}

impl Kept {
    fn parse(key: &str, about: &Value) -> Result<Self> {
        let word =
            |name: &str| about[name].as_str().map(str::to_owned).with_context(|| format!("{key}: no {name}"));
        let counts =
            about["instructions_a_request"].as_object().with_context(|| format!("{key}: no counts"))?;
        let count = |(id, count): (&String, &Value)| -> Result<_> {
            Ok((id.clone(), count.as_u64().with_context(|| format!("{key}: {id} is {count}"))?))
        };
        Ok(Self {
            key: Key(key.to_owned()),
            rustc: word("rustc")?,
            valgrind: word("valgrind")?,
            counts: counts.iter().map(count).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(kernel: &str, count: u64) -> (Key, Counted) {
        let counted = Counted {
            kernel: kernel.to_owned(),
            rustc: "rustc 1.95.1 (0123abcd 2026-05-01)".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            counts: vec![("route/1x2/none".to_owned(), count)],
        };
        (Key::new(kernel, &counted.rustc).unwrap(), counted)
    }

    #[test]
    fn a_key_leaves_out_the_patch_version() {
        let key = |rustc| Key::new("avx2", rustc).unwrap().to_string();
        assert_eq!(key("rustc 1.95.0 (59807616e 2026-04-14)"), "avx2, rustc 1.95");
        assert_eq!(key("rustc 1.97.0-nightly (59807616e 2026-04-14)"), "avx2, rustc 1.97");
        assert!(Key::new("avx2", "rustc").is_err());
    }

    #[test]
    fn renewing_one_key_leaves_the_others_and_survives_the_file() {
        let mut record = Record(Vec::new());
        for (kernel, count) in [("avx2", 1), ("neon", 2), ("avx2", 3)] {
            let (key, counted) = counted(kernel, count);
            record.renew(&key, &counted);
        }
        let record = Record::parse(&record.text().unwrap()).unwrap();
        let count = |kernel: &str| record.counts(&counted(kernel, 0).0).first().map(|it| it.1);
        assert_eq!([count("avx2"), count("neon"), count("scalar")], [Some(3), Some(2), None]);
    }

    #[test]
    fn a_record_that_is_not_one_is_an_error() {
        for text in ["", "{}", r#"{"counted": {"avx2, rustc 1.95": {"rustc": "r", "valgrind": "v"}}}"#] {
            assert!(Record::parse(text).is_err(), "{text}");
        }
    }
}
