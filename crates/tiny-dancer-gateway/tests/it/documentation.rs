//! `docs/gateway.md` has all that there is.

use crate::running::Running;

const PAGE: &str = include_str!("../../../../docs/gateway.md");

#[tokio::test]
async fn the_page_names_every_family_of_metrics() {
    let (running, ..) = Running::live().await;
    let text =
        running.client.get(format!("{}/metrics", running.url)).send().await.unwrap().text().await.unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE tiny_dancer_gateway_"));
    let families: Vec<_> = families.filter_map(|line| line.split(' ').next()).collect();
    assert!(families.len() > 10, "{families:?}");
    for family in families {
        assert!(PAGE.contains(&format!("`{family}`")), "{family}");
    }
    let reasons = text.split("reason=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for reason in reasons.collect::<std::collections::BTreeSet<_>>() {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn the_page_names_every_key_of_the_configuration() {
    let source = include_str!("../../src/config.rs");
    let calls = [
        "or",
        "optional",
        "required",
        "required_table",
        "table",
        "table_or_empty",
        "each_table",
        "count",
        "seconds",
    ];
    let mut found = 0;
    for call in source.split('(').zip(source.split('(').skip(1)) {
        let (before, after) = call;
        let name: String = before.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let name: String = name.chars().rev().collect();
        let Some(key) = after.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
        if calls.contains(&name.as_str()) {
            found += 1;
            assert!(PAGE.contains(&format!("`{key}`")), "{key}");
        }
    }
    assert!(found > 25, "{found} keys");
}
