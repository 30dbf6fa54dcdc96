use super::*;
use serde_json::{Value, json};

fn rules() -> Rules {
    let rules = json!({
        "core": "core",
        "banned-under-core": ["log", "otel*"],
        "under-core": ["swap", "atomics"],
        "single": ["otel"],
        "bridge": ["bridge", "otel"],
        "crates": {
            "core": ["swap"],
            "metrics": ["core", "prometheus"],
            "tracing": ["core", "otel", "bridge"],
            "facade": ["core", "metrics", "tracing"],
        },
    });
    serde_json::from_value(rules).unwrap()
}

/// A graph as `cargo metadata` prints it. Ids are names with versions.
struct Graph {
    packages: Vec<Value>,
    members: Vec<Value>,
    links: Vec<(String, String, Value)>,
}

/// A workspace that keeps the rules.
fn good() -> Graph {
    let mut graph = Graph { packages: Vec::new(), members: Vec::new(), links: Vec::new() };
    for package in ["atomics 1.0.0", "swap 1.0.0", "prometheus 0.14.0", "otel 0.33.1", "bridge 0.34.0"] {
        graph.add(package, Some(CRATES_IO));
    }
    for member in ["core 0.1.0", "metrics 0.1.0", "tracing 0.1.0", "facade 0.1.0"] {
        graph.add(member, None);
        graph.members.push(member.into());
    }
    for (from, to) in [
        ("swap 1.0.0", "atomics 1.0.0"),
        ("bridge 0.34.0", "otel 0.33.1"),
        ("core 0.1.0", "swap 1.0.0"),
        ("metrics 0.1.0", "core 0.1.0"),
        ("metrics 0.1.0", "prometheus 0.14.0"),
        ("tracing 0.1.0", "core 0.1.0"),
        ("tracing 0.1.0", "otel 0.33.1"),
        ("tracing 0.1.0", "bridge 0.34.0"),
        ("facade 0.1.0", "core 0.1.0"),
        ("facade 0.1.0", "metrics 0.1.0"),
        ("facade 0.1.0", "tracing 0.1.0"),
    ] {
        graph.link(from, to, Value::Null);
    }
    graph.link("core 0.1.0", "core 0.1.0", "dev".into());
    graph
}

impl Graph {
    fn add(&mut self, id: &str, source: Option<&str>) {
        let (name, version) = id.split_once(' ').unwrap();
        self.packages.push(json!({
            "id": id, "name": name, "version": version, "source": source,
            "dependencies": [], "targets": [], "features": {}, "manifest_path": "",
        }));
    }

    /// `kind` is null at run time, or "build" or "dev".
    fn link(&mut self, from: &str, to: &str, kind: Value) {
        self.links.push((from.to_owned(), to.to_owned(), kind));
    }

    fn remove(&mut self, id: &str) {
        self.packages.retain(|package| package["id"] != id);
        self.members.retain(|member| member != id);
        self.links.retain(|(from, to, _)| from != id && to != id);
    }

    fn metadata(&self) -> Metadata {
        let node = |package: &Value| {
            let links = self.links.iter().filter(|(from, ..)| package["id"] == *from);
            let deps: Vec<_> = links
                .map(|(_, to, kind)| json!({ "name": to, "pkg": to, "dep_kinds": [{ "kind": kind, "target": null }] }))
                .collect();
            json!({ "id": package["id"], "deps": deps, "dependencies": [], "features": [] })
        };
        let nodes: Vec<_> = self.packages.iter().map(node).collect();
        let metadata = json!({
            "packages": self.packages, "workspace_members": self.members, "workspace_default_members": self.members,
            "resolve": { "nodes": nodes, "root": null },
            "workspace_root": "", "target_directory": "", "version": 1,
        });
        serde_json::from_value(metadata).unwrap()
    }
}

fn findings(change: impl FnOnce(&mut Graph)) -> Vec<String> {
    let mut graph = good();
    change(&mut graph);
    let graph = graph.metadata();
    check(&graph, &graph, &rules()).unwrap()
}

#[test]
fn a_good_workspace_passes() {
    assert_eq!(findings(|_| ()), [""; 0]);
}

#[test]
fn metrics_and_tracing_must_not_depend_on_each_other_in_tests_either() {
    for kind in [Value::Null, "dev".into()] {
        let found = findings(|graph| graph.link("metrics 0.1.0", "tracing 0.1.0", kind));
        assert_eq!(found, ["metrics must not depend on tracing"]);
    }
}

#[test]
fn a_crate_depends_on_itself_only_in_tests() {
    let found = findings(|graph| graph.link("metrics 0.1.0", "metrics 0.1.0", "build".into()));
    assert_eq!(found, ["metrics must not depend on metrics"]);
}

#[test]
fn a_package_that_is_not_on_the_list_is_found() {
    for kind in [Value::Null, "build".into()] {
        let found = findings(|graph| graph.link("facade 0.1.0", "prometheus 0.14.0", kind));
        assert_eq!(found, ["facade must not depend on prometheus"]);
    }
}

#[test]
fn a_package_with_the_name_of_a_crate_is_found() {
    let found = findings(|graph| {
        graph.add("core 9.0.0", Some(CRATES_IO));
        graph.link("facade 0.1.0", "core 9.0.0", Value::Null);
    });
    assert_eq!(found, ["facade must not depend on core"]);
}

#[test]
fn a_test_may_use_any_package() {
    let found = findings(|graph| graph.link("facade 0.1.0", "prometheus 0.14.0", "dev".into()));
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_unknown_kind_of_dependency_is_found() {
    let found = findings(|graph| graph.link("swap 1.0.0", "prometheus 0.14.0", "other".into()));
    assert_eq!(found, ["swap depends on prometheus in an unknown way"]);
}

#[test]
fn telemetry_deep_under_core_is_found_with_its_path() {
    let found = findings(|graph| {
        graph.add("otel_api 0.33.1", Some(CRATES_IO));
        graph.link("atomics 1.0.0", "otel_api 0.33.1", Value::Null);
    });
    let path = "core -> swap -> atomics -> otel_api";
    assert_eq!(found, [format!("banned under core: {path}"), format!("not on core's list: {path}")]);
}

#[test]
fn a_banned_package_is_found_on_other_platforms_too() {
    let mut all = good();
    all.add("log 0.4.0", Some(CRATES_IO));
    all.link("atomics 1.0.0", "log 0.4.0", Value::Null);
    let found = check(&all.metadata(), &good().metadata(), &rules()).unwrap();
    assert_eq!(found, ["banned under core: core -> swap -> atomics -> log"]);
}

#[test]
fn an_unlisted_package_under_core_is_found() {
    let found = findings(|graph| {
        graph.add("harmless 1.0.0", Some(CRATES_IO));
        graph.link("swap 1.0.0", "harmless 1.0.0", Value::Null);
    });
    assert_eq!(found, ["not on core's list: core -> swap -> harmless"]);
}

#[test]
fn two_versions_are_found() {
    let found = findings(|graph| graph.add("otel 0.32.0", Some(CRATES_IO)));
    assert_eq!(found, ["otel must have one version, found [0.33.1, 0.32.0]"]);
}

#[test]
fn no_version_is_found() {
    let found = findings(|graph| graph.remove("otel 0.33.1"));
    assert_eq!(found, ["otel must have one version, found []"]);
}

#[test]
fn a_bridge_of_the_same_minor_version_is_found() {
    let found = findings(|graph| {
        graph.remove("bridge 0.34.0");
        graph.add("bridge 0.33.0", Some(CRATES_IO));
    });
    assert_eq!(found, ["bridge 0.33.0 does not fit otel 0.33.1"]);
}

#[test]
fn an_unknown_crate_is_found() {
    let found = findings(|graph| {
        graph.add("newcomer 0.1.0", None);
        graph.members.push("newcomer 0.1.0".into());
    });
    assert_eq!(found, ["newcomer is in the workspace, not in the rules"]);
}

#[test]
fn a_missing_crate_is_found() {
    let found = findings(|graph| graph.remove("facade 0.1.0"));
    assert_eq!(found, ["facade is in the rules, not in the workspace"]);
}

#[test]
fn a_package_from_elsewhere_is_found() {
    let found = findings(|graph| {
        graph.remove("prometheus 0.14.0");
        graph.add("prometheus 0.14.0", None);
    });
    assert_eq!(found, ["prometheus comes from a folder, not crates.io"]);
}

#[test]
fn an_empty_graph_has_findings() {
    let nothing = Graph { packages: Vec::new(), members: Vec::new(), links: Vec::new() }.metadata();
    assert_eq!(check(&nothing, &nothing, &rules()).unwrap().len(), 4 + 1);
}
