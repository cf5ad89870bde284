//! Compares the tables of the documents with the code.

use std::{collections::BTreeSet, fs, path::Path};

use local::{Functions, Template};
use serde_json::json;
use shared::{
    auth::{ActiveKind, Permission},
    error::{ErrorType, Outcome},
    keys::SigningMode,
    runtime::telemetry::Metric,
};

use crate::harness::{TestStack, api, deployed_functions, own_variables};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What is between backticks.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The cells of the table with this header, in rows.
fn table<'a>(document: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let lines = document.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<_>> = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert!(!rows.is_empty(), "no table begins with {header}");
    rows
}

fn column<'a>(table: &[Vec<&'a str>], column: usize) -> BTreeSet<&'a str> {
    table.iter().flat_map(|row| names(row[column])).collect()
}

/// The row of the table of fields in DEPLOYING.md whose first cell has this name.
fn field<'a>(deploying: &'a str, name: &str) -> Vec<&'a str> {
    let fields = table(deploying, "| field | meaning |");
    fields.into_iter().find(|row| names(row[0]).contains(name)).unwrap()
}

#[test]
fn deploying_lists_the_outcomes() {
    let deploying = read("DEPLOYING.md");
    let listed: Vec<_> = names(field(&deploying, "outcome")[1]).into_iter().collect();
    let functions: BTreeSet<_> = Functions::names().chain(["/oauth2"]).collect();
    let outcomes: BTreeSet<_> = listed.into_iter().filter(|name| !functions.contains(name)).collect();
    assert_eq!(outcomes, Outcome::ALL.map(Outcome::as_str).into());
}

#[test]
fn deploying_names_the_functions_without_a_status() {
    let deploying = read("DEPLOYING.md");
    let without_route = Functions::names().filter(|function| api().routes_of(function).next().is_none());
    assert_eq!(names(field(&deploying, "status")[1]), without_route.collect());
}

#[test]
fn deploying_lists_the_metrics() {
    let deploying = read("DEPLOYING.md");
    let outside = deploying.lines().find(|line| line.starts_with("Outside a request")).unwrap();
    let metrics = &names(field(&deploying, "Failures")[0]) | &names(outside);
    assert_eq!(metrics, Metric::ALL.map(Metric::as_str).into());
}

#[test]
fn deploying_lists_the_parameters_of_the_template() {
    let deploying = read("DEPLOYING.md");
    let template = Template::read().unwrap().document;
    let parameters = template["Parameters"].as_object().unwrap().keys().map(String::as_str);
    assert_eq!(column(&table(&deploying, "| parameter | default |"), 0), parameters.collect());
}

/// A permission that no endpoint requires would be a promise that nothing keeps.
#[test]
fn every_permission_is_documented_and_required_somewhere() {
    let readme = read("functions/provision/README.md");
    assert_eq!(column(&table(&readme, "| permission | allows |"), 0), Permission::ALL.map(Permission::as_str).into());
    let code: String = ["create-app-token", "create-token", "manage-tokens", "oauth2"]
        .iter()
        .flat_map(|function| {
            fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/{function}/src"))).unwrap()
        })
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let operations: String = api().operations().iter().map(|(_, operation)| operation.to_string()).collect();
    for permission in Permission::ALL {
        assert!(code.contains(&format!("require(Permission::{permission:?})")), "no function requires {permission:?}");
        let name = permission.as_str();
        assert!(operations.contains(&format!("lacks `{name}`")), "no operation of openapi.yaml requires {name}");
    }
}

#[test]
fn the_readmes_of_invoked_functions_list_their_error_types() {
    let readme = read("functions/provision/README.md");
    assert_eq!(column(&table(&readme, "| `errorType` | meaning |"), 0), ErrorType::ALL.map(ErrorType::as_str).into());

    let code = read("functions/issue-code/src/lib.rs") + &read("shared/src/tokens/codes.rs");
    let readme = read("functions/issue-code/README.md");
    let documented = names(readme.split("It is a function error").nth(1).unwrap());
    // Every function can have the first two.
    let types = [ErrorType::InvalidRequest, ErrorType::InternalError].into_iter();
    let others = [ErrorType::NotFound, ErrorType::Taken].into_iter();
    let others = others.filter(|other| code.contains(&format!("InvocationError::{other:?}")));
    let types: BTreeSet<_> = types.chain(others).map(ErrorType::as_str).collect();
    assert_eq!(
        documented.into_iter().filter(|name| name.starts_with(char::is_uppercase)).collect::<BTreeSet<_>>(),
        types
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_of_provision_lists_its_actions() {
    let stack = TestStack::start().await;
    let refused = stack.try_provision(&json!({"action": "unknown"})).await.unwrap_err();
    let known =
        refused["errorMessage"].as_str().unwrap().strip_prefix("action must be ").unwrap().replace(" or ", ", ");
    let readme = read("functions/provision/README.md");
    assert_eq!(column(&table(&readme, "| `action` | fields |"), 0), known.split(", ").collect());
}

#[test]
fn the_readme_of_authorize_lists_kinds_denials_and_variables() {
    let readme = read("functions/authorize/README.md");
    assert_eq!(
        column(&table(&readme, "| credential | `kind` |"), 1),
        ActiveKind::BEARERS.map(ActiveKind::as_str).into()
    );

    let code = read("functions/authorize/src/lib.rs");
    let denials = Outcome::ALL.into_iter().filter(|outcome| code.contains(&format!("denied(Outcome::{outcome:?})")));
    let documented = readme.split("says why a request was denied").nth(1).unwrap().split('|').next().unwrap();
    assert_eq!(names(documented), denials.map(Outcome::as_str).collect());

    let variables = column(&table(&readme, "| variable, parameter of the template | meaning |"), 0);
    let template = Template::read().unwrap().document;
    let set = &template["Resources"]["Authorize"]["Properties"]["Environment"]["Variables"];
    let set = set.as_object().unwrap().iter().filter(|(_, value)| value.to_string().contains("Authorizer"));
    let set = set.flat_map(|(name, value)| [name.as_str(), value["Ref"].as_str().unwrap()]);
    assert_eq!(variables, set.collect());
}

/// The template has the variables that the functions read: another test starts them with and without each.
#[test]
fn the_readme_lists_the_variables_and_who_reads_them() {
    let readme = read("README.md");
    let functions = deployed_functions(SigningMode::Transition);
    let known: BTreeSet<String> = functions.values().flat_map(own_variables).collect();
    let mut documented = BTreeSet::new();
    for row in table(&readme, "| variable | read by |") {
        let readers = names(row[1]);
        let reads = |function: &str| match row[1] {
            "all" => true,
            but if but.starts_with("all but ") => !readers.contains(function),
            _ => readers.contains(function),
        };
        for variable in names(row[0]).into_iter().filter(|name| !name.starts_with("AWS_") && *name != "SSL_CERT_FILE") {
            documented.insert(variable.to_owned());
            for (function, properties) in &functions {
                assert_eq!(own_variables(properties).contains(variable), reads(function), "{function} {variable}");
            }
        }
    }
    assert_eq!(documented, known);
}
