//! `cargo xtask screenshot`: one trace of the product in a web page that others wrote, as a picture.
//!
//! `axum_service` sends the spans of a whole service to [`otelite`], which draws traces; [`browser`] opens the one with
//! the most spans and takes a picture of it. Nothing is installed, and what is started is stopped again.

use crate::receivers::flushed;
use crate::report::{Report, now};
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Context, Result, bail};
use browser::{Browser, Chromium};
use otelite::Otelite;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

mod base64;
mod browser;
mod otelite;

/// Whose trace is shown: an incoming request, its decision, and the call of the chosen model.
const EXAMPLE: &str = "axum_service";

/// How long the page may take to show what it was given.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the picture goes
    #[arg(default_value = "target/trace.png")]
    picture: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: &Arguments) {
    let what = format!("{EXAMPLE}, its spans in otelite, its page in Chromium");
    report.check("screenshot", &what, || {
        let png = take(workspace, &workspace.target.join("services"))?;
        let picture = workspace.root.join(&arguments.picture);
        fs::write(&picture, &png).with_context(|| picture.display().to_string())?;
        println!("    {} ({} KB)", picture.display(), png.len() / 1024);
        Ok(())
    });
}

fn take(workspace: &Workspace, folder: &Path) -> Result<Vec<u8>> {
    let mut build = cargo("build --package tiny-dancer-examples --message-format json-render-diagnostics");
    let example = built(build.args(["--example", EXAMPLE]).current_dir(&workspace.root), EXAMPLE)?;
    let run = folder.join("screenshot");
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run)?;
    let mut otelite = Otelite::start(&otelite::program(folder)?, &run)?;
    let said = output(
        Command::new(example)
            .current_dir(&workspace.root)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", otelite.endpoint()),
    )?;
    let trace = otelite.largest_trace_of(flushed(&said)?, PATIENCE)?;
    let mut browser = Browser::start(&Chromium::find(folder)?, &run)?;
    browser.open(&otelite.page())?;
    let entry = format!("[data-trace-id='{}']", trace.id);
    click(&mut browser, &entry)?;
    let names =
        "[...document.querySelectorAll('.span-row .span-name')].map(name => name.textContent.trim()).join()";
    let drawn = |names: &str| names.split(',').filter(|name| !name.is_empty()).count() as u64 == trace.spans;
    poll(&mut browser, names, drawn, "does not draw all spans")?;
    browser.picture("#trace-detail .trace-detail-body", ".span-row")
}

/// Clicks on an element as soon as it is there.
fn click(browser: &mut Browser, selector: &str) -> Result<()> {
    let click =
        format!("(e => {{ e?.click(); return String(!!e) }})(document.querySelector(\"{selector}\"))");
    poll(browser, &click, |clicked| clicked == "true", &format!("does not show {selector}"))
}

/// Evaluates an expression until its value will do.
fn poll(browser: &mut Browser, expression: &str, will_do: impl Fn(&str) -> bool, what: &str) -> Result<()> {
    let deadline = now() + PATIENCE;
    loop {
        let value = browser.evaluate(expression)?;
        let value = value.as_str().unwrap_or_default();
        if will_do(value) {
            return Ok(());
        }
        if now() > deadline {
            bail!("after {PATIENCE:?} the page {what}: {value:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
