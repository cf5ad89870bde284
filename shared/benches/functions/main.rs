//! `cargo bench` measures time, CPU and memory of the functions. The release binaries run as on Lambda, each in a
//! process of its own between a Runtime API and the local stack, with a latency added to every AWS call. The report
//! compares the figures with targets, but a missed target does not fail the run.
//!
//! It does not measure what a network and Lambda add, such as name resolution, or a Lambda's small share of a CPU.
#![expect(clippy::indexing_slicing, reason = "of JSON values, which answer null for what is not there")]

mod aws;
mod http;
mod lambda;
mod report;
mod variants;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use clap::Parser;
use serde_json::Value;

use self::{
    aws::{Endpoint, Stack, overhead, rounds},
    http::Message,
    lambda::{Function, RuntimeApi},
    report::{Cell, Report, Sample, float},
    variants::{HELLO, HELLO_TLS, VARIANTS, Variant, sample, signing_key_id},
};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// What the functions cost: cold start, time, CPU and memory
#[derive(Debug, Parser)]
struct Arguments {
    /// The milliseconds to add to every AWS call; several are separated by commas
    #[arg(long, value_delimiter = ',', default_value = "0,2,5,10")]
    latency: Vec<u64>,
    /// Measure only rows whose name contains this; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// The number of processes, and so of cold starts, of each row at each latency
    #[arg(long, default_value_t = 10)]
    processes: usize,
    /// The number of warm calls of each process without latency; with latency, a fifth of it
    #[arg(long, default_value_t = 50)]
    calls: usize,
    /// For a first look: three processes, latencies of 0 and 5 ms
    #[arg(long)]
    quick: bool,
    /// A directory of other release binaries to measure in the same run, such as those of another build or version
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Trust only the endpoint's own root, so that a start does not read the machine's
    #[arg(long)]
    one_root: bool,
    /// A file to write the results to, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Set by Cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("nothing measured: CPU and memory of the processes are read as Linux tells them");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.processes, arguments.latency) = (3, vec![0, 5]);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let binaries = build()?;
    let mut parameters = sample("env")?["Parameters"].clone();
    let issuers = ["ISSUER", "OIDC_ISSUER"].map(|variable| parameters[variable].as_str().unwrap_or_default());
    let stack = Stack::start(Command::new(binaries.join("local")), issuers)?;
    // By its own id, so that the functions accept what the stack has signed.
    parameters["SIGNING_KEY_ID"] = signing_key_id(&stack)?.into();
    let bench = Bench {
        endpoint: Endpoint::start(stack.address, arguments.one_root)?,
        api: RuntimeApi::start()?,
        stack,
        binaries,
        parameters,
    };

    let headers = ["host: localhost", "x-amz-target: TrentService.GetPublicKey"];
    let key = serde_json::json!({"KeyId": bench.parameters["SIGNING_KEY_ID"]}).to_string();
    let request = Message::new("POST / HTTP/1.1", &headers, key.as_bytes());
    let [direct, through] = overhead(&bench.stack, &bench.endpoint, &request)?;

    let wanted = |variant: &&Variant| {
        arguments.only.is_empty()
            || variant.is_hello()
            || arguments.only.iter().any(|part| variant.name.contains(part.as_str()))
    };
    let mut cells = Vec::new();
    for variant in VARIANTS.iter().filter(wanted) {
        // It makes no AWS calls.
        let latencies = if variant.is_hello() { &[0] } else { arguments.latency.as_slice() };
        let binary = bench.binaries.join(if variant.is_hello() { "examples" } else { "" }).join(variant.function);
        let other = arguments.beside.as_ref().filter(|_| !variant.is_hello()).map(|other| other.join(variant.function));
        for binary in [Some(binary), other].into_iter().flatten() {
            let size = binary.metadata()?.len();
            let beside = arguments.beside.as_ref().is_some_and(|other| binary.starts_with(other));
            let cell = |&latency| Cell::new(variant, (binary.clone(), beside), latency, size);
            cells.extend(latencies.iter().map(cell));
        }
    }
    // All cells take turns, so that other load on the machine affects all of them alike.
    for round in 1..=arguments.processes {
        eprint!("\rround {round} of {}", arguments.processes);
        for cell in &mut cells {
            let warm = if cell.latency == 0 { arguments.calls } else { arguments.calls.div_ceil(5) };
            let sample = bench.process(cell, warm);
            cell.samples.push(sample.map_err(|error| format!("{}: {error}", cell.name()))?);
        }
    }
    eprintln!();
    let report = Report::new(&cells, [signatures()?, direct, through]);
    println!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{:#}\n", report.to_json()))?;
    }
    Ok(())
}

/// Builds the functions as they are deployed, then the local stack and the functions that do nothing. Returns the
/// directory of the binaries.
fn build() -> Result<PathBuf> {
    let rest = ["--workspace", "--bin", "local", "--example", HELLO, "--example", HELLO_TLS];
    for what in [&[][..], &rest] {
        let mut build = Command::new(env!("CARGO"));
        // In the root of the workspace, so that its default members are built.
        build.args(["build", "--release"]).args(what).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if !build.status()?.success() {
            return Err("the binaries do not build".into());
        }
    }
    Ok(env::current_exe()?.ancestors().nth(2).ok_or("this program is not in a target directory")?.to_owned())
}

/// Everything around the measured function.
struct Bench {
    binaries: PathBuf,
    /// The functions' environment variables, from `events/env.json`.
    parameters: Value,
    stack: Stack,
    endpoint: Endpoint,
    api: RuntimeApi,
}

impl Bench {
    /// A command that runs a function in the environment that Lambda would give it.
    fn command(&self, variant: &Variant, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        let parameters = self.parameters.as_object().into_iter().flatten();
        command
            .env_clear()
            .envs(parameters.filter_map(|(name, value)| Some((name, value.as_str()?))))
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_SESSION_TOKEN", "local")
            .env("AWS_REGION", "local")
            .envs(self.endpoint.urls())
            .env("SSL_CERT_FILE", self.endpoint.roots())
            .env("AWS_LAMBDA_FUNCTION_NAME", variant.function)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .envs(variant.environment.iter().copied());
        command
    }

    /// Measures one process: its start, its first invocation and then warm ones.
    fn process(&self, Cell { variant, binary, latency, .. }: &Cell, calls: usize) -> Result<Sample> {
        let mut events = (variant.prepare)(&self.stack, calls + 1)?;
        self.endpoint.set_latency(Duration::from_millis(*latency));
        let mut function = Function::start(&self.api, &mut self.command(variant, binary))?;
        let init_cpu = function.cpu()?;
        self.endpoint.take_calls();

        let (first, mut answer) = function.invoke(&events(&Value::Null)?)?;
        let first_cpu = function.cpu()?;
        let mut sample = Sample {
            start: milliseconds(function.started_in),
            init_cpu,
            first: milliseconds(first),
            first_cpu: first_cpu - init_cpu,
            ..Sample::default()
        };
        self.endpoint.take_calls();
        for _ in 0..calls {
            let time;
            (time, answer) = function.invoke(&events(&answer)?)?;
            sample.warm.push(milliseconds(time));
            let mut calls = self.endpoint.take_calls();
            let (rounds, aws) = rounds(&mut calls);
            sample.calls.push(calls.iter().map(|call| call.operation.clone()).collect());
            sample.rounds.push(float(rounds));
            sample.aws.push(milliseconds(aws));
            sample.added.extend(calls.iter().map(|call| milliseconds(call.added)));
        }
        sample.warm_cpu = (function.cpu()? - first_cpu) / f64::from(u32::try_from(calls)?);
        sample.peak_memory = function.peak_memory()?;
        Ok(sample)
    }
}

/// The times of RSA-2048 signatures, to compare the speed of machines, or of one under load.
fn signatures() -> Result<Vec<f64>> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let (random, mut signature) = (SystemRandom::new(), vec![0; key.public_modulus_len()]);
    let mut times = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        key.sign(&RSA_PKCS1_SHA256, &random, b"tokenmint", &mut signature)?;
        times.push(milliseconds(start.elapsed()));
    }
    Ok(times)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
