//! Follows incidents and puts down who is to be told what; and tells of sinks that stay dead,
//! through others.
//!
//! All of it is decided in the store ([`crate::findings::paging`]); here is when, and by which
//! settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tracing::{error, warn};

use super::on_disk::on_disk;
use crate::clock::now_micros;
use crate::config::Settings;
use crate::config::route::{Match, Route};
use crate::config::sink::Sink;
use crate::findings::matcher::Matcher;
use crate::findings::paging::silence::Silence;
use crate::findings::paging::{Call, Plan, Quiet, silence};
use crate::findings::store::{Change, Store};
use crate::findings::triage::State;

/// How often it is looked when nobody says that there is something.
const IDLE: Duration = Duration::from_secs(10);
/// Incidents change with every batch: they are looked at no more often than this.
const PAUSE: Duration = Duration::from_millis(100);
const MINUTE: i64 = 60_000_000;

/// The one who decides.
#[derive(Debug)]
pub struct Router {
    plans: Vec<Plan>,
    silences: Vec<Silence>,
    base: Option<String>,
    /// Names of sinks for people.
    people: Vec<String>,
    /// How long a sink may take nothing.
    dead_after: i64,
    store: Arc<Store>,
    /// Where each sink was when it was first seen to take nothing.
    stuck: BTreeMap<String, (Change, i64)>,
}

impl Router {
    /// A router for these settings.
    ///
    /// # Errors
    /// When a route or a silence says something that cannot be.
    pub fn new(settings: &Settings, store: &Arc<Store>) -> Result<Self> {
        store.begin_to_route()?;
        let people = settings.sinks.iter().filter(|sink| sink.is_for_people());
        let silences = settings.silences.iter().map(|of| {
            let fail = || format!("silence `{}`", of.name.as_str());
            let expires = silence::time(&of.expires).ok_or_else(|| {
                anyhow!("`expires`: `{}` is not a time such as 2026-01-31T12:00:00Z", of.expires)
            });
            Ok(Silence {
                name: of.name.as_str().to_owned(),
                owner: of.owner.clone(),
                reason: of.reason.clone(),
                begins: i64::MIN,
                expires: expires.with_context(fail)?,
                matcher: matcher(&of.matches).with_context(fail)?,
            })
        });
        Ok(Self {
            plans: plans(settings)?,
            silences: silences.collect::<Result<_>>()?,
            base: settings.alert.link.as_ref().map(|link| link.0.to_string()),
            people: people.map(|sink| sink.name().to_owned()).collect(),
            dead_after: settings.alert.dead_after.micros(),
            store: Arc::clone(store),
            stuck: BTreeMap::new(),
        })
    }

    /// Decides until the store is closed.
    ///
    /// # Errors
    /// Only when the service is falling apart.
    pub async fn run(mut self) -> Result<()> {
        let mut tip = self.store.follow();
        let mut checked_at = 0;
        loop {
            let closed = tip.borrow_and_update().closed;
            let now = now_micros();
            let mut wait = IDLE;
            match self.route(now).await {
                Ok(next) => {
                    let until = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
                    wait = wait.min(Duration::from_micros(until));
                }
                Err(error) => error!(error = format!("{error:#}"), "nobody called, trying again"),
            }
            if now >= checked_at + self.dead_after.min(MINUTE) / 4 {
                checked_at = now;
                if let Err(error) = self.look_for_dead(now).await {
                    error!(error = format!("{error:#}"), "sinks not looked at");
                }
            }
            if closed {
                return Ok(());
            }
            wait = wait.min(Duration::from_micros(self.dead_after.unsigned_abs() / 4));
            tokio::time::sleep(PAUSE).await;
            let _ = tokio::time::timeout(wait, tip.changed()).await;
        }
    }

    async fn route(&self, now: i64) -> Result<i64> {
        let (plans, silences) = (self.plans.clone(), self.silences.clone());
        let base = self.base.clone();
        on_disk(&self.store, move |store| store.route(&plans, &silences, base.as_deref(), now))
            .await
    }

    /// Tells of sinks that took nothing for long though there is something, and of those that do
    /// again.
    async fn look_for_dead(&mut self, now: i64) -> Result<()> {
        let places = on_disk(&self.store, Store::places).await?;
        for (sink, (place, lag)) in places {
            let at = match self.stuck.get(&sink) {
                Some((stuck, at)) if *stuck == place && lag > 0 => *at,
                _ => now,
            };
            self.stuck.insert(sink.clone(), (place, at));
            let is_dead = lag > 0 && now.saturating_sub(at) >= self.dead_after;
            let state = if is_dead { State::Open } else { State::Closed };
            let others: Vec<String> =
                self.people.iter().filter(|other| **other != sink).cloned().collect();
            let call = self.call(&sink, state, lag, at);
            let told = on_disk(&self.store, move |store| store.call(&others, &call, now)).await?;
            if is_dead && told {
                warn!(sink, waiting = lag, "a sink takes nothing, others are told");
            }
        }
        Ok(())
    }

    fn call(&self, sink: &str, state: State, lag: u64, since: i64) -> Call {
        let minutes = self.dead_after / MINUTE;
        let title = match state {
            State::Closed => format!("Over: sink {sink} takes findings again"),
            _ => format!("Sink {sink} is dead"),
        };
        let text = format!(
            "{title}\n\nIt took nothing for {minutes} minutes; {lag} wait for it. None is lost: it \
             goes on where it was.\n\nWhat to do first\n- Look whether its receiver is there, then \
             at the server's log, which says what it answers.\n"
        );
        let time = silence::text(since);
        Call {
            id: format!("auditmill: sink {sink}"),
            revision: 0,
            state,
            severity: crate::findings::paging::DEAD_SINK,
            cluster: String::new(),
            route: String::new(),
            title,
            text,
            first_seen: time.clone(),
            last_seen: time,
            incidents_total: 0,
            incidents: Vec::new(),
            page: None,
        }
    }
}

/// The routes to sinks for people; a sink for people that no route names has one of its own.
fn plans(settings: &Settings) -> Result<Vec<Plan>> {
    let is_for_people = |name: &&String| {
        settings.sinks.iter().any(|sink| sink.name() == name.as_str() && sink.is_for_people())
    };
    let mut plans = Vec::new();
    for route in &settings.routes {
        let plan = plan(route).with_context(|| format!("route `{}`", route.name.as_str()))?;
        let sinks = plan.sinks.iter().filter(is_for_people).cloned().collect();
        let escalate_to = plan.escalate_to.iter().filter(is_for_people).cloned().collect();
        let plan = Plan { sinks, escalate_to, ..plan };
        // One for machines alone filters findings, see [`told`].
        if !plan.sinks.is_empty() || !plan.escalate_to.is_empty() {
            plans.push(plan);
        }
    }
    for sink in settings.sinks.iter().filter(|sink| sink.is_for_people()) {
        let name = sink.name();
        let is_named =
            |route: &Route| route.sinks.iter().chain(&route.escalate_to).any(|named| named == name);
        if !settings.routes.iter().any(is_named) {
            plans.push(Plan {
                name: format!("sink {name}"),
                matcher: Matcher::default(),
                sinks: vec![name.to_owned()],
                group_by: Vec::new(),
                rate: 10,
                rate_span: 10 * MINUTE,
                quiet: None,
                repeat: 240 * MINUTE,
                escalate_after: 0,
                escalate_to: Vec::new(),
            });
        }
    }
    Ok(plans)
}

fn plan(route: &Route) -> Result<Plan> {
    let group_by = route.group_by.iter().map(|by| by.parse().map_err(anyhow::Error::msg));
    let unless = route.quiet_unless.parse().map_err(anyhow::Error::msg).context("quiet_unless");
    let unless = unless?;
    Ok(Plan {
        name: route.name.as_str().to_owned(),
        matcher: matcher(&route.matches)?,
        sinks: route.sinks.clone(),
        group_by: group_by.collect::<Result<_>>().context("group_by")?,
        rate: u64::from(route.rate),
        rate_span: route.rate_span.micros(),
        quiet: route.quiet.map(|hours| Quiet {
            from: i64::from(hours.from) * MINUTE,
            to: i64::from(hours.to) * MINUTE,
            unless,
        }),
        repeat: route.repeat.micros(),
        escalate_after: route.escalate_after.micros(),
        escalate_to: route.escalate_to.clone(),
    })
}

fn matcher(matches: &Match) -> Result<Matcher> {
    let severity = matches.severity.iter().map(|of| of.parse().map_err(anyhow::Error::msg));
    Ok(Matcher {
        severity: severity.collect::<Result<_>>().context("severity")?,
        cluster: matches.cluster.clone(),
        namespace: matches.namespace.clone(),
        detection: matches.detection.clone(),
        control: matches.control.clone(),
        user: matches.user.clone(),
    })
}

/// Which findings a sink for machines is told: those that one of these fits; all, without any.
///
/// # Errors
/// When a route says something that cannot be.
pub fn told(sink: &Sink, routes: &[Route]) -> Result<Vec<Matcher>> {
    let named = routes.iter().filter(|route| route.sinks.iter().any(|name| name == sink.name()));
    named.map(|route| matcher(&route.matches)).collect()
}
