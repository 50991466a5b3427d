//! Who asked what: a row for each question in SQL that a server was asked.
//!
//! ```text
//! questions     number INTEGER KEY, at: microseconds since 1970, client, wire, query, parameters:
//!               JSON list of texts, NULL without any, chars: of the query,
//!               outcome: NULL while it runs, rows, micros: how long it took, error: why it failed
//! ```
//! Promise: a question is written down before its answer begins, and survives the process then; one
//! that is refused, for want of room or because it cannot be planned, is written down too.
//! Never: one client's questions push out another's, nor, until there are very many, their own: of
//! the oldest first the text goes. Nobody changes a row through a wire.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};
use tracing::error;

use super::database::{Readers, StoreError, open_file, restored, stored, write_ahead};

/// Letters of a statement that are kept: of a longer one so many at its start and at its end.
const HEAD_CHARS: usize = 8_000;
const TAIL_CHARS: usize = 2_000;

/// Letters of parameters that are kept.
const PARAMETERS_CHARS_MAX: usize = 2_000;

/// Letters of an error that are kept.
const ERROR_CHARS_MAX: usize = 1_000;

/// Texts of one client's questions, bytes, and their number.
const CLIENT_BYTES_MAX: i64 = 16 << 20;
const CLIENT_ROWS_MAX: i64 = 200_000;

/// Old rows go after so many new ones.
const ROWS_PER_SWEEP: u64 = 4_096;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS questions (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        client TEXT NOT NULL,
        wire TEXT NOT NULL,
        query TEXT NOT NULL,
        parameters TEXT,
        chars INTEGER NOT NULL,
        outcome TEXT,
        rows INTEGER,
        micros INTEGER
    ) STRICT;
    CREATE INDEX IF NOT EXISTS questions_at ON questions (at);";

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With its last row.
    Answered,
    /// With an error.
    Failed,
    /// Whoever asked left, or its time was up.
    Stopped,
}

impl Outcome {
    /// Its name in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// A statement, or its start and its end.
fn ends(query: &str, letters: usize) -> String {
    if letters <= HEAD_CHARS + TAIL_CHARS {
        return query.to_owned();
    }
    let head: String = query.chars().take(HEAD_CHARS).collect();
    let tail: String = query.chars().skip(letters - TAIL_CHARS).collect();
    head + " ... " + &tail
}

/// The first letters of a text.
fn start(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}

/// Adds the column that logs of earlier versions lack.
fn add_error(connection: &Connection) -> rusqlite::Result<()> {
    let text = "SELECT count(*) FROM pragma_table_info('questions') WHERE name = 'error'";
    let there: i64 = connection.query_row(text, [], |row| row.get(0))?;
    if there == 0 {
        connection.execute_batch("ALTER TABLE questions ADD COLUMN error TEXT")?;
    }
    Ok(())
}

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When, microseconds since 1970.
    pub at: i64,
    /// Who: the name of an `[[auth.client]]`, or empty where nobody needs one.
    pub client: String,
    /// How: `http`, `postgres`, `flight`.
    pub wire: String,
    /// The statement; of a long one the start and the end. Empty when its client asked much since.
    pub query: String,
    /// Values of its parameters, a JSON list of texts.
    pub parameters: Option<String>,
    /// Letters of the whole statement.
    pub query_chars: u64,
    /// How it ended; `None` while it runs, and of what ran when the process was killed.
    pub outcome: Option<String>,
    /// Rows of the answer that were sent.
    pub rows: Option<u64>,
    /// How long it took, microseconds.
    pub micros: Option<u64>,
    /// Why it failed, as whoever asked was told.
    pub error: Option<String>,
}

/// The file that questions are written to.
#[derive(Debug)]
pub struct QuestionLog {
    readers: Readers,
    connection: Mutex<Connection>,
    keep: i64,
    clock: fn() -> i64,
}

impl QuestionLog {
    /// Its name in a data directory.
    pub const FILE: &str = "questions.db";

    /// The log in this file, which is made if need be, readable for its owner only; rows older than
    /// `keep` microseconds go.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(path: &Path, keep: i64, clock: fn() -> i64) -> Result<Self, StoreError> {
        let connection = open_file(path)?;
        write_ahead(&connection, 16 << 20)
            .and_then(|()| connection.execute_batch(SCHEMA))
            .and_then(|()| add_error(&connection))
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        let readers = Readers::new(path);
        let log = Self { readers, connection: Mutex::new(connection), keep, clock };
        log.sweep()?;
        Ok(log)
    }

    /// Writes down that somebody asks, and gives the question's number. `None` when it cannot be
    /// written, as on a full disk: that is logged, and the question is answered all the same.
    pub fn begin(
        &self,
        client: &str,
        wire: &str,
        query: &str,
        parameters: Option<&str>,
    ) -> Option<u64> {
        self.put(client, wire, query, parameters, None)
    }

    /// Writes down that somebody asked and got no answer at all, and why not.
    pub fn refuse(
        &self,
        client: &str,
        wire: &str,
        query: &str,
        parameters: Option<&str>,
        error: &str,
    ) {
        self.put(client, wire, query, parameters, Some(error));
    }

    /// A row of a question that begins, or that has failed already.
    fn put(
        &self,
        client: &str,
        wire: &str,
        query: &str,
        parameters: Option<&str>,
        error: Option<&str>,
    ) -> Option<u64> {
        let letters = query.chars().count();
        let (kept, chars) = (ends(query, letters), stored(letters as u64));
        let parameters = parameters.map(|text| start(text, PARAMETERS_CHARS_MAX));
        let error = error.map(|text| start(text, ERROR_CHARS_MAX));
        let outcome = error.as_ref().map(|_| Outcome::Failed.as_str());
        let none = error.as_ref().map(|_| 0);
        let written = self.write("write a question down", |connection| {
            let text = "INSERT INTO questions
                        (at, client, wire, query, parameters, chars, outcome, rows, micros, error)
                        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            let at = (self.clock)();
            let values =
                params![at, client, wire, kept, parameters, chars, outcome, none, none, error];
            connection.prepare_cached(text)?.execute(values)?;
            Ok(restored(connection.last_insert_rowid()))
        });
        let number = match written {
            Ok(number) => number,
            Err(error) => {
                let error = format!("{error:?}");
                error!(client, error, "a question is answered that could not be written down");
                return None;
            }
        };
        if number.is_multiple_of(ROWS_PER_SWEEP)
            && let Err(error) = self.sweep()
        {
            error!(error = format!("{error:?}"), "old questions are kept");
        }
        Some(number)
    }

    /// Writes down how a question ended, and why it failed if it did.
    pub fn end(&self, number: u64, outcome: Outcome, error: Option<&str>, rows: u64, micros: u64) {
        let error = error.map(|text| start(text, ERROR_CHARS_MAX));
        let written = self.write("write down how a question ended", |connection| {
            let text = "UPDATE questions SET outcome = ?, error = ?, rows = ?, micros = ?
                        WHERE number = ?";
            let number = stored(number);
            let values = params![outcome.as_str(), error, stored(rows), stored(micros), number];
            connection.prepare_cached(text)?.execute(values)
        });
        if let Err(error) = written {
            error!(error = format!("{error:?}"), "how a question ended is not known");
        }
    }

    /// All questions that are kept, in their order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all(&self) -> Result<Vec<Asked>, StoreError> {
        // Whoever asks meanwhile does not wait.
        self.readers.read("read questions", |reader| {
            let text = "SELECT at, client, wire, query, parameters, chars, outcome, rows, micros,
                               error
                        FROM questions ORDER BY number";
            let mut statement = reader.prepare_cached(text)?;
            let asked = statement.query_map([], |row| {
                Ok(Asked {
                    at: row.get(0)?,
                    client: row.get(1)?,
                    wire: row.get(2)?,
                    query: row.get(3)?,
                    parameters: row.get(4)?,
                    query_chars: restored(row.get(5)?),
                    outcome: row.get(6)?,
                    rows: row.get::<_, Option<i64>>(7)?.map(restored),
                    micros: row.get::<_, Option<i64>>(8)?.map(restored),
                    error: row.get(9)?,
                })
            })?;
            asked.collect()
        })
    }

    /// Gives up what is too old, and of each client what is too much.
    fn sweep(&self) -> Result<(), StoreError> {
        let oldest = (self.clock)().saturating_sub(self.keep);
        self.write("give up old questions", |connection| {
            connection.execute("DELETE FROM questions WHERE at < ?", [oldest])?;
            let text = "DELETE FROM questions WHERE number IN (
                            SELECT number FROM (
                                SELECT number, row_number() OVER (
                                    PARTITION BY client ORDER BY number DESC) AS place
                                FROM questions)
                            WHERE place > ?)";
            connection.execute(text, [CLIENT_ROWS_MAX])?;
            let text = "UPDATE questions SET query = '', parameters = NULL, error = NULL
                        WHERE number IN (
                            SELECT number FROM (
                                SELECT number, query, sum(octet_length(query)
                                    + octet_length(coalesce(parameters, ''))
                                    + octet_length(coalesce(error, ''))) OVER (
                                    PARTITION BY client ORDER BY number DESC) AS bytes
                                FROM questions)
                            WHERE bytes > ? AND query <> '')";
            connection.execute(text, [CLIENT_BYTES_MAX])
        })?;
        Ok(())
    }

    fn write<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        change(&self.lock()).map_err(|source| StoreError::Failed { what, source })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_question_is_there_before_it_has_ended_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.db");
        let log = QuestionLog::open(&path, DAY, || 10 * DAY).unwrap();
        let first = log.begin("ann", "http", "SELECT $1", Some("[\"7\"]")).unwrap();
        let much = "é".repeat(HEAD_CHARS + TAIL_CHARS) + "the end";
        log.begin("bob", "postgres", &much, None).unwrap();
        log.end(first, Outcome::Answered, None, 1, 250);
        log.refuse("bob", "flight", "SELECT", None, &"no room ".repeat(1_000));
        // As a log of an earlier version.
        log.lock().execute_batch("ALTER TABLE questions DROP COLUMN error").unwrap();
        drop(log);
        let log = QuestionLog::open(&path, DAY, || 10 * DAY).unwrap();
        log.refuse("bob", "flight", "SELECT", None, &"no room ".repeat(1_000));
        drop(log);
        let log = QuestionLog::open(&path, DAY, || 10 * DAY).unwrap();
        let asked = log.all().unwrap();
        let one = Asked {
            at: 10 * DAY,
            client: "ann".to_owned(),
            wire: "http".to_owned(),
            query: "SELECT $1".to_owned(),
            parameters: Some("[\"7\"]".to_owned()),
            query_chars: 9,
            outcome: Some("answered".to_owned()),
            rows: Some(1),
            micros: Some(250),
            error: None,
        };
        let refused = &asked[3];
        assert_eq!((refused.outcome.as_deref(), refused.rows), (Some("failed"), Some(0)));
        assert_eq!(refused.error.as_deref().map(str::len), Some(ERROR_CHARS_MAX));
        assert_eq!(asked[0], one);
        let two = &asked[1];
        assert_eq!((two.outcome.as_deref(), two.query_chars), (None, 10_007));
        assert!(two.query.ends_with("éthe end") && two.query.contains("é ... é"));
        assert!(two.query.chars().count() < 10_007);
        drop(log);
        let later = QuestionLog::open(&path, DAY, || 11 * DAY + 1).unwrap();
        assert_eq!(later.all().unwrap(), [], "kept for a day");
    }

    #[test]
    fn who_asks_much_pushes_out_texts_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let log = QuestionLog::open(&folder.path().join("q"), DAY, || 0).unwrap();
        log.begin("quiet", "http", "SELECT 1", None).unwrap();
        let text = "WITH RECURSIVE n(i) AS (
                        SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                    INSERT INTO questions (at, client, wire, query, chars)
                    SELECT 0, 'loud', 'http', ?, 1 FROM n";
        log.lock().execute(text, ["x".repeat(10_000)]).unwrap();
        log.sweep().unwrap();
        let asked = log.all().unwrap();
        assert_eq!((asked.len(), asked[0].query.as_str()), (2_001, "SELECT 1"));
        let told = asked.iter().filter(|asked| asked.client == "loud" && !asked.query.is_empty());
        assert_eq!((told.count(), asked[1].query.as_str()), (1_677, ""));
    }
}
