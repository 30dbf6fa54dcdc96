//! The dashboard against Grafana's own types, by `tsc`. Grafana itself does not run, so rendering is not checked.
//!
//! The types come from npm's `@grafana/schema`: all of them from the oldest version that the dashboard supports, and from
//! a recent version those that are still in the same file.

use crate::workspace::output;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exact versions, so that the check is reproducible. The oldest keeps its name, since its types import it.
const PACKAGES: &[&str] =
    &["@grafana/schema@10.4.19", "recent@npm:@grafana/schema@13.2.3", "typescript@5.9.3"];

/// Fails unless the dashboard has the shape that Grafana's types give it.
pub(crate) fn check(dashboard: &Value, folder: &Path) -> Result<()> {
    install(folder, PACKAGES)?;
    fs::write(folder.join("oldest.ts"), program(dashboard, "@grafana/schema", true)?)?;
    fs::write(folder.join("recent.ts"), program(dashboard, "recent", false)?)?;
    let mut tsc = Command::new("node");
    tsc.args([
        "node_modules/typescript/bin/tsc",
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--target",
        "esnext",
    ]);
    tsc.args(["--module", "esnext", "--moduleResolution", "bundler", "oldest.ts", "recent.ts"]);
    output(tsc.current_dir(folder))?;
    Ok(())
}

/// Installs packages of npm into a folder, once.
pub(crate) fn install(folder: &Path, packages: &[&str]) -> Result<()> {
    let (installed, wanted) = (folder.join("installed"), packages.join(" "));
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // An interrupted installation may have left half a package.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), "{ \"private\": true }\n")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]).args(packages);
    output(npm.current_dir(folder))?;
    fs::write(installed, wanted)?;
    Ok(())
}

/// Types that no package has, and JSON's view of enums, which spells their values as strings.
const HEAD: &str = "
interface PrometheusAnnotation { expr: string; step: string; titleFormat: string }
type Whole = Omit<Dashboard, 'annotations'> & { annotations: { list: (AnnotationQuery & PrometheusAnnotation)[] } };
type Json<T> =
    T extends string ? `${T}` :
    T extends number | boolean | null | undefined ? T :
    T extends object ? { [K in keyof T]: Json<T[K]> } : T;
";

/// A program in TypeScript whose types are correct if the dashboard is.
fn program(dashboard: &Value, package: &str, with_queries: bool) -> Result<String> {
    let mut program = format!("import type {{ AnnotationQuery, Dashboard }} from '{package}';\n");
    let raw = format!("{package}/dist/esm/raw/composable");
    for name in ["Heatmap", "Stat", "StateTimeline", "Table", "TimeSeries"] {
        let folder = name.to_lowercase();
        writeln!(
            program,
            "import type * as {name} from '{raw}/{folder}/panelcfg/x/{name}PanelCfg_types.gen';"
        )?;
    }
    if with_queries {
        let path = "prometheus/dataquery/x/PrometheusDataQuery_types.gen";
        writeln!(program, "import type {{ PrometheusDataQuery }} from '{raw}/{path}';")?;
    }
    writeln!(program, "{HEAD}export const dashboard: Json<Whole> = {dashboard};")?;
    for panel in dashboard["panels"].as_array().context("no panels")? {
        let (id, options) = (&panel["id"], &panel["options"]);
        let of = match panel["type"].as_str().context("a panel without a type")? {
            "heatmap" => "Heatmap",
            "row" => continue,
            "stat" => "Stat",
            "state-timeline" => "StateTimeline",
            "table" => "Table",
            "timeseries" => "TimeSeries",
            other => bail!("no types are known for panels of type {other}"),
        };
        // Later versions have more options, all of them with defaults.
        let type_of_options =
            if with_queries { format!("{of}.Options") } else { format!("Partial<{of}.Options>") };
        writeln!(program, "export const options{id}: Json<{type_of_options}> = {options};")?;
        // A stat has no fields of its own to configure.
        if of != "Stat" {
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            writeln!(program, "export const custom{id}: Json<{of}.FieldConfig> = {custom};")?;
        }
        if with_queries {
            let targets = &panel["targets"];
            writeln!(program, "export const targets{id}: Json<PrometheusDataQuery>[] = {targets};")?;
        }
    }
    Ok(program)
}
