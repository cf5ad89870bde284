//! The report: medians with their spread, as tables and as JSON, and a comparison with the targets.

use std::{env::consts::ARCH, fmt, fs, path::PathBuf, process::Command, thread};

use serde_json::{Map, Value, json};

use crate::variants::{HELLO_TLS, Variant};

/// The latency at which the time beyond the rounds is compared with its target.
const TARGET_LATENCY: u64 = 5;
/// The crates whose versions the report names.
const CRATES: [&str; 5] = ["aws-lc-rs", "aws-sdk-dynamodb", "aws-sdk-kms", "lambda_http", "tokio"];

/// The measurements of one process. Times are in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) start: f64,
    pub(crate) init_cpu: f64,
    pub(crate) first: f64,
    pub(crate) first_cpu: f64,
    /// The time of each warm invocation.
    pub(crate) warm: Vec<f64>,
    /// The AWS calls of each warm invocation, their rounds, and the time of the rounds.
    pub(crate) calls: Vec<Vec<String>>,
    pub(crate) rounds: Vec<f64>,
    pub(crate) aws: Vec<f64>,
    /// The latency that was added to each AWS call.
    pub(crate) added: Vec<f64>,
    /// Per warm invocation.
    pub(crate) warm_cpu: f64,
    /// In MiB.
    pub(crate) peak_memory: f64,
}

/// A function with its work, at one latency.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) variant: &'static Variant,
    pub(crate) binary: PathBuf,
    /// Whether the binary is one of those that are measured for comparison.
    beside: bool,
    pub(crate) latency: u64,
    /// Of the stripped binary, in MiB.
    size: f64,
    pub(crate) samples: Vec<Sample>,
}

impl Cell {
    pub(crate) fn new(variant: &'static Variant, (binary, beside): (PathBuf, bool), latency: u64, bytes: u64) -> Self {
        Self { variant, binary, beside, latency, size: float(bytes) / 1_048_576.0, samples: Vec::new() }
    }

    /// The name of the row.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", if self.beside { "beside: " } else { "" }, self.variant.name)
    }

    /// A figure over the processes.
    fn of(&self, figure: fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(figure))
    }

    fn warm(&self) -> Spread {
        self.of(|sample| Spread::of(sample.warm.iter().copied()).median)
    }

    fn p99(&self) -> f64 {
        quantile(&sorted(self.samples.iter().flat_map(|sample| sample.warm.iter().copied())), 0.99)
    }

    fn rounds(&self) -> f64 {
        self.of(|sample| Spread::of(sample.rounds.iter().copied()).median).median
    }

    /// The AWS calls of one warm invocation.
    fn calls(&self) -> &[String] {
        self.samples.last().and_then(|sample| sample.calls.last()).map_or(&[], Vec::as_slice)
    }

    /// The time of a warm invocation without the latency of its rounds.
    fn over_rounds(&self) -> f64 {
        self.warm().median - self.rounds() * float(self.latency)
    }

    /// The time of a warm invocation in which no AWS call was under way.
    fn own(&self) -> Spread {
        self.of(|sample| Spread::of(sample.warm.iter().zip(&sample.aws).map(|(time, aws)| time - aws)).median)
    }

    fn to_json(&self) -> Value {
        json!({
            "variant": self.name(),
            "function": self.variant.function,
            "latencyMs": self.latency,
            "processes": self.samples.len(),
            "warmInvocations": self.samples.iter().map(|sample| sample.warm.len()).sum::<usize>(),
            "startToFirstPollMs": self.of(|sample| sample.start).to_json(),
            "initCpuMs": self.of(|sample| sample.init_cpu).to_json(),
            "firstInvocationMs": self.of(|sample| sample.first).to_json(),
            "firstInvocationCpuMs": self.of(|sample| sample.first_cpu).to_json(),
            "warmP50Ms": self.warm().to_json(),
            "warmP99Ms": self.p99(),
            "warmCpuMs": self.of(|sample| sample.warm_cpu).to_json(),
            "warmBeyondRoundsMs": self.over_rounds(),
            "warmOutsideAwsCallsMs": self.own().to_json(),
            "addedPerAwsCallMs": self.of(|sample| Spread::of(sample.added.iter().copied()).median).to_json(),
            "peakMemoryMiB": self.of(|sample| sample.peak_memory).to_json(),
            "strippedSizeMiB": self.size,
            "awsCalls": self.calls(),
            "sequentialRounds": self.rounds(),
        })
    }
}

/// A median with its quartiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values = sorted(values);
        let at = |share| quantile(&values, share);
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }

    fn to_json(self) -> Value {
        json!({"median": self.median, "lowerQuartile": self.lower, "upperQuartile": self.upper})
    }
}

/// The median, and half the distance of the quartiles.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ±{:.2}", self.median, (self.upper - self.lower) / 2.0)
    }
}

/// The value at this quantile; 0 if there are no values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length is an index")]
    let index = (float(sorted.len().saturating_sub(1) as u64) * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes here are far below 2^52")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

/// A target, and how far each variant is from it.
struct Target {
    name: &'static str,
    limit: f64,
    figures: Vec<(String, f64)>,
}

impl Target {
    fn misses(&self) -> impl Iterator<Item = &(String, f64)> {
        self.figures.iter().filter(|(_, figure)| *figure > self.limit)
    }

    fn to_json(&self) -> Value {
        let figures = self.figures.iter().map(|(variant, figure)| (variant.clone(), (*figure).into()));
        let met = self.misses().next().is_none();
        json!({"target": self.name, "limit": self.limit, "met": met, "figures": figures.collect::<Map<_, _>>()})
    }
}

#[derive(Debug)]
pub(crate) struct Report<'cells> {
    cells: &'cells [Cell],
    signature: Spread,
    /// A call to the stack, directly and through the endpoint.
    direct: Spread,
    through: Spread,
}

impl<'cells> Report<'cells> {
    /// A report of the cells, and of the times of a signature and of a call directly and through the endpoint.
    pub(crate) fn new(cells: &'cells [Cell], times: [Vec<f64>; 3]) -> Self {
        let [signature, direct, through] = times.map(|times| Spread::of(times.into_iter()));
        Self { cells, signature, direct, through }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "machine": machine(),
            "versions": versions(),
            "rsa2048SignatureMs": self.signature.to_json(),
            "awsCallMs": {"toTheStack": self.direct.to_json(), "throughTheEndpoint": self.through.to_json()},
            "rows": self.cells.iter().map(Cell::to_json).collect::<Vec<_>>(),
            "targets": self.targets().iter().map(Target::to_json).collect::<Vec<_>>(),
        })
    }

    fn at(&self, latency: u64) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.latency == latency)
    }

    fn targets(&self) -> Vec<Target> {
        let hello = self.at(0).find(|cell| cell.variant.function == HELLO_TLS);
        let hello = hello.map_or(0.0, |cell| cell.of(|sample| sample.init_cpu).median);
        let rows = |name, limit, latency, row: &dyn Fn(&str) -> bool, figure: &dyn Fn(&Cell) -> f64| {
            let cells = self.at(latency).filter(|cell| !cell.variant.is_hello() && row(cell.variant.name));
            Target { name, limit, figures: cells.map(|cell| (cell.name(), figure(cell))).collect() }
        };
        let target =
            |name, limit, latency, figure: &dyn Fn(&Cell) -> f64| rows(name, limit, latency, &|_| true, figure);
        let warm_cpu = |cell: &Cell| cell.of(|sample| sample.warm_cpu).median;
        let in_kms = |row: &str| !row.ends_with("envelope");
        vec![
            rows("CPU of an exchange, ms", 0.65, 0, &|row| row.starts_with("exchange-token") && in_kms(row), &warm_cpu),
            rows(
                "CPU of an exchange with envelope beyond two signatures, ms",
                0.45,
                0,
                &|row| row.starts_with("exchange-token") && !in_kms(row),
                &|cell| warm_cpu(cell) - 2.0 * self.signature.median,
            ),
            rows("CPU of create-token, ms", 0.55, 0, &|row| row == "create-token", &warm_cpu),
            rows("CPU of create-app-token, ms", 0.42, 0, &|row| row == "create-app-token", &warm_cpu),
            target("p50 at 5 ms per AWS call, outside its AWS calls, ms", 1.5, TARGET_LATENCY, &|cell| {
                cell.own().median
            }),
            target("first invocation, times a warm one", 2.0, 0, &|cell| {
                cell.of(|sample| sample.first).median / cell.warm().median
            }),
            target("init CPU beyond hello world's with TLS, ms", 2.5, 0, &|cell| {
                cell.of(|sample| sample.init_cpu).median - hello
            }),
            target("peak memory, MiB", 12.0, 0, &|cell| cell.of(|sample| sample.peak_memory).median),
            target("stripped binary, MiB", 8.5, 0, &|cell| cell.size),
        ]
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", facts(&machine()), facts(&versions()))?;
        let Self { signature, direct, through, .. } = self;
        writeln!(f, "an RSA-2048 signature takes {signature} ms, on a faster or idler machine less")?;
        writeln!(f, "an AWS call takes {direct} ms to the stack, {through} ms through the endpoint before it")?;
        writeln!(f, "medians over processes ± half the distance of the quartiles; p99 is of all calls together\n")?;

        writeln!(f, "Without added latency, in ms and MiB:")?;
        let header =
            ["", "start to poll", "init CPU", "first", "first CPU", "p50", "p99", "CPU per call", "memory", "binary"];
        let rows = self.at(0).map(|cell| {
            vec![
                cell.name(),
                cell.of(|sample| sample.start).to_string(),
                cell.of(|sample| sample.init_cpu).to_string(),
                cell.of(|sample| sample.first).to_string(),
                cell.of(|sample| sample.first_cpu).to_string(),
                cell.warm().to_string(),
                format!("{:.2}", cell.p99()),
                cell.of(|sample| sample.warm_cpu).to_string(),
                cell.of(|sample| sample.peak_memory).to_string(),
                format!("{:.2}", cell.size),
            ]
        });
        table(f, &header, rows)?;

        writeln!(
            f,
            "\nWith latency added to every AWS call, in ms: over is p50 without the latency of the rounds, of"
        )?;
        writeln!(f, "which own is what passes while no AWS call is under way; the rest is the stack's own work.")?;
        let header = ["", "added", "start to poll", "first", "p50", "p99", "rounds", "over", "own", "calls"];
        let rows = self.cells.iter().filter(|cell| cell.latency > 0).map(|cell| {
            vec![
                cell.name(),
                Spread::of(cell.samples.iter().flat_map(|sample| sample.added.iter().copied())).to_string(),
                cell.of(|sample| sample.start).to_string(),
                cell.of(|sample| sample.first).to_string(),
                cell.warm().to_string(),
                format!("{:.2}", cell.p99()),
                cell.rounds().to_string(),
                format!("{:.2}", cell.over_rounds()),
                cell.own().to_string(),
                cell.calls().join(" "),
            ]
        });
        table(f, &header, rows)?;

        writeln!(f, "\nTargets:")?;
        for target in self.targets() {
            let Target { name, limit, figures } = &target;
            let Some((worst, most)) = figures.iter().max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
                writeln!(f, "not measured  {name}: at most {limit}")?;
                continue;
            };
            let misses = target.misses().map(|(variant, figure)| format!("{variant} {figure:.2}")).collect::<Vec<_>>();
            if misses.is_empty() {
                writeln!(f, "met     {name}: at most {limit}; the most is {most:.2} ({worst})")?;
            } else {
                writeln!(f, "missed  {name}: at most {limit}; {}", misses.join("; "))?;
            }
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> fmt::Result {
    let header = header.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let rows = [vec![header], rows.collect()].concat();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or_default();
            if column == 0 || column + 1 == row.len() { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "architecture": ARCH,
        "cpus": thread::available_parallelism().map_or(0, usize::from),
        "cpu": model.map(|(_, model)| model),
        "kernel": read("/proc/sys/kernel/osrelease").trim_end(),
        "load": read("/proc/loadavg").trim_end(),
    })
}

fn versions() -> Value {
    let rustc = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let mut versions = Map::from_iter([
        (env!("CARGO_PKG_NAME").replace("tests", "tokenmint"), env!("CARGO_PKG_VERSION").into()),
        ("rustc".to_owned(), String::from_utf8_lossy(&rustc).split(' ').nth(1).into()),
    ]);
    let lock = include_str!("../../../Cargo.lock");
    for name in CRATES {
        let start = format!("name = \"{name}\"\nversion = \"");
        let version = lock.split_once(&start).and_then(|(_, rest)| rest.split('"').next());
        versions.insert(name.to_owned(), version.into());
    }
    versions.into()
}

/// An object in a line.
fn facts(object: &Value) -> String {
    let texts = object.as_object().into_iter().flatten().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name} {text}"),
        None => format!("{name} {value}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
