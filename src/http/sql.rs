//! `POST /v1/sql`: `{"query": "...", "format": "json"}`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::routes::{Failure, Shared, json_bytes};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
}

/// The rows as an array of objects. The query stops when the client leaves.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Response, Failure> {
    let question: Question = serde_json::from_slice(&body).map_err(|error| {
        Failure::Wrong(format!(
            "body: {error}; send {{\"query\": \"SELECT ...\", \"format\": \"json\"}}"
        ))
    })?;
    let rows = match question.format {
        Format::Json => shared.query.json(&question.query).await?,
    };
    Ok(json_bytes(rows))
}
