//! `tiny-dancer serve`: the gateway as a program.

use self::lines::Lines;
use crate::print;
use anyhow::{Context, bail};
use clap::Args;
use prometheus::Registry;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tiny_dancer::{ProcessCollector, TracingConfig, TracingSystem, otlp};
use tiny_dancer_gateway::{Config, Gateway, Reloads, demo};
use tokio::net::TcpListener;
use toml::Table;

mod lines;

#[derive(Args, Clone)]
pub(crate) struct ServeArgs {
    /// The configuration, see docs/gateway.md. The other options take precedence over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The model for requests that need it, for example `openai:gpt-5` or `anthropic:claude-opus-4-5`. Its key is in
    /// `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`.
    #[arg(long, value_name = "PROVIDER:MODEL")]
    powerful: Option<String>,
    /// The model for requests that it suffices for, of the same provider.
    #[arg(long, value_name = "PROVIDER:MODEL")]
    lightweight: Option<String>,
    /// The address of the powerful model's provider, as its own libraries have it. Such an address gets no key unless the
    /// configuration names one.
    #[arg(long, value_name = "URL")]
    powerful_url: Option<String>,
    /// The same for the lightweight model.
    #[arg(long, value_name = "URL")]
    lightweight_url: Option<String>,
    /// The address to listen at; by default 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// `observe` (the default) answers by the powerful model and shows the decisions, `canary` lets a share follow them, `live`
    /// all.
    #[arg(long)]
    mode: Option<String>,
    /// Show everything without keys: two models that act, a memory of everyday requests, and prompts that are sent again and
    /// again.
    #[arg(long, conflicts_with_all = ["config", "powerful", "lightweight", "powerful_url", "lightweight_url"])]
    demo: bool,
}

impl ServeArgs {
    /// The file's table, with the changes of the command line.
    fn table(&self, models: Option<SocketAddr>) -> anyhow::Result<Table> {
        let mut table = match (models, &self.config) {
            (Some(models), _) => demo::configuration(models),
            (None, Some(path)) => {
                let name = || path.display().to_string();
                let text = std::fs::read_to_string(path).with_context(name)?;
                Config::table(&text).with_context(name)?
            }
            (None, None) => Table::from_iter([("version".to_owned(), 1.into())]),
        };
        for (key, model, url) in [
            ("powerful", &self.powerful, &self.powerful_url),
            ("lightweight", &self.lightweight, &self.lightweight_url),
        ] {
            if model.is_none() && url.is_none() {
                continue;
            }
            let entry = table.entry(key).or_insert_with(|| Table::new().into());
            let Some(entry) = entry.as_table_mut() else { continue };
            if let Some(model) = model {
                let Some((provider, name)) = model.split_once(':') else {
                    bail!("--{key} {model}: expected PROVIDER:MODEL, such as openai:gpt-5");
                };
                entry.insert("provider".to_owned(), provider.into());
                entry.insert("model".to_owned(), name.into());
            }
            if let Some(url) = url {
                entry.insert("base_url".to_owned(), url.as_str().into());
            }
        }
        let listen = self.listen.map(|address| address.to_string());
        for (key, value) in [("listen", &listen), ("mode", &self.mode)] {
            if let Some(value) = value {
                table.insert(key.to_owned(), value.as_str().into());
            }
        }
        Ok(table)
    }

    fn configuration(&self, models: Option<SocketAddr>) -> anyhow::Result<Config> {
        Ok(Config::from_table(self.table(models)?, &|variable| std::env::var(variable).ok())?)
    }
}

pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let models =
        args.demo.then(|| runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))).transpose()?;
    let address = models.as_ref().map(TcpListener::local_addr).transpose()?;
    let reloads = {
        let _within = runtime.enter();
        Reloads::new(args.config.clone())?
    };
    let config = args.configuration(address)?;

    // Tracing comes first, so that it logs the start of the router.
    let tracing_system = TracingSystem::new(TracingConfig {
        service_name: "tiny-dancer".to_owned(),
        service_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ..Default::default()
    });
    let lines = Lines::new();
    let writer = lines.clone();
    tracing_system.init_with_writer(move || writer.above())?;
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::new()?))?;
    tracing_system.push_metrics(otlp::source(&registry));
    let gateway = Arc::new(Gateway::new(config.clone(), &registry)?);

    let drained = runtime.block_on(async {
        let stop = stop()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen at {}", config.listen))?;
        let listening = listener.local_addr()?;
        if let Some(models) = models {
            for entry in demo::entries() {
                gateway.memory().remember(entry)?;
            }
            tokio::spawn(demo::serve_models(models));
            tokio::spawn(demo::send_prompts(listening));
        }
        let again = args.clone();
        tokio::spawn(reloads.run(Arc::clone(&gateway), move || again.configuration(address)));
        tracing::info!(address = %listening, mode = config.mode.name(), "serving");
        print(introduction(&config, listening))?;
        tokio::spawn(lines.clone().show(Arc::clone(&gateway)));
        anyhow::Ok(tiny_dancer_gateway::serve(listener, Arc::clone(&gateway), stop).await)
    })?;
    lines.clear();
    // What is left of the demonstration, or of requests that took too long, is aborted.
    runtime.shutdown_background();
    gateway.close();
    let report = tracing_system.shutdown();
    if report.lost() > 0 {
        tracing::warn!(%report, "spans were lost");
    }
    let requests =
        if drained.requests_finished { "all requests were finished" } else { "open requests were aborted" };
    match drained.cut_off {
        0 => print(format_args!("stopped; {requests}"))?,
        shadows => print(format_args!("stopped; {requests}, and {shadows} comparisons were cut off"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What to try first.
fn introduction(config: &Config, address: SocketAddr) -> String {
    let (path, more) = match config.provider() {
        tiny_dancer_gateway::Provider::Anthropic => ("/v1/messages", r#""max_tokens":100,"#),
        tiny_dancer_gateway::Provider::Openai => ("/v1/chat/completions", ""),
    };
    let is_compared = config.shadow_rate > 0.0 || config.budget.is_some();
    let hint = if is_compared {
        ""
    } else {
        "\nNo answers are compared, so nothing is learned from them: configure [judge] and [shadow], see docs/tour.md."
    };
    format!(
        "Serving http://{address} in mode {} until Ctrl-C or SIGTERM: {} and {}. Metrics are at /metrics. For example:\n  \
         curl -i http://{address}{path} -H 'content-type: application/json' -d '{{\"model\":\"{}\",{more}\"messages\":\
         [{{\"role\":\"user\",\"content\":\"What is 6 times 7?\"}}]}}'{hint}",
        config.mode.name(),
        config.powerful.model,
        config.lightweight.model,
        config.routed[0],
    )
}

/// Ends with the first Ctrl-C or SIGTERM.
#[cfg(unix)]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends with Ctrl-C, where there is no SIGTERM.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of Unix")]
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // An error means that the signal cannot arrive, so waiting ends.
        let _ = tokio::signal::ctrl_c().await;
    })
}
