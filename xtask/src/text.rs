//! What no compiler sees: silenced warnings, postponed work, paths of one machine, dependencies without a reason.
//!
//! Read are the files that git tracks or would track.

use crate::codemap::is_test;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Where each dependency has its reason.
const REASONS: &str = "docs/decisions/0002-dependencies.md";

/// Words that postpone work, spelled so that this file does not hold them.
const POSTPONED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Files that people write, where such words mean what they say. In data they mean nothing.
const WRITTEN: [&str; 12] =
    ["css", "html", "js", "json5", "md", "mjs", "py", "rs", "sh", "toml", "ts", "yml"];

/// Folders of people, spelled so that this file does not hold them.
const HOMES: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Fails with all that it finds.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root.as_path();
    let here = format!("{}/", root.display());
    let mut findings = Vec::new();
    for file in workspace.files()? {
        let bytes = std::fs::read(root.join(&file)).with_context(|| file.clone())?;
        findings.extend(in_name(&file).map(|what| format!("{file}: {what}")));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let found = in_text(&file, text, &here);
            findings.extend(found.into_iter().map(|(line, what)| format!("{file}:{line}: {what}")));
        }
    }
    let read = |file: &str| std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    findings.extend(without_reason(&read("Cargo.toml")?, &read(REASONS)?));
    if findings.is_empty() { Ok(()) } else { bail!("{} findings\n{}", findings.len(), findings.join("\n")) }
}

fn in_name(file: &str) -> Option<&'static str> {
    let stem = Path::new(file).file_stem()?.to_str()?.to_ascii_lowercase();
    stem.ends_with(concat!("_sum", "mary")).then_some("one topic, one document, and no summaries of them")
}

/// Line numbers and findings. `here` is the workspace's root.
fn in_text(file: &str, text: &str, here: &str) -> Vec<(usize, String)> {
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if WRITTEN.contains(&extension)
            && let Some(word) = POSTPONED.iter().find(|word| has_word(line, word))
        {
            findings.push((number, format!("{word}: do it, or open an issue")));
        }
        if let Some(path) = HOMES.iter().chain([&here]).find(|path| has_path(line, path)) {
            findings.push((number, format!("{path} is a folder of one machine")));
        }
        if file.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\"") {
            findings.push((number, "a lock file names packages, not the hosts they came from".to_owned()));
        }
    }
    if extension == "rs" {
        findings.extend(in_attributes(text));
        findings.extend(at_the_seam(file, text));
    }
    findings
}

/// Core's observers are called by one module, and the algorithms don't know that there are any.
fn at_the_seam(file: &str, source: &str) -> Vec<(usize, String)> {
    let Some(module) = file.strip_prefix("crates/tiny-dancer-core/src/").filter(|module| !is_test(module))
    else {
        return Vec::new();
    };
    let is_of = |modules: &[&str]| modules.iter().any(|name| module.starts_with(name));
    let calls = is_of(&["router/observed.rs", "observer", "testing"]);
    let knows = calls || is_of(&["router", "lib.rs"]);
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(source.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        if !calls && calls_back(line) {
            findings.push((number, "only router/observed.rs calls observers".to_owned()));
        }
        if !knows && (has_word(line, "Observer") || has_word(line, "observer")) {
            findings.push((number, "only the router knows that there are observers".to_owned()));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter))
}

/// An absolute path, not the middle of another one.
fn has_path(line: &str, path: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || "-_.}*".contains(letter);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(is_name))
}

/// Attributes that silence a lint: `allow`, or `expect` without a reason.
fn in_attributes(source: &str) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    let mut offset = 0;
    for (number, line) in (1..).zip(source.split_inclusive('\n')) {
        if !line.trim_start().starts_with("//") {
            for opening in ["#[", "#!["] {
                for (at, _) in line.match_indices(opening) {
                    let attribute = attribute(&source[offset + at + opening.len()..]);
                    if has_call(attribute, "allow") {
                        findings.push((number, "allow: say `expect`, with a reason".to_owned()));
                    }
                    if has_call(attribute, "expect") && !attribute.contains("reason = \"") {
                        findings.push((number, "expect without a reason".to_owned()));
                    }
                }
            }
        }
        offset += line.len();
    }
    findings
}

/// Whether something named `on_...` is called; a field of such a name is not.
fn calls_back(line: &str) -> bool {
    line.match_indices(".on_").any(|(at, _)| {
        let rest =
            line[at + 1..].trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
        rest.starts_with('(')
    })
}

/// What stands between an attribute's brackets.
fn attribute(inside: &str) -> &str {
    let mut depth = 1;
    for (at, letter) in inside.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &inside[..at];
        }
    }
    inside
}

fn has_call(attribute: &str, name: &str) -> bool {
    has_word(attribute, name) && attribute.contains(&format!("{name}("))
}

/// Dependencies of the workspace that the table of reasons lacks, and the other way round.
fn without_reason(manifest: &str, reasons: &str) -> Vec<String> {
    let declared: BTreeSet<&str> = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .filter(|name| !name.starts_with('#') && !name.starts_with("tiny-dancer"))
        .collect();
    let reasoned: BTreeSet<&str> = reasons
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let mut findings = Vec::new();
    if declared.is_empty() {
        findings.push("Cargo.toml: no [workspace.dependencies] could be read".to_owned());
    }
    findings.extend(
        declared.difference(&reasoned).map(|name| format!("Cargo.toml: {name} has no line in {REASONS}")),
    );
    findings.extend(
        reasoned.difference(&declared).map(|name| format!("{REASONS}: {name} is no dependency any more")),
    );
    findings
}

#[cfg(test)]
mod tests;
