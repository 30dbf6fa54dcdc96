//! The dependency arrows: who may depend on whom, proved from cargo's resolved graph.
//!
//! [`rules`] holds the allowlists, [`Graph`] what cargo resolved with all features on, and [`check`] compares them.
//! Whatever the rules don't mention is a violation, a crate that they mention and cargo doesn't know as well: a check
//! that looks at nothing must not pass.

use anyhow::{Context, Result, bail};
use cargo_metadata::semver::Version;
use cargo_metadata::{DependencyKind, Metadata};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

pub(crate) mod rules;

/// What the arrows must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Every crate of the workspace.
    pub(crate) members: &'static [Member],
    /// The crate that knows nothing of telemetry.
    pub(crate) core: &'static str,
    /// What must not be anywhere under it; a `*` at the end stands for any rest.
    pub(crate) banned_in_core: &'static [&'static str],
    /// All that may be under it, on Linux.
    pub(crate) core_closure: &'static [&'static str],
    /// Packages of which there is exactly one version.
    pub(crate) single: &'static [&'static str],
    /// A bridge, and what its minor version is one ahead of.
    pub(crate) paired: (&'static str, &'static str),
}

/// One crate of the workspace, and what it may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    /// Crates of the workspace. Tests are no exception, but any crate may test itself with other features.
    pub(crate) members: &'static [&'static str],
    /// Packages from the registry, at run time and at build time.
    pub(crate) packages: &'static [&'static str],
}

/// What breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// A crate of the workspace depends on another one that it must not know.
    Arrow { from: String, to: String },
    /// Something banned is under core; the path says how it got there.
    BannedInCore { path: Vec<String> },
    /// A package that is neither a crate of the workspace nor from crates.io.
    ForeignSource { package: String, source: String },
    /// A crate that the rules know and the workspace lacks.
    MissingMember { name: String },
    /// A crate of the workspace depends on a package that is not on its list.
    Package { from: String, to: String },
    /// A bridge and its counterpart are of versions that don't fit.
    Paired { bridge: String, to: String },
    /// A crate of the workspace that the rules don't know.
    UnknownMember { name: String },
    /// Something not on the list is under core; the path says how it got there.
    UnlistedInCore { path: Vec<String> },
    /// Not exactly one version.
    Versions { package: String, found: Vec<Version> },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrow { from, to } => write!(f, "{from} must not depend on {to}"),
            Self::BannedInCore { path } => write!(f, "banned under core: {}", path.join(" -> ")),
            Self::ForeignSource { package, source } => {
                write!(f, "{package} comes from {source}, not crates.io")
            }
            Self::MissingMember { name } => write!(f, "{name} is in the rules, and not in the workspace"),
            Self::Package { from, to } => write!(f, "{to} is not on the list of {from}"),
            Self::Paired { bridge, to } => write!(f, "{bridge} does not go with {to}"),
            Self::UnknownMember { name } => write!(f, "{name} is in the workspace, and not in the rules"),
            Self::UnlistedInCore { path } => write!(f, "not on core's list: {}", path.join(" -> ")),
            Self::Versions { package, found } => {
                let found: Vec<_> = found.iter().map(ToString::to_string).collect();
                write!(f, "{package} must be there in one version, found [{}]", found.join(", "))
            }
        }
    }
}

/// What cargo resolved, as far as the rules care.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// By cargo's package id.
    packages: BTreeMap<String, Package>,
}

#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: Version,
    /// `None` is a folder.
    source: Option<String>,
    is_member: bool,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    id: String,
    kinds: Vec<DependencyKind>,
}

impl Dependency {
    fn is(&self, wanted: DependencyKind) -> bool {
        self.kinds.contains(&wanted)
    }
}

impl Graph {
    pub(crate) fn new(metadata: &Metadata) -> Result<Self> {
        let mut packages: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .map(|package| {
                let known = Package {
                    name: package.name.to_string(),
                    version: package.version.clone(),
                    source: package.source.as_ref().map(ToString::to_string),
                    is_member: metadata.workspace_members.contains(&package.id),
                    dependencies: Vec::new(),
                };
                (package.id.repr.clone(), known)
            })
            .collect();
        let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
        for node in &resolve.nodes {
            let package = packages.get_mut(&node.id.repr).context("a node without a package")?;
            for dependency in &node.deps {
                let kinds: Vec<_> = dependency.dep_kinds.iter().map(|info| info.kind).collect();
                if kinds.is_empty() || kinds.contains(&DependencyKind::Unknown) {
                    bail!("{} depends on {} in a way unknown here", package.name, dependency.name);
                }
                package.dependencies.push(Dependency { id: dependency.pkg.repr.clone(), kinds });
            }
        }
        for package in packages.values() {
            if let Some(lost) =
                package.dependencies.iter().find(|dependency| !packages.contains_key(&dependency.id))
            {
                bail!("{} depends on {}, of which cargo says nothing", package.name, lost.id);
            }
        }
        Ok(Self { packages })
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.is_member)
    }

    fn dependencies<'a>(&'a self, of: &'a Package) -> impl Iterator<Item = (&'a Dependency, &'a Package)> {
        of.dependencies.iter().filter_map(|dependency| Some((dependency, self.packages.get(&dependency.id)?)))
    }

    /// The shortest way to everything under a crate of the workspace, itself excepted.
    fn closure(&self, member: &str) -> Vec<Vec<String>> {
        let Some(root) = self.members().find(|package| package.name == member) else {
            return Vec::new();
        };
        let mut found = BTreeMap::new();
        let mut open = VecDeque::from([(root, vec![root.name.clone()])]);
        while let Some((package, path)) = open.pop_front() {
            for (dependency, under) in self.dependencies(package) {
                if dependency.is(DependencyKind::Normal) && !found.contains_key(&dependency.id) {
                    let path = [path.as_slice(), std::slice::from_ref(&under.name)].concat();
                    found.insert(dependency.id.clone(), path.clone());
                    open.push_back((under, path));
                }
            }
        }
        found.into_values().collect()
    }

    fn versions(&self, name: &str) -> Vec<Version> {
        self.packages.values().filter(|package| package.name == name).map(|it| it.version.clone()).collect()
    }
}

/// Every violation. `graph` is for all platforms; `linux` is the same for Linux alone, where the list of all that is
/// under core can be kept short enough to be read.
pub(crate) fn check(graph: &Graph, linux: &Graph, rules: &Rules) -> Vec<Violation> {
    let mut violations = members(graph, rules);
    for package in graph.members() {
        if let Some(rule) = rules.members.iter().find(|rule| rule.name == package.name) {
            violations.extend(direct(graph, package, rule));
        }
    }
    violations.extend(sources(graph));
    violations.extend(under_core(graph, linux, rules));
    violations.extend(versions(graph, rules));
    violations
}

fn members(graph: &Graph, rules: &Rules) -> Vec<Violation> {
    let unknown = graph
        .members()
        .filter(|package| !rules.members.iter().any(|rule| rule.name == package.name))
        .map(|package| Violation::UnknownMember { name: package.name.clone() });
    let missing = rules
        .members
        .iter()
        .filter(|rule| !graph.members().any(|package| package.name == rule.name))
        .map(|rule| Violation::MissingMember { name: rule.name.to_owned() });
    unknown.chain(missing).collect()
}

/// A crate's own dependencies against its lists.
fn direct(graph: &Graph, package: &Package, rule: &Member) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (dependency, to) in graph.dependencies(package) {
        let (from, name) = (package.name.clone(), to.name.clone());
        let only_tests = dependency.kinds.iter().all(|&kind| kind == DependencyKind::Development);
        let tests_itself = only_tests && name == from;
        if to.is_member {
            if !tests_itself && !rule.members.contains(&name.as_str()) {
                violations.push(Violation::Arrow { from, to: name });
            }
        } else if !only_tests && !rule.packages.contains(&name.as_str()) {
            violations.push(Violation::Package { from, to: name });
        }
    }
    violations
}

fn sources(graph: &Graph) -> Vec<Violation> {
    const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
    graph
        .packages
        .values()
        .filter(|package| !package.is_member && package.source.as_deref() != Some(CRATES_IO))
        .map(|package| Violation::ForeignSource {
            package: package.name.clone(),
            source: package.source.clone().unwrap_or_else(|| "a folder".to_owned()),
        })
        .collect()
}

fn under_core(graph: &Graph, linux: &Graph, rules: &Rules) -> Vec<Violation> {
    let name = |path: &[String]| path.last().cloned().unwrap_or_default();
    let banned = graph
        .closure(rules.core)
        .into_iter()
        .filter(|path| rules.banned_in_core.iter().any(|pattern| matches(pattern, &name(path))))
        .map(|path| Violation::BannedInCore { path });
    let unlisted = linux
        .closure(rules.core)
        .into_iter()
        .filter(|path| !rules.core_closure.contains(&name(path).as_str()))
        .map(|path| Violation::UnlistedInCore { path });
    banned.chain(unlisted).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start))
}

fn versions(graph: &Graph, rules: &Rules) -> Vec<Violation> {
    let mut violations: Vec<_> = rules
        .single
        .iter()
        .map(|&package| (package, graph.versions(package)))
        .filter(|(_, found)| found.len() != 1)
        .map(|(package, found)| Violation::Versions { package: package.to_owned(), found })
        .collect();
    let (bridge, counterpart) = rules.paired;
    if let ([ahead], [behind]) = (&*graph.versions(bridge), &*graph.versions(counterpart))
        && (ahead.major, ahead.minor) != (behind.major, behind.minor + 1)
    {
        let spelled = |name: &str, version: &Version| format!("{name} {version}");
        violations
            .push(Violation::Paired { bridge: spelled(bridge, ahead), to: spelled(counterpart, behind) });
    }
    violations
}

#[cfg(test)]
mod tests;
