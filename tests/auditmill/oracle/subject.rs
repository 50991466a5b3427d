//! A detection, and what the model must know of it besides its text.

use super::SECOND;

/// A detection under test.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) id: String,
    /// The file, for the engine.
    pub(super) text: String,
    /// Length and slide of its windows; `None` looks at each event alone.
    pub(super) window: Option<(i64, i64)>,
    pub(super) dedup: i64,
    pub(super) describe: String,
    /// Names of the key columns, without the cluster.
    pub(super) key: Vec<String>,
    /// What the model asks: the query without placeholders, with the key's values in columns
    /// `__key_0`, `__key_1`, ... behind its own; without a window also `__event_id`.
    pub(super) query: String,
    /// Each event that counts: `event_id`, and the key's values in columns `__key_0`, ...: those of
    /// the key that an event alone can tell.
    pub(super) hits: String,
    /// Its findings must not wait for the end of windows.
    pub(super) fires_at_once: bool,
    /// Its query groups the events of `hits`, so that no other matters to it.
    pub(super) reads_hits: bool,
    /// What is asked beyond the query.
    pub(super) asks: Asks,
    /// A condition: true of the events that are exempt from it.
    pub(super) exempt: Option<String>,
}

/// What is asked beyond a query over each event alone.
#[derive(Clone, Debug, Default)]
pub(super) enum Asks {
    /// Nothing.
    #[default]
    Plain,
    /// What no event of the lookback before had; told of what lies `learn` behind the first event.
    New { key: Vec<String>, lookback: i64, learn: i64 },
    /// What was not seen again for so long.
    Gone { length: i64 },
}

/// The parts that subjects are written down as.
pub(super) struct Draft<'a> {
    pub(super) id: &'a str,
    pub(super) window: Option<(i64, i64)>,
    pub(super) dedup: i64,
    pub(super) describe: &'a str,
    /// Front matter that is not above.
    pub(super) front: &'a str,
    pub(super) query: &'a str,
}

impl Draft<'_> {
    /// The detection's file.
    pub(super) fn text(&self) -> String {
        let Self { id, window, dedup, describe, front, query } = self;
        let seconds = |micros: i64| format!("{}s", micros / SECOND);
        let window = window.map_or_else(String::new, |(length, slide)| {
            format!("window: {}\nslide: {}\n", seconds(length), seconds(slide))
        });
        let dedup = seconds(*dedup);
        format!(
            "/*\nid: {id}\ntitle: t\nseverity: low\n{window}dedup: {dedup}\n\
             describe: \"{describe}\"\n{front}\n*/\n{query}\n"
        )
    }
}
