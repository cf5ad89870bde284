//! AWS Lambda: a Runtime API, and the functions' processes with their CPU time and memory.

use std::{
    fs,
    io::{self, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Result,
    http::{Message, serve},
    milliseconds,
};

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).spawn().map(Self)
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        self.0.try_wait().map(|status| status.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Runtime API of one function at a time.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    requests: Receiver<Request>,
}

/// A function's request to the Runtime API.
#[derive(Debug)]
enum Request {
    /// It asks for the next event, to be sent on this connection.
    Next(Instant, TcpStream),
    /// It sends its answer.
    Answered(Instant, Message),
}

impl RuntimeApi {
    pub(crate) fn start() -> Result<Self> {
        let (sender, requests) = channel();
        Ok(Self { address: serve(move |connection| listen(connection, &sender))?, requests })
    }

    fn next_request(&self) -> Result<Request> {
        let patience = Duration::from_secs(20);
        self.requests.recv_timeout(patience).map_err(|_| "a function neither polls nor answers".into())
    }

    fn next_poll(&self) -> Result<(Instant, TcpStream)> {
        match self.next_request()? {
            Request::Next(at, connection) => Ok((at, connection)),
            Request::Answered(_, answer) => Err(unexpected(&answer)),
        }
    }
}

fn unexpected(answer: &Message) -> crate::Error {
    format!("a function says {}: {}", answer.start(), String::from_utf8_lossy(answer.body())).into()
}

fn listen(connection: TcpStream, sender: &Sender<Request>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    while let Some(message) = Message::read(&mut connection)? {
        let now = Instant::now();
        if message.start().starts_with("GET /2018-06-01/runtime/invocation/next ") {
            let connection = connection.get_ref().try_clone()?;
            sender.send(Request::Next(now, connection)).map_err(io::Error::other)?;
        } else {
            sender.send(Request::Answered(now, message)).map_err(io::Error::other)?;
            Message::new("HTTP/1.1 202 Accepted", &[], b"").write(connection.get_ref())?;
        }
    }
    Ok(())
}

/// A function's process that waits for an event.
#[derive(Debug)]
pub(crate) struct Function<'api> {
    process: Running,
    api: &'api RuntimeApi,
    waiting: TcpStream,
    /// From the start of the process to its first poll.
    pub(crate) started_in: Duration,
}

impl<'api> Function<'api> {
    pub(crate) fn start(api: &'api RuntimeApi, command: &mut Command) -> Result<Self> {
        // Requests that an earlier process left.
        while api.requests.try_recv().is_ok() {}
        command.env("AWS_LAMBDA_RUNTIME_API", api.address.to_string()).stdout(Stdio::null());
        let start = Instant::now();
        let process = Running::start(command)?;
        let (at, waiting) = api.next_poll()?;
        Ok(Self { process, api, waiting, started_in: at - start })
    }

    /// Invokes the function. Returns the time from sending the event to receiving the answer, and the answer.
    pub(crate) fn invoke(&mut self, event: &Value) -> Result<(Duration, Value)> {
        const HEADERS: [&str; 5] = [
            "content-type: application/json",
            "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "lambda-runtime-deadline-ms: 4102444800000",
            "lambda-runtime-invoked-function-arn: arn:aws:lambda:local:000000000000:function:bench",
            "lambda-runtime-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        ];
        let event = Message::new("HTTP/1.1 200 OK", &HEADERS, event.to_string().as_bytes());
        let start = Instant::now();
        event.write(&self.waiting)?;
        let Request::Answered(at, answer) = self.api.next_request()? else {
            return Err("a function polls without having answered".into());
        };
        if !answer.start().contains("/response ") {
            return Err(unexpected(&answer));
        }
        let body: Value = serde_json::from_slice(answer.body())?;
        if body["statusCode"].as_u64().is_some_and(|status| !(200..300).contains(&status)) {
            return Err(unexpected(&answer));
        }
        self.waiting = self.api.next_poll()?.1;
        Ok((at - start, body))
    }

    /// The CPU time that the process has used, in milliseconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        // The kernel has the final figure only once the process waits again.
        thread::sleep(Duration::from_millis(1));
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(milliseconds(Duration::from_nanos(nanoseconds)))
    }

    /// The peak memory of the process, in MiB.
    pub(crate) fn peak_memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).unwrap_or_default();
        Ok(kilobytes.parse::<f64>()? / 1024.0)
    }
}
