//! The commands in the documents. Those that a local stack can answer are run, in order and in one shell for each
//! document, and what they print is compared with the block below them.

use std::{
    fs,
    mem::discriminant,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::TestStack;

/// The first words of the commands that need AWS, Docker or a build. They are not run.
const NOT_RUN: [&str; 3] = ["aws", "cargo", "sam"];
const LOCAL: &str = "http://127.0.0.1:3000";
/// Follows the output of each command.
const SEPARATOR: char = '\u{1e}';

/// A block of shell commands, and the block that follows it with what the commands print.
#[derive(Debug, Default, Eq, PartialEq)]
struct Block {
    commands: Vec<String>,
    output: Option<Vec<String>>,
}

fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut lines) = (Vec::new(), document.lines().peekable());
    while let Some(line) = lines.next() {
        if line != "```sh" {
            continue;
        }
        let mut block = Block::default();
        let mut is_open = false;
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match block.commands.last_mut() {
                Some(command) if is_open => command.extend(["\n", line]),
                _ => block.commands.push(line.to_owned()),
            }
            // A command ends with its line, unless a backslash or an open quotation continues it.
            let command = block.commands.last().unwrap();
            is_open = command.ends_with('\\') || command.matches('\'').count() % 2 == 1;
        }
        if lines.next_if(|line| *line == "```").is_some() {
            block.output = Some(lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect());
        }
        blocks.push(block);
    }
    blocks
}

/// Whether a local stack can answer the command. A variable or a function of the shell is for such commands.
fn is_run(command: &str) -> Result<bool, String> {
    let word = command.split_whitespace().next().unwrap_or_default();
    let name = |end: &str| {
        word.split_once(end).is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphabetic() || c == '_'))
    };
    if word == "curl" || name("=") || name("()") {
        Ok(true)
    } else if NOT_RUN.contains(&word) {
        Ok(false)
    } else {
        Err(format!("`{command}` is no curl command, and {word} is not in NOT_RUN in tests/src/readme.rs"))
    }
}

/// What each command prints on a new stack with the demo.
async fn run(commands: &[&String]) -> Vec<String> {
    let stack = TestStack::start_with(|options| options.issuer = None).await;
    stack.local.provision_demo().await.unwrap();
    let mut script =
        "exec 2>&1; set -eu; curl() { command curl -q --silent --show-error --noproxy '*' \"$@\"; }".to_owned();
    for command in commands {
        script.extend(["\n", &command.replace(LOCAL, stack.local.base_url()), "\nprintf '\\036'"]);
    }
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).current_dir(root());
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "a command failed: {text}");
    let mut printed: Vec<_> = text.split(SEPARATOR).map(|text| text.trim().to_owned()).collect();
    assert_eq!(printed.pop().as_deref(), Some(""), "after the last command");
    printed
}

/// Whether a value has these members in this nesting. `"…"` stands for any other members.
fn has_shape(value: &Value, shape: &Value) -> bool {
    match (value, shape) {
        (Value::Object(value), Value::Object(shape)) => {
            let is_open = shape.contains_key("…");
            let mut named = shape.iter().filter(|(name, _)| *name != "…");
            (is_open || value.len() == shape.len())
                && named.all(|(name, shape)| value.get(name).is_some_and(|value| has_shape(value, shape)))
        }
        (Value::Array(values), Value::Array(shapes)) => {
            values.len() == shapes.len() && values.iter().zip(shapes).all(|(value, shape)| has_shape(value, shape))
        }
        (Value::Bool(value), Value::Bool(shape)) => value == shape,
        _ => discriminant(value) == discriminant(shape),
    }
}

/// Reads a documented answer. Outside of a string, `…` stands for members that are left out.
fn shape(line: &str) -> Value {
    let parts = line.split('"').enumerate();
    let parts = parts.map(|(n, part)| if n % 2 == 0 { part.replace('…', "\"…\":0") } else { part.to_owned() });
    let json = parts.collect::<Vec<_>>().join("\"");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What is wrong with what the commands of a block printed, one line each.
fn compare(printed: &[&String], documented: Option<&Vec<String>>) -> Vec<String> {
    let json = |text: &str| serde_json::from_str::<Value>(text);
    let Some(documented) = documented else {
        // Function errors have the status 200.
        let is_answer = |text: &str| json(text).is_ok_and(|answer| answer.get("errorType").is_none());
        return printed.iter().filter(|text| !is_answer(text)).map(|text| format!("no answer: {text}")).collect();
    };
    if printed.len() != documented.len() {
        return vec![format!("documented: {documented:?}\nprinted: {printed:?}")];
    }
    let both = printed.iter().zip(documented);
    let differing = both.filter(|(text, line)| !json(text).is_ok_and(|value| has_shape(&value, &shape(line))));
    differing.map(|(text, line)| format!("documented: {line}\nprinted: {text}")).collect()
}

/// What is wrong with the commands of a document, one line each.
async fn problems(document: &str) -> Vec<String> {
    let blocks = blocks(document);
    let commands = || blocks.iter().flat_map(|block| &block.commands);
    let unknown: Vec<_> = commands().filter_map(|command| is_run(command).err()).collect();
    let runnable: Vec<_> = commands().filter(|command| is_run(command) == Ok(true)).collect();
    if !unknown.is_empty() || runnable.is_empty() {
        return unknown;
    }
    let printed = run(&runnable).await;
    let mut printed = printed.iter();
    let compared = blocks.iter().flat_map(|block| {
        let runs = block.commands.iter().filter(|command| is_run(command) == Ok(true)).count();
        let printed: Vec<_> = printed.by_ref().take(runs).filter(|text| !text.is_empty()).collect();
        if runs == 0 { vec![] } else { compare(&printed, block.output.as_ref()) }
    });
    compared.collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        !name.starts_with('.') && !["node_modules", "target"].contains(&name)
    };
    let found = paths.filter(is_ours).flat_map(|path| {
        let is_document = path.extension().is_some_and(|extension| extension == "md");
        if path.is_dir() { documents(&path) } else { is_document.then_some(path).into_iter().collect() }
    });
    found.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_documents_work() {
    let documents = documents(&root());
    let has_curl = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains("\ncurl ");
    assert!(documents.iter().filter(has_curl).count() >= 5, "{documents:?}");
    for path in documents {
        let problems = problems(&fs::read_to_string(&path).unwrap()).await;
        assert!(problems.is_empty(), "{}:\n{}", path.display(), problems.join("\n"));
    }
}

/// Without this, the test above could pass because it sees nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_work_is_found() {
    let text = "```sh\nKEY=a\ncurl a \\\n  -d '{\n}'\n```\n```\n{}\n```\n```json\n```\n```sh\nsam build\n```\n";
    let [first, second] = &blocks(text)[..] else { panic!("two blocks") };
    assert_eq!(first.commands, ["KEY=a", "curl a \\\n  -d '{\n}'"]);
    assert_eq!((&first.output, &second.output), (&Some(vec!["{}".to_owned()]), &None));

    let printed = r#"{"code":"tmc_a","items":[{"id":1}],"active":true}"#.to_owned();
    let differs = |lines: &[&str]| {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        !compare(&[&printed], Some(&lines)).is_empty()
    };
    for same in [r#"{"items":[{"id":2}],"code":"tmc_…","active":true}"#, r#"{"items":[{…}],…}"#, r#"{"code":"",…}"#]
    {
        assert!(!differs(&[same]), "{same}");
    }
    for other in [
        r#"{"code":"tmc_…","active":true}"#,
        r#"{"code":"tmc_…","items":[{"id":1}],"active":true,"sid":"…"}"#,
        r#"{"code":1,…}"#,
        r#"{"items":[{"id":1},{"id":2}],…}"#,
        r#"{"items":[{"uuid":1}],…}"#,
        r#"{"active":false,…}"#,
    ] {
        assert!(differs(&[other]), "{other}");
    }
    assert!(differs(&[]) && differs(&["{…}", "{…}"]));

    let refused = format!("```sh\ncurl {LOCAL}/2015-03-31/functions/issue-code/invocations -d '{{}}'\n```\n");
    assert_eq!(problems(&refused).await.len(), 1);
    assert_eq!(problems("```sh\ncargo run -p local # …\nwget http://127.0.0.1:3000\n```\n").await.len(), 1);
}
