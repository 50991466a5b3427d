//! `GET /v1/findings`, `GET /v1/findings/{id}`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::auth::Viewer;
use super::routes::{Failure, Shared, json};
use super::triage::{Done, trail};
use crate::clock::now_micros;
use crate::detect::detection::Severity;
use crate::event::Clusters;
use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::database::StoreError;
use crate::findings::reading::Filter;
use crate::findings::record::FindingRecord;
use crate::findings::store::Store;
use crate::findings::triage::{Kind, Known};

pub(super) const LIMIT_DEFAULT: usize = 100;
pub(super) const LIMIT_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// RFC 3339, or a duration back from now such as `24h`.
    since: Option<String>,
    /// One severity or several, separated by commas.
    severity: Option<String>,
    detection: Option<String>,
    cluster: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Params {
    /// What is asked for, of what may be seen.
    pub(super) fn filter(&self, within: Clusters) -> Result<Filter, Failure> {
        Ok(Filter {
            since: self.since.as_deref().map(since).transpose()?,
            severities: severities(self.severity.as_deref())?,
            detection: self.detection.clone(),
            cluster: self.cluster.clone(),
            within,
        })
    }

    /// Whether it is about pages.
    pub(super) fn has_pages(&self) -> bool {
        self.limit.is_some() || self.cursor.is_some()
    }
}

#[derive(Serialize)]
struct List<'a> {
    findings: Vec<&'a FindingRecord>,
    next: Option<String>,
}

/// A page of findings, the latest first; `Accept: application/x-ndjson` gives JSON lines.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    headers: HeaderMap,
    params: Result<Query<Params>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(params) = params.map_err(|error| Failure::Wrong(error.body_text()))?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let filter = params.filter(viewer.clusters())?;
    let cursor = params.cursor;
    let page = ask(&shared, move |store| store.list(&filter, limit, cursor.as_deref())).await?;
    let findings = page.findings.iter().map(Arc::as_ref);
    let lines = headers.get(ACCEPT).is_some_and(|accept| accept == "application/x-ndjson");
    if lines {
        let text = findings.filter_map(|f| serde_json::to_string(f).ok()).map(|line| line + "\n");
        let body: String = text.collect();
        return Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    Ok(json(&List { findings: findings.collect(), next: page.next }))
}

/// A finding with what people made of it.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    finding: FindingRecord,
    incident: Option<String>,
    triage: Known,
    trail: Vec<Done>,
}

/// One finding, with the places of its events in the history.
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let whole = ask(&shared, move |store| {
        let Some(finding) = store.get(&id)?.filter(|found| viewer.sees(&found.cluster)) else {
            return Ok(None);
        };
        Ok(Some(Whole {
            finding: FindingRecord::clone(&finding),
            incident: store.incident_of(&id)?,
            triage: store.known(Kind::Finding, &id)?,
            trail: trail(store, Kind::Finding, &id)?,
        }))
    });
    let unknown = || Failure::NotFound("no finding of this id".to_owned());
    let whole = whole.await?.ok_or_else(unknown)?;
    let spots = shared.query.evidence(&whole.finding).await;
    // Texts and numbers only: there is nothing that cannot be written.
    let mut shown = serde_json::to_value(&whole).unwrap_or_default();
    let events = shown.get_mut("evidence").and_then(Json::as_array_mut);
    for (event, spot) in events.into_iter().flatten().zip(spots.into_iter().flatten()) {
        if let Some(event) = event.as_object_mut() {
            let of = |of: Option<u64>| of.map_or(Json::Null, Json::from);
            let segment = spot.map_or(Json::Null, |spot| spot.segment.to_string().into());
            event.insert("segment".to_owned(), segment);
            event.insert("row".to_owned(), of(spot.and_then(|spot| spot.row)));
            event.insert("leaf".to_owned(), of(spot.and_then(|spot| spot.leaf)));
        }
    }
    Ok(json(&shown))
}

/// Asks the store on a thread that may wait for the disk.
pub(super) async fn ask<T: Send + 'static>(
    shared: &Shared,
    question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let store = Arc::clone(&shared.store);
    let answer = tokio::task::spawn_blocking(move || question(&store)).await;
    Ok(answer.map_err(|_| Failure::Broken("the question failed".to_owned()))??)
}

/// A point in time as RFC 3339 in UTC with microseconds.
pub(super) fn since(text: &str) -> Result<String, Failure> {
    if let Some(micros) = parse_rfc3339(text) {
        return Ok(rfc3339(micros));
    }
    match humantime::parse_duration(text) {
        Ok(back) => {
            let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
            Ok(rfc3339(now_micros().saturating_sub(back)))
        }
        Err(_) => Err(Failure::Wrong(format!(
            "since: `{text}` is neither a time such as 2026-01-31T12:00:00Z nor a duration such \
             as 24h"
        ))),
    }
}

fn severities(text: Option<&str>) -> Result<Vec<String>, Failure> {
    let names = text.into_iter().flat_map(|text| text.split(','));
    let parsed = names.map(|name| name.trim().parse::<Severity>());
    let parsed: Result<Vec<_>, _> = parsed.collect();
    let parsed = parsed.map_err(|error| Failure::Wrong(format!("severity: {error}")))?;
    Ok(parsed.into_iter().map(|severity| severity.as_str().to_owned()).collect())
}
