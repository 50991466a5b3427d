//! Settings: plain values with defaults, read from one TOML file, overlaid by the environment.
//! No behaviour.
//!
//! Every setting `[section] key` is also `AUDITMILL_SECTION_KEY`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use auth::Auth;
pub use history::History;
pub use sink::{Alert, Sink};
pub use source::Source;

// `[auth]`
pub mod auth;

// `[history]`
pub mod history;
// `[[route]]`, `[[silence]]`
pub mod route;
// `[[sink]]`, `[alert]`
pub mod sink;

// `[[source]]`
pub mod source;

// Settings with a text form of their own.
pub mod value;

pub use value::{Listen, Name, Span};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The HTTP server: audit webhook, findings, SQL.
    pub http: Http,
    /// Who may talk to us.
    pub auth: Auth,
    /// What is taken in.
    pub ingest: Ingest,
    /// What was acknowledged, on disk.
    pub journal: Journal,
    /// Detections.
    pub detect: Detect,
    /// What is kept.
    pub history: History,
    /// Analysts' queries.
    pub query: Query,
    /// How findings are sent again.
    pub alert: Alert,
    /// What is read beside what comes over HTTP.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Where findings go. None: JSON lines on standard output.
    #[serde(rename = "sink")]
    pub sinks: Vec<Sink>,
    /// Who is told what. None: every sink all that is for sinks of its kind.
    #[serde(rename = "route")]
    pub routes: Vec<route::Route>,
    /// What nobody is called for, for a while.
    #[serde(rename = "silence")]
    pub silences: Vec<route::Silence>,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address to listen on; port 0 means any free port, which is printed. An address that is
    /// not loopback demands TLS and `[auth]`.
    pub listen: SocketAddr,
    /// PEM file with the server's certificate chain; with `tls_key`, turns TLS on.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the server's private key.
    pub tls_key: Option<PathBuf>,
    /// The largest body of a delivery; a larger one is answered with 413.
    pub body_bytes_max: ByteSize,
    /// How long a sender may take over one body; a slower one is answered with 408.
    pub body_timeout: Span,
    /// How many connections may be open; more of them are closed at once.
    pub connections_max: NonZeroUsize,
}

/// `[ingest]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// Bytes of deliveries in flight; above it deliveries are answered with 429. Not below
    /// `[http] body_bytes_max`.
    pub budget: ByteSize,
    /// How many clusters may deliver.
    pub clusters_max: usize,
    /// Repeats of an event are told within this many events ...
    pub duplicates_events_max: usize,
    /// ... and this long after its first arrival.
    pub duplicates_span: Span,
    /// Repeats of a whole delivery are told for this long.
    pub deliveries_span: Span,
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Size of one of its files.
    pub segment: ByteSize,
    /// The most space that it may take; beyond, deliveries are answered with 429.
    pub space: ByteSize,
    /// Space that is left free on its device; below, deliveries are answered with 429.
    pub reserve: ByteSize,
    /// Memory for its newest records, so that they need not be read back.
    pub memory: ByteSize,
}

/// `[detect]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Detect {
    /// Folder of detections that add to the shipped ones or override them by id.
    pub dir: Option<PathBuf>,
    /// Folder of address lists for detections and questions: `NAME.txt`, an address or network a
    /// line.
    pub address_lists: Option<PathBuf>,
    /// Database in `MaxMind`'s format that says whose network an address is of.
    pub asn_database: Option<PathBuf>,
    /// Database in `MaxMind`'s format that says in which country an address is.
    pub country_database: Option<PathBuf>,
    /// Which shipped detections run: ids or patterns of them (`K8A-2*`), with commas between.
    pub shipped: String,
    /// How late an event may come before its windows close.
    pub lateness: Span,
    /// How far ahead of our clock an event may claim to be.
    pub skew: Span,
    /// After this long without a delivery a cluster's windows close by the wall clock.
    pub idle_after: Span,
    /// How long closed windows are held for still later events.
    pub hold: Span,
    /// The most memory that one detection may use for the rows of one cluster's open windows.
    pub buffer: ByteSize,
}

/// `[query]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Memory that all queries together may use.
    pub memory: ByteSize,
    /// Bytes on disk, in `spill` of the data directory, for what has no room in memory; 0: none.
    pub spill: ByteSize,
    /// How long a query may run, its answer read included; also how long it may wait.
    pub timeout: Span,
    /// How many queries may run at the same time; more of them wait.
    pub concurrent_max: usize,
    /// How many queries may wait; more of them are answered with 429.
    pub queue_max: usize,
    /// How many rows an answer may have.
    pub rows_max: usize,
    /// Where clients of PostgreSQL are served; as `[http] listen`, with its TLS and `[auth]`. Empty
    /// turns it off.
    pub postgres_listen: Listen,
    /// Where clients of Flight SQL are served, likewise.
    pub flight_listen: Listen,
    /// How many sessions of clients each of these may have; more of them are told so.
    pub sessions_max: NonZeroUsize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_cert: None,
            tls_key: None,
            body_bytes_max: ByteSize::mib(256),
            body_timeout: Span(Duration::from_secs(30)),
            connections_max: NonZeroUsize::new(1024).expect("1024 is not 0"),
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            budget: ByteSize::mib(512),
            clusters_max: 1_000,
            duplicates_events_max: 1_000_000,
            duplicates_span: Span(Duration::from_mins(15)),
            deliveries_span: Span(Duration::from_hours(4)),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            segment: ByteSize::mib(64),
            space: ByteSize::gib(8),
            reserve: ByteSize::gib(1),
            memory: ByteSize::mib(64),
        }
    }
}

impl Default for Detect {
    fn default() -> Self {
        Self {
            dir: None,
            address_lists: None,
            asn_database: None,
            country_database: None,
            shipped: "*".to_owned(),
            lateness: Span(Duration::from_mins(5)),
            skew: Span(Duration::from_mins(1)),
            idle_after: Span(Duration::from_mins(1)),
            hold: Span(Duration::from_hours(1)),
            buffer: ByteSize::mib(256),
        }
    }
}

impl Query {
    /// Where clients of `PostgreSQL` are served unless somebody says otherwise.
    pub const POSTGRES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5433);
    /// The same for clients of Flight SQL.
    pub const FLIGHT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5434);
}

impl Default for Query {
    fn default() -> Self {
        Self {
            memory: ByteSize::gib(1),
            spill: ByteSize::b(0),
            timeout: Span(Duration::from_mins(1)),
            concurrent_max: 8,
            queue_max: 64,
            rows_max: 10_000_000,
            postgres_listen: Listen(Some(Self::POSTGRES)),
            flight_listen: Listen(Some(Self::FLIGHT)),
            sessions_max: NonZeroUsize::new(100).expect("100 is not 0"),
        }
    }
}

/// Why settings cannot be used; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read settings `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or the environment says something that cannot be.
    #[error("{origin}: {message}")]
    Wrong {
        /// The file or the variable.
        origin: String,
        /// What is wrong, with the line where known.
        message: String,
    },
}

impl Settings {
    /// The file's settings (defaults without one), overlaid by these environment variables.
    ///
    /// # Errors
    /// When the file cannot be read, or a key or a value is not known.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let (origin, text) = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let fail = |source| SettingsError::Read { path: path.to_owned(), source };
                (path.display().to_string(), text.map_err(fail)?)
            }
            None => ("settings".to_owned(), String::new()),
        };
        let wrong = |origin: &str, message: String| SettingsError::Wrong {
            origin: origin.to_owned(),
            message: message.trim_end().to_owned(),
        };
        // Read once by itself, so that errors have lines.
        let file: Self =
            toml::from_str(&text).map_err(|error| wrong(&origin, placed(&text, &error)))?;
        source::check(&file.sources).map_err(|message| wrong(&origin, message))?;
        sink::check(&file.sinks).map_err(|message| wrong(&origin, message))?;
        let routed = route::check(&file.routes, &file.silences, &file.sinks);
        routed.map_err(|message| wrong(&origin, message))?;
        let mut table: toml::Table =
            toml::from_str(&text).map_err(|error| wrong(&origin, placed(&text, &error)))?;
        for (name, value) in environment {
            if !overlay(&mut table, &name, &value) {
                continue;
            }
            let read: Result<Self, _> = table.clone().try_into();
            read.map_err(|error| wrong(&name, error.to_string()))?;
        }
        table.try_into().map_err(|error: toml::de::Error| wrong(&origin, error.to_string()))
    }

    /// The settings as TOML, secrets as `***`.
    ///
    /// # Errors
    /// Never in practice: every setting has a text form.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

/// The message of an error and its place; without the line itself, which may hold a secret.
fn placed(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("TOML parse error at line {line}, column {column}: {}", error.message())
}

const SECTIONS: [&str; 8] =
    ["http", "auth", "ingest", "journal", "detect", "history", "query", "alert"];

/// Puts `AUDITMILL_SECTION_KEY` into its section; false when it is none of ours.
fn overlay(table: &mut toml::Table, name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix("AUDITMILL_") else { return false };
    let rest = rest.to_ascii_lowercase();
    let Some((section, key)) = rest.split_once('_') else { return false };
    if !SECTIONS.contains(&section) {
        return false;
    }
    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
    let toml::Value::Table(section) = section else { return false };
    let value = match value.parse::<i64>() {
        Ok(number) => toml::Value::Integer(number),
        Err(_) => toml::Value::String(value.to_owned()),
    };
    section.insert(key.to_owned(), value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn load(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::load(Some(file.path()), environment).map_err(|error| error.to_string())
    }

    #[test]
    fn file_then_environment_then_text_and_back() {
        let text = "[http]\nlisten = \"127.0.0.1:0\"\n[detect]\nlateness = \"2m\"\n\
                    [[sink]]\ntype = \"jsonl\"\nname = \"all\"\npath = \"-\"\n\
                    [[source]]\ntype = \"file\"\nname = \"cp-1\"\npath = \"/a.log\"\n";
        let environment = [
            ("AUDITMILL_DETECT_IDLE_AFTER", "30s"),
            ("AUDITMILL_INGEST_CLUSTERS_MAX", "7"),
            ("AUDITMILL_CACHE", "not a setting"),
        ];
        let settings = load(text, &environment).unwrap();
        assert_eq!(settings.http.listen.port(), 0);
        assert_eq!(settings.detect.lateness, Span(Duration::from_mins(2)));
        assert_eq!(settings.detect.idle_after, Span(Duration::from_secs(30)));
        assert_eq!(settings.ingest.clusters_max, 7);
        assert_eq!(settings.sinks.len(), 1);
        let Some(Source::File { name, path, cluster }) = settings.sources.first() else {
            panic!("{settings:?}");
        };
        assert_eq!((name.as_str(), cluster.as_str()), ("cp-1", "default"));
        assert_eq!(path, Path::new("/a.log"));
        assert_eq!(load(&settings.to_toml().unwrap(), &[]).unwrap(), settings);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, environment: &[(&str, &str)], expected: &str| {
            let error = load(text, environment).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("[http]\nlistne = \"x\"\n", &[], "line 2");
        check("[http]\nlistne = \"x\"\n", &[], "`listne`, expected one of `listen`");
        check("[detect]\nlateness = \"soon\"\n", &[], "not a duration such as 90s");
        let source = |name: &str, path: &str| {
            format!("[[source]]\ntype = \"file\"\nname = \"{name}\"\npath = \"{path}\"\n")
        };
        check(&source("../x", "/a"), &[], "`../x` is not a name of 1 to 64 characters");
        check(&source("", "/a"), &[], "`` is not a name");
        check(&source("x", "/"), &[], "source `x`: `/` names no file");
        check(&(source("x", "/a") + &source("x", "/b")), &[], "have the name `x`");
        check(&(source("x", "/a") + &source("y", "/a")), &[], "have the path `/a`");
        check(&source("x", "/a").replace("file", "fifo"), &[], "unknown variant `fifo`");
        check("", &[("AUDITMILL_HTTP_LISTEN", "nowhere")], "AUDITMILL_HTTP_LISTEN: ");
        check("", &[("AUDITMILL_HTTP_LISTNE", "x")], "AUDITMILL_HTTP_LISTNE: ");
    }
}
