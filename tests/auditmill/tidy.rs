//! The house rules that a machine can check. What it says about a file is a reason to change the
//! file; where the file is right, change the table here and say why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::events::repository;

/// What each folder or file at the top of `src` may use of the crate. Data flows one way.
const MAY_USE: [(&str, &[&str]); 25] = [
    ("event", &[]),
    ("journal", &[]),
    // What decode is given is its own `Delivery`: it knows no journal.
    ("decode", &["event"]),
    ("sql", &["event"]),
    ("detect", &["event", "sql"]),
    // What detections need of an audit policy.
    ("policy", &["detect"]),
    // `detect` for needs and for what is wrong with a file.
    ("question", &["detect", "event"]),
    // `decode` for the pieces that the quarantine keeps.
    ("findings", &["decode", "detect", "event"]),
    ("proof", &["event"]),
    ("history", &["clock", "event", "fault", "journal", "proof"]),
    // `clock` and `metrics` for logs that are followed: they have no one above them.
    ("ingest", &["clock", "event", "journal", "metrics"]),
    // `clock` for when something is tried again, `config` for what sinks are set to, `event` for
    // times as others want them, `fault` for what is told to people.
    ("alert", &["clock", "config", "event", "fault", "findings", "metrics"]),
    // `decode`, `detect` and `event` for the schemas, the pieces and the catalogue that are shown
    // as tables.
    ("query", &["decode", "detect", "event", "findings", "history", "sql"]),
    // `detect` for severities in questions; `event` and `clock` for times in questions; `config`
    // for the socket's settings.
    ("http", &["clock", "config", "detect", "event", "findings", "ingest", "metrics", "query"]),
    (
        "pipeline",
        &[
            "clock", "decode", "detect", "event", "fault", "findings", "history", "ingest",
            "journal", "metrics",
        ],
    ),
    (
        "command",
        &[
            "alert", "cli", "clock", "config", "decode", "detect", "event", "findings", "history",
            "http", "ingest", "journal", "metrics", "pipeline", "policy", "proof", "query",
            "question", "sql", "tasks",
        ],
    ),
    ("tasks", &[]),
    ("fault", &[]),
    ("clock", &[]),
    ("metrics", &[]),
    // `event` for the names of clusters.
    ("config", &["event"]),
    // What flags are parsed into.
    ("cli", &["config", "detect", "event"]),
    ("lib", &[]),
    ("main", &[]),
    ("bin", &[]),
];

/// Foreign crates that have one home: where their names may appear.
const HOMES: [(&[&str], &[&str]); 20] = [
    (&["ring"], &["proof/key.rs"]),
    (&["axum", "axum_server", "tower_http", "hyper_util", "http_body_util"], &["http/"]),
    // The rim makes credentials too.
    (
        &["rustls"],
        &["alert/", "http/", "command/kubeconfig.rs", "command/token.rs", "command/sql/source.rs"],
    ),
    // The process parses; what there is to parse is said in one place.
    (&["clap"], &["cli.rs", "cli/", "main.rs"]),
    (&["toml"], &["config.rs"]),
    (&["reqwest"], &["alert/", "command/sql/source.rs"]),
    (&["maxminddb"], &["sql/address/database.rs"]),
    (&["rustyline"], &["command/sql/"]),
    (&["prometheus_client"], &["metrics.rs", "metrics/"]),
    (&["rusqlite"], &["findings/"]),
    // The wire's own handshake; the configuration is HTTP's.
    (&["tokio_rustls", "rustls_platform_verifier"], &["alert/", "query/postgres/"]),
    (&["pgwire", "arrow_pg", "socket2"], &["query/postgres.rs", "query/postgres/"]),
    // Who is let in is decided in `http/`, and told in the wire's own words.
    (&["arrow_flight", "prost", "tonic"], &["http/flight.rs", "query/flight.rs", "query/flight/"]),
    (&["deltalake_core", "object_store"], &["history/"]),
    (&["parquet"], &["history/", "query/format.rs"]),
    (&["rdkafka"], &["alert/kafka.rs", "ingest/kafka.rs", "ingest/kafka/"]),
    (&["flate2", "zstd"], &["command/input.rs", "decode/", "http/body.rs", "journal/record.rs"]),
    (&["comfy_table"], &["command/"]),
    (&["thread_priority"], &["query/service.rs"]),
    (&["tracing_subscriber"], &["main.rs"]),
];

/// Foreign crates that folders must never know.
const NEVER: [(&str, &[&str]); 12] = [
    ("proof", &["datafusion", "parquet", "tokio"]),
    ("policy", &["arrow", "datafusion", "tokio"]),
    ("event", &["datafusion", "tokio", "serde_json"]),
    ("journal", &["arrow", "datafusion", "serde_json"]),
    ("decode", &["datafusion", "tokio"]),
    ("sql", &["tokio"]),
    ("findings", &["arrow", "datafusion"]),
    ("history", &["axum", "reqwest", "rusqlite"]),
    ("ingest", &["arrow", "datafusion"]),
    ("alert", &["arrow", "datafusion"]),
    ("http", &["arrow", "datafusion"]),
    ("pipeline", &["datafusion", "tokio", "serde_json"]),
];

/// Texts of code that have one home.
const CALLS: [(&[&str], &[&str]); 6] = [
    (&["tokio::spawn", "task::spawn(", "thread::spawn"], &["tasks.rs"]),
    // An engine's own thread ends with it.
    (&["thread::Builder"], &["tasks.rs", "detect/asked.rs"]),
    (&["SystemTime", "Timestamp::now", "Zoned::now"], &["clock.rs"]),
    (&["unbounded_channel", "mpsc::channel()"], &[]),
    (&["process::exit", "dbg!(", "todo!(", "unimplemented!("], &[]),
    // The engine has a runtime of its own; a channel or a time limit makes no thread.
    (
        &["tokio::runtime"],
        &[
            "alert/jsonl.rs",
            "command/alert.rs",
            "command/serve.rs",
            "command/source.rs",
            "command/sql/",
            "command/watch.rs",
            "detect/",
            "history/copy.rs",
            "history/evidence.rs",
            "history/flush.rs",
            "history/import.rs",
            "history/recall.rs",
            "history/replay.rs",
            "history/verify.rs",
            "ingest/kafka.rs",
            "ingest/tail.rs",
            "query/run.rs",
            "query/service.rs",
        ],
    ),
];

const LINES_MAX: usize = 400;
const MOD_LINES_MAX: usize = 80;
const COLUMNS_MAX: usize = 100;
/// A word and what to say instead.
const BANNED_WORDS: [(&str, &str); 4] = [
    ("whitelist", "exception"),
    ("blacklist", "the name of what is refused"),
    ("sanity check", "check"),
    ("dummy", "what it stands for"),
];
const BANNED_NAMES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "common", "types", "models", "manager"];

/// A source file.
struct Source {
    /// Its path below `src`, such as `decode/tape.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The folder or file at the top that it belongs to.
    fn top(&self) -> &str {
        let top = self.path.split('/').next().unwrap_or_default();
        top.strip_suffix(".rs").unwrap_or(top)
    }

    /// Code that is shipped: without tests and comments, and what texts hold.
    fn code(&self) -> String {
        let lines = self.shipped().lines().map(|line| {
            let code = line.trim_start();
            if code.starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The text before the tests; nothing of a file that is all tests.
    fn shipped(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    fn is_in(&self, homes: &[&str]) -> bool {
        homes.iter().any(|home| match home.strip_suffix('/') {
            Some(_) => self.path.starts_with(home),
            None => self.path == *home,
        })
    }
}

#[test]
fn folders_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let top = source.top();
        let Some(allowed) = allowed.get(top) else {
            wrong.push(format!("src/{}: `{top}` is not in the table", source.path));
            continue;
        };
        for used in crate_paths(&source.code()) {
            if used != top && !allowed.contains(&used.as_str()) {
                wrong.push(format!("src/{}: `{top}` must not use `crate::{used}`", source.path));
            }
        }
        let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
        let climb = "super::".repeat(depth + 1);
        if source.code().contains(&climb) {
            wrong.push(format!("src/{}: `{climb}` leaves the folder", source.path));
        }
    }
    none(&wrong);
}

#[test]
fn foreign_crates_have_one_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        let code = source.code();
        for (crates, homes) in HOMES {
            for name in crates.iter().filter(|name| uses(&code, name)) {
                if !source.is_in(homes) {
                    wrong.push(format!("src/{}: `{name}` lives in {homes:?}", source.path));
                }
            }
        }
        for (folder, crates) in NEVER.iter().filter(|(folder, _)| *folder == source.top()) {
            for name in crates.iter().filter(|name| uses(&code, name)) {
                // Waiting for room or for the disk needs no runtime.
                wrong.push(format!("src/{}: `{folder}` must never know `{name}`", source.path));
            }
        }
        for (calls, homes) in CALLS {
            for call in calls.iter().filter(|call| code.contains(**call)) {
                if !source.is_in(homes) {
                    wrong.push(format!("src/{}: `{call}` is for {homes:?} only", source.path));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn files_are_short_and_folder_pages_hold_no_logic() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.shipped().lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("src/{}: {lines} lines before the tests", source.path));
        }
        if !source.path.ends_with("mod.rs") {
            continue;
        }
        let lines = source.text.lines().count();
        if lines > MOD_LINES_MAX {
            wrong.push(format!("src/{}: {lines} lines, for a page", source.path));
        }
        let code = source.code();
        if let Some(line) = code.lines().find(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.contains(&"fn") || words.contains(&"impl") || words.contains(&"macro_rules!")
        }) {
            // The three things that a command can come to are no logic, nor how they are shown.
            if source.path != "command/mod.rs" {
                wrong.push(format!("src/{}: a page has no logic: {line}", source.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn lines_are_short_and_words_are_ours() {
    let mut wrong = Vec::new();
    for path in files(&["src", "tests", "benches"], "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let is_this = path.ends_with("tests/auditmill/tidy.rs");
        for (number, line) in (1..).zip(text.lines()) {
            let at = format!("{}:{number}", path.display());
            // A table that is drawn in a test is as wide as it is.
            if line.chars().count() > COLUMNS_MAX && !is_drawing(line) {
                wrong.push(format!("{at}: more than {COLUMNS_MAX} columns"));
            }
            if line.ends_with(char::is_whitespace) || line.contains('\t') {
                wrong.push(format!("{at}: white space"));
            }
            if is_this {
                continue;
            }
            let lower = line.to_lowercase();
            for (word, better) in BANNED_WORDS.iter().filter(|(word, _)| lower.contains(word)) {
                wrong.push(format!("{at}: `{word}`: say {better}"));
            }
            for mark in ["TODO", "FIXME", "XXX"] {
                let numbered = line.contains(&format!("{mark}(#"));
                if line.split(|c: char| !c.is_alphanumeric()).any(|w| w == mark) && !numbered {
                    wrong.push(format!("{at}: {mark} without a number, as in `{mark}(#12)`"));
                }
            }
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if BANNED_NAMES.iter().any(|name| stem.split('_').any(|part| part == *name)) {
            wrong.push(format!("{}: a name that says nothing", path.display()));
        }
    }
    none(&wrong);
}

#[test]
fn files_begin_with_what_they_promise() {
    let missing = |source: &Source| !source.text.starts_with("//! ");
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| missing(source))
        .map(|source| format!("src/{}: no module comment", source.path))
        .collect();
    none(&wrong);
}

#[test]
fn every_detection_has_a_test_file_and_the_other_way_round() {
    let stems = |folder: &str, extension: &str| -> BTreeSet<String> {
        let root = repository(folder);
        let stem = |path: PathBuf| {
            path.strip_prefix(&root).unwrap().with_extension("").display().to_string()
        };
        files(&[folder], extension).into_iter().map(stem).collect()
    };
    let detections = stems("queries/detections", "sql");
    assert!(detections.len() >= 9, "{detections:?}");
    assert_eq!(detections, stems("testdata/detections", "yaml"));
    for stem in detections {
        let area = stem.split('/').count() == 2;
        assert!(area, "queries/detections/{stem}.sql: <area>/<name>.sql");
    }
}

#[test]
fn every_setting_is_described() {
    let settings = auditmill::config::Settings::default().to_toml().unwrap();
    let settings: toml::Table = settings.parse().unwrap();
    let described = std::fs::read_to_string(repository("SETTINGS.md")).unwrap();
    let mut wrong = Vec::new();
    for (section, keys) in settings.iter().filter_map(|(name, keys)| Some((name, keys.as_table()?)))
    {
        for key in keys.keys().filter(|key| !described.contains(&format!("`[{section}] {key}`"))) {
            // A list of tables is described under its own name.
            if !described.contains(&format!("`[[{section}.{key}]]`")) {
                wrong.push(format!("SETTINGS.md: no row for `[{section}] {key}`"));
            }
        }
    }
    none(&wrong);
}

/// What these checks rely on.
#[test]
fn the_checks_see() {
    let code = "use crate::{event::Rows, sql};\nuse crate::detect::{a, b};\ncrate::http::y()";
    let expected = ["detect", "event", "http", "sql"].map(str::to_owned);
    assert_eq!(crate_paths(code), expected.into());
    assert!(uses("use axum::Router;", "axum") && uses("(axum::x)", "axum"));
    assert!(!uses("use axum_server::x;", "axum") && !uses("my_axum::x", "axum"));
    let text = "//! x\nfn a() {} // crate::b\n// crate::c\n#[cfg(test)]\nmod tests { crate::d }";
    let source = Source { path: "event/x.rs".to_owned(), text: text.to_owned() };
    assert_eq!(source.code(), "\nfn a() {}\n");
    assert_eq!(source.top(), "event");
    let names: BTreeSet<String> = sources().iter().map(|source| source.top().to_owned()).collect();
    for folder in ["event", "decode", "detect", "http", "main"] {
        assert!(names.contains(folder), "{names:?}");
    }
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn is_drawing(line: &str) -> bool {
    line.contains(['│', '─', '═']) || line.contains("assert_snapshot!")
}

/// The names after `crate::`, also of lists in braces.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(identifier(rest))),
            Some(list) => found.extend(list_heads(list)),
        }
    }
    found
}

/// The first identifiers of the members of `a::{b, c}, d}`.
fn list_heads(list: &str) -> Vec<String> {
    let mut heads = vec![identifier(list.trim_start())];
    let mut depth = 0_usize;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(identifier(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether code names a foreign crate.
fn uses(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

fn sources() -> Vec<Source> {
    let root = repository("src");
    let source = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(&root).unwrap().display().to_string(),
    };
    files(&["src"], "rs").into_iter().map(source).collect()
}

/// The files below these folders that have this extension, in order.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    fn gather(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        let entries = std::fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("read `{}`: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, extension, found);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        gather(&repository(folder), extension, &mut found);
    }
    found.sort();
    found
}
