//! The binary `local` as a process: options, signals, files.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::harness::binaries;

fn binary() -> PathBuf {
    binaries().join("local")
}

struct Process {
    child: Child,
    base_url: String,
}

impl Process {
    fn start(arguments: &[&str]) -> Self {
        Self::start_as(Command::new(binary()), arguments)
    }

    fn start_as(mut command: Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        command.args(["--port", "0", "--ready-file", ready.to_str().unwrap()]).args(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut process = Self { child, base_url: String::new() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            process.base_url = fs::read_to_string(&ready).unwrap_or_default();
            if !process.base_url.is_empty() {
                return process;
            }
            std::thread::yield_now();
        }
        panic!("local does not serve")
    }

    /// What it prints, up to the demo's last line.
    fn printed(&mut self) -> Vec<String> {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.take_while(|line| !line.starts_with("Ctrl-C")).collect()
    }

    /// Sends a signal and returns the exit code.
    fn stop(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fails(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(binary()).args(arguments).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

/// Runs a printed line in a shell.
fn paste(line: &str) -> String {
    let Output { stdout, .. } = Command::new("sh").args(["-c", &format!("{line} -s")]).output().unwrap();
    String::from_utf8(stdout).unwrap()
}

#[test]
fn both_signals_stop_it_with_status_0() {
    for signal in ["-INT", "-TERM"] {
        let mut process = Process::start(&[]);
        assert_eq!(process.printed()[0], format!("tokenmint serves at {}", process.base_url));
        assert_eq!(process.stop(signal), Some(0), "{signal}");
    }
}

#[test]
fn what_it_prints_can_be_pasted_and_a_restart_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut key = String::new();
    for run in 1..=2 {
        let mut process =
            Process::start(&["--data-dir", data, "--issuer", "urn:test", "--oidc-issuer", "http://127.0.0.1:1"]);
        let base_url = process.base_url.clone();
        let lines = process.printed();
        let create = lines.iter().find(|line| line.contains("/create-token")).unwrap();
        assert!(create.starts_with(&format!("curl -i {base_url}/api/v1/create-token ")), "{create}");
        let answer = paste(create);
        assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
        assert!(answer.contains(&format!("\"activeTokens\":{run},")), "{answer}");
        for line in lines.iter().filter(|line| line.starts_with("curl") && !line.contains("/create-token")) {
            let expected = if line.contains("/api/v1/tokens") { "HTTP/1.1 201 Created" } else { "HTTP/1.1 200 OK" };
            assert!(paste(line).starts_with(expected), "{line}");
        }
        key = create.split("Bearer ").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert_eq!(process.stop("-TERM"), Some(0));
    }
    for entry in walk(directory.path()) {
        let contents = fs::read(&entry).unwrap();
        assert!(!contents.windows(key.len()).any(|window| window == key.as_bytes()), "{}", entry.display());
    }
}

/// The demo's client returns to the page at any port, so another start changes nothing.
#[test]
fn with_another_port_the_page_can_still_log_in() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let process = Process::start(&["--data-dir", directory.path().to_str().unwrap()]);
        let page = |host: &str| format!("http://{host}/page/callback");
        let organization = "2eefe89b7a4f6cde0082c795";
        let list = format!(r#"{{"action":"list","kind":"clients","organizationId":"{organization}"}}"#);
        let url = format!("{}/2015-03-31/functions/provision/invocations", process.base_url);
        let answer: serde_json::Value = serde_json::from_str(&paste(&format!("curl {url} -d '{list}'"))).unwrap();
        let pages = ["127.0.0.1", "localhost", "[::1]"].map(page);
        let expected = ["https://app.example.com/callback", &pages[0], &pages[1], &pages[2]];
        assert_eq!(answer["items"][0]["redirectUris"], serde_json::json!(expected));
        assert_eq!(process.stop("-TERM"), Some(0));
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn with_envelope_signing_it_begins_with_a_key_and_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let mut sets = Vec::new();
    for mode in ["envelope", "envelope", "transition"] {
        let mut process = Process::start(&["--data-dir", data, "--signing-mode", mode]);
        let lines = process.printed();
        let create = lines.iter().find(|line| line.contains("/create-token")).unwrap();
        assert!(paste(create).starts_with("HTTP/1.1 201 Created"));
        let set = paste(lines.iter().find(|line| line.contains("/jwks.json")).unwrap());
        sets.push(set.split("\r\n\r\n").nth(1).unwrap().to_owned());
        assert_eq!(process.stop("-TERM"), Some(0));
    }
    assert_eq!(sets[0].matches("\"kid\"").count(), 2);
    assert_eq!(sets[0], sets[1]);
    assert_ne!(sets[0], sets[2], "the key that signs comes first");
}

/// In the form of the template's `AllowedOrigins`.
#[test]
fn several_origins_are_separated_by_commas() {
    let process = Process::start(&["--allow-origin", "https://a.example,https://b.example"]);
    for (origin, allowed) in [("https://a.example", true), ("https://b.example", true), ("https://c.example", false)] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--head", "--request", "GET", "--header", &format!("Origin: {origin}")]);
        let output = curl.arg(format!("{}/.well-known/jwks.json", process.base_url)).output().unwrap();
        let headers = String::from_utf8(output.stdout).unwrap().to_lowercase();
        assert_eq!(headers.contains(&format!("access-control-allow-origin: {origin}\r\n")), allowed, "{headers}");
        assert_eq!(headers.contains("access-control-expose-headers: idempotency-replayed,retry-after,"), allowed);
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let error = fails(&["--port", &port]);
    assert!(
        error.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}: ")) && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn a_data_directory_that_cannot_be_used_is_one_clear_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = fails(&["--port", "0", "--data-dir", file.path().to_str().unwrap()]);
    assert!(error.starts_with("error: cannot use the data directory ") && error.lines().count() == 1, "{error}");

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let process = Process::start(&["--data-dir", data]);
    let error = fails(&["--port", "0", "--data-dir", data]);
    assert!(error.ends_with("another process uses it\n") && error.lines().count() == 1, "{error}");
    assert_eq!(process.stop("-TERM"), Some(0));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Asserts that only the owner can read a data directory in use, and every file in it.
#[track_caller]
fn assert_private(data: &Path) {
    assert_eq!((mode(data), mode(&data.join("kms"))), (0o700, 0o700));
    let files = walk(data);
    for name in ["lock", "dynamodb.sqlite", "dynamodb.sqlite-wal", "dynamodb.sqlite-shm"] {
        assert!(files.contains(&data.join(name)), "{name} is not among {files:?}");
    }
    assert!(files.iter().any(|file| file.extension().is_some_and(|extension| extension == "pkcs8")));
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn only_the_owner_can_read_the_data_directory() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("a/b");
    let open_to_all = || {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(binary());
        Process::start_as(command, &["--data-dir", data.to_str().unwrap()])
    };
    let process = open_to_all();
    assert_private(&data);
    assert_eq!(process.stop("-TERM"), Some(0));

    // As an earlier version left it.
    set_mode(&data, 0o755);
    set_mode(&data.join("kms"), 0o755);
    for file in walk(&data) {
        set_mode(&file, 0o644);
    }
    let process = open_to_all();
    assert_private(&data);
    assert_eq!(process.stop("-TERM"), Some(0));

    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    set_mode(&empty, 0o755);
    let process = Process::start(&["--data-dir", empty.to_str().unwrap()]);
    assert_private(&empty);
    assert_eq!(process.stop("-TERM"), Some(0));
}

#[test]
fn the_mode_of_a_directory_with_other_files_stays() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("thesis.txt");
    fs::write(&file, "").unwrap();
    set_mode(parent.path(), 0o755);
    set_mode(&file, 0o644);
    let data = parent.path().to_str().unwrap();
    let error = fails(&["--port", "0", "--data-dir", data]);
    assert!(error.contains("other users can get into it") && error.lines().count() == 1, "{error}");
    assert_eq!((mode(parent.path()), mode(&file), walk(parent.path()).len()), (0o755, 0o644, 1));
}

/// Starts it with its standard error in a file, sends two requests, and returns what it logged.
fn logged(mut command: Command) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (ready, log) = (directory.path().join("ready"), directory.path().join("log"));
    command.env("READY", &ready).env("LOG", &log);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::read_to_string(&ready).unwrap_or_default().is_empty() {
        assert!(Instant::now() < deadline, "local does not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = fs::read_to_string(&ready).unwrap();
    for path in ["/.well-known/jwks.json", "/page/main.js"] {
        assert!(
            Command::new("curl").args(["-s", "-o", "/dev/null", &format!("{url}{path}")]).status().unwrap().success()
        );
    }
    let curl = "curl -s -o /dev/null -X POST -H 'Content-Type: application/json' -d '{}'";
    assert!(Command::new("sh").args(["-c", &format!("{curl} {url}/api/v1/create-token")]).status().unwrap().success());
    // `sh` has written its process id there.
    let pid = fs::read_to_string(log.with_extension("pid")).unwrap();
    assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
    child.wait().unwrap();
    fs::read_to_string(&log).unwrap()
}

/// A shell that runs `local` with these arguments in its place.
fn shell(arguments: &str, redirection: &str) -> Command {
    let mut command = Command::new("sh");
    let local = format!("exec {} --port 0 --ready-file $READY {arguments} {redirection}", binary().display());
    command.args(["-c", &format!("echo $$ >${{LOG}}.pid; {local}")]);
    command
}

#[test]
fn where_nobody_watches_the_log_is_json() {
    for text in [logged(shell("", "2>$LOG")), logged(shell("--log json", "2>$LOG"))] {
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let unauthorized = lines.iter().find(|line| line["status"] == 401).unwrap();
        assert_eq!(unauthorized["function"], "create-token");
    }
}

/// One line for each request, and none for the functions' own calls, the parts of a page and the start.
#[track_caller]
fn assert_readable(lines: &[&str]) {
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, rest) in lines.iter().zip([
        ["GET", "/.well-known/jwks.json", "200", "done"],
        ["POST", "/api/v1/create-token", "401", "unauthenticated"],
    ]) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[0].len(), &words[1..5], words[6]), (8, &rest[..], "ms"), "{line}");
    }
}

#[test]
fn a_person_reads_one_line_for_each_request() {
    let text = logged(shell("--log pretty", "2>$LOG"));
    assert_readable(&text.lines().collect::<Vec<_>>());
}

/// `script` (util-linux) runs a command on a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_a_welcome_and_readable_lines() {
    let on_a_terminal = |no_color: &str| {
        let local = format!("echo $$ >$LOG.pid; exec {} --port 0 --ready-file $READY", binary().display());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec script -qec '{local}' /dev/null >$LOG")]).env("NO_COLOR", no_color);
        logged(command).replace('\r', "")
    };
    let text = on_a_terminal("1");
    assert!(!text.contains('\u{1b}'), "{text}");
    let (welcome, requests) = text.split_once("Ctrl-C ends it.\n").unwrap();
    assert!(
        welcome.contains("/docs\n") && welcome.contains("tmk_") && welcome.matches("  curl ").count() == 4,
        "{welcome}"
    );
    assert_readable(&requests.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>());
    assert!(on_a_terminal("").contains("\u{1b}[33m401\u{1b}[0m"));
}

/// A port of the database would be open to every web page.
#[cfg(target_os = "linux")]
#[test]
fn it_listens_on_one_port() {
    let process = Process::start(&[]);
    let links = fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap();
    let links: Vec<_> = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok()).collect();
    let is_ours = |inode: &str| links.iter().any(|link| link.to_str() == Some(&format!("socket:[{inode}]")));
    let sockets = ["tcp", "tcp6"].map(|family| fs::read_to_string(format!("/proc/net/{family}")).unwrap_or_default());
    let listening = sockets.iter().flat_map(|sockets| sockets.lines()).filter(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[3] == "0A" && is_ours(columns[9])
    });
    assert_eq!(listening.count(), 1);
}
