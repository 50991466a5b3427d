//! Silences: while somebody works on something, nobody is called for it. Findings and incidents
//! are there all the same, and each incident that a silence kept quiet is counted in the ledger.

use rusqlite::params;
use serde::Serialize;

use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::database::StoreError;
use crate::findings::matcher::Matcher;
use crate::findings::store::Store;

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// Unique; the `item` of its rows in the ledger.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why nobody is to be called.
    pub reason: String,
    /// From when on, microseconds since 1970, UTC.
    #[serde(skip)]
    pub begins: i64,
    /// Until when.
    #[serde(skip)]
    pub expires: i64,
    /// For incidents all of which it fits.
    #[serde(rename = "match")]
    pub matcher: Matcher,
}

/// A time that somebody wrote down, RFC 3339; microseconds since 1970, UTC.
#[must_use]
pub fn time(text: &str) -> Option<i64> {
    parse_rfc3339(text)
}

/// A time as text, RFC 3339.
#[must_use]
pub fn text(micros: i64) -> String {
    rfc3339(micros)
}

impl Silence {
    /// Whether it holds at this time, microseconds since 1970, UTC.
    #[must_use]
    pub fn holds(&self, now: i64) -> bool {
        self.begins <= now && now < self.expires
    }
}

impl Store {
    /// Puts a silence down, in place of one of the same name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_silence(&self, silence: &Silence) -> Result<(), StoreError> {
        self.write("put a silence down", |transaction, _| {
            let matcher = serde_json::to_string(&silence.matcher).unwrap_or_default();
            let Silence { name, owner, reason, begins, expires, .. } = silence;
            transaction.execute(
                "INSERT OR REPLACE INTO silences (name, owner, reason, begins, expires, matcher)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![name, owner, reason, begins, expires, matcher],
            )?;
            // What it is about is looked at again.
            transaction.execute("UPDATE page_groups SET next_at = min(next_at, ?1)", [begins])?;
            Ok(())
        })?;
        self.wake();
        Ok(())
    }

    /// Ends a silence; false when there is none of this name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_silence(&self, name: &str) -> Result<bool, StoreError> {
        let ended = self.write("end a silence", |transaction, _| {
            let ended = transaction.execute("DELETE FROM silences WHERE name = ?1", [name])?;
            transaction.execute(
                "UPDATE page_groups SET next_at = 0 WHERE (route, name) IN
                     (SELECT route, name FROM page_incidents WHERE silenced IS NOT NULL)",
                [],
            )?;
            Ok(ended > 0)
        })?;
        self.wake();
        Ok(ended)
    }

    /// The silences that have not expired as of `now` (microseconds since 1970, UTC), by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn silences(&self, now: i64) -> Result<Vec<Silence>, StoreError> {
        self.readers.read("read silences", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT name, owner, reason, begins, expires, matcher FROM silences
                 WHERE expires > ?1 ORDER BY name",
            )?;
            let rows = statement.query_map([now], |row| {
                let matcher: String = row.get(5)?;
                Ok(Silence {
                    name: row.get(0)?,
                    owner: row.get(1)?,
                    reason: row.get(2)?,
                    begins: row.get(3)?,
                    expires: row.get(4)?,
                    matcher: serde_json::from_str(&matcher).unwrap_or_default(),
                })
            })?;
            rows.collect()
        })
    }
}
