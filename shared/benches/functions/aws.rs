//! AWS for the functions: the local stack in a process of its own, behind an endpoint that adds a latency to every call
//! and records the calls.

use std::{
    fs, hint,
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rcgen::{Certificate, CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    Result,
    http::{Message, connect, exchange, serve},
    lambda::Running,
    milliseconds,
};

/// The files in which Linux distributions keep the TLS roots. The first is Lambda's, which the template names.
const ROOTS: [&str; 2] = ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"];
/// A sleep can end this much too late, so the last part of a latency is a busy wait.
const SLACK: Duration = Duration::from_micros(150);

/// The local stack's process.
#[derive(Debug)]
pub(crate) struct Stack {
    _process: Running,
    pub(crate) address: SocketAddr,
}

impl Stack {
    /// Starts it with the functions' issuers, and with signing keys for `kms` and `envelope`.
    pub(crate) fn start(mut binary: Command, [issuer, oidc_issuer]: [&str; 2]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let ready = directory.path().join("url");
        binary.args(["--port", "0", "--signing-mode", "transition", "--issuer", issuer, "--oidc-issuer", oidc_issuer]);
        binary.arg("--ready-file").arg(&ready);
        let mut process = Running::start(binary.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let url = loop {
            match fs::read_to_string(&ready) {
                Ok(url) if !url.is_empty() => break url,
                _ if process.has_ended()? => return Err("the local stack does not start".into()),
                _ => thread::sleep(Duration::from_millis(10)),
            }
        };
        Ok(Self { _process: process, address: url.trim_start_matches("http://").parse()? })
    }

    /// Invokes a function in the stack's process.
    pub(crate) fn invoke(&self, function: &str, event: &Value) -> Result<Value> {
        let start = format!("POST /2015-03-31/functions/{function}/invocations HTTP/1.1");
        let request = Message::new(&start, &["host: localhost"], event.to_string().as_bytes());
        let answer = exchange(&mut BufReader::new(connect(self.address)?), &request)?;
        let text = String::from_utf8_lossy(answer.body());
        if answer.header("x-amz-function-error").is_some() {
            return Err(format!("{function} answers {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    started: Instant,
    ended: Instant,
    /// The latency that was added to it.
    pub(crate) added: Duration,
}

/// The endpoint between a function and the stack. It speaks TLS to the function, as AWS does.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Of DynamoDB and of KMS. They differ, as those of AWS do, so that no connection serves both.
    dynamodb: SocketAddr,
    kms: SocketAddr,
    certificate: Certificate,
    /// The machine's TLS roots and that of the endpoint.
    roots: NamedTempFile,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stack: SocketAddr,
    latency_us: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Endpoint {
    pub(crate) fn start(stack: SocketAddr, one_root: bool) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let config = ServerConfig::builder().with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key)?);
        let mut roots = NamedTempFile::new()?;
        let machines = ROOTS.iter().filter(|_| !one_root).find_map(|roots| fs::read(roots).ok()).unwrap_or_default();
        roots.write_all(&[&machines, certificate.pem().as_bytes()].concat())?;

        let shared = Arc::new(Shared { stack, latency_us: AtomicU64::new(0), calls: Mutex::default() });
        let served = Arc::clone(&shared);
        let connection = move |client| {
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            let mut client = BufReader::new(StreamOwned::new(tls, client));
            let mut stack = BufReader::new(connect(served.stack)?);
            while let Some(request) = Message::read(&mut client)? {
                served.pass_on(&request, client.get_mut(), &mut stack)?;
            }
            Ok(())
        };
        Ok(Self { dynamodb: serve(connection.clone())?, kms: serve(connection)?, certificate, roots, shared })
    }

    /// The URLs of DynamoDB and KMS, with the variables that the SDK reads them from.
    pub(crate) fn urls(&self) -> [(&str, String); 2] {
        let url = |address| format!("https://{address}");
        [("AWS_ENDPOINT_URL_DYNAMODB", url(self.dynamodb)), ("AWS_ENDPOINT_URL_KMS", url(self.kms))]
    }

    /// A file with the roots that clients of the endpoint must trust.
    pub(crate) fn roots(&self) -> &Path {
        self.roots.path()
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), ServerName::from(self.kms.ip()))?;
        Ok(StreamOwned::new(tls, connect(self.kms)?))
    }

    /// Sets the latency of the calls from now on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.shared.latency_us.store(latency.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// The calls since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn pass_on(&self, request: &Message, client: &mut impl Write, stack: &mut BufReader<TcpStream>) -> io::Result<()> {
        let started = Instant::now();
        delay(started, Duration::from_micros(self.latency_us.load(Relaxed)));
        let added = started.elapsed();
        let answer = exchange(stack, request)?;
        let target = request.header("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        // Recorded before the answer is sent, so that a call that waits for it begins later.
        let call = Call { operation, started, ended: Instant::now(), added };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        answer.write(client)
    }
}

fn delay(since: Instant, latency: Duration) {
    thread::sleep(latency.saturating_sub(SLACK));
    while since.elapsed() < latency {
        hint::spin_loop();
    }
}

/// The number of rounds of the calls, and their total duration. A call that began after another one had ended is in a
/// later round.
pub(crate) fn rounds(calls: &mut [Call]) -> (u64, Duration) {
    calls.sort_by_key(|call| call.started);
    let (mut rounds, mut duration) = (0, Duration::ZERO);
    // When the first and the last call of the round ended.
    let mut ends: Option<(Instant, Instant)> = None;
    for Call { started, ended, .. } in calls {
        let same_round = ends.filter(|(first, _)| *started <= *first);
        rounds += u64::from(same_round.is_none());
        let counted = same_round.map_or(*started, |(_, last)| last);
        duration += ended.saturating_duration_since(counted);
        ends = Some(same_round.map_or((*ended, *ended), |(first, last)| (first.min(*ended), last.max(*ended))));
    }
    (rounds, duration)
}

/// The milliseconds of calls to the stack, directly and through the endpoint without latency.
pub(crate) fn overhead(stack: &Stack, endpoint: &Endpoint, request: &Message) -> Result<[Vec<f64>; 2]> {
    endpoint.set_latency(Duration::ZERO);
    let mut direct = BufReader::new(connect(stack.address)?);
    let mut through = BufReader::new(endpoint.connect()?);
    let (mut direct_times, mut through_times) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        direct_times.push(timed(&mut direct, request)?);
        through_times.push(timed(&mut through, request)?);
    }
    endpoint.take_calls();
    Ok([direct_times, through_times])
}

fn timed(connection: &mut BufReader<impl Read + Write>, request: &Message) -> Result<f64> {
    let start = Instant::now();
    let answer = exchange(connection, request)?;
    let time = milliseconds(start.elapsed());
    if answer.start().contains(" 200 ") { Ok(time) } else { Err(answer.start().into()) }
}
