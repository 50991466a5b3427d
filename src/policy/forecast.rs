//! How many events and bytes a policy would record of events that were seen.
//!
//! Never more than was seen: what the policy of the recording left out is not there to be counted,
//! and a body that was not recorded is taken for as long as those of the same resource and verb
//! that were, or counted as unknown.

use std::collections::BTreeMap;

use super::document::{Level, Policy, Request, Stage};

/// An event that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What was asked.
    pub request: Request<'a>,
    /// Its stage.
    pub stage: Stage,
    /// How much of it was recorded.
    pub level: Level,
    /// Its bytes without bodies.
    pub bytes: u64,
    /// Bytes of the request's body; 0 when there is none.
    pub request_bytes: u64,
    /// Bytes of the answer's body; 0 when there is none.
    pub response_bytes: u64,
    /// When it was, microseconds since 1970.
    pub time: i64,
    /// Resource and verb, by which bodies are alike.
    pub kind: &'a str,
}

/// Events and bytes under one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Events that were seen.
    pub seen: u64,
    /// Events that would be recorded.
    pub events: u64,
    /// Their bytes, but for bodies that nobody saw.
    pub bytes: u64,
    /// Bodies whose length is that of others like them.
    pub guessed: u64,
    /// Bodies of which nothing like them was seen.
    pub unknown: u64,
    /// By rule, from 1; 0 where none matches: events that were seen.
    pub by_rule: BTreeMap<usize, u64>,
    first: Option<i64>,
    last: Option<i64>,
    /// Bodies by kind: how many were seen, their bytes, how many were not.
    requests: BTreeMap<String, Bodies>,
    responses: BTreeMap<String, Bodies>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bodies {
    seen: u64,
    bytes: u64,
    missing: u64,
}

/// Kinds of bodies that are told apart; more of them are one.
const KINDS_MAX: usize = 10_000;

impl Forecast {
    /// Counts an event.
    pub fn take(&mut self, policy: &Policy, event: &Seen<'_>) {
        self.seen += 1;
        self.first = Some(self.first.map_or(event.time, |first| first.min(event.time)));
        self.last = Some(self.last.map_or(event.time, |last| last.max(event.time)));
        let ruling = policy.ruling(&event.request);
        *self.by_rule.entry(ruling.rule.unwrap_or(0)).or_default() += 1;
        let recorded = ruling.level > Level::None && !ruling.omitted.contains(&event.stage);
        if recorded {
            self.events += 1;
            self.bytes += event.bytes;
        }
        // At its arrival nothing of a body is known, and an answer is there at its end only.
        let may_have = event.stage != Stage::RequestReceived;
        let wanted = |level| recorded && may_have && ruling.level >= level;
        self.bytes += body(
            &mut self.requests,
            event.kind,
            (event.level >= Level::Request, event.request_bytes),
            wanted(Level::Request),
        );
        self.bytes += body(
            &mut self.responses,
            event.kind,
            (event.level >= Level::RequestResponse, event.response_bytes),
            wanted(Level::RequestResponse),
        );
    }

    /// Guesses bodies that were not seen; nothing is counted afterwards.
    pub fn finish(&mut self) {
        for bodies in self.requests.values().chain(self.responses.values()) {
            match bodies.bytes.checked_div(bodies.seen) {
                Some(mean) => {
                    self.bytes += mean * bodies.missing;
                    self.guessed += bodies.missing;
                }
                None => self.unknown += bodies.missing,
            }
        }
        self.requests.clear();
        self.responses.clear();
    }

    /// Seconds from the first event to the last, one at least.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let span = self.last.unwrap_or(0).saturating_sub(self.first.unwrap_or(0));
        std::time::Duration::from_micros(u64::try_from(span).unwrap_or(0)).as_secs_f64().max(1.0)
    }
}

/// Notes a body; its bytes when it is wanted and was seen.
fn body(
    kinds: &mut BTreeMap<String, Bodies>,
    kind: &str,
    (was_recorded, bytes): (bool, u64),
    wanted: bool,
) -> u64 {
    let full = kinds.len() >= KINDS_MAX;
    let bodies = match kinds.get_mut(kind) {
        Some(bodies) => bodies,
        None if full => kinds.entry(String::new()).or_default(),
        None => kinds.entry(kind.to_owned()).or_default(),
    };
    if was_recorded {
        bodies.seen += 1;
        bodies.bytes += bytes;
        return if wanted { bytes } else { 0 };
    }
    bodies.missing += u64::from(wanted);
    0
}
