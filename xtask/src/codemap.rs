//! The code map of docs/architecture.md: every module and what it is, in the words of its own documentation.
//!
//! `cargo xtask codegen` writes it, `cargo xtask lint` compares. Tests are left out.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "docs/architecture.md";
const BEGIN: &str = "<!-- The code map, written by `cargo xtask codegen`. -->\n";
const END: &str = "<!-- The end of the code map. -->\n";

/// Fails where the document says something else than the code.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let (old, new) = documents(workspace)?;
    if old != new {
        bail!("the code map of {DOCUMENT} is not the code's; run `cargo xtask codegen`");
    }
    Ok(())
}

pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let (_, new) = documents(workspace)?;
    fs::write(workspace.root.join(DOCUMENT), new).context(DOCUMENT)
}

/// The document as it is, and as it should be.
fn documents(workspace: &Workspace) -> Result<(String, String)> {
    let old = fs::read_to_string(workspace.root.join(DOCUMENT)).context(DOCUMENT)?;
    let new = replace(&old, &map(workspace)?)?;
    Ok((old, new))
}

fn map(workspace: &Workspace) -> Result<String> {
    let files = workspace.files()?;
    let mut packages: Vec<_> = workspace
        .metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let folder = package.manifest_path.parent().context("a manifest without a folder")?;
            let folder = folder.strip_prefix(&workspace.metadata.workspace_root)?.to_string();
            Ok((folder, package.name.to_string(), package.description.clone().unwrap_or_default()))
        })
        .collect::<Result<_>>()?;
    packages.sort();
    let mut map = String::new();
    for (folder, name, description) in packages {
        write!(map, "\n### `{folder}`: {name}\n\n{description}.\n\n| file | what it is |\n| --- | --- |\n")?;
        let modules = files.iter().filter_map(|file| {
            let module = file.strip_prefix(&folder)?.strip_prefix('/')?;
            (Path::new(module).extension().is_some_and(|it| it == "rs") && !is_test(module))
                .then_some((file, module))
        });
        for (file, module) in modules {
            let source = fs::read_to_string(workspace.root.join(file)).with_context(|| file.clone())?;
            let idea = first_sentence(&source).with_context(|| format!("{file} does not say what it is"))?;
            writeln!(map, "| [`{module}`](../{file}) | {} |", idea.replace('|', "\\|"))?;
        }
    }
    Ok(map)
}

/// The first sentence of a module's documentation, its links undone.
fn first_sentence(source: &str) -> Option<String> {
    let lines: Vec<_> = source.lines().map_while(|line| line.strip_prefix("//! ")).map(str::trim).collect();
    let text = unlinked(&lines.join(" "));
    let end = text.match_indices(". ").find(|(at, _)| text[at + 2..].starts_with(char::is_uppercase));
    let sentence = end.map_or(text.as_str(), |(at, _)| &text[..=at]).trim_end_matches(['.', ':']);
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// `[text](target)` and `[text]` become `text`.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        plain.extend([before, "`", name, "`"]);
        rest = after.strip_prefix('(').and_then(|target| Some(target.split_once(')')?.1)).unwrap_or(after);
    }
    plain + rest
}

fn replace(document: &str, map: &str) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("{DOCUMENT} has lost the marks of its code map"))?;
    Ok(format!("{before}{BEGIN}{map}\n{END}{after}"))
}

/// Whether a file holds tests, by its path.
pub(crate) fn is_test(file: &str) -> bool {
    Path::new(file).components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

#[cfg(test)]
mod tests;
