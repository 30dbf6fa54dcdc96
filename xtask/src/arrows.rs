//! The dependency arrows: which crate may depend on which, checked on cargo's resolved graph.
//!
//! The rules are data, in `xtask/Cargo.toml`. A crate that only the rules or only the workspace has is a finding too, so
//! that a check of nothing fails.

use anyhow::{Context, Result};
use cargo_metadata::semver::Version;
use cargo_metadata::{DependencyKind, Metadata, Node, Package};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The table `[package.metadata.arrows]` of `xtask/Cargo.toml`, which explains each key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rules {
    banned_under_core: Vec<String>,
    bridge: (String, String),
    core: String,
    crates: BTreeMap<String, BTreeSet<String>>,
    single: Vec<String>,
    under_core: BTreeSet<String>,
}

impl Rules {
    pub(crate) fn of(workspace: &Metadata) -> Result<Self> {
        let xtask = workspace.workspace_packages().into_iter().find(|it| it.name == env!("CARGO_PKG_NAME"));
        let rules = xtask.context("the workspace has no xtask")?.metadata["arrows"].clone();
        serde_json::from_value(rules).context("[package.metadata.arrows] of xtask/Cargo.toml")
    }
}

/// All findings. `graph` is for all platforms, `linux` the same for Linux alone, where the list of packages under core is
/// short enough to be read.
pub(crate) fn check(graph: &Metadata, linux: &Metadata, rules: &Rules) -> Result<Vec<String>> {
    let mut findings = members(graph, rules);
    for node in nodes(graph)? {
        findings.extend(direct(graph, node, rules));
    }
    let others = graph.packages.iter().filter(|package| !is_member(graph, package));
    let foreign =
        others.filter(|package| package.source.as_ref().is_none_or(|source| source.repr != CRATES_IO));
    findings.extend(foreign.map(|package| {
        let source = package.source.as_ref().map_or("a folder", |source| source.repr.as_str());
        format!("{} comes from {source}, not crates.io", package.name)
    }));
    for (name, path) in under_core(graph, rules)? {
        let is_banned = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        if rules.banned_under_core.iter().any(is_banned) {
            findings.push(format!("banned under core: {path}"));
        }
    }
    let unlisted =
        under_core(linux, rules)?.into_iter().filter(|(name, _)| !rules.under_core.contains(*name));
    findings.extend(unlisted.map(|(_, path)| format!("not on core's list: {path}")));
    findings.extend(versions(graph, rules));
    Ok(findings)
}

fn members(graph: &Metadata, rules: &Rules) -> Vec<String> {
    let found: BTreeSet<&str> = graph.workspace_packages().iter().map(|it| it.name.as_str()).collect();
    let expected = rules.crates.keys().map(String::as_str).collect();
    let unknown =
        found.difference(&expected).map(|name| format!("{name} is in the workspace, not in the rules"));
    let missing =
        expected.difference(&found).map(|name| format!("{name} is in the rules, not in the workspace"));
    unknown.chain(missing).collect()
}

/// A package's own dependencies: their kinds are known, and a crate of the workspace has them on its list.
fn direct(graph: &Metadata, node: &Node, rules: &Rules) -> Vec<String> {
    let from = &graph[&node.id];
    let allowed = rules.crates.get(from.name.as_str()).filter(|_| is_member(graph, from));
    let mut findings = Vec::new();
    for dependency in &node.deps {
        let to = &graph[&dependency.pkg];
        let mut kinds = dependency.dep_kinds.iter().map(|it| it.kind).peekable();
        if kinds.peek().is_none() || kinds.clone().any(|kind| kind == DependencyKind::Unknown) {
            findings.push(format!("{} depends on {} in an unknown way", from.name, to.name));
        }
        let to_member = is_member(graph, to);
        let only_in_tests = kinds.all(|kind| kind == DependencyKind::Development);
        // A test may use any package, and its own crate with other features.
        let is_free = only_in_tests && (!to_member || to.name == from.name);
        // A package with the name of a crate is not that crate.
        let is_allowed = |allowed: &BTreeSet<String>| {
            allowed.contains(to.name.as_str()) && to_member == rules.crates.contains_key(to.name.as_str())
        };
        if allowed.is_some_and(|allowed| !is_free && !is_allowed(allowed)) {
            findings.push(format!("{} must not depend on {}", from.name, to.name));
        }
    }
    findings
}

/// Each package under core at run time, with the shortest way to it.
fn under_core<'a>(graph: &'a Metadata, rules: &Rules) -> Result<Vec<(&'a str, String)>> {
    let nodes: BTreeMap<_, _> = nodes(graph)?.iter().map(|node| (&node.id, node)).collect();
    let core = graph.workspace_packages().into_iter().find(|package| package.name == rules.core);
    let mut open: VecDeque<_> = core.map(|core| (&core.id, core.name.to_string())).into_iter().collect();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some((id, path)) = open.pop_front() {
        for dependency in &nodes.get(id).context("a package without a node")?.deps {
            let is_normal = dependency.dep_kinds.iter().any(|it| it.kind == DependencyKind::Normal);
            if is_normal && seen.insert(&dependency.pkg) {
                let name = graph[&dependency.pkg].name.as_str();
                let path = format!("{path} -> {name}");
                found.push((name, path.clone()));
                open.push_back((&dependency.pkg, path));
            }
        }
    }
    Ok(found)
}

fn versions(graph: &Metadata, rules: &Rules) -> Vec<String> {
    let versions = |name: &String| -> Vec<&Version> {
        graph.packages.iter().filter(|package| package.name == *name).map(|it| &it.version).collect()
    };
    let mut findings = Vec::new();
    for package in &rules.single {
        let found: Vec<_> = versions(package).into_iter().map(ToString::to_string).collect();
        if found.len() != 1 {
            findings.push(format!("{package} must have one version, found [{}]", found.join(", ")));
        }
    }
    let (bridge, counterpart) = &rules.bridge;
    if let ([ahead], [behind]) = (&*versions(bridge), &*versions(counterpart))
        && (ahead.major, ahead.minor) != (behind.major, behind.minor + 1)
    {
        findings.push(format!("{bridge} {ahead} does not fit {counterpart} {behind}"));
    }
    findings
}

fn nodes(graph: &Metadata) -> Result<&[Node]> {
    Ok(&graph.resolve.as_ref().context("cargo metadata resolved nothing")?.nodes)
}

fn is_member(graph: &Metadata, package: &Package) -> bool {
    graph.workspace_members.contains(&package.id)
}

#[cfg(test)]
mod tests;
