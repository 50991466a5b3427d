//! Silences: while somebody works on something, nobody is called for it. Findings and incidents
//! are there all the same, and each incident that a silence kept quiet is counted in the ledger.

use rusqlite::{OptionalExtension as _, Transaction, params};
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
    /// Puts a silence down, in place of one of the same name where `may_replace` what that one is
    /// about; false where it may not. Nobody comes between the look and the deed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_silence(
        &self,
        silence: &Silence,
        may_replace: impl FnOnce(&Matcher) -> bool,
    ) -> Result<bool, StoreError> {
        let put = self.write("put a silence down", |transaction, _| {
            let held = matcher_of(transaction, &silence.name, silence.begins)?;
            if !held.as_ref().is_none_or(may_replace) {
                return Ok(false);
            }
            let matcher = serde_json::to_string(&silence.matcher).unwrap_or_default();
            let Silence { name, owner, reason, begins, expires, .. } = silence;
            transaction.execute(
                "INSERT OR REPLACE INTO silences (name, owner, reason, begins, expires, matcher)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![name, owner, reason, begins, expires, matcher],
            )?;
            // What it is about is looked at again.
            transaction.execute("UPDATE page_groups SET next_at = min(next_at, ?1)", [begins])?;
            Ok(true)
        })?;
        self.wake();
        Ok(put)
    }

    /// Ends a silence as of `now` (microseconds since 1970, UTC); false when there is none of this
    /// name, or when `may_end` does not say so of what it is about.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_silence(
        &self,
        name: &str,
        now: i64,
        may_end: impl FnOnce(&Matcher) -> bool,
    ) -> Result<bool, StoreError> {
        let ended = self.write("end a silence", |transaction, _| {
            let held = matcher_of(transaction, name, now)?;
            if !held.as_ref().is_none_or(may_end) {
                return Ok(false);
            }
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

/// What the silence of this name is about, if it has not expired.
fn matcher_of(
    transaction: &Transaction<'_>,
    name: &str,
    now: i64,
) -> rusqlite::Result<Option<Matcher>> {
    let mut statement = transaction
        .prepare_cached("SELECT matcher FROM silences WHERE name = ?1 AND expires > ?2")?;
    let held: Option<String> =
        statement.query_row(params![name, now], |row| row.get(0)).optional()?;
    Ok(held.map(|matcher| serde_json::from_str(&matcher).unwrap_or_default()))
}
