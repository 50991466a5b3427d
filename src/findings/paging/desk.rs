//! The decisions about groups of incidents, within a transaction.

use std::cmp::Reverse;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::name::{group_name, page_id};
use super::silence::Silence;
use super::{Call, Plan, SHOWN_MAX};
use crate::detect::detection::Severity;
use crate::detect::finding::safe_line;
use crate::findings::database::{StoreError, restored, stored};
use crate::findings::incident::page::Page;
use crate::findings::incident::reading::incident_in;
use crate::findings::incident::record::Incident;
use crate::findings::step::{LedgerEntry, LedgerKind};
use crate::findings::store::count;
use crate::findings::triage::State;

/// The group of what has no room any more.
const OVERFLOW: &str = "overflow";
/// A page whose incidents become more is told again after so long, microseconds.
const UPDATE: i64 = 300_000_000;
/// Letters of a page's title.
const TITLE_CHARS_MAX: usize = 120;
/// When there is nothing to do before an incident changes.
const NEVER: i64 = i64::MAX;

/// An incident of a group, and the silence that it was kept quiet by.
type Listed = (Incident, Option<String>);

/// How an incident is told of.
type Stories<'a> = dyn Fn(&Incident) -> Result<Page, StoreError> + 'a;

pub(super) struct Desk<'a> {
    transaction: &'a Transaction<'a>,
    now: i64,
    /// Somebody is to be told something.
    pub(super) told: bool,
}

/// What was said of a group so far.
#[derive(Clone, Debug)]
struct Group {
    /// What sinks know of it; `None` as long as they know nothing.
    state: Option<State>,
    opened_at: i64,
    sent_at: i64,
    sent_severity: i64,
    sent_incidents: u64,
    escalated: bool,
    next_at: i64,
}

impl<'a> Desk<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>, now: i64) -> Self {
        Self { transaction, now, told: false }
    }

    /// Puts an incident into its group, or has its group looked at.
    pub(super) fn take(&mut self, plan: &Plan, incident: &Incident) -> rusqlite::Result<()> {
        let question = "SELECT name FROM page_incidents WHERE route = ?1 AND incident = ?2";
        let known: Option<String> = self
            .transaction
            .prepare_cached(question)?
            .query_row([&plan.name, &incident.id], |row| row.get(0))
            .optional()?;
        if let Some(name) = known {
            return self.poke(&plan.name, &name);
        }
        let is_over = incident.state == State::Closed;
        if is_over || !incident.pages || !plan.matcher.is_of_incident(incident) {
            return Ok(());
        }
        let name = group_name(plan, incident);
        let put = "INSERT INTO page_incidents (route, incident, name) VALUES (?1, ?2, ?3)";
        self.transaction.prepare_cached(put)?.execute([&plan.name, &incident.id, &name])?;
        self.poke(&plan.name, &name)
    }

    /// Has a group looked at now; opens it when it is new.
    fn poke(&self, route: &str, name: &str) -> rusqlite::Result<()> {
        let mut put = self.transaction.prepare_cached(
            "INSERT INTO page_groups (route, name, status, opened_at, sent_at, sent_severity,
                 sent_incidents, escalated, next_at)
             VALUES (?1, ?2, '', ?3, 0, 0, 0, 0, ?3) ON CONFLICT DO UPDATE SET next_at = ?3",
        )?;
        put.execute(params![route, name, self.now])?;
        Ok(())
    }

    fn group(&self, route: &str, name: &str) -> rusqlite::Result<Option<Group>> {
        let mut question = self.transaction.prepare_cached(
            "SELECT status, opened_at, sent_at, sent_severity, sent_incidents, escalated, next_at
             FROM page_groups WHERE route = ?1 AND name = ?2",
        )?;
        let group = question.query_row([route, name], |row| {
            let status: String = row.get(0)?;
            Ok(Group {
                state: status.parse().ok(),
                opened_at: row.get(1)?,
                sent_at: row.get(2)?,
                sent_severity: row.get(3)?,
                sent_incidents: restored(row.get(4)?),
                escalated: row.get(5)?,
                next_at: row.get(6)?,
            })
        });
        group.optional()
    }

    fn save(&self, route: &str, name: &str, group: &Group) -> rusqlite::Result<()> {
        let mut update = self.transaction.prepare_cached(
            "UPDATE page_groups SET status = ?3, sent_at = ?4, sent_severity = ?5,
                 sent_incidents = ?6, escalated = ?7, next_at = ?8 WHERE route = ?1 AND name = ?2",
        )?;
        update.execute(params![
            route,
            name,
            group.state.map_or("", State::as_str),
            group.sent_at,
            group.sent_severity,
            stored(group.sent_incidents),
            group.escalated,
            // Decided now is not due now: whoever asks would ask for ever.
            group.next_at.max(self.now.saturating_add(1))
        ])?;
        Ok(())
    }

    pub(super) fn drop_group(&self, route: &str, name: &str) -> rusqlite::Result<()> {
        for table in ["page_groups", "page_incidents"] {
            let delete = format!("DELETE FROM {table} WHERE route = ?1 AND name = ?2");
            self.transaction.prepare_cached(&delete)?.execute([route, name])?;
        }
        Ok(())
    }

    /// The incidents of a group that are not over, the worst first, with the silences of those
    /// that were silent before; and one that is over, if there is any.
    fn incidents(
        &self,
        route: &str,
        name: &str,
    ) -> rusqlite::Result<(Vec<Listed>, Option<Incident>)> {
        let mut question = self.transaction.prepare_cached(
            "SELECT incident, silenced FROM page_incidents WHERE route = ?1 AND name = ?2
             ORDER BY incident",
        )?;
        let ids = question.query_map([route, name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let ids: Vec<(String, Option<String>)> = ids.collect::<rusqlite::Result<_>>()?;
        let (mut active, mut over) = (Vec::new(), None);
        for (id, silenced) in ids {
            match incident_in(self.transaction, &id)? {
                Some(incident) if incident.state != State::Closed => {
                    active.push((incident, silenced));
                }
                found => over = found.or(over),
            }
        }
        active.sort_by_key(|(of, _)| (Reverse((of.severity, of.score)), of.id.clone()));
        Ok((active, over))
    }

    /// Leaves out what is silenced, and counts it once for each silence.
    fn silence(
        &self,
        plan: &Plan,
        incidents: Vec<Listed>,
        silences: &[Silence],
    ) -> rusqlite::Result<(Vec<Incident>, i64)> {
        let (mut loud, mut until) = (Vec::new(), NEVER);
        for (incident, before) in incidents {
            let by = silences.iter().find(|silence| silence.matcher.covers(&incident));
            if let Some(silence) = by {
                until = until.min(silence.expires);
                if before.as_ref() != Some(&silence.name) {
                    self.mark_silenced(plan, &incident, &silence.name)?;
                }
            } else {
                loud.push(incident);
            }
        }
        Ok((loud, until))
    }

    /// Takes note of the silence of an incident; counted once, whatever routes it takes.
    fn mark_silenced(&self, plan: &Plan, of: &Incident, by: &str) -> rusqlite::Result<()> {
        let question = "SELECT count(*) FROM page_incidents WHERE incident = ?1 AND silenced = ?2";
        let mut question = self.transaction.prepare_cached(question)?;
        let known: i64 = question.query_row([of.id.as_str(), by], |row| row.get(0))?;
        let mark = "UPDATE page_incidents SET silenced = ?3 WHERE route = ?1 AND incident = ?2";
        self.transaction.prepare_cached(mark)?.execute([&plan.name, &of.id, by])?;
        let entry = LedgerEntry {
            kind: LedgerKind::Silenced,
            cluster: of.cluster.clone(),
            item: by.to_owned(),
            at: self.now,
            count: u64::from(known == 0),
        };
        count(self.transaction, &[entry])
    }

    /// Decides what is to be told of a group.
    pub(super) fn decide(
        &mut self,
        plan: &Plan,
        name: &str,
        silences: &[Silence],
        stories: &Stories<'_>,
    ) -> rusqlite::Result<()> {
        let Some(mut group) = self.group(&plan.name, name)? else { return Ok(()) };
        let (active, over) = self.incidents(&plan.name, name)?;
        if active.is_empty() {
            if group.state.is_some() {
                let over: Vec<Incident> = over.into_iter().collect();
                self.tell(plan, name, &group, State::Closed, &over, stories)?;
            }
            return self.drop_group(&plan.name, name);
        }
        let (loud, until) = self.silence(plan, active, silences)?;
        let open = loud.iter().filter(|incident| incident.state == State::Open).count() as u64;
        group.next_at = until;
        if loud.is_empty() {
            return self.save(&plan.name, name, &group);
        }
        if open == 0 {
            if group.state != Some(State::Acknowledged) {
                if group.state.is_some() {
                    self.tell(plan, name, &group, State::Acknowledged, &loud, stories)?;
                }
                group.state = Some(State::Acknowledged);
            }
            return self.save(&plan.name, name, &group);
        }
        self.decide_open(plan, name, group, &loud, stories)
    }

    fn decide_open(
        &mut self,
        plan: &Plan,
        name: &str,
        mut group: Group,
        loud: &[Incident],
        stories: &Stories<'_>,
    ) -> rusqlite::Result<()> {
        let worst = loud.iter().map(|of| of.severity).max().unwrap_or(Severity::Informational);
        let number = loud.len() as u64;
        let is_first = group.state != Some(State::Open);
        let is_worse = worst as i64 > group.sent_severity && !is_first;
        let more_at = group.sent_at.saturating_add(if name == OVERFLOW {
            plan.rate_span.max(UPDATE)
        } else {
            UPDATE
        });
        let has_more = number > group.sent_incidents;
        let repeat_at = after(group.sent_at, plan.repeat);
        let is_due =
            is_first || is_worse || has_more && self.now >= more_at || self.now >= repeat_at;
        if is_due {
            let quiet = plan.quiet.filter(|quiet| worst < quiet.unless);
            if let Some(ends) = quiet.and_then(|quiet| quiet.ends(self.now)) {
                group.next_at = group.next_at.min(ends);
                return self.save(&plan.name, name, &group);
            }
            if is_first && name != OVERFLOW && self.is_full(plan)? {
                return self.pour_over(plan, name);
            }
            if is_first {
                let put = "INSERT INTO page_log (route, at) VALUES (?1, ?2)";
                self.transaction.prepare_cached(put)?.execute(params![plan.name, self.now])?;
            }
            self.tell(plan, name, &group, State::Open, loud, stories)?;
            group.state = Some(State::Open);
            group.sent_at = self.now;
            group.sent_severity = worst as i64;
            group.sent_incidents = number;
        }
        let escalate_at = after(group.opened_at, plan.escalate_after);
        if !group.escalated && self.now >= escalate_at {
            group.escalated = true;
            self.tell(plan, name, &group, State::Open, loud, stories)?;
        }
        let more_at = if has_more && !is_due { more_at } else { NEVER };
        let escalate_at = if group.escalated { NEVER } else { escalate_at };
        let next = [more_at, after(group.sent_at, plan.repeat), escalate_at];
        group.next_at = next.into_iter().fold(group.next_at, i64::min);
        self.save(&plan.name, name, &group)
    }

    /// Whether so many pages opened lately that no other may.
    fn is_full(&self, plan: &Plan) -> rusqlite::Result<bool> {
        let since = self.now.saturating_sub(plan.rate_span);
        let forget = "DELETE FROM page_log WHERE route = ?1 AND at <= ?2";
        self.transaction.prepare_cached(forget)?.execute(params![plan.name, since])?;
        let question = "SELECT count(*) FROM page_log WHERE route = ?1";
        let mut question = self.transaction.prepare_cached(question)?;
        let opened: i64 = question.query_row([&plan.name], |row| row.get(0))?;
        Ok(restored(opened) >= plan.rate)
    }

    /// Puts the incidents of a group to those that have no room.
    fn pour_over(&self, plan: &Plan, name: &str) -> rusqlite::Result<()> {
        let update = "UPDATE page_incidents SET name = ?3 WHERE route = ?1 AND name = ?2";
        self.transaction.prepare_cached(update)?.execute([&plan.name, name, OVERFLOW])?;
        self.drop_group(&plan.name, name)?;
        self.poke(&plan.name, OVERFLOW)
    }

    /// Puts down what the sinks of a group are to be told.
    fn tell(
        &mut self,
        plan: &Plan,
        name: &str,
        group: &Group,
        state: State,
        incidents: &[Incident],
        stories: &Stories<'_>,
    ) -> rusqlite::Result<()> {
        let Some(worst) = incidents.first() else { return Ok(()) };
        // A story that cannot be read now is told without.
        let page = stories(worst).ok();
        let total = incidents.len();
        let title = match (total, state) {
            (1, State::Closed) => format!("Over: {}", worst.title),
            (1, _) => worst.title.clone(),
            (_, _) => format!("{total} incidents, the worst: {}", worst.title),
        };
        let mut text = page.as_ref().map_or_else(|| worst.title.clone(), Page::text);
        if let Some(reason) = worst.reason.filter(|_| state == State::Closed) {
            text = format!("It is over: {reason}.\n\n{text}");
        } else if total > 1 {
            let shown = incidents.iter().take(SHOWN_MAX);
            let lines = shown.map(|of| format!("- {} {} {}", of.severity, of.id, of.title));
            let lines = lines.collect::<Vec<_>>().join("\n");
            text = format!("{total} incidents, among them\n{lines}\n\nThe worst of them\n\n{text}");
        }
        let call = Call {
            id: page_id(plan, name),
            revision: 0,
            state,
            severity: worst.severity,
            cluster: worst.cluster.clone(),
            route: plan.name.clone(),
            title: safe_line(&title, TITLE_CHARS_MAX),
            text,
            first_seen: incidents.iter().map(|of| of.first_seen.clone()).min().unwrap_or_default(),
            last_seen: incidents.iter().map(|of| of.last_seen.clone()).max().unwrap_or_default(),
            incidents_total: total as u64,
            incidents: incidents.iter().take(SHOWN_MAX).cloned().collect(),
            page,
        };
        let more = plan.escalate_to.iter().filter(|_| group.escalated);
        let mut sinks: Vec<&String> = plan.sinks.iter().chain(more).collect();
        sinks.sort_unstable();
        sinks.dedup();
        sinks.into_iter().try_for_each(|sink| self.put(sink, &call))
    }

    /// Puts down what one sink is to be told.
    pub(super) fn put(&mut self, sink: &str, call: &Call) -> rusqlite::Result<()> {
        let place = "UPDATE place SET page_change = page_change + 1 RETURNING page_change";
        let change: i64 = self.transaction.query_row(place, [], |row| row.get(0))?;
        let question = "SELECT revision, delivered, since FROM pages WHERE sink = ?1 AND id = ?2";
        let before: Option<(i64, i64, i64)> = self
            .transaction
            .prepare_cached(question)?
            .query_row([sink, &call.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (revision, delivered, since) = before.unwrap_or_default();
        let since = if delivered < revision { since } else { self.now };
        let call = Call { revision: restored(revision + 1), ..call.clone() };
        // Texts and numbers only: there is nothing that cannot be written.
        let body = serde_json::to_string(&call).unwrap_or_default();
        let mut put = self.transaction.prepare_cached(
            "INSERT OR REPLACE INTO pages
                 (change, sink, id, revision, delivered, failures, next_at, since, body)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7)",
        )?;
        put.execute(params![change, sink, call.id, revision + 1, delivered, since, body])?;
        self.told = true;
        Ok(())
    }
}

/// So long after a time; never, when that is not to be.
fn after(time: i64, span: i64) -> i64 {
    if span > 0 { time.saturating_add(span) } else { NEVER }
}
