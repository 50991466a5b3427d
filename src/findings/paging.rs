//! Who is called for which incidents, when, and how often.
//!
//! Incidents of a route are put into groups; a group is one page, told to the route's sinks when it
//! opens, gets worse, or stands for long, and once more when somebody looks after it and when it is
//! over. So many groups may open in a while; those beyond are told of together, in one page. All of
//! it is worked out from what is stored, in the transaction that stores what is to be told: a
//! crash neither forgets nor repeats a call. [`outbox`] is how calls leave.

mod desk;
mod name;
pub mod outbox;
pub mod silence;

use std::collections::BTreeMap;
use std::str::FromStr;

use rusqlite::OptionalExtension as _;
use serde::{Deserialize, Serialize};

use super::database::{StoreError, restored, stored};
use super::incident::page::Page;
use super::incident::record::Incident;
use super::matcher::Matcher;
use super::store::{Change, Store};
use super::triage::State;
use crate::detect::detection::Severity;
use desk::Desk;
use silence::Silence;

/// Incidents of one group that a page shows.
pub(super) const SHOWN_MAX: usize = 20;
/// Incidents and groups that are worked on in one transaction: others write in between.
const PART: usize = 128;

/// A route as it is worked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub matcher: Matcher,
    /// Names of the sinks that are told.
    pub sinks: Vec<String>,
    /// What incidents of one page have in common; nothing: each has a page of its own.
    pub group_by: Vec<GroupBy>,
    /// So many pages may open ...
    pub rate: u64,
    /// ... within so many microseconds.
    pub rate_span: i64,
    /// When only the worst calls somebody.
    pub quiet: Option<Quiet>,
    /// After so many microseconds what stands is told again; 0: never.
    pub repeat: i64,
    /// After so many microseconds without anybody looking after it others are told, too; 0: never.
    pub escalate_after: i64,
    /// Names of their sinks.
    pub escalate_to: Vec<String>,
}

/// What incidents may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// The cluster.
    Cluster,
    /// The first of the namespaces.
    Namespace,
    /// The detection it began with.
    Detection,
    /// The severity.
    Severity,
    /// The first of the actors.
    Actor,
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "cluster" => Self::Cluster,
            "namespace" => Self::Namespace,
            "detection" => Self::Detection,
            "severity" => Self::Severity,
            "actor" => Self::Actor,
            _ => {
                let known = "cluster, namespace, detection, severity, actor";
                return Err(format!("`{text}` groups nothing, use one of: {known}"));
            }
        })
    }
}

/// Hours of the day in which only the worst calls somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Microseconds since midnight, UTC.
    pub from: i64,
    /// Likewise; before `from`, it is the next day's.
    pub to: i64,
    /// What is at least as bad calls all the same.
    pub unless: Severity,
}

/// How bad it is when a sink is dead.
pub const DEAD_SINK: Severity = Severity::High;

const DAY: i64 = 86_400_000_000;

impl Quiet {
    /// When it ends, if it is quiet at this time; microseconds since 1970, UTC.
    #[must_use]
    pub fn ends(&self, now: i64) -> Option<i64> {
        let of_day = now.rem_euclid(DAY);
        let since = (of_day - self.from).rem_euclid(DAY);
        let length = (self.to - self.from).rem_euclid(DAY);
        (since < length).then(|| now + length - since)
    }
}

/// What somebody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The same for one page, always: by it a receiver tells what it knows already. Of a page of
    /// one incident the incident's.
    pub id: String,
    /// Grows by one each time there is something to tell.
    #[serde(default)]
    pub revision: u64,
    /// How it stands.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The cluster; of several the first.
    pub cluster: String,
    /// The route that it came by.
    pub route: String,
    /// One short line.
    pub title: String,
    /// The whole story, in plain text.
    pub text: String,
    /// Time of the first event, RFC 3339.
    pub first_seen: String,
    /// Time of the last event, RFC 3339.
    pub last_seen: String,
    /// How many incidents it is about.
    pub incidents_total: u64,
    /// The worst of them.
    pub incidents: Vec<Incident>,
    /// The story of the worst as fields.
    pub page: Option<Page>,
}

impl Store {
    /// Works out who is to be told what as of `now` (microseconds since 1970, UTC), and puts that
    /// down; gives when to look again at the latest. `base` is the URL of this server.
    ///
    /// # Errors
    /// When it cannot be written; the same may be asked again.
    pub fn route(
        &self,
        plans: &[Plan],
        silences: &[Silence],
        base: Option<&str>,
        now: i64,
    ) -> Result<i64, StoreError> {
        while self.take_incidents(plans, now)? {}
        let mut told = false;
        loop {
            let (more, any) = self.decide_groups(plans, silences, base, now)?;
            told |= any;
            if !more {
                break;
            }
        }
        if told {
            self.wake();
        }
        let next = "SELECT min(next_at) FROM page_groups";
        self.readers.read("read when to look again", |reader| {
            let next: Option<i64> = reader.query_row(next, [], |row| row.get(0))?;
            Ok(next.unwrap_or(i64::MAX))
        })
    }

    /// When nobody was ever called, somebody is for what comes from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin_to_route(&self) -> Result<(), StoreError> {
        let begin = "UPDATE place SET routed = incident_change WHERE routed IS NULL";
        self.write("begin to route", |transaction, _| transaction.execute(begin, []))?;
        Ok(())
    }

    /// Puts incidents that changed into groups; false when there are no more.
    fn take_incidents(&self, plans: &[Plan], now: i64) -> Result<bool, StoreError> {
        let routed = self.readers.read("read what was routed", |reader| {
            reader.query_row("SELECT routed FROM place", [], |row| row.get::<_, Option<i64>>(0))
        })?;
        let Some(routed) = routed else {
            self.begin_to_route()?;
            return Ok(false);
        };
        let changed = self.incidents_after(restored(routed), PART)?;
        let Some((last, _)) = changed.last() else { return Ok(false) };
        let last = *last;
        self.write("route incidents", |transaction, _| {
            let mut desk = Desk::new(transaction, now);
            for (_, incident) in &changed {
                for plan in plans {
                    desk.take(plan, incident)?;
                }
            }
            let update = "UPDATE place SET routed = max(routed, ?1)";
            transaction.prepare_cached(update)?.execute([stored(last)])?;
            Ok(())
        })?;
        Ok(changed.len() == PART)
    }

    /// Decides what to tell of groups that are due: whether there are more, and whether anything is
    /// to be told.
    fn decide_groups(
        &self,
        plans: &[Plan],
        silences: &[Silence],
        base: Option<&str>,
        now: i64,
    ) -> Result<(bool, bool), StoreError> {
        let due: Vec<(String, String)> = self.readers.read("read groups", |reader| {
            let mut statement = reader.prepare_cached(
                "SELECT route, name FROM page_groups WHERE next_at <= ?1
                 ORDER BY next_at, opened_at, route, name LIMIT ?2",
            )?;
            let rows = statement
                .query_map([now, stored(PART as u64)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        if due.is_empty() {
            return Ok((false, false));
        }
        let mut all = self.silences(now)?;
        all.extend(silences.iter().filter(|of| of.holds(now)).cloned());
        let stories = |incident: &Incident| self.page(incident, base, now);
        let told = self.write("route groups", |transaction, _| {
            let mut desk = Desk::new(transaction, now);
            for (route, name) in &due {
                match plans.iter().find(|plan| plan.name == *route) {
                    Some(plan) => desk.decide(plan, name, &all, &stories)?,
                    // Its route is gone: nobody is told any more.
                    None => desk.drop_group(route, name)?,
                }
            }
            Ok(desk.told)
        })?;
        Ok((true, told))
    }

    /// How far each sink in use is, and how much waits for it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn places(&self) -> Result<BTreeMap<String, (Change, u64)>, StoreError> {
        let lags = self.lags()?;
        self.readers.read("read how far sinks are", |reader| {
            // Of calls the oldest that waits is what a sink is stuck at.
            let mut place = reader.prepare_cached(
                "SELECT coalesce((SELECT change FROM sinks WHERE name = ?1),
                     (SELECT min(since) FROM pages WHERE sink = ?1 AND delivered < revision), 0)",
            )?;
            let mut places = BTreeMap::new();
            for (sink, lag) in lags {
                let change = place.query_row([&sink], |row| row.get(0))?;
                places.insert(sink, (restored(change), lag));
            }
            Ok(places)
        })
    }

    /// Tells sinks of something that is no incident, such as another sink that is dead; the same
    /// again, or the end of what nobody was told of, is not told. Gives whether it is told now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn call(&self, sinks: &[String], call: &Call, now: i64) -> Result<bool, StoreError> {
        let told = self.write("call somebody", |transaction, _| {
            let mut told = false;
            for sink in sinks {
                let question = "SELECT body FROM pages WHERE sink = ?1 AND id = ?2";
                let before = transaction.query_row(question, [sink, &call.id], |row| row.get(0));
                let before: Option<String> = before.optional()?;
                let before = before.and_then(|body| serde_json::from_str::<Call>(&body).ok());
                let state = before.map_or(State::Closed, |before| before.state);
                if state != call.state {
                    Desk::new(transaction, now).put(sink, call)?;
                    told = true;
                }
            }
            Ok(told)
        })?;
        if told {
            self.wake();
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests;
