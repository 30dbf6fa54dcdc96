//! Checks of the texts that git tracks or would track: silenced lints, postponed work, unresolved conflicts, riddles, paths of
//! one machine, calls of observers outside their seam, dependencies without a reason.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Where each dependency has its reason.
const REASONS: &str = "docs/decisions/0002-dependencies.md";

/// Words that postpone work, spelled so that this file does not contain them.
const POSTPONED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Extensions of files that people write. In data such words mean nothing.
const WRITTEN: &[&str] = &["css", "html", "js", "json5", "md", "mjs", "py", "rs", "sh", "toml", "ts", "yml"];

/// The lines with which git marks two versions of a passage. The line between the two is also that of a heading.
const CONFLICT: &[&str] = &["<<<<<<< ", ">>>>>>> "];

/// Words that make riddles in comments and documents, since they don't name the part of the code that acts.
const RIDDLES: &[&str] = &[
    "anew",
    "anybody",
    "as it were",
    "became of",
    "become of",
    "becomes of",
    "everybody",
    "heard",
    "hears",
    "in the place of",
    "in vain",
    "less than nothing",
    "means well",
    "nobody",
    "nothing but",
    "nothing is left of",
    "nothing or everything",
    "smaller than nothing",
    "out of sight",
    "so to speak",
    "somebody",
    "takes the place of",
    "tells",
    "to be had",
    "told",
    "toss",
    "tossed",
    "tosses",
    "whatever",
    "whatsoever",
    "whoever",
    "whomever",
];

/// Home folders, spelled so that this file does not contain them.
const HOMES: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Fails with all findings.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root.as_path();
    let here = format!("{}/", root.display());
    let mut findings = Vec::new();
    for file in workspace.files()? {
        let bytes = std::fs::read(root.join(&file)).with_context(|| file.clone())?;
        findings.extend(in_name(&file).map(|what| format!("{file}: {what}")));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if extension(&file) == "rs" && !is_test(&file) && !text.starts_with("//! ") {
                findings.push(format!("{file}: a file begins with a sentence that says what it is"));
            }
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
    let extension = extension(file);
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if WRITTEN.contains(&extension)
            && let Some(word) = POSTPONED.iter().find(|word| has_word(line, word))
        {
            findings.push((number, format!("{word}: do it, or open an issue")));
        }
        if let Some(marker) = CONFLICT.iter().find(|marker| line.starts_with(*marker)) {
            findings.push((number, format!("{marker}: a conflict of two versions is not resolved")));
        }
        let prose = line.to_ascii_lowercase();
        if is_prose(file, line)
            && let Some(word) = RIDDLES.iter().find(|word| has_word(&prose, word))
        {
            findings.push((number, format!("{word}: say it plainly, and name what acts")));
        }
        if let Some(path) = HOMES.iter().chain([&here]).find(|path| has_path(line, path)) {
            findings.push((number, format!("{path} is a folder of one machine")));
        }
        // clippy's `allow_attributes_without_reason` finds an `expect` without a reason.
        if extension == "rs" && !line.trim_start().starts_with("//") && allows(line) {
            findings.push((number, "allow: write `expect`, with a reason".to_owned()));
        }
        if file.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\"") {
            findings
                .push((number, "a lock file names packages, not the hosts that they came from".to_owned()));
        }
    }
    findings.extend(at_the_seam(file, text));
    findings
}

/// One module of core calls observers, and the algorithms don't mention them.
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
            findings.push((number, "only the router mentions observers".to_owned()));
        }
    }
    findings
}

/// Whether a line is of a document or a comment. All files under `docs` are read by people, such as alerts and dashboards.
fn is_prose(file: &str, line: &str) -> bool {
    let line = line.trim_start();
    match extension(file) {
        "md" => true,
        _ if file.starts_with("docs/") => true,
        "js" | "mjs" | "rs" | "ts" => line.starts_with("//"),
        "py" | "sh" | "toml" | "yml" => line.starts_with('#'),
        _ => false,
    }
}

fn extension(file: &str) -> &str {
    Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Whether a file holds tests, by its path.
fn is_test(file: &str) -> bool {
    Path::new(file).components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter))
}

/// Whether a line has an absolute path, not the middle of another one.
fn has_path(line: &str, path: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || "-_.}*".contains(letter);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(is_name))
}

/// Whether a line has an attribute `allow`, alone or within another one; a function of that name is none.
fn allows(line: &str) -> bool {
    has_word(line, "allow") && line.contains("allow(") && !line.contains("fn allow(")
}

/// Whether a line calls a method named `on_...`; a field of such a name is no call.
fn calls_back(line: &str) -> bool {
    line.match_indices(".on_").any(|(at, _)| {
        let rest =
            line[at + 1..].trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
        rest.starts_with('(')
    })
}

/// Dependencies of the workspace without a reason in the table, and reasons without a dependency.
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
        findings.push("Cargo.toml: no [workspace.dependencies] found".to_owned());
    }
    findings.extend(
        declared.difference(&reasoned).map(|name| format!("Cargo.toml: {name} has no line in {REASONS}")),
    );
    findings
        .extend(reasoned.difference(&declared).map(|name| format!("{REASONS}: {name} is not a dependency")));
    findings
}

#[cfg(test)]
mod tests;
