//! The gateway with real clients: the providers' own libraries for Python and Node, LiteLLM, and curl; and with LiteLLM's proxy in
//! the place of a provider.
//!
//! Tests of `tiny-dancer-gateway` start models that act and run the clients. Without the environment that is set here, they are
//! skipped.

use crate::report::Report;
use crate::services::{grafana, python};
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

pub(crate) const HEADLINE: &str = "the gateway, by openai, anthropic, litellm and curl";

/// The libraries, and all that they depend on, in tried versions.
const PYTHON: &[&str] = &[
    "openai==3.57.0",
    "anthropic==2.14.0",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "docstring-parser==0.18.0",
    "h11==0.16.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "idna==3.20",
    "jiter==0.19.0",
    "opentelemetry-api==1.45.2",
    "pydantic==2.14.4",
    "pydantic-core==2.50.5",
    "sniffio==1.3.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
];
/// LiteLLM, what it imports, and what its proxy does. What its extra `proxy` adds for clouds, databases and other servers is left out.
pub(crate) const LITELLM: &[&str] = &[
    "litellm==1.108.7",
    "aiohappyeyeballs==2.7.1",
    "aiohttp==3.14.5",
    "aiosignal==1.4.0",
    "annotated-doc==0.0.7",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "APScheduler==3.11.3",
    "attrs==26.1.0",
    "backoff==2.2.1",
    "certifi==2026.10.19.post1",
    "cffi==2.1.1",
    "charset-normalizer==3.5.3",
    "click==8.5.1",
    "cryptography==50.0.2",
    "dnspython==2.9.2",
    "email-validator==2.4.0",
    "Expression==5.8.0",
    "fastapi-sso==0.23.0",
    "fastapi==0.165.0",
    "fastuuid==0.14.0",
    "frozenlist==1.8.0",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httpcore2==2.16.2",
    "httpcore==1.0.9",
    "httpx2==2.16.2",
    "httpx==0.28.1",
    "hyperframe==6.1.0",
    "idna==3.20",
    "importlib_metadata==8.9.0",
    "Jinja2==3.1.6",
    "jiter==0.19.0",
    "jsonschema-specifications==2025.9.1",
    "jsonschema==4.26.0",
    "markdown-it-py==4.3.0",
    "MarkupSafe==3.0.4",
    "mcp-types==2.3.0",
    "mcp==2.3.0",
    "mdurl==0.1.2",
    "multidict==7.2.1",
    "numpy==2.4.6",
    "oauthlib==4.0.1",
    "openai==3.57.0",
    "opentelemetry-api==1.45.2",
    "orjson==3.13.0",
    "packaging==26.4",
    "propcache==0.5.4",
    "pycparser==3.12",
    "pydantic-core==2.50.5",
    "pydantic-settings==2.16.3",
    "pydantic==2.14.4",
    "Pygments==2.21.0",
    "PyJWT==2.15.1",
    "python-dotenv==1.2.4",
    "python-multipart==0.0.34",
    "PyYAML==6.0.4",
    "redis==8.1.0",
    "referencing==0.37.0",
    "requests==2.34.2",
    "rich==13.9.4",
    "rpds-py==2026.9.1",
    "sniffio==1.3.1",
    "soundfile==0.14.0",
    "sse-starlette==3.7.0",
    "starlette==1.10.0",
    "tiktoken==0.14.0",
    "tokenizers==0.23.3",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
    "tzlocal==5.4.5",
    "urllib3==2.8.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "websockets==15.0.1",
    "yarl==1.25.1",
    "zipp==4.1.2",
];
const NODE: &[&str] = &["openai@6.49.0", "@anthropic-ai/sdk@1.14.0"];

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let what = "chat, streams, tools, errors, retries and timeouts, and the commands of docs/gateway.md";
    report.check(HEADLINE, what, || check(workspace, &folder));
}

fn check(workspace: &Workspace, folder: &Path) -> Result<()> {
    let python = python::packages(folder, PYTHON)?;
    let litellm = python::packages(folder, LITELLM)?;
    let node = folder.join("clients");
    grafana::install(&node, NODE)?;
    let mut build =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    let program = built(build.current_dir(&workspace.root), "gateway")?;
    let mut test = Command::new(program);
    test.args(["a_client_is_served", "--nocapture"])
        .env("TINY_DANCER_CLIENTS_PYTHON", python)
        .env("TINY_DANCER_CLIENTS_LITELLM", litellm)
        .env("TINY_DANCER_CLIENTS_NODE", node);
    check_passed(&mut test, 6)?;
    let mut test = cargo("test --workspace --all-features --test it curl_gets_answers -- --nocapture");
    check_passed(test.current_dir(&workspace.root).env("TINY_DANCER_CLIENTS_CURL", "curl"), 1)
}

/// Fails unless so many tests pass.
fn check_passed(tests: &mut Command, count: usize) -> Result<()> {
    let printed = output(tests)?;
    print!("{printed}");
    let expected = format!("test result: ok. {count} passed");
    ensure!(printed.contains(&expected), "expected {expected:?}");
    Ok(())
}
