//! Which findings belong together, kept up with every change of one.
//!
//! What an actor did without a gap longer than is set is one span of `incident_spans`; the spans
//! of one actor lie further apart than the gap. A finding joins the spans of its actors that it
//! touches, and with them their incidents: the oldest stays. What joins can be taken in one by one;
//! when a finding leaves or shrinks, its incident is put together again of what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::aggregate::Aggregate;
use super::member::Member;
use super::span::{Span, span, touching};
use crate::detect::detection::Severity;
use crate::findings::database::{restored, stored};
use crate::findings::record::FindingRecord;
use crate::findings::store::Change;
use crate::findings::triage::{Kind, Reason, State, is_false_positive, reopen, state_of};

/// Works out what changed findings mean for incidents, within the transaction that stores them.
/// Each finding comes with the number of its change; `change` is the last number given, and grows
/// with each incident that changes.
pub(in crate::findings) fn regroup(
    transaction: &Transaction<'_>,
    changed: &[(Change, Arc<FindingRecord>)],
    gap: i64,
    change: &mut Change,
) -> rusqlite::Result<()> {
    let mut grouping = Grouping { transaction, gap: gap.max(0), loaded: BTreeMap::new() };
    let mut latest = BTreeMap::new();
    for (number, record) in changed {
        latest.insert(record.id.as_str(), (*number, record));
    }
    // Mostly nobody ever closed a finding: then there is no need to look at each.
    let any = "SELECT EXISTS (SELECT 1 FROM states WHERE kind = 'finding')";
    let any_closed: bool = transaction.query_row(any, [], |row| row.get(0))?;
    let mut joining = Vec::new();
    let mut broken = BTreeSet::new();
    for (number, record) in latest.into_values() {
        let mut after = Member::of(record);
        if any_closed && after.is_some() && is_false_positive(transaction, &record.id)? {
            after = None;
        }
        let before = grouping.member(&record.id)?;
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => joining.push((number, None, after)),
            (Some((_, _, before)), Some(after)) if after == before => {}
            (Some((_, created, before)), Some(after)) if after.grew_from(&before) => {
                joining.push((created, Some(before), after));
            }
            (Some((incident, created, _)), after) => {
                // A finding that shrank takes its place again when its incident is put together.
                grouping.forget(&record.id)?;
                if let Some(after) = after {
                    grouping.keep(&incident, created, &after)?;
                }
                broken.insert(incident);
            }
        }
    }
    for incident in broken {
        grouping.put_together(&incident)?;
    }
    // In the order in which they came: the first to come gives an incident its name.
    joining.sort_by(|one, other| (one.0, &one.2.finding).cmp(&(other.0, &other.2.finding)));
    for (created, before, after) in joining {
        match before {
            None => {
                let home = grouping.join(created, &after, None)?;
                grouping.wake(&home, &after)?;
            }
            Some(before) => grouping.grow(created, &before, &after)?,
        }
    }
    grouping.save(change)
}

/// Incidents under way to their next version.
struct Grouping<'a> {
    transaction: &'a Transaction<'a>,
    gap: i64,
    loaded: BTreeMap<String, Loaded>,
}

struct Loaded {
    created: u64,
    revision: u64,
    cluster: String,
    merged_into: Option<String>,
    sum: Aggregate,
    /// What is stored; nothing of one that is new.
    before: Option<(Option<String>, Aggregate)>,
    /// To be stored even if it says the same: its state is another.
    touched: bool,
}

impl Grouping<'_> {
    /// Incident, number and content of a finding that is a member.
    fn member(&self, finding: &str) -> rusqlite::Result<Option<(String, u64, Member)>> {
        let mut question = self.transaction.prepare_cached(
            "SELECT incident, created, body FROM incident_members WHERE finding = ?1",
        )?;
        let found = question.query_row([finding], |row| {
            let body: String = row.get(2)?;
            Ok((row.get(0)?, restored(row.get(1)?), body))
        });
        let found: Option<(String, u64, String)> = found.optional()?;
        // One that cannot be read is taken in as if it were new.
        Ok(found.and_then(|(incident, created, body)| {
            Some((incident, created, serde_json::from_str(&body).ok()?))
        }))
    }

    fn forget(&self, finding: &str) -> rusqlite::Result<()> {
        let delete = "DELETE FROM incident_members WHERE finding = ?1";
        self.transaction.prepare_cached(delete)?.execute([finding])?;
        Ok(())
    }

    fn keep(&self, incident: &str, created: u64, member: &Member) -> rusqlite::Result<()> {
        let mut put = self.transaction.prepare_cached(
            "INSERT OR REPLACE INTO incident_members (finding, incident, created, first, body)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        // Texts and numbers only: there is nothing that cannot be written.
        let body = serde_json::to_string(member).unwrap_or_default();
        put.execute(params![member.finding, incident, stored(created), member.first, body])?;
        Ok(())
    }

    /// A finding joins what it touches; else it opens an incident, under `name` if there is one.
    fn join(
        &mut self,
        created: u64,
        member: &Member,
        name: Option<&str>,
    ) -> rusqlite::Result<String> {
        let (home, touched) = self.link(member)?;
        let home = match home {
            Some(home) => home,
            None => self.open(created, member, name)?,
        };
        span(self.transaction, member, &home, touched)?;
        self.keep(&home, created, member)?;
        if let Some(loaded) = self.loaded.get_mut(&home) {
            loaded.sum.add(member);
        }
        Ok(home)
    }

    /// A finding says more than before.
    fn grow(&mut self, created: u64, before: &Member, after: &Member) -> rusqlite::Result<()> {
        let (home, touched) = self.link(after)?;
        let Some(home) = home else {
            // Its own span is always there.
            self.join(created, after, None)?;
            return Ok(());
        };
        span(self.transaction, after, &home, touched)?;
        self.keep(&home, created, after)?;
        if let Some(loaded) = self.loaded.get_mut(&home) {
            loaded.sum.grow(before, after);
        }
        Ok(())
    }

    /// Puts an incident together again of its members; those that nothing joins any more get
    /// incidents of their own, the first to come stays.
    fn put_together(&mut self, incident: &str) -> rusqlite::Result<()> {
        let mut members = {
            let mut question = self
                .transaction
                .prepare_cached("SELECT created, body FROM incident_members WHERE incident = ?1")?;
            let rows = question.query_map([incident], |row| {
                let body: String = row.get(1)?;
                Ok((restored(row.get(0)?), body))
            })?;
            rows.collect::<rusqlite::Result<Vec<(u64, String)>>>()?
        };
        members.sort_unstable();
        for table in ["incident_members", "incident_spans"] {
            let delete = format!("DELETE FROM {table} WHERE incident = ?1");
            self.transaction.prepare_cached(&delete)?.execute([incident])?;
        }
        if let Some(loaded) = self.load(incident)? {
            loaded.sum = Aggregate::default();
        }
        let mut name = Some(incident);
        for (created, body) in members {
            if let Ok(member) = serde_json::from_str::<Member>(&body) {
                self.join(created, &member, name.take())?;
            }
        }
        Ok(())
    }

    /// The one incident of all spans that a finding touches, if there are any; and these spans,
    /// actor by actor.
    fn link(&mut self, member: &Member) -> rusqlite::Result<(Option<String>, Vec<Vec<Span>>)> {
        let actors = member.actors.iter();
        let spans = actors.map(|actor| touching(self.transaction, actor, member, self.gap));
        let spans: Vec<Vec<Span>> = spans.collect::<rusqlite::Result<_>>()?;
        let touched: BTreeSet<&str> =
            spans.iter().flatten().map(|span| span.incident.as_str()).collect();
        let mut ages = Vec::new();
        for incident in touched {
            let created = self.load(incident)?.map_or(u64::MAX, |loaded| loaded.created);
            ages.push((created, incident.to_owned()));
        }
        ages.sort_unstable();
        let mut ages = ages.into_iter().map(|(_, incident)| incident);
        let Some(oldest) = ages.next() else { return Ok((None, spans)) };
        for younger in ages {
            self.merge(&oldest, &younger)?;
        }
        Ok((Some(oldest), spans))
    }

    fn open(
        &mut self,
        created: u64,
        member: &Member,
        name: Option<&str>,
    ) -> rusqlite::Result<String> {
        if let Some(name) = name
            && self.load(name)?.is_some()
        {
            return Ok(name.to_owned());
        }
        let mut id = member.finding.clone();
        // The finding opened an incident once, left it, and comes back while others are still
        // there.
        if self.load(&id)?.is_some_and(|of| of.merged_into.is_none() && !of.sum.parts.is_empty()) {
            id = format!("{id}-{created}");
        }
        if let Some(loaded) = self.load(&id)? {
            loaded.merged_into = None;
            loaded.sum = Aggregate::default();
            loaded.created = created;
            return Ok(id);
        }
        let loaded = Loaded {
            created,
            revision: 0,
            cluster: member.cluster.clone(),
            merged_into: None,
            sum: Aggregate::default(),
            before: None,
            touched: false,
        };
        self.loaded.insert(id.clone(), loaded);
        Ok(id)
    }

    /// The younger becomes a part of the older.
    fn merge(&mut self, older: &str, younger: &str) -> rusqlite::Result<()> {
        for table in ["incident_members", "incident_spans"] {
            let update = format!("UPDATE {table} SET incident = ?1 WHERE incident = ?2");
            self.transaction.prepare_cached(&update)?.execute([older, younger])?;
        }
        let Some(gone) = self.load(younger)? else { return Ok(()) };
        let sum = std::mem::take(&mut gone.sum);
        gone.merged_into = Some(older.to_owned());
        if let Some(loaded) = self.load(older)? {
            loaded.sum.merge(sum);
        }
        // Somebody may have closed the one, and nobody has seen the other.
        let is_closed = |id| -> rusqlite::Result<bool> {
            Ok(state_of(self.transaction, Kind::Incident, id)?.state == State::Closed)
        };
        if is_closed(older)? && !is_closed(younger)? {
            self.reopen(older, "another incident became a part of it")?;
        }
        Ok(())
    }

    /// A new finding opens again what was closed, unless it says nothing new: a low one, or one of
    /// a detection that was called a false positive.
    fn wake(&mut self, incident: &str, member: &Member) -> rusqlite::Result<()> {
        if member.severity < Severity::Medium {
            return Ok(());
        }
        let known = state_of(self.transaction, Kind::Incident, incident)?;
        let harmless = known.reason == Some(Reason::FalsePositive)
            && known.detections.contains(&member.detection);
        if known.state == State::Closed && !harmless {
            self.reopen(incident, &format!("new finding {}", member.finding))?;
        }
        Ok(())
    }

    fn reopen(&mut self, incident: &str, why: &str) -> rusqlite::Result<()> {
        reopen(self.transaction, incident, why)?;
        if let Some(loaded) = self.load(incident)? {
            loaded.touched = true;
        }
        Ok(())
    }

    fn load(&mut self, id: &str) -> rusqlite::Result<Option<&mut Loaded>> {
        if !self.loaded.contains_key(id) {
            let mut question = self.transaction.prepare_cached(
                "SELECT created, revision, cluster, merged_into, body FROM incidents WHERE id = ?1",
            )?;
            let found = question.query_row([id], |row| {
                let (merged_into, body): (Option<String>, String) = (row.get(3)?, row.get(4)?);
                let sum: Aggregate = serde_json::from_str(&body).unwrap_or_default();
                Ok(Loaded {
                    created: restored(row.get(0)?),
                    revision: restored(row.get(1)?),
                    cluster: row.get(2)?,
                    before: Some((merged_into.clone(), sum.clone())),
                    merged_into,
                    sum,
                    touched: false,
                })
            });
            if let Some(found) = found.optional()? {
                self.loaded.insert(id.to_owned(), found);
            }
        }
        Ok(self.loaded.get_mut(id))
    }

    /// Stores what is another than before, each under a change number of its own.
    fn save(self, change: &mut Change) -> rusqlite::Result<()> {
        for (id, loaded) in self.loaded {
            let Loaded { merged_into, sum, before, .. } = loaded;
            let same = match &before {
                Some((into, before)) => *into == merged_into && *before == sum && !loaded.touched,
                // It was opened and became a part of another one at once: nobody has seen it.
                None => merged_into.is_some() || sum.parts.is_empty(),
            };
            if same {
                continue;
            }
            *change += 1;
            // One that is merged or withdrawn is kept as long as it would be with its findings.
            let of = before.map(|(_, before)| before).filter(|_| sum.parts.is_empty());
            let (first, last) = of.as_ref().unwrap_or(&sum).span();
            let mut put = self.transaction.prepare_cached(
                "INSERT OR REPLACE INTO incidents (change, id, created, revision, cluster,
                     severity, score, first, last, findings, merged_into, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?;
            put.execute(params![
                stored(*change),
                id,
                stored(loaded.created),
                stored(loaded.revision + 1),
                loaded.cluster,
                sum.severity() as i64,
                stored(sum.score()),
                first,
                last,
                stored(sum.findings()),
                merged_into,
                serde_json::to_string(&sum).unwrap_or_default(),
            ])?;
        }
        Ok(())
    }
}
