//! `GET /v1/incidents`, `GET /v1/incidents/{id}` with its timeline and the story of it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::auth::Viewer;
use super::findings::{LIMIT_DEFAULT, LIMIT_MAX, ask, since};
use super::routes::{Failure, Shared, json};
use super::triage::{Done, trail};
use crate::clock::now_micros;
use crate::detect::detection::Severity;
use crate::findings::incident::page::Page;
use crate::findings::incident::reading::{IncidentFilter, Moment};
use crate::findings::incident::record::Incident;
use crate::findings::triage::Kind;

/// Findings of a timeline that are shown; all are in the table `incident_findings`.
const TIMELINE_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// RFC 3339, or a duration back from now such as `24h`.
    since: Option<String>,
    /// One severity or several, separated by commas.
    severity: Option<String>,
    cluster: Option<String>,
    /// One state or several, separated by commas.
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// An incident with all that there is to say of it.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    incident: Incident,
    timeline: Vec<Moment>,
    triage: Vec<Done>,
    page: Page,
    text: String,
}

/// A page of incidents, the latest first.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    params: Result<Query<Params>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(params) = params.map_err(|error| Failure::Wrong(error.body_text()))?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let filter = IncidentFilter {
        since: params.since.as_deref().map(since).transpose()?,
        severities: all_of::<Severity>("severity", params.severity.as_deref())?,
        cluster: params.cluster,
        within: viewer.clusters(),
        states: all_of("state", params.state.as_deref())?,
    };
    let cursor = params.cursor;
    let page =
        ask(&shared, move |store| store.incidents(&filter, limit, cursor.as_deref())).await?;
    Ok(json(&page))
}

/// One incident.
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let whole = ask(&shared, move |store| {
        let Some(incident) = store.incident(&id)?.filter(|found| viewer.sees(&found.cluster))
        else {
            return Ok(None);
        };
        let page = store.page(&incident, None, now_micros())?;
        let (timeline, triage) =
            (store.timeline(&id, TIMELINE_MAX)?, trail(store, Kind::Incident, &id)?);
        Ok(Some(Whole { incident, timeline, triage, text: page.text(), page }))
    });
    let unknown = || Failure::NotFound("no incident of this id".to_owned());
    Ok(json(&whole.await?.ok_or_else(unknown)?))
}

fn all_of<T: std::str::FromStr<Err = String>>(
    name: &str,
    text: Option<&str>,
) -> Result<Vec<T>, Failure> {
    let names = text.into_iter().flat_map(|text| text.split(','));
    let read = names.map(|name| name.trim().parse::<T>()).collect::<Result<_, _>>();
    read.map_err(|error| Failure::Wrong(format!("{name}: {error}")))
}
