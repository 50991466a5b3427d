//! The file behind the store: SQLite, one connection that writes, a few that read beside it.
//!
//! ```text
//! findings      change  INTEGER KEY   number of its latest change; grows, never used again
//!               id      TEXT UNIQUE   32 hex digits
//!               revision INTEGER      1, 2, 3 ...
//!               first_seen, last_seen TEXT   RFC 3339 in UTC with microseconds: sorts as text
//!               severity, detection, cluster TEXT
//!               body    TEXT          `FindingRecord` as JSON, its `revision` 0
//! place         one row: position INTEGER   records below it are in everything here
//!                        change   INTEGER   the last number given
//!                        incident_change, page_change: the same for incidents and pages
//!                        routed   the incident_change up to which pages were decided
//! marks         hour KEY, change: the last one before it was first looked at in that hour
//! ledger        (kind, cluster, item, hour) KEY, count     hour: its start, microseconds
//! clusters      cluster KEY, last_event, last_arrival, events, duplicates
//! deliveries    hash BLOB KEY (16 bytes, big endian), arrival, next: of the step it came with
//! owed          (cluster, detection, first) KEY, last, arrived: `detect::outcome::Beyond`
//! sinks         name KEY, change: all up to it is settled, used_at
//! set_aside     (sink, finding) KEY, failures, next_at, why
//! dead_letters  at, sink, finding, revision, cluster, why
//! incidents     change  INTEGER KEY   number of its latest change
//!               id UNIQUE, created: number of the change that opened it, revision
//!               cluster, severity (0 to 4), score, first, last, findings, merged_into
//!               body: `incident::aggregate::Aggregate` as JSON
//! incident_members  finding KEY, incident, created: number of the change it joined with,
//!                   first, body: `incident::member::Member` as JSON
//! incident_spans    (actor, first) KEY, last, incident: what an actor did without a longer gap
//! states        (kind, id) KEY: of a finding or an incident, state, reason, assignee, who, at,
//!               detections: those that were in it when it was closed
//! triage        number KEY, at, kind, id, who, action, detail
//! pages         change KEY, (sink, id), revision, delivered: its last revision that was,
//!               failures, next_at, since: when it was first not delivered, body: `paging::Call`
//! page_groups   (route, name) KEY, status, opened_at, sent_at, sent_severity, sent_incidents,
//!               escalated, next_at: when to look at it again
//! page_incidents (route, incident) KEY, name: of its group, silenced: by which silence
//! page_log      route, at: when somebody was called for the first time
//! silences      name KEY, owner, reason, begins, expires, matcher as JSON
//! grouped       one row: whether findings of earlier versions are in incidents
//! ```
//! All times are microseconds since 1970, UTC. `user_version` is the number of migrations applied;
//! a file of a newer program is refused, one of an older is brought forward. Only its owner can
//! read it. Commits are atomic and survive the process at once, the machine after
//! [`super::store::Store::sync`]: what a crash of the machine takes is a suffix of commits.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Why the store did not do what was asked. Nothing of a failed change is left.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be created.
    #[error("create findings store `{path}`")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "open findings store `{path}`: if it is damaged, restore it from a backup, or move it \
         away to begin a new one"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another version wrote it.
    #[error(
        "findings store `{path}` has format {found}, and this program knows up to {known}: use \
         the newer program that wrote it, or restore a backup from before"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// Reading or writing failed, as on a full disk; the same may be asked again.
    #[error("findings store: {what}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// A finding in it is not one.
    #[error("findings store: finding `{id}` cannot be read")]
    Damaged {
        /// The finding.
        id: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// In order; each once. One that was released is never changed.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE findings (
        change INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        revision INTEGER NOT NULL,
        first_seen TEXT NOT NULL,
        last_seen TEXT NOT NULL,
        severity TEXT NOT NULL,
        detection TEXT NOT NULL,
        cluster TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX findings_listed
        ON findings (first_seen, id, last_seen, severity, detection, cluster);
    CREATE INDEX findings_last_seen ON findings (last_seen);
    CREATE TABLE place (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        position INTEGER NOT NULL,
        change INTEGER NOT NULL
    ) STRICT;
    INSERT INTO place VALUES (1, 0, 0);
    CREATE TABLE marks (hour INTEGER PRIMARY KEY, change INTEGER NOT NULL) STRICT;
    CREATE TABLE ledger (
        kind TEXT NOT NULL,
        cluster TEXT NOT NULL,
        item TEXT NOT NULL,
        hour INTEGER NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (kind, cluster, item, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ledger_hour ON ledger (hour);
    CREATE TABLE clusters (
        cluster TEXT PRIMARY KEY,
        last_event INTEGER NOT NULL,
        last_arrival INTEGER NOT NULL,
        events INTEGER NOT NULL,
        duplicates INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deliveries (
        hash BLOB PRIMARY KEY,
        arrival INTEGER NOT NULL,
        next INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deliveries_arrival ON deliveries (arrival);
    CREATE TABLE sinks (
        name TEXT PRIMARY KEY,
        change INTEGER NOT NULL,
        used_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE set_aside (
        sink TEXT NOT NULL,
        finding TEXT NOT NULL,
        failures INTEGER NOT NULL,
        next_at INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (sink, finding)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        sink TEXT NOT NULL,
        finding TEXT NOT NULL,
        revision INTEGER NOT NULL,
        cluster TEXT NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
",
    "
    ALTER TABLE place ADD COLUMN incident_change INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE incidents (
        change INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        cluster TEXT NOT NULL,
        severity INTEGER NOT NULL,
        score INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        findings INTEGER NOT NULL,
        merged_into TEXT,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX incidents_last ON incidents (last, id);
    CREATE TABLE incident_members (
        finding TEXT PRIMARY KEY,
        incident TEXT NOT NULL,
        created INTEGER NOT NULL,
        first INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX incident_members_incident ON incident_members (incident, first);
    CREATE TABLE incident_spans (
        actor TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        incident TEXT NOT NULL,
        PRIMARY KEY (actor, first)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX incident_spans_incident ON incident_spans (incident);
    CREATE TABLE states (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        assignee TEXT,
        who TEXT NOT NULL,
        at INTEGER NOT NULL,
        detections TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE triage (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX triage_id ON triage (id, number);
    ALTER TABLE place ADD COLUMN page_change INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE place ADD COLUMN routed INTEGER;
    CREATE TABLE pages (
        change INTEGER PRIMARY KEY,
        sink TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        delivered INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        next_at INTEGER NOT NULL,
        since INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (sink, id)
    ) STRICT;
    CREATE TABLE page_groups (
        route TEXT NOT NULL,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        opened_at INTEGER NOT NULL,
        sent_at INTEGER NOT NULL,
        sent_severity INTEGER NOT NULL,
        sent_incidents INTEGER NOT NULL,
        escalated INTEGER NOT NULL,
        next_at INTEGER NOT NULL,
        PRIMARY KEY (route, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX page_groups_next ON page_groups (next_at);
    CREATE TABLE page_incidents (
        route TEXT NOT NULL,
        incident TEXT NOT NULL,
        name TEXT NOT NULL,
        silenced TEXT,
        PRIMARY KEY (route, incident)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX page_incidents_name ON page_incidents (route, name);
    CREATE TABLE page_log (route TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
    CREATE INDEX page_log_route ON page_log (route, at);
    CREATE TABLE silences (
        name TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        reason TEXT NOT NULL,
        begins INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        matcher TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE grouped (one INTEGER PRIMARY KEY CHECK (one = 1), done INTEGER NOT NULL) STRICT;
    INSERT INTO grouped VALUES (1, 0);
",
    "
    CREATE TABLE owed (
        cluster TEXT NOT NULL,
        detection TEXT NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        arrived INTEGER NOT NULL,
        PRIMARY KEY (cluster, detection, first)
    ) STRICT, WITHOUT ROWID;
",
];

/// How long a connection waits for another one's lock.
pub(super) const BUSY: Duration = Duration::from_secs(10);
/// Readers that are kept open.
const READERS_MAX: usize = 4;

/// Opens the file to write, creating it and bringing it to the present format.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut writer = open_file(path)?;
    let fail = |source| StoreError::Open { path: path.to_owned(), source };
    let found: i64 =
        writer.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    set_up(&mut writer, found).map_err(fail)?;
    Ok(writer)
}

/// A connection to a file that only its owner can read, which is made if need be.
pub(super) fn open_file(path: &Path) -> Result<Connection, StoreError> {
    // SQLite gives its side files the mode of this one.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    // Closed before SQLite opens it: closing a file drops all locks that the process has on it.
    drop(file.map_err(|source| StoreError::Create { path: path.to_owned(), source })?);
    let fail = |source| StoreError::Open { path: path.to_owned(), source };
    let connection = Connection::open(path).map_err(fail)?;
    connection.busy_timeout(BUSY).map_err(fail)?;
    Ok(connection)
}

/// Commits survive the process at once, and do not wait for the disk; the log behind that is cut to
/// so many bytes.
pub(super) fn write_ahead(writer: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    // It answers with the mode that is now in effect.
    writer.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    writer.pragma_update(None, "synchronous", "normal")?;
    let bytes_max = stored(bytes_max);
    writer.pragma_update_and_check(None, "journal_size_limit", bytes_max, |_| Ok(()))
}

fn set_up(writer: &mut Connection, found: i64) -> rusqlite::Result<()> {
    if found == 0 {
        // What is deleted is given back to the disk; only before anything is written.
        writer.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    write_ahead(writer, 64 << 20)?;
    writer.set_prepared_statement_cache_capacity(64);
    for (number, migration) in (0_i64..).zip(MIGRATIONS).filter(|(number, _)| *number >= found) {
        let change = writer.transaction()?;
        change.execute_batch(migration)?;
        change.pragma_update(None, "user_version", number + 1)?;
        change.commit()?;
    }
    Ok(())
}

/// Connections that only read: whoever lists findings does not hold up whoever writes them.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    /// Reads one consistent state.
    pub(super) fn read<T>(
        &self,
        what: &'static str,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let fail = |source| StoreError::Failed { what, source };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = idle.map_or_else(|| self.open(), Ok).map_err(fail)?;
        let state = reader.unchecked_transaction().map_err(fail)?;
        let answer = question(&state).map_err(fail)?;
        drop(state);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_MAX {
            idle.push(reader);
        }
        Ok(answer)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&self.path, flags)?;
        reader.busy_timeout(BUSY)?;
        Ok(reader)
    }
}

/// Numbers of ours are far below 2^63.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What [`stored`] was given.
pub(super) fn restored(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
