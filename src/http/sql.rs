//! `POST /v1/sql`: `{"query": "...", "format": "json|csv|arrow|parquet"}`.
//!
//! The answer is streamed. What goes wrong before its first byte has a status and says why; after
//! that the body ends without its end, which every HTTP client tells from a whole one.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde::Deserialize;
use tracing::info;

use super::auth::Viewer;
use super::routes::{Failure, Shared};
use crate::query::format::Format;

/// How those ask who ask here.
const WIRE: &str = "http";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
    #[serde(default)]
    format: Option<Wanted>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Json,
    Csv,
    Arrow,
    Parquet,
}

impl From<Wanted> for Format {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Json => Self::Json,
            Wanted::Csv => Self::Csv,
            Wanted::Arrow => Self::Arrow,
            Wanted::Parquet => Self::Parquet,
        }
    }
}

/// The rows, in the format that the question names, else the first that `Accept` names, else
/// JSON. The query stops when the client leaves.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let question: Question = serde_json::from_slice(&body).map_err(|error| {
        Failure::Wrong(format!(
            "body: {error}; send {{\"query\": \"SELECT ...\", \"format\": \"json\"}}"
        ))
    })?;
    let accepted = || Format::accepted(headers.get(ACCEPT)?.to_str().ok()?);
    let format = question.format.map(Format::from).or_else(accepted).unwrap_or_default();
    let answer = shared.query.ask(&viewer.asker(WIRE), &question.query, format).await?;
    let parts = answer.into_parts().inspect(|part| {
        if let Err(error) = part {
            info!(%error, "the answer to a query is cut short");
        }
    });
    Ok(([(CONTENT_TYPE, format.media_type())], Body::from_stream(parts)).into_response())
}
