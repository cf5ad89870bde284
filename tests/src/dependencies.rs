//! The direction of dependencies inside `shared`, as its `lib.rs` states it: each group uses those below it only, and
//! no modules use each other in a circle. In `local` and in the functions no files do, `lib.rs` and `mod.rs` included.
//! And inside these tests: a test module uses none but the harness.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use local::Functions;

/// The groups of `shared`, from top to bottom.
const GROUPS: [&str; 7] = ["wire", "tokens", "auth", "keys", "store", "runtime", "input"];
/// What every group may use.
const LEAVES: [&str; 7] = ["clock", "credential", "encoding", "error", "id", "names", "random"];

/// What makes an item of a test module visible to others. In two parts, since this module may not have it either.
const VISIBLE: &str = concat!("pub", "(crate)");

/// A path of a module, such as `["keys", "jwt"]`.
type Module = Vec<String>;

/// Which module uses which.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The modules and what they use: full paths after `crate`, with re-exports resolved to the module of the item.
struct Sources {
    uses: BTreeMap<Module, BTreeSet<Vec<String>>>,
}

impl Sources {
    /// The source files by their paths below `src`.
    fn new(files: &BTreeMap<String, String>) -> Self {
        let modules: BTreeMap<Module, &str> =
            files.iter().map(|(file, text)| (module_of(file), text.as_str())).collect();
        let mut uses = BTreeMap::new();
        for (module, text) in &modules {
            let is_parent = modules.keys().any(|other| other.len() > module.len() && other.starts_with(module));
            uses.insert(module.clone(), paths(text, module, is_parent).into_iter().collect::<BTreeSet<_>>());
        }
        // What a group re-exports counts for the module that it comes from.
        let re_exports: BTreeMap<Vec<String>, Vec<String>> = uses
            .iter()
            .flat_map(|(module, paths)| paths.iter().map(move |path| (module, path)))
            .filter(|(module, path)| path.len() == module.len() + 2 && path.starts_with(module))
            .map(|(module, path)| ([&module[..], &path[path.len() - 1..]].concat(), path.clone()))
            .collect();
        for paths in uses.values_mut() {
            *paths = paths
                .iter()
                .map(|path| {
                    let item = re_exports.iter().find(|(short, _)| path.starts_with(short));
                    item.map_or_else(|| path.clone(), |(_, full)| full.clone())
                })
                .collect();
        }
        Self { uses }
    }

    /// What is wrong, one line each.
    fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (module, paths) in self.uses.iter().filter(|(module, _)| !module.is_empty()) {
            let Some(level) = level(&module[0]) else {
                violations.push(format!(
                    "{} is in no group: add it to LEAVES, or its group to GROUPS, in tests/src/dependencies.rs",
                    name(module)
                ));
                continue;
            };
            for path in paths {
                if level_of_path(path).is_some_and(|other| other < level) {
                    violations.push(format!(
                        "{} uses {}, but `{}` is above `{}`: move what both need down into `{}` or below, or pass it \
                         in as a parameter",
                        name(module),
                        name(path),
                        path[0],
                        module[0],
                        module[0]
                    ));
                }
            }
        }
        let modules = self.uses.keys().filter(|module| !self.is_mod_rs(module));
        violations.extend(circles(&modules.map(|module| (module.clone(), self.siblings(module))).collect()));
        violations
    }

    /// Which file uses which. A file uses those that it declares with `mod`, so they must not use it.
    fn files(&self) -> Graph {
        let used_by = |(module, paths): (&Module, &BTreeSet<Vec<String>>)| {
            let used = paths.iter().filter_map(|path| self.file_of(path));
            let declared =
                self.uses.keys().filter(|other| other.split_last().is_some_and(|(_, above)| above == module));
            (module.clone(), used.chain(declared).filter(|other| *other != module).cloned().collect())
        };
        self.uses.iter().map(used_by).collect()
    }

    /// The module that has the item of this path.
    fn file_of(&self, path: &[String]) -> Option<&Module> {
        self.uses.keys().filter(|module| path.starts_with(module)).max_by_key(|module| module.len())
    }

    /// The modules that this one uses and that may not use it: those of its group, or other leaves.
    fn siblings(&self, module: &Module) -> BTreeSet<Module> {
        let group = |module: &Module| level(&module[0]);
        let paths = self.uses[module].iter().filter(|path| !path.is_empty() && group(module) == level(&path[0]));
        let found = paths.filter_map(|path| self.file_of(path));
        found.filter(|other| !self.is_mod_rs(other) && *other != module).cloned().collect()
    }

    /// Whether it only gathers the modules below it.
    fn is_mod_rs(&self, module: &Module) -> bool {
        self.uses.keys().any(|other| other.len() > module.len() && other.starts_with(module))
    }
}

/// The circles, one line each.
fn circles(graph: &Graph) -> Vec<String> {
    let mut done = BTreeSet::new();
    let found = graph.keys().filter_map(|module| circle(graph, module, &mut Vec::new(), &mut done));
    let line = |circle: Vec<Module>| {
        let names: Vec<_> = circle.iter().map(|module| name(module)).collect();
        format!("{} use each other in a circle: move what they share into a module of its own", names.join(" → "))
    };
    found.map(line).collect()
}

/// The circle that can be reached from this module, if there is one that was not reported yet.
fn circle(graph: &Graph, module: &Module, path: &mut Vec<Module>, done: &mut BTreeSet<Module>) -> Option<Vec<Module>> {
    if let Some(start) = path.iter().position(|other| other == module) {
        return Some([&path[start..], std::slice::from_ref(module)].concat());
    }
    if !done.insert(module.clone()) {
        return None;
    }
    path.push(module.clone());
    let circle = graph[module].iter().find_map(|next| circle(graph, next, path, done));
    path.pop();
    circle
}

fn level(module: &str) -> Option<usize> {
    let groups = GROUPS.iter().position(|group| *group == module);
    groups.or_else(|| LEAVES.contains(&module).then_some(GROUPS.len()))
}

fn level_of_path(path: &[String]) -> Option<usize> {
    level(path.first()?)
}

fn name(path: &[String]) -> String {
    if path.is_empty() { "lib".to_owned() } else { path.join("::") }
}

/// The module of a file: `keys/jwt.rs` is `keys::jwt`, and `keys/mod.rs` is `keys`.
fn module_of(file: &str) -> Module {
    let path = file.strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { vec![] } else { path.split('/').map(str::to_owned).collect() }
}

/// The paths in a source text that begin with `crate`, `self` or `super`, in `use` and elsewhere. Comments are left
/// out.
fn paths(text: &str, module: &Module, is_mod_rs: bool) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
    // Unit tests are a module inside the module.
    let (code, tests) = code.split_once("#[cfg(test)]\nmod tests").unwrap_or((&code, ""));
    let mut found = Vec::new();
    for (code, is_test) in [(code, false), (tests, true)] {
        for (keyword, base) in [("crate", Some(&[][..])), ("self", is_mod_rs.then_some(&module[..])), ("super", None)] {
            for (at, _) in code.match_indices(&format!("{keyword}::")) {
                if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let above = if is_test { &module[..] } else { module.split_last().map_or(&[][..], |(_, above)| above) };
                let Some(base) = base.or((keyword == "super").then_some(above)) else { continue };
                tree(&mut &code[at + keyword.len() + 2..], base, &mut found);
            }
        }
    }
    found
}

/// Reads a tree of `use`, such as `a::{b, c::d}`, and adds its paths.
fn tree(rest: &mut &str, base: &[String], found: &mut Vec<Vec<String>>) {
    *rest = rest.trim_start();
    if let Some(list) = rest.strip_prefix('{') {
        *rest = list;
        loop {
            *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(after) = rest.strip_prefix('}') {
                *rest = after;
                return;
            }
            let before = rest.len();
            tree(rest, base, found);
            // `a as b`
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            *rest = &rest[next..];
            assert!(rest.len() < before, "a `use` that this test cannot read");
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (segment, after) = rest.split_at(end);
    *rest = after;
    if segment.is_empty() || segment == "self" {
        found.push(base.to_vec());
        return;
    }
    let path = match segment {
        "super" => base[..base.len().saturating_sub(1)].to_vec(),
        _ => [base, &[segment.to_owned()]].concat(),
    };
    match rest.strip_prefix("::") {
        Some(after) if after.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
            *rest = after;
            tree(rest, &path, found);
        }
        _ => found.push(path),
    }
}

/// The source files of a crate.
fn sources(path: &str) -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).join("src");
    let mut sources = BTreeMap::new();
    collect_files(&root, &root, &mut sources);
    Sources::new(&sources)
}

/// What test modules share with each other outside the harness, one line each.
fn shared_outside_the_harness(files: &BTreeMap<String, String>) -> Vec<String> {
    let modules: BTreeMap<Module, &String> = files.iter().map(|(file, text)| (module_of(file), text)).collect();
    let mut shared = Vec::new();
    for (module, text) in modules.iter().filter(|(module, _)| !module.is_empty()) {
        let is_parent = modules.keys().any(|other| other.len() > module.len() && other.starts_with(module));
        let used: BTreeSet<_> = paths(text, module, is_parent).into_iter().collect();
        let foreign = used.iter().filter(|path| {
            path.first().is_some_and(|other| {
                *other != module[0] && other != "harness" && modules.contains_key(std::slice::from_ref(other))
            })
        });
        let moves = "move what both need to tests/src/harness";
        shared.extend(foreign.map(|path| format!("{} uses {}: {moves}", name(module), name(path))));
        if module[0] != "harness" && text.contains(VISIBLE) {
            shared.push(format!("{} has a {VISIBLE}: {moves}", name(module)));
        }
    }
    shared
}

fn collect_files(directory: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn dependencies_in_shared_point_downwards() {
    let sources = sources("shared");
    let arrows: usize = sources.uses.values().map(BTreeSet::len).sum();
    assert!(arrows > 100, "only {arrows} uses were found: the test no longer reads the code");
    let violations = sources.violations();
    assert!(violations.is_empty(), "{}\nThe order is in shared/src/lib.rs.", violations.join("\n"));
}

#[test]
fn no_files_of_local_or_of_a_function_use_each_other_in_a_circle() {
    let functions = Functions::names().map(|function| format!("functions/{function}"));
    for path in ["local".to_owned()].into_iter().chain(functions) {
        let graph = sources(&path).files();
        let arrows: usize = graph.values().map(BTreeSet::len).sum();
        let expected = if path == "local" { 40 } else { graph.len() - 2 };
        assert!(arrows >= expected, "only {arrows} uses were found in {path}: the test no longer reads the code");
        assert_eq!(circles(&graph), [""; 0], "in {path}");
    }
}

/// Without these two, the tests above could pass because they see nothing.
#[test]
fn a_file_that_uses_the_one_that_declares_it_and_a_circle_of_files_are_found() {
    let files = [
        ("lib.rs", "mod gateway;\nmod protected;\nmod request_log;\nmod data_dir;\nmod login;\nstruct StartError;"),
        ("data_dir.rs", "use crate::StartError;"),
        ("gateway.rs", "use crate::{protected, request_log};\n#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
        ("protected.rs", "use crate::gateway::{Gateway, message};"),
        ("request_log.rs", "use crate::{data_dir::DataDir, gateway::INVOKE};"),
        ("login/mod.rs", "mod html;\nconst NAME: &str = \"\";"),
        ("login/html.rs", "use super::NAME;"),
        ("main.rs", "use local::Stack;"),
    ];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    let circle = "use each other in a circle: move what they share into a module of its own";
    assert_eq!(
        circles(&Sources::new(&files).files()),
        [
            format!("lib → data_dir → lib {circle}"),
            format!("gateway → protected → gateway {circle}"),
            format!("login → login::html → login {circle}"),
        ]
    );
}

#[test]
fn an_arrow_that_points_up_and_a_circle_are_found() {
    let files = [
        ("lib.rs", "pub mod tokens;\npub mod keys;"),
        ("error.rs", "use crate::{\n    clock::Clock, // a comment\n    id::{self, Id as Other},\n};"),
        ("clock.rs", "fn now() -> crate::error::Error {}"),
        ("tokens/mod.rs", "mod quota;\npub use self::quota::{reserve, Quota};"),
        ("tokens/quota.rs", "//! See [`crate::auth`].\nuse crate::{keys::Keys, store::{Store, Update}};"),
        ("keys/mod.rs", "mod jwt;\nmod signer;\npub use self::{jwt::Jwt, signer::Signer};"),
        ("keys/jwt.rs", "use super::Signer;\nuse crate::{store::Store, id};"),
        (
            "keys/signer.rs",
            "use crate::keys::Jwt;\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::auth;\n}",
        ),
        ("store/mod.rs", "use crate::tokens::Quota;"),
        ("queue.rs", ""),
    ];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    let violations = Sources::new(&files).violations();
    let moves = "move what both need down into";
    let passes = "or below, or pass it in as a parameter";
    let circle = "use each other in a circle: move what they share into a module of its own";
    assert_eq!(
        violations,
        [
            format!("keys::signer uses auth, but `auth` is above `keys`: {moves} `keys` {passes}"),
            "queue is in no group: add it to LEAVES, or its group to GROUPS, in tests/src/dependencies.rs".to_owned(),
            format!("store uses tokens::quota::Quota, but `tokens` is above `store`: {moves} `store` {passes}"),
            format!("clock → error → clock {circle}"),
            format!("keys::jwt → keys::signer → keys::jwt {circle}"),
        ]
    );
}

#[test]
fn test_modules_share_nothing_outside_the_harness() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    collect_files(&root, &root, &mut sources);
    assert!(sources.len() > 40, "only {} files were found", sources.len());
    let shared = shared_outside_the_harness(&sources);
    assert!(shared.is_empty(), "{}", shared.join("\n"));
}

/// Without this, the test above could pass because it sees nothing.
#[test]
fn a_test_module_that_uses_another_one_is_found() {
    let files = [
        ("lib.rs", "mod first;\nmod harness;\nmod second;\nmod third;"),
        ("first.rs", "use crate::harness::{Case, second};\nuse shared::id;\nfn f() { crate::third::kill() }"),
        ("harness/mod.rs", "mod second;\nuse self::second::user;"),
        ("harness/second.rs", "use super::{Answer, third};\nuse crate::first::Case;"),
        ("second/mod.rs", "mod code;\nmod refresh;"),
        ("second/code.rs", "use super::refresh::rotate;\nuse super::super::third;"),
        ("second/refresh.rs", "use crate::second::code;\npub(super) fn rotate() {}"),
        (
            "third.rs",
            &format!("{VISIBLE} fn kill() {{}}\nuse crate::{{harness::Case, first::{{self, exhaust as e}}}};"),
        ),
    ];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    let found = [
        "first uses third::kill",
        "harness::second uses first::Case",
        "second::code uses third",
        "third uses first",
        "third uses first::exhaust",
        &format!("third has a {VISIBLE}"),
    ];
    let expected = found.map(|found| format!("{found}: move what both need to tests/src/harness"));
    assert_eq!(shared_outside_the_harness(&files), expected);
}

/// `rustfmt` wraps code and leaves comments alone.
#[test]
fn no_comment_is_wider_than_the_code() {
    let mut wide = Vec::new();
    for path in ["shared", "local", "tests", "functions"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        let mut found = BTreeMap::new();
        let crates = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path().join("src"));
        for sources in crates.chain([root.join("src")]).filter(|sources| sources.is_dir()) {
            collect_files(&sources, &root, &mut found);
        }
        assert!(!found.is_empty(), "{path}");
        for (file, text) in found {
            let lines = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
            wide.extend(
                lines.filter(|(_, line)| line.chars().count() > 120).map(|(at, _)| format!("{file}:{}", at + 1)),
            );
        }
    }
    assert!(wide.is_empty(), "comments of more than 120 columns: {wide:?}");
}
