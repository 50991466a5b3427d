//! What a detection asks beyond its query: what is new, what is missing, what others found.

use serde::Deserialize;

use super::file::{FrontMatter, LoadError, micros, without_cluster};

const LOOKBACK_MAX: i64 = 366 * 24 * 3_600_000_000;

/// `first_seen`: rows whose key no row of the lookback before them had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Novelty {
    /// Output columns that make the key, without the cluster, which is always part of it.
    pub key: Vec<String>,
    /// How far back, microseconds of event time.
    pub lookback: i64,
    /// How much of the past must be known before anything is said, microseconds.
    pub learn: i64,
}

/// What a detection asks beyond its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: what the query gives is found.
    Plain,
    /// Only what is new.
    FirstSeen(Novelty),
    /// Keys that were seen and then not for so many microseconds, by the watermark.
    Absent(i64),
    /// Clusters of which no row has arrived for so many microseconds.
    Silent(i64),
    /// The query reads `findings`, not `events`.
    OverFindings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenNovelty {
    key: Vec<String>,
    lookback: String,
    #[serde(default)]
    learn: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenAbsence {
    key: Vec<String>,
    #[serde(rename = "for")]
    length: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSilence {
    #[serde(rename = "for")]
    length: String,
}

/// What a detection asks beyond its query, and its key.
pub(super) fn kind(
    front: &FrontMatter,
    bad: &dyn Fn(&str, String) -> LoadError,
) -> Result<(Kind, Vec<String>), LoadError> {
    let of = |name: &'static str, is_given: bool| is_given.then_some(name);
    let given = [
        of("first_seen", front.first_seen.is_some()),
        of("absent", front.absent.is_some()),
        of("silent", front.silent.is_some()),
        of("over", front.over.is_some()),
    ];
    let mut given = given.into_iter().flatten();
    let Some(name) = given.next() else { return Ok((Kind::Plain, front.key.clone())) };
    if let Some(other) = given.next() {
        return Err(bad(other, format!("has no meaning beside `{name}`")));
    }
    if front.window.is_some() != (name == "over") {
        let message = if name == "over" { "needs a `window`" } else { "has none with `window`" };
        return Err(bad(name, message.to_owned()));
    }
    let length = |text: &str| match micros(text) {
        Ok(length) if length <= LOOKBACK_MAX => Ok(length),
        Ok(_) => Err(bad(name, "at most 366d".to_owned())),
        Err(message) => Err(bad(name, message)),
    };
    let own = |key: &[String]| {
        let key = without_cluster(key);
        let message = "`key` must name a column besides the cluster";
        if key.is_empty() { Err(bad(name, message.to_owned())) } else { Ok(key) }
    };
    let or_own = |key: Vec<String>| if front.key.is_empty() { key } else { front.key.clone() };
    if let Some(written) = &front.first_seen {
        let lookback = length(&written.lookback)?;
        let learn = written.learn.as_deref().map_or(Ok(lookback), length)?;
        let key = own(&written.key)?;
        let novelty = Novelty { key: key.clone(), lookback, learn };
        return Ok((Kind::FirstSeen(novelty), or_own(key)));
    }
    if let Some(written) = &front.absent {
        if !front.key.is_empty() {
            return Err(bad("key", "has no meaning beside `absent`, which has its own".to_owned()));
        }
        let key = own(&written.key)?;
        return Ok((Kind::Absent(length(&written.length)?), key));
    }
    if let Some(written) = &front.silent {
        if !front.key.is_empty() {
            return Err(bad("key", "has no meaning beside `silent`: it is the cluster".to_owned()));
        }
        return Ok((Kind::Silent(length(&written.length)?), Vec::new()));
    }
    match front.over.as_deref() {
        Some("findings") => Ok((Kind::OverFindings, front.key.clone())),
        _ => Err(bad(name, "must be `findings`".to_owned())),
    }
}
