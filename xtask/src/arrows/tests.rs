use super::*;

const RULES: Rules = Rules {
    members: &[
        Member { name: "core", members: &[], packages: &["swap"] },
        Member { name: "metrics", members: &["core"], packages: &["prometheus"] },
        Member { name: "tracing", members: &["core"], packages: &["otel", "bridge"] },
        Member { name: "facade", members: &["core", "metrics", "tracing"], packages: &[] },
    ],
    core: "core",
    banned_in_core: &["log", "otel*"],
    core_closure: &["swap", "atomics"],
    single: &["otel"],
    paired: ("bridge", "otel"),
};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A workspace that keeps the rules, in lines of `name version: dependencies`.
fn good() -> Graph {
    let mut graph = Graph::default();
    graph.add("atomics", "1.0.0", false);
    graph.add("swap", "1.0.0", false);
    graph.add("prometheus", "0.14.0", false);
    graph.add("otel", "0.33.1", false);
    graph.add("bridge", "0.34.0", false);
    graph.add("core", "0.1.0", true);
    graph.add("metrics", "0.1.0", true);
    graph.add("tracing", "0.1.0", true);
    graph.add("facade", "0.1.0", true);
    graph.link("swap", "atomics");
    graph.link("bridge", "otel");
    graph.link("core", "swap");
    graph.link_as("core", "core", DependencyKind::Development);
    graph.link("metrics", "core");
    graph.link("metrics", "prometheus");
    graph.link("tracing", "core");
    graph.link("tracing", "otel");
    graph.link("tracing", "bridge");
    graph.link("facade", "core");
    graph.link("facade", "metrics");
    graph.link("facade", "tracing");
    graph
}

impl Graph {
    fn add(&mut self, name: &str, version: &str, is_member: bool) {
        let package = Package {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            source: (!is_member).then(|| CRATES_IO.to_owned()),
            is_member,
            dependencies: Vec::new(),
        };
        let taken = self.packages.contains_key(name);
        self.packages.insert(if taken { format!("{name} {version}") } else { name.to_owned() }, package);
    }

    fn link_as(&mut self, from: &str, to: &str, kind: DependencyKind) {
        assert!(self.packages.contains_key(to));
        let dependency = Dependency { id: to.to_owned(), kinds: vec![kind] };
        self.packages.get_mut(from).unwrap().dependencies.push(dependency);
    }

    fn link(&mut self, from: &str, to: &str) {
        self.link_as(from, to, DependencyKind::Normal);
    }
}

fn violations(change: impl FnOnce(&mut Graph)) -> Vec<Violation> {
    let mut graph = good();
    change(&mut graph);
    check(&graph, &graph, &RULES)
}

fn path(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_workspace_passes() {
    assert_eq!(violations(|_| ()), []);
}

#[test]
fn metrics_and_tracing_must_not_know_each_other() {
    let found = violations(|graph| graph.link("metrics", "tracing"));
    assert_eq!(found, [Violation::Arrow { from: "metrics".into(), to: "tracing".into() }]);
    assert_eq!(found[0].to_string(), "metrics must not depend on tracing");
}

#[test]
fn not_even_in_tests() {
    let found = violations(|graph| graph.link_as("metrics", "tracing", DependencyKind::Development));
    assert_eq!(found, [Violation::Arrow { from: "metrics".into(), to: "tracing".into() }]);
}

#[test]
fn a_crate_depends_on_itself_only_in_tests() {
    let found = violations(|graph| graph.link_as("metrics", "metrics", DependencyKind::Build));
    assert_eq!(found, [Violation::Arrow { from: "metrics".into(), to: "metrics".into() }]);
}

#[test]
fn a_package_that_is_not_on_the_list_is_found() {
    for kind in [DependencyKind::Normal, DependencyKind::Build] {
        let found = violations(|graph| graph.link_as("facade", "prometheus", kind));
        assert_eq!(found, [Violation::Package { from: "facade".into(), to: "prometheus".into() }]);
    }
}

#[test]
fn a_test_may_use_any_package() {
    assert_eq!(violations(|graph| graph.link_as("facade", "prometheus", DependencyKind::Development)), []);
}

#[test]
fn telemetry_deep_under_core_is_found_with_the_way_it_got_there() {
    let found = violations(|graph| {
        graph.add("otel_api", "0.33.1", false);
        graph.link("atomics", "otel_api");
    });
    let path = path(&["core", "swap", "atomics", "otel_api"]);
    assert_eq!(
        found,
        [Violation::BannedInCore { path: path.clone() }, Violation::UnlistedInCore { path: path.clone() }]
    );
    assert_eq!(found[0].to_string(), "banned under core: core -> swap -> atomics -> otel_api");
}

#[test]
fn a_banned_package_is_found_on_other_platforms_too() {
    let linux = good();
    let mut all = good();
    all.add("log", "0.4.0", false);
    all.link("atomics", "log");
    let path = path(&["core", "swap", "atomics", "log"]);
    assert_eq!(check(&all, &linux, &RULES), [Violation::BannedInCore { path }]);
}

#[test]
fn a_harmless_package_under_core_is_found_where_it_is_not_listed() {
    let found = violations(|graph| {
        graph.add("harmless", "1.0.0", false);
        graph.link("swap", "harmless");
    });
    assert_eq!(found, [Violation::UnlistedInCore { path: path(&["core", "swap", "harmless"]) }]);
}

#[test]
fn two_versions_are_found() {
    let found = violations(|graph| graph.add("otel", "0.32.0", false));
    let versions = ["0.33.1", "0.32.0"].map(|version| version.parse().unwrap()).to_vec();
    assert_eq!(found, [Violation::Versions { package: "otel".into(), found: versions }]);
    assert_eq!(found[0].to_string(), "otel must be there in one version, found [0.33.1, 0.32.0]");
}

#[test]
fn no_version_is_found() {
    let found = violations(|graph| {
        graph.packages.remove("otel");
    });
    assert_eq!(found, [Violation::Versions { package: "otel".into(), found: vec![] }]);
}

#[test]
fn a_bridge_of_the_same_minor_version_is_found() {
    let found =
        violations(|graph| graph.packages.get_mut("bridge").unwrap().version = "0.33.0".parse().unwrap());
    assert_eq!(found, [Violation::Paired { bridge: "bridge 0.33.0".into(), to: "otel 0.33.1".into() }]);
}

#[test]
fn an_unknown_crate_is_found() {
    let found = violations(|graph| graph.add("newcomer", "0.1.0", true));
    assert_eq!(found, [Violation::UnknownMember { name: "newcomer".into() }]);
}

#[test]
fn a_missing_crate_is_found() {
    let found = violations(|graph| {
        graph.packages.remove("facade");
    });
    assert_eq!(found, [Violation::MissingMember { name: "facade".into() }]);
}

#[test]
fn a_package_from_elsewhere_is_found() {
    let found = violations(|graph| graph.packages.get_mut("swap").unwrap().source = None);
    assert_eq!(found, [Violation::ForeignSource { package: "swap".into(), source: "a folder".into() }]);
}

#[test]
fn an_empty_graph_passes_nothing() {
    let nothing = Graph::default();
    assert_eq!(check(&nothing, &nothing, &RULES).len(), RULES.members.len() + RULES.single.len());
}

#[test]
fn nothing_is_both_banned_and_listed_under_core() {
    let rules = rules::RULES;
    let both = |name: &&&str| rules.banned_in_core.iter().any(|pattern| matches(pattern, name));
    assert_eq!(rules.core_closure.iter().find(both), None);
    let core = rules.members.iter().find(|member| member.name == rules.core).unwrap();
    assert!(core.packages.iter().all(|package| rules.core_closure.contains(package)));
}
