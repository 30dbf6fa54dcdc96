//! Takes values out of a table, and collects what is wrong with them.

use super::{Environment, Mistake};
use crate::secret::Secret;
use serde::Deserialize;
use std::fmt::Display;
use std::path::PathBuf;
use toml::Table;

/// A table whose values are taken one by one. What is left when it is dropped is unknown.
pub(super) struct Reader<'a> {
    table: Table,
    path: String,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: Table, path: String, mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { table, path, mistakes }
    }

    /// The path of this table in the file.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// A value, if the table has it.
    pub(super) fn optional<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Option<T> {
        let value = self.table.remove(key)?;
        match T::deserialize(value) {
            Ok(value) => Some(value),
            Err(source) => {
                let key = self.key(key);
                self.mistake(Mistake::Value { key, source });
                None
            }
        }
    }

    pub(super) fn or<T: for<'de> Deserialize<'de>>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    pub(super) fn required<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Option<T> {
        if !self.table.contains_key(key) {
            let key = self.key(key);
            self.mistake(Mistake::Missing { key });
        }
        self.optional(key)
    }

    /// Notes a mistake unless the value is as expected.
    pub(super) fn check<T: Display>(
        &mut self,
        key: &str,
        value: T,
        expected: &'static str,
        holds: impl FnOnce(&T) -> bool,
    ) {
        if !holds(&value) {
            let (key, value) = (self.key(key), value.to_string());
            self.mistake(Mistake::Range { key, value, expected });
        }
    }

    /// A table below this one, if there is one.
    pub(super) fn table(&mut self, key: &str) -> Option<Reader<'_>> {
        let table = self.optional::<Table>(key)?;
        let path = self.key(key);
        Some(Reader { table, path, mistakes: self.mistakes })
    }

    pub(super) fn table_or_empty(&mut self, key: &str) -> Reader<'_> {
        let table = self.optional::<Table>(key).unwrap_or_default();
        let path = self.key(key);
        Reader { table, path, mistakes: self.mistakes }
    }

    pub(super) fn required_table(&mut self, key: &str) -> Option<Reader<'_>> {
        let table = self.required::<Table>(key)?;
        let path = self.key(key);
        Some(Reader { table, path, mistakes: self.mistakes })
    }

    /// Calls `each` with every table of a list.
    pub(super) fn each_table(&mut self, key: &str, mut each: impl FnMut(Reader<'_>)) {
        for (index, table) in self.or(key, Vec::<Table>::new()).into_iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            each(Reader { table, path, mistakes: self.mistakes });
        }
    }

    /// A file's content.
    pub(super) fn file(&mut self, key: &str, path: PathBuf) -> Option<String> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(source) => {
                let key = self.key(key);
                self.mistake(Mistake::File { key, path, source });
                None
            }
        }
    }

    /// A file's content, without the line feed at its end.
    pub(super) fn secret(&mut self, key: &str, path: PathBuf) -> Option<Secret> {
        self.file(key, path).map(|text| Secret::new(text.trim_end()))
    }

    /// A variable of the environment.
    pub(super) fn variable(&mut self, variable: String, environment: Environment<'_>) -> Option<Secret> {
        let value = environment(&variable).filter(|value| !value.is_empty());
        if value.is_none() {
            let key = self.path.clone();
            self.mistake(Mistake::KeyMissing { key, variable });
        }
        value.map(Secret::new)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let keys: Vec<_> = self.table.keys().map(|key| self.key(key)).collect();
        self.mistakes.extend(keys.into_iter().map(|key| Mistake::Unknown { key }));
    }
}
