//! `cargo run -p local`: the whole service on this machine.

use std::{io::Write as _, net::IpAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use local::{Options, Stack};
use shared::{clock::SystemClock, random::SystemRandom, settings::SigningMode};
use tokio::signal::unix::{SignalKind, signal};

/// The whole of tokenmint on one port, with embedded stand-ins for DynamoDB and KMS.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on; another than the loopback lets others in, containers for one
    #[arg(long, default_value_t = IpAddr::from([127, 0, 0, 1]))]
    host: IpAddr,
    /// The port; 0 for a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The issuer of the tokens [default: the URL it serves at]
    #[arg(long)]
    issuer: Option<String>,
    /// A further name that containers or a proxy reach all of it by, such as host.docker.internal; may be repeated
    #[arg(long)]
    allow_host: Vec<String>,
    /// An origin that browsers may call from; several are separated by commas, as in the template, or repeated
    #[arg(long, default_value = "*", value_delimiter = ',')]
    allow_origin: Vec<String>,
    /// Where tokens are signed: kms, envelope or transition
    #[arg(long, default_value = "kms")]
    signing_mode: SigningMode,
    /// Where to keep the database and the signing key [default: in memory]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// A file to write the URL to once it serves
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    shared::telemetry::to_stderr();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Before the start, so that a signal during it is not lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stack = Stack::start(Options {
        host: arguments.host,
        port: arguments.port,
        issuer: arguments.issuer,
        allow_hosts: arguments.allow_host,
        allow_origins: arguments.allow_origin,
        data_dir: arguments.data_dir,
        signing_mode: arguments.signing_mode,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        aws: shared::aws::config(),
    })
    .await?;
    println!("{}", stack.provision_demo().await?);
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
