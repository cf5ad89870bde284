//! `cargo run -p local`: the whole service on this machine.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use aws_config::timeout::TimeoutConfig;
use clap::Parser;
use local::{Options, Stack};
use shared::{clock::SystemClock, keys::SigningMode, random::SystemRandom};
use tokio::signal::unix::{SignalKind, signal};

/// The whole of tokenmint on one port, with an embedded DynamoDB and KMS.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on; one other than the loopback lets others in, such as containers
    #[arg(long, default_value_t = IpAddr::from([127, 0, 0, 1]))]
    host: IpAddr,
    /// The port; 0 for a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The issuer of the tokens [default: the stack's URL]
    #[arg(long)]
    issuer: Option<String>,
    /// The issuer of the endpoints under /oauth2: a URL without a path [default: the issuer, if it is such a URL]
    #[arg(long)]
    oidc_issuer: Option<String>,
    /// A further host by which containers or a proxy reach the stack, such as host.docker.internal; may be repeated
    #[arg(long)]
    allow_host: Vec<String>,
    /// An origin whose pages may call the API; several are separated by commas, or the option is repeated
    #[arg(long, default_value = "*", value_delimiter = ',')]
    allow_origin: Vec<String>,
    /// Where tokens are signed: kms, envelope or transition
    #[arg(long, default_value = "kms")]
    signing_mode: SigningMode,
    /// The directory for the database and the private keys [default: in memory]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A file to write the URL to once the stack accepts requests
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// How requests are logged to standard error [default: pretty on a terminal, else json]
    #[arg(long)]
    log: Option<Log>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Log {
    Json,
    Pretty,
}

/// Whether the user wants colors here (<https://no-color.org>).
fn wants_color(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn settings() -> HashMap<String, String> {
    let set = |name: &str| Some((name.to_owned(), std::env::var_os(name)?.to_string_lossy().into_owned()));
    local::SETTINGS.into_iter().filter_map(set).collect()
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stderr = std::io::stderr();
    match arguments.log.unwrap_or(if stderr.is_terminal() { Log::Pretty } else { Log::Json }) {
        Log::Json => shared::runtime::telemetry::to_stderr(),
        Log::Pretty => local::request_log::readable(wants_color(&stderr)),
    }
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Unlike DynamoDB, the embedded database answers one call after the other, so of many requests at once the last ones
/// wait for seconds. A request still ends at its deadline.
fn patient() -> TimeoutConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(20));
    timeouts.operation_timeout(Duration::from_secs(25)).build()
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Registered before the start, so that no signal is lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stack = Stack::start(Options {
        host: arguments.host,
        port: arguments.port,
        issuer: arguments.issuer,
        oidc_issuer: arguments.oidc_issuer,
        allow_hosts: arguments.allow_host,
        allow_origins: arguments.allow_origin,
        data_dir: arguments.data_dir,
        signing_mode: arguments.signing_mode,
        settings: settings(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        aws: shared::runtime::aws::config().timeout_config(patient()),
    })
    .await?;
    // A program that reads the output gets a curl line for each endpoint. At a terminal the page shows them.
    let lines = stack.provision_demo().await?;
    let stdout = std::io::stdout();
    let text = if stdout.is_terminal() { stack.welcome(wants_color(&stdout)) } else { lines };
    println!("{text}");
    std::io::stdout().flush()?;
    if let Some(file) = arguments.ready_file {
        let written = std::fs::write(&file, stack.base_url());
        written.map_err(|error| format!("cannot write the ready file {}: {error}", file.display()))?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stack.stop().await;
    Ok(())
}
