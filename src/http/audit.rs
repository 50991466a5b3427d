//! `POST /v1/audit[/{cluster}]`: a delivery of the API server's audit webhook.
//!
//! Answers: 200 once the delivery is in the journal, whatever its content; 401, 403, 408, 413
//! and 429 say what kept it out. The API server retries every other answer too and then drops the
//! batch, so content is never a reason to refuse.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::auth::Caller;
use super::body::{Rest, read};
use super::routes::{Failure, Shared};
use crate::clock::now_micros;
use crate::event::ClusterName;
use crate::ingest::accept::{RawBatch, webhook_source};

/// What a sender other than the API server may say of its delivery.
#[derive(Deserialize)]
pub(super) struct Params {
    /// The envelope, for one that cannot be told by its shape.
    format: Option<String>,
}

/// A delivery as it stands in the request.
pub(super) struct Sent {
    params: Params,
    headers: HeaderMap,
    body: Body,
}

/// Deliveries that name no cluster are of `default`.
pub(super) async fn post_default(
    state: State<Arc<Shared>>,
    caller: Result<Caller, Failure>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let cluster = caller.and_then(|caller| allowed(&caller, ClusterName::default()));
    post(state, cluster, Sent { params, headers, body }).await
}

/// The cluster is told by the path: the API server drops any query string.
pub(super) async fn post_cluster(
    state: State<Arc<Shared>>,
    caller: Result<Caller, Failure>,
    Path(cluster): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let cluster = caller.and_then(|caller| {
        let cluster = cluster.parse().map_err(Failure::Forbidden)?;
        allowed(&caller, cluster)
    });
    post(state, cluster, Sent { params, headers, body }).await
}

/// The cluster, when this caller may deliver for it.
fn allowed(caller: &Caller, cluster: ClusterName) -> Result<ClusterName, Failure> {
    caller.may_deliver(&cluster).map(|()| cluster)
}

async fn post(
    State(shared): State<Arc<Shared>>,
    cluster: Result<ClusterName, Failure>,
    sent: Sent,
) -> Response {
    let started = Instant::now();
    let deadline = started + shared.body_timeout;
    let Sent { params, headers, mut body } = sent;
    let taken = match cluster {
        Ok(cluster) => take(&shared, cluster, &params, &headers, &mut body).await,
        Err(failure) => {
            // Nothing is read for who may not deliver.
            body = Body::empty();
            Err(failure)
        }
    };
    match taken {
        Ok((cluster, bytes)) => {
            shared.metrics.delivery(cluster.as_str(), bytes, started.elapsed().as_secs_f64());
            StatusCode::OK.into_response()
        }
        Err(failure) => {
            shared.metrics.refused(failure.reason());
            let rest = Rest { body, bytes_max: shared.body_bytes_max, deadline };
            rest.behind(failure.into_response(), &headers)
        }
    }
}

async fn take(
    shared: &Shared,
    cluster: ClusterName,
    params: &Params,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<(ClusterName, usize), Failure> {
    let received_at = now_micros();
    let source = webhook_source(params.format.as_deref()).map_err(Failure::Forbidden)?;
    let reading = read(shared, headers, body);
    let (body, permit) = match tokio::time::timeout(shared.body_timeout, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(Failure::TooSlow),
    };
    let bytes = body.len();
    let batch = RawBatch { cluster: cluster.clone(), source, received_at, body, permit };
    shared.door.accept(batch).await?;
    Ok((cluster, bytes))
}
