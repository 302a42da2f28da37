//! The tutorial's endpoint on the diarist engine: a recording in, who said what out, behind a bearer token.
//!
//! A request passes through the files in the order of this list:
//!
//! | file | |
//! |---|---|
//! | `config.rs` | what the service is told when it is started |
//! | `server.rs` | connections: how many, how slow, how they end |
//! | `routes.rs` | addresses; what is noted of each request |
//! | `auth.rs` | who may ask |
//! | `transcribe.rs` | a request from its first line to its answer |
//! | `admission.rs` | how many of those at once, and how many bytes |
//! | `upload.rs` | the body on its way in: counted and timed |
//! | `request.rs`, `base64_in_place.rs` | the body to a recording and options |
//! | `fields.rs`, `options.rs` | the options, by their names on the command line |
//! | `errors.rs` | what is told to those who cannot have what they asked for |
//! | `service.rs`, `metrics.rs` | what all requests share, and what is counted |

mod admission;
mod auth;
mod base64_in_place;
mod config;
mod errors;
mod fields;
mod metrics;
mod options;
mod request;
mod routes;
mod server;
mod service;
mod transcribe;
mod upload;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use admission::Admission;
use config::Config;
use metrics::Metrics;
use server::Connections;
use service::Service;

/// Status 0: ended as asked for, and nothing was lost. 1: something failed. 2: cannot be started like this.
fn main() -> ExitCode {
    let config = Config::parse();
    let filter = EnvFilter::try_from_env("DIARIST_LOG").unwrap_or_else(|_| EnvFilter::new("warn,diarist_rest=info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    let service = match service(&config) {
        Ok(service) => Arc::new(service),
        Err(reason) => {
            tracing::error!("{reason}");
            return ExitCode::from(2);
        }
    };
    // A thread for each recording that is worked on, and one for the models.
    let threads = usize::from(config.limits.concurrency) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(threads).build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        let ended = runtime.block_on(run(config, service));
        // What was abandoned stops at the next chance; nobody waits for it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Everything but the models.
fn service(config: &Config) -> Result<Service, String> {
    let (tokens, defaults) = (config.tokens()?, config.defaults());
    options::read(fields::Fields::default(), &defaults).map_err(|fault| fault.message().to_owned())?;
    let limits = &config.limits;
    Ok(Service {
        tokens,
        admission: Admission::new(limits.concurrency.into(), limits.queue.into(), limits.held()),
        upload: limits.upload(),
        request_time: limits.request_time,
        defaults,
        metrics: Metrics::new(),
        engine: OnceLock::new(),
        draining: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    })
}

/// Listens, loads, serves, and ends when it is told to; whether nothing was lost.
async fn run(config: Config, service: Arc<Service>) -> Result<bool, String> {
    let told = |error: std::io::Error| error.to_string();
    let (mut term, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(told)?, signal(SignalKind::interrupt()).map_err(told)?);
    let unusable = |error: std::io::Error| format!("{}: {error}", config.address);
    let listener = TcpListener::bind(config.address).await.map_err(unusable)?;
    announce(&listener).map_err(told)?;
    let (drain_delay, drain_time) = (config.limits.drain_delay, config.limits.drain_time);
    let router = routes::router(service.clone());
    let most = usize::from(config.limits.max_connections);
    let connections = Connections::new(listener, most, config.limits.read_time, router, service.clone());
    let mut failed = load(config, service.clone());
    let mut reason = None;
    connections
        .accept_until(async {
            tokio::select! {
                () = either(&mut term, &mut interrupt) => {}
                Ok(error) = &mut failed => reason = Some(error),
            }
        })
        .await;
    if let Some(reason) = reason {
        return Err(reason);
    }
    tracing::info!("draining");
    service.draining.store(true, Ordering::Relaxed);
    connections.accept_until(tokio::time::sleep(drain_delay)).await;
    let whole = connections.finish(drain_time, either(&mut term, &mut interrupt)).await;
    tracing::info!(whole, "ended");
    Ok(whole)
}

/// Says where the service listens, for those who asked for any port.
fn announce(listener: &TcpListener) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening");
    writeln!(std::io::stdout(), "http://{address}")
}

/// Loads the models beside the service, which can say meanwhile that it is not ready. Whoever waits hears of a failure.
fn load(config: Config, service: Arc<Service>) -> oneshot::Receiver<String> {
    let (failure, failed) = oneshot::channel();
    tokio::task::spawn_blocking(move || match config.engine() {
        Ok(engine) => {
            tracing::info!(device = engine.device(), "ready");
            service.engine.get_or_init(|| engine);
        }
        Err(error) => drop(failure.send(error.to_string())),
    });
    failed
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
