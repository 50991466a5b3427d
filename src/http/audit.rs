//! `POST /v1/audit[/{cluster}]`: a delivery of the API server's audit webhook.
//!
//! Answers: 200 once the delivery is in the journal, whatever its content; 401, 403, 408, 413
//! and 429 say what kept it out. The API server retries every other answer too and then drops the
//! batch, so content is never a reason to refuse.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::auth::Caller;
use super::routes::{Failure, Shared};
use crate::clock::now_micros;
use crate::ingest::accept::{ClusterName, RawBatch};
use crate::ingest::budget::Permit;

/// Deliveries that name no cluster are of `default`.
pub(super) async fn post_default(
    state: State<Arc<Shared>>,
    caller: Result<Caller, Failure>,
    body: Body,
) -> Response {
    let cluster = caller.and_then(|caller| allowed(&caller, ClusterName::default()));
    post(state, cluster, body).await
}

/// The cluster is told by the path: the API server drops any query string.
pub(super) async fn post_cluster(
    state: State<Arc<Shared>>,
    caller: Result<Caller, Failure>,
    Path(cluster): Path<String>,
    body: Body,
) -> Response {
    let cluster = caller.and_then(|caller| {
        let cluster = cluster.parse().map_err(Failure::Forbidden)?;
        allowed(&caller, cluster)
    });
    post(state, cluster, body).await
}

/// The cluster, when this caller may deliver for it.
fn allowed(caller: &Caller, cluster: ClusterName) -> Result<ClusterName, Failure> {
    caller.may_deliver(&cluster).map(|()| cluster)
}

async fn post(
    State(shared): State<Arc<Shared>>,
    cluster: Result<ClusterName, Failure>,
    body: Body,
) -> Response {
    let started = Instant::now();
    let taken = match cluster {
        Ok(cluster) => take(&shared, cluster, body).await,
        Err(failure) => Err(failure),
    };
    match taken {
        Ok((cluster, bytes)) => {
            shared.metrics.delivery(cluster.as_str(), bytes, started.elapsed().as_secs_f64());
            StatusCode::OK.into_response()
        }
        Err(failure) => {
            shared.metrics.refused(failure.reason());
            failure.into_response()
        }
    }
}

async fn take(
    shared: &Shared,
    cluster: ClusterName,
    body: Body,
) -> Result<(ClusterName, usize), Failure> {
    let received_at = now_micros();
    let (body, permit) = match tokio::time::timeout(shared.body_timeout, read(shared, body)).await {
        Ok(read) => read?,
        Err(_) => return Err(Failure::TooSlow),
    };
    let bytes = body.len();
    let batch = RawBatch { cluster: cluster.clone(), source: "webhook", received_at, body, permit };
    shared.door.accept(batch).await?;
    Ok((cluster, bytes))
}

/// Reads a body; memory is reserved before its bytes are kept.
async fn read(shared: &Shared, mut body: Body) -> Result<(Bytes, Permit), Failure> {
    let too_large = Failure::TooLarge { bytes_max: shared.body_bytes_max };
    let announced = axum::body::HttpBody::size_hint(&body).exact();
    let announced = usize::try_from(announced.unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > shared.body_bytes_max {
        return Err(too_large);
    }
    let mut permit = shared.door.reserve(announced)?;
    let mut reserved = announced;
    let mut bytes = BytesMut::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Wrong(format!("body cut short: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > shared.body_bytes_max {
            return Err(too_large);
        }
        if length > reserved {
            // A body without a length grows by doubling: one reservation per size, not per frame.
            let more = reserved.max(data.len()).min(shared.body_bytes_max - reserved);
            permit.merge(shared.door.reserve(more)?);
            reserved += more;
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), permit))
}
