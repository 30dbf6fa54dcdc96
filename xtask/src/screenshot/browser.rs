//! A Chromium without a window, told what to do over its `DevTools` protocol.
//!
//! The protocol is spoken over pipes, JSON messages that end with a zero byte: no port, and no WebSocket. A page is found
//! ready by asking it, since a picture taken after some time is a picture of whatever was there by then.

use super::base64;
use crate::report::now;
use crate::services::debian;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// How long it may take to answer, its start included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without a window, without a sandbox (which needs rights that containers don't have), and without calling home.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// The picture's width in pixels, and the height that the page may fill.
const SIZE: (u32, u32) = (1200, 1600);

/// Where Chromium is.
#[derive(Debug)]
pub(super) struct Chromium {
    program: PathBuf,
    /// Where its libraries are that are not installed.
    libraries: Vec<PathBuf>,
}

impl Chromium {
    /// On `PATH`, or unpacked from Debian's package with all that it needs and that is not installed.
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let installed = Self { program: "chromium".into(), libraries: Vec::new() };
        if debian::runs(&mut installed.command()) {
            return Ok(installed);
        }
        let root = folder.join("chromium");
        if Self::unpacked(&root).is_ok_and(|chromium| debian::runs(&mut chromium.command())) {
            return Self::unpacked(&root);
        }
        println!("    fetching Debian's package chromium and what it needs, once");
        debian::fetch_with_dependencies("chromium", folder)?;
        let unpacked = Self::unpacked(&root)?;
        if !debian::runs(&mut unpacked.command()) {
            let said = unpacked.command().arg("--version").output()?;
            bail!("Chromium does not run: {}", String::from_utf8_lossy(&said.stderr));
        }
        Ok(unpacked)
    }

    fn unpacked(root: &Path) -> Result<Self> {
        // The program itself: what Debian has in `usr/bin` is a script that looks for it where it would be installed.
        let program = root.join("usr/lib/chromium/chromium");
        let library = |path: &Path| path.to_string_lossy().contains(".so");
        let mut libraries = Vec::new();
        let mut open = vec![root.join("usr/lib"), root.join("lib")];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let entries = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            open.extend(entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).cloned());
            if entries.iter().any(|path| path.is_file() && library(path)) {
                libraries.push(folder);
            }
        }
        Ok(Self { program, libraries })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        self.add_libraries(&mut command);
        command
    }

    fn add_libraries(&self, command: &mut Command) {
        let folders: Vec<_> = self.libraries.iter().map(|folder| folder.to_string_lossy()).collect();
        if !folders.is_empty() {
            command.env("LD_LIBRARY_PATH", folders.join(":"));
        }
    }
}

/// The running browser, with one page. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<String>,
    log: PathBuf,
    session: Option<String>,
    last: u64,
}

impl Browser {
    /// Starts it with an empty page, and a profile of its own in `folder`.
    pub(super) fn start(chromium: &Chromium, folder: &Path) -> Result<Self> {
        let log = folder.join("chromium.log");
        // It reads commands from file 3 and answers to file 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2"])
            .arg(&chromium.program)
            .args(FLAGS);
        command.arg(format!("--user-data-dir={}", folder.join("chromium").display()));
        chromium.add_libraries(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("sh")?;
        let to = child.stdin.take().context("Chromium's input")?;
        let mut answers = BufReader::new(child.stdout.take().context("Chromium's output")?);
        let (send, from) = mpsc::channel();
        // Ends with Chromium, or when the receiver is gone.
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&message).trim_end_matches('\0').to_owned();
                if send.send(text).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self { child, to, from, log, session: None, last: 0 };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach)?;
        browser.session = Some(session["sessionId"].as_str().context("a page without a session")?.to_owned());
        let (width, height) = SIZE;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        Ok(browser)
    }

    /// Goes to a page, and does not wait for what it loads.
    pub(super) fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", &json!({ "url": url }))?;
        match answer["errorText"].as_str() {
            Some(error) => bail!("{url}: {error}"),
            None => Ok(()),
        }
    }

    /// The value of an expression in the page.
    pub(super) fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let answer =
            self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }))?;
        match answer.get("exceptionDetails") {
            Some(exception) => bail!("{expression}: {exception}"),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// A picture as PNG: of an element, down to the last one of others within it and a margin.
    pub(super) fn picture(&mut self, element: &str, last: &str) -> Result<Vec<u8>> {
        let expression = format!(
            "(() => {{
                const {{ x, y, width }} = document.querySelector(\"{element}\").getBoundingClientRect();
                const last = [...document.querySelectorAll(\"{last}\")].pop().getBoundingClientRect();
                return {{ x, y, width, height: last.bottom + 16 - y, scale: 1 }};
            }})()"
        );
        let clip = self.evaluate(&expression)?;
        let picture = self.call("Page.captureScreenshot", &json!({ "format": "png", "clip": clip }))?;
        base64::decode(picture["data"].as_str().context("a picture without data")?)
    }

    /// Asks for something and waits for the answer.
    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        let deadline = now() + PATIENCE;
        while sent.is_ok()
            && let Ok(text) = self.from.recv_timeout(deadline.saturating_duration_since(now()))
        {
            let mut answer: Value =
                serde_json::from_str(&text).with_context(|| format!("Chromium said {text:?}"))?;
            // Others are events.
            if answer["id"] == self.last {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].take());
            }
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        bail!("Chromium does not answer to {method}\n{log}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its own processes; where it can't, they end when it is gone.
        self.session = None;
        let asked = self.call("Browser.close", &json!({}));
        let deadline = now() + Duration::from_secs(10);
        while asked.is_ok() && now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
