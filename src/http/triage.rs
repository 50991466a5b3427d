//! `PATCH /v1/findings/{id}` and `PATCH /v1/incidents/{id}`: what people make of them.
//!
//! ```json
//! {"state": "acknowledged", "assignee": "bob", "comment": "looking", "by": "alice"}
//! {"state": "closed", "reason": "false-positive", "comment": "the nightly backup"}
//! ```
//! What is not said stays. The same sent twice is done once. The answer is the finding or the
//! incident with what was done to it; of what is closed as a false positive, also `exempt`: an
//! entry for `exceptions.yaml`, filled in.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};

use super::auth::Caller;
use super::findings::ask;
use super::routes::{Failure, Shared, json};
use crate::clock::now_micros;
use crate::event::time::rfc3339;
use crate::findings::database::StoreError;
use crate::findings::incident::page::exemption;
use crate::findings::store::Store;
use crate::findings::triage::{Ask, Entry, Kind, Reason, State as Became, Triaged};

/// Letters that a name may have, and a comment.
const NAME_CHARS_MAX: usize = 200;
const COMMENT_CHARS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: Option<String>,
    reason: Option<String>,
    assignee: Option<String>,
    comment: Option<String>,
    /// Who asks, where nobody needs a credential.
    by: Option<String>,
}

/// Something that was done, with its time as text.
#[derive(Serialize)]
pub(super) struct Done {
    at: String,
    #[serde(flatten)]
    entry: Entry,
}

/// Triage of a finding.
pub(super) async fn finding(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Failure> {
    patch(&shared, Kind::Finding, id, &caller, &body).await
}

/// Triage of an incident.
pub(super) async fn incident(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Failure> {
    patch(&shared, Kind::Incident, id, &caller, &body).await
}

async fn patch(
    shared: &Shared,
    kind: Kind,
    id: String,
    caller: &Caller,
    body: &[u8],
) -> Result<Response, Failure> {
    caller.may_triage()?;
    let body: Body =
        serde_json::from_slice(body).map_err(|error| Failure::Wrong(format!("body: {error}")))?;
    let who = caller.name(body.by.as_deref());
    let asked = asked(&body)?;
    bounded("by", &who, NAME_CHARS_MAX)?;
    let caller = caller.clone();
    let answer = ask(shared, move |store| {
        let now = now_micros();
        let cluster = match kind {
            Kind::Finding => store.get(&id)?.map(|finding| finding.cluster.clone()),
            Kind::Incident => store.incident(&id)?.map(|incident| incident.cluster),
        };
        // Whoever may not see it is not told that it is there.
        if cluster.is_some_and(|cluster| !caller.sees(&cluster)) {
            return Ok(Err(unknown()));
        }
        match store.triage((kind, &id), &asked, &who, now)? {
            Triaged::Unknown => Ok(Err(unknown())),
            Triaged::MergedInto(into) => Ok(Err(Failure::Conflict(format!(
                "incident {id} became a part of incident {into}: ask that one"
            )))),
            Triaged::Done => Ok(Ok(now_is(store, kind, &id, &asked, &who, now)?)),
        }
    });
    Ok(json(&answer.await??))
}

fn unknown() -> Failure {
    Failure::NotFound("nothing of this id".to_owned())
}

fn asked(body: &Body) -> Result<Ask, Failure> {
    let wrong = |error: String| Failure::Wrong(error);
    let state = body.state.as_deref().map(str::parse::<Became>).transpose().map_err(wrong)?;
    let reason = body.reason.as_deref().map(str::parse::<Reason>).transpose().map_err(wrong)?;
    if reason.is_some() && state != Some(Became::Closed) {
        return Err(wrong("reason: only what is closed has one".to_owned()));
    }
    let (assignee, comment) = (body.assignee.clone(), body.comment.clone());
    if state.is_none() && assignee.is_none() && comment.is_none() {
        return Err(wrong("say `state`, `assignee` or `comment`".to_owned()));
    }
    bounded("assignee", assignee.as_deref().unwrap_or_default(), NAME_CHARS_MAX)?;
    bounded("comment", comment.as_deref().unwrap_or_default(), COMMENT_CHARS_MAX)?;
    Ok(Ask { state, reason, assignee, comment })
}

fn bounded(name: &str, text: &str, chars_max: usize) -> Result<(), Failure> {
    if text.chars().count() <= chars_max {
        return Ok(());
    }
    Err(Failure::Wrong(format!("{name}: more than {chars_max} letters")))
}

/// What is there after it was done.
fn now_is(
    store: &Store,
    kind: Kind,
    id: &str,
    asked: &Ask,
    who: &str,
    now: i64,
) -> Result<Value, StoreError> {
    let harmless = asked.reason == Some(Reason::FalsePositive);
    let why = asked.comment.as_deref().unwrap_or("say why this is harmless");
    let triage: Vec<Done> = trail(store, kind, id)?;
    let (mut answer, exempt) = match kind {
        Kind::Finding => {
            let record = store.get(id)?;
            let exempt = record.as_ref().map(|record| exemption(record, who, why, now));
            (object!({"finding": record, "state": store.known(kind, id)?}), exempt)
        }
        Kind::Incident => {
            let leads = store.lead_findings(id, usize::MAX)?;
            let exempt = leads.iter().map(|record| exemption(record, who, why, now)).collect();
            (object!({"incident": store.incident(id)?}), Some(exempt))
        }
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("triage".to_owned(), object!(triage));
        if let Some(exempt) = exempt.filter(|_| harmless) {
            fields.insert("exempt".to_owned(), exempt.into());
        }
    }
    Ok(answer)
}

/// What was done to a finding or an incident.
pub(super) fn trail(store: &Store, kind: Kind, id: &str) -> Result<Vec<Done>, StoreError> {
    let done = |entry: Entry| Done { at: rfc3339(entry.at), entry };
    Ok(store.trail(Some((kind, id)))?.into_iter().map(done).collect())
}
