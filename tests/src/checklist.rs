//! The steps of "Adding an endpoint" in CONTRIBUTING.md. If one is forgotten, a test says what to do.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use local::{Functions, Template};

use crate::harness::{CASES, Deployment, api, events};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Fails with what is still to be done, one line each.
#[track_caller]
fn assert_done(to_do: impl IntoIterator<Item = String>) {
    let to_do: Vec<_> = to_do.into_iter().collect();
    assert!(to_do.is_empty(), "to do, see \"Adding an endpoint\" in CONTRIBUTING.md:\n{}", to_do.join("\n"));
}

/// The functions that lack something, with what to do about it.
fn functions_without(has: impl Fn(&str) -> bool, to_do: impl Fn(&str) -> String) -> impl Iterator<Item = String> {
    Functions::names().filter(move |function| !has(function)).map(to_do)
}

#[test]
fn every_crate_in_functions_is_in_the_list() {
    let listed: BTreeSet<_> = Functions::names().map(str::to_owned).collect();
    let crates = fs::read_dir(path("functions")).unwrap().map(|entry| entry.unwrap());
    let crates = crates.filter(|entry| entry.path().join("Cargo.toml").exists());
    let crates: BTreeSet<_> = crates.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_done(crates.difference(&listed).map(|name| {
        format!(
            "add {name} to FUNCTIONS in local/src/lambda.rs, and its crate to [workspace.dependencies] in Cargo.toml \
             and to local/Cargo.toml"
        )
    }));
    assert_done(
        listed.difference(&crates).map(|name| format!("name the crate of the function {name} functions/{name}")),
    );
}

/// Its rights, variables and alarms are tested in `repository`.
#[test]
fn every_function_is_in_the_template_with_its_log_group_and_alarms() {
    let deployment = Deployment::new(&[]);
    let (functions, resources) = (deployment.functions(), deployment.resources());
    assert_done(functions_without(
        |function| functions.contains_key(function),
        |function| format!("add an AWS::Serverless::Function with `Binary: {function}` to template.yaml"),
    ));
    let functions = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
    for (name, function) in functions {
        let binary = function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap();
        assert_done(
            Functions::names().all(|known| known != binary).then(|| {
                format!("add {binary}, which template.yaml has as {name}, to FUNCTIONS in local/src/lambda.rs")
            }),
        );
        // `.ci/sam-local` finds a function by it.
        assert_eq!(*name, pascal_case(binary), "the name of {binary} in template.yaml");
        let parts = ["Logs", "CrashesAlarm", "FailuresAlarm", "ThrottlesAlarm"].map(|part| format!("{name}{part}"));
        let lacks_one = parts.iter().any(|part| !resources.contains_key(part));
        assert_done(lacks_one.then(|| format!("add {name} to the list of Fn::ForEach::Functions in template.yaml")));
        let log_group = &function["Properties"]["LoggingConfig"]["LogGroup"];
        assert_done((*log_group != parts[0]).then(|| format!("set LogGroup of {name} to !Ref {name}Logs")));
    }
}

fn pascal_case(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn every_route_has_an_operation_and_every_other_function_a_readme() {
    let routes = Template::read().unwrap().routes;
    let operations: BTreeSet<_> = api().operations().into_iter().map(|(route, _)| route).collect();
    let named: BTreeSet<_> = routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_done(named.difference(&operations).map(|route| format!("describe {route} in openapi.yaml")));
    assert_done(operations.difference(&named).map(|route| format!("add the route {route} to template.yaml")));
    assert_done(functions_without(
        |function| {
            api().routes_of(function).next().is_some() || path(&format!("functions/{function}/README.md")).exists()
        },
        |function| format!("describe events and answers of {function} in functions/{function}/README.md"),
    ));
}

/// `hostile` changes the examples of openapi.yaml and these events; `repository` holds their answers to their names.
#[test]
fn every_function_has_an_event_that_succeeds_and_one_that_is_refused() {
    let events = events();
    for case in ["success", "refusal"] {
        assert_done(functions_without(
            |function| events.iter().any(|(name, _)| name.starts_with(&format!("{function}.{case}"))),
            |function| format!("add events/{function}.{case}.json, which works on the demo of the local stack"),
        ));
    }
    let of_none =
        events.iter().filter(|(name, _)| Functions::names().all(|known| name.split('.').next() != Some(known)));
    assert_done(of_none.map(|(name, _)| format!("name events/{name}.json <function>.success… or <function>.refusal…")));
}

#[test]
fn every_function_has_a_case_in_the_fault_matrix() {
    assert_done(functions_without(
        |function| CASES.iter().any(|case| case.function == function),
        |function| format!("add a Case for {function} to tests/src/harness/cases.rs, and its request to fixture.rs"),
    ));
}

#[test]
fn every_function_has_tests_of_its_own() {
    let modules = read("tests/src/lib.rs");
    assert_done(functions_without(
        |function| modules.contains(&format!("\nmod {};", function.replace('-', "_"))),
        |function| {
            let module = function.replace('-', "_");
            format!(
                "add tests/src/{module}.rs, with a test for each status of {function}, and `mod {module};` to lib.rs"
            )
        },
    ));
}

#[test]
fn every_function_has_a_row_in_the_bench() {
    const VARIANTS: &str = "shared/benches/functions/variants.rs";
    let text = read(VARIANTS);
    let rows = text.split("variant(\"").skip(1).filter_map(|row| row.split('"').nth(2));
    let measured: BTreeSet<_> = rows.collect();
    assert_done(functions_without(
        |function| measured.contains(function),
        |function| format!("add a row for {function} to VARIANTS in {VARIANTS}"),
    ));
}

#[test]
fn the_readme_shows_how_to_call_every_function() {
    const LOCAL: &str = "http://127.0.0.1:3000";
    let readme = read("README.md");
    let end = |c: char| c.is_whitespace() || c == '\'';
    let paths: Vec<_> = readme.split(LOCAL).skip(1).filter_map(|text| text.split(end).next()).collect();
    assert_done(functions_without(
        |function| {
            let invoked = format!("/2015-03-31/functions/{function}/invocations");
            let mut routes = api().routes_of(function).peekable();
            match routes.peek() {
                None => paths.contains(&invoked.as_str()),
                Some(_) => routes.any(|route| paths.iter().any(|path| route.parameters(&route.method, path).is_some())),
            }
        },
        |function| format!("show a curl line to {LOCAL} for {function} in README.md"),
    ));
}

/// Schemathesis tests every operation. These have settings of their own.
#[test]
fn the_fuzzing_names_operations_that_exist() {
    let config = read(".ci/schemathesis.toml");
    let named = config.lines().filter_map(|line| line.strip_prefix("include-operation-id = ")?.split('"').nth(1));
    let operations = api().operations();
    let exists = |id: &&str| operations.iter().any(|(_, operation)| operation["operationId"] == **id);
    assert_done(
        named.filter(|id| !exists(id)).map(|id| format!("remove {id} from .ci/schemathesis.toml or rename it")),
    );
}
