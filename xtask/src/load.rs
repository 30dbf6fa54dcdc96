//! `cargo xtask bench --gateway`: the gateway under load, beside a direct call, nginx as the floor, and LiteLLM.
//!
//! ```text
//! core 1: wrk --requests--> core 0: gateway, nginx or LiteLLM --requests--> core 1: an upstream that answers at once
//! ```
//!
//! All programs run at the same time and are measured in turns, so that what else the machine does meets all of them. The
//! upstream is nginx, which answers with a fixed text. The gateway is in mode live, remembers 10,000 requests in a file, embeds
//! each prompt, and sends spans, metrics and logs to a collector, which throws them away.

pub(crate) mod table;

use crate::bench::record::{self, Measurement};
use crate::clients;
use crate::report::Report;
use crate::services::process::{Running, free_address, get};
use crate::services::{debian, python};
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of which each has some seconds in each round, once as a single client and once as several.
const ROUNDS: usize = 5;
const CLIENTS: usize = 16;
/// How many streams are open at the same time.
const STREAMS: usize = 1000;
/// What the gateway remembers at the start.
const REMEMBERED: usize = 10_000;

/// The record.
pub(crate) const RECORD: &str = "benches/record/gateway.json";

/// A key, which LiteLLM requires. The others ignore it.
const KEY: &str = "sk-load-0123456789abcdef";

/// What is measured, in this order.
const TARGETS: [&str; 4] = ["direct", "nginx", "gateway", "litellm"];

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let mut programs = None;
    report.check(
        "programs",
        "wrk and nginx of Debian, LiteLLM of PyPI, the gateway in a release build",
        || {
            programs = Some(Programs::get(workspace, &folder)?);
            Ok(())
        },
    );
    let Some(programs) = programs else { return };
    let mut measurements = Vec::new();
    report.check("load", "each proxy alone on a core, in turns", || {
        let stand = Stand::start(&programs, workspace)?;
        measurements = stand.measure(&programs)?;
        print!("\n{}", table::made_of(&measurements));
        Ok(())
    });
    if measurements.is_empty() {
        return;
    }
    report.check("record", RECORD, || {
        record::write_measurements(&workspace.root, RECORD, "cargo xtask bench --gateway", &measurements)
    });
    report
        .check("tables", crate::bench::document::DOCUMENT, || crate::bench::document::write(&workspace.root));
}

/// The programs that take part.
struct Programs {
    wrk: PathBuf,
    /// The folder of the library that wrk needs.
    luajit: PathBuf,
    nginx: PathBuf,
    /// Its module that sends an answer in parts.
    echo: PathBuf,
    litellm: PathBuf,
    gateway: PathBuf,
}

impl Programs {
    fn get(workspace: &Workspace, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let unpacked = |package: &str| debian::unpacked(package, folder);
        let mut build =
            cargo("build --release --package tiny-dancer-cli --message-format json-render-diagnostics");
        Ok(Self {
            wrk: unpacked("wrk")?.join("usr/bin/wrk"),
            luajit: libraries(&unpacked("libluajit2-5.1-2")?)?,
            nginx: unpacked("nginx")?.join("usr/sbin/nginx"),
            echo: unpacked("libnginx-mod-http-echo")?.join("usr/lib/nginx/modules/ngx_http_echo_module.so"),
            litellm: python::packages(folder, clients::LITELLM)?,
            gateway: built(build.current_dir(&workspace.root), "tiny-dancer")?,
        })
    }
}

/// The folder of a package's libraries, whose name depends on the processor.
fn libraries(unpacked: &Path) -> Result<PathBuf> {
    let lib = unpacked.join("usr/lib");
    let folder = fs::read_dir(&lib)?.next().with_context(|| format!("{} is empty", lib.display()))?;
    Ok(folder?.path())
}

/// All programs, running.
struct Stand {
    folder: PathBuf,
    addresses: BTreeMap<&'static str, SocketAddr>,
    running: BTreeMap<&'static str, Running>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.running.clear();
        // It is below the folder of temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Stand {
    fn start(programs: &Programs, workspace: &Workspace) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tiny-dancer-load-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (addresses, running) = (BTreeMap::new(), BTreeMap::new());
        let mut stand = Self { folder, addresses, running };
        for target in TARGETS {
            stand.addresses.insert(target, free_address()?);
        }
        let prompts = prompts(&workspace.root)?;
        let body = |prompt: &String| {
            json!({ "model": "auto", "messages": [{ "role": "user", "content": prompt }] }).to_string()
        };
        let bodies: Vec<_> = prompts.iter().map(body).collect();
        fs::write(stand.file("bodies"), bodies.join("\n"))?;
        fs::write(stand.file("load.lua"), include_str!("load/load.lua"))?;
        stand.start_upstream(programs)?;
        stand.start_nginx(programs)?;
        stand.start_gateway(programs, &prompts)?;
        stand.start_litellm(programs)?;
        Ok(stand)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts a program on a core, and waits until it answers.
    fn run(&mut self, name: &'static str, core: usize, command: &mut Command, path: &str) -> Result<()> {
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(variable, value),
                None => pinned.env_remove(variable),
            };
        }
        let mut running =
            Running::start(pinned.current_dir(&self.folder), &self.file(&format!("{name}.log")))?;
        let address = self.addresses[name];
        running.wait(Duration::from_secs(120), "does not answer", |_| get(address, path, &[]))?;
        self.running.insert(name, running);
        Ok(())
    }

    fn start_upstream(&mut self, programs: &Programs) -> Result<()> {
        let address = self.addresses["direct"];
        let answer = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "upstream",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "At once." }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23 },
        });
        let event = |delta: serde_json::Value, reason: Option<&str>| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
            let chunk = json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream", "choices": [choice],
            });
            format!("echo 'data: {chunk}'; echo; echo_flush; echo_sleep 0.1;\n")
        };
        let mut events = event(json!({ "role": "assistant", "content": "Word" }), None);
        for _ in 0..18 {
            events += &event(json!({ "content": " word" }), None);
        }
        events += &event(json!({}), Some("stop"));
        events += "echo 'data: [DONE]'; echo;\n";
        let server = format!(
            "server {{ listen {address} backlog=4096;
               location / {{ default_type application/json;
                 if ($http_accept = text/event-stream) {{ rewrite ^ /stream last; }}
                 return 200 '{answer}'; }}
               location /stream {{ default_type text/event-stream; {events} }} }}"
        );
        let mut command = self.nginx(programs, "direct", &server)?;
        self.run("direct", 1, &mut command, "/")
    }

    fn start_nginx(&mut self, programs: &Programs) -> Result<()> {
        let (address, upstream) = (self.addresses["nginx"], self.addresses["direct"]);
        let server = format!(
            "upstream model {{ server {upstream}; keepalive 64; }}
             server {{ listen {address};
               location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ''; }} }}"
        );
        let mut command = self.nginx(programs, "nginx", &server)?;
        self.run("nginx", 0, &mut command, "/")
    }

    /// nginx with a server of this configuration.
    fn nginx(&self, programs: &Programs, name: &str, server: &str) -> Result<Command> {
        let folder = self.file(name);
        fs::create_dir_all(&folder)?;
        let mut temporary = String::new();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(temporary, "{kind}_temp_path {}/{kind};", folder.display());
        }
        let text = format!(
            "load_module {};\ndaemon off;\nmaster_process off;\nworker_rlimit_nofile 16384;\npid {}/pid;\nerror_log stderr;\n\
             events {{ worker_connections 8192; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; {temporary} {server} }}\n",
            programs.echo.display(),
            folder.display(),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text)?;
        let mut command = Command::new(&programs.nginx);
        command.arg("-c").arg(file).arg("-p").arg(&folder).args(["-e", "stderr"]);
        Ok(command)
    }

    fn start_gateway(&mut self, programs: &Programs, prompts: &[String]) -> Result<()> {
        let (address, upstream) = (self.addresses["gateway"], self.addresses["direct"]);
        let mut rows = String::new();
        for number in 0..REMEMBERED {
            let prompt = format!("{number}: {}", prompts[number % prompts.len()]);
            let row = json!({
                "id": number.to_string(), "prompt": prompt, "lightweight_correct": number % 3 != 0, "powerful_correct": true,
            });
            let _ = writeln!(rows, "{row}");
        }
        let (file, memory) = (self.file("rows.jsonl"), self.file("memory.db"));
        fs::write(&file, rows)?;
        output(
            Command::new(&programs.gateway)
                .arg("import")
                .arg("--rows")
                .arg(file)
                .arg("--memory")
                .arg(&memory),
        )?;
        let model = |name: &str| {
            format!(
                "[{name}]\nprovider = \"openai\"\nmodel = \"{name}\"\nbase_url = \"http://{upstream}/v1\"\n\n"
            )
        };
        let text = format!(
            "version = 1\nlisten = \"{address}\"\nmode = \"live\"\n\n{}{}[memory]\npath = {:?}\n",
            model("powerful"),
            model("lightweight"),
            memory.display().to_string(),
        );
        let config = self.file("tiny-dancer.toml");
        fs::write(&config, text)?;
        let mut command = Command::new(&programs.gateway);
        command.args(["serve", "--config"]).arg(config);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector()?));
        command.envs([("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_LOGS_EXPORTER", "otlp")]);
        self.run("gateway", 0, &mut command, "/healthz")
    }

    fn start_litellm(&mut self, programs: &Programs) -> Result<()> {
        let (address, upstream) = (self.addresses["litellm"], self.addresses["direct"]);
        // JSON is YAML.
        let config = json!({
            "model_list": [{ "model_name": "auto", "litellm_params": {
                "model": "openai/powerful", "api_base": format!("http://{upstream}/v1"), "api_key": KEY,
            } }],
            "general_settings": { "master_key": KEY },
            "litellm_settings": { "telemetry": false },
        });
        let file = self.file("litellm.yaml");
        fs::write(&file, config.to_string())?;
        let mut command = Command::new("python3");
        command.arg(programs.litellm.join("bin/litellm")).arg("--config").arg(file);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--num_workers", "1"]);
        command.env("PYTHONPATH", &programs.litellm).env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        command.env("LITELLM_LOG", "ERROR");
        self.run("litellm", 0, &mut command, "/health/liveliness")
    }

    /// Sends requests to a target for some seconds.
    fn load(
        &self,
        programs: &Programs,
        target: &str,
        clients: usize,
        seconds: u64,
        streams: bool,
    ) -> Result<Load> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "1"]).arg(&programs.wrk);
        command.args(["--threads", "1", "--timeout", "30s", "--connections", &clients.to_string()]);
        command.args(["--duration", &format!("{seconds}s"), "--script"]).arg(self.file("load.lua"));
        command.arg(format!("http://{}/v1/chat/completions", self.addresses[target]));
        command.env("LD_LIBRARY_PATH", &programs.luajit).env("LOAD_KEY", KEY);
        command.env("LOAD_BODIES", self.file("bodies"));
        if streams {
            command.env("LOAD_STREAMS", "1");
        }
        let printed = output(&mut command)?;
        let (_, line) = printed.split_once("load: ").with_context(|| format!("wrk printed {printed}"))?;
        let load: Load = serde_json::from_str(line.lines().next().unwrap_or_default())?;
        ensure!(load.errors == 0 && load.requests > 0, "{target}, {clients} clients: {load:?}");
        Ok(load)
    }

    fn measure(&self, programs: &Programs) -> Result<Vec<Measurement>> {
        // Caches and connections are filled before.
        for target in TARGETS {
            self.load(programs, target, CLIENTS, 2, false)?;
        }
        let (mut single, mut several) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..ROUNDS {
            for target in TARGETS {
                let one = self.load(programs, target, 1, 2, false)?;
                single.entry(target).or_insert_with(Vec::new).push(one);
                let many = self.load(programs, target, CLIENTS, 4, false)?;
                several.entry(target).or_insert_with(Vec::new).push(many);
            }
        }
        let mut measurements = vec![];
        let each = |loads: &[Load], value: fn(&Load) -> f64| loads.iter().map(value).collect::<Vec<_>>();
        for target in TARGETS {
            measurements
                .push(measurement(&format!("{target}/requests"), each(&several[target], Load::per_second)));
            measurements.push(measurement(&format!("{target}/p50"), each(&single[target], |load| load.p50)));
            measurements.push(measurement(&format!("{target}/p99"), each(&single[target], |load| load.p99)));
        }
        let paired = |other: &str, loads: &BTreeMap<&str, Vec<Load>>, of: fn(&Load, &Load) -> f64| {
            loads["gateway"]
                .iter()
                .zip(&loads[other])
                .map(|(ours, theirs)| of(ours, theirs))
                .collect::<Vec<_>>()
        };
        for other in ["litellm", "nginx"] {
            let ratios = paired(other, &several, |ours, theirs| ours.per_second() / theirs.per_second());
            measurements.push(measurement(&format!("gateway/throughput/{other}"), ratios));
        }
        let added = paired("direct", &single, |ours, theirs| ours.p50 - theirs.p50);
        measurements.push(measurement("gateway/added-p50", added));
        for target in ["gateway", "litellm"] {
            measurements.push(measurement(
                &format!("{target}/memory"),
                vec![self.running[target].resident_megabytes()?],
            ));
        }
        let direct = self.load(programs, "direct", STREAMS, 10, true)?;
        let ours = self.load(programs, "gateway", STREAMS, 10, true)?;
        measurements.push(measurement("streams/finished", vec![ours.complete as f64 / ours.requests as f64]));
        measurements.push(measurement("streams/time", vec![ours.p50 / direct.p50]));
        measurements.push(measurement("streams/memory", vec![self.running["gateway"].resident_megabytes()?]));
        Ok(measurements)
    }
}

/// What wrk's script prints. Times are milliseconds.
#[derive(Clone, Debug, Deserialize)]
struct Load {
    requests: u64,
    /// Of a stream: it had its last event.
    complete: u64,
    errors: u64,
    seconds: f64,
    p50: f64,
    p99: f64,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// The median of the rounds and their quartiles.
fn measurement(id: &str, mut values: Vec<f64>) -> Measurement {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Measurement {
        id: id.to_owned(),
        kernel: String::new(),
        nanoseconds: BTreeMap::new(),
        quartiles: [at(0.25), at(0.75)],
        value: at(0.5),
    }
}

/// A collector that accepts all and keeps nothing, until the program ends.
fn collector() -> Result<SocketAddr> {
    let server =
        tiny_http::Server::http((Ipv4Addr::LOCALHOST, 0)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let address = server.server_addr().to_ip().context("a collector without an address")?;
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            // The exporter counts what is not answered.
            let _ = request.respond(tiny_http::Response::empty(200));
        }
    });
    Ok(address)
}

/// The everyday prompts.
fn prompts(root: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        prompt: String,
    }
    let text = fs::read_to_string(root.join("examples/data/prompts.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str::<Row>(line)?.prompt)).collect()
}
