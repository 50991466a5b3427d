//! Routes, the layers around them, and the one place where an error becomes a status.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_extractor_with_state, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures::StreamExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

use super::auth::{Gate, Viewer};
use super::{audit, findings, health, incidents, silences, sql, stream, triage};
use crate::findings::database::StoreError;
use crate::findings::store::Store;
use crate::ingest::accept::{Door, Refusal, Why};
use crate::metrics::Metrics;
use crate::query::service::{QueryError, QueryService};

/// What handlers call.
#[derive(Debug)]
pub struct Shared {
    /// The way in.
    pub door: Arc<Door>,
    /// Findings.
    pub store: Arc<Store>,
    /// SQL.
    pub query: Arc<QueryService>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether deliveries are taken.
    pub ready: health::Ready,
    /// The largest body of a delivery.
    pub body_bytes_max: usize,
    /// The longest time that a body may take.
    pub body_timeout: Duration,
    /// Who is let in.
    pub gate: Gate,
}

/// Which `Host` headers are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostCheck {
    /// Names of this machine only: without credentials, a web page must not reach us through a
    /// name of its own that resolves to loopback.
    LoopbackOnly,
    /// Any: clients prove who they are.
    Any,
}

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    // Handlers of deliveries look at the caller themselves: what it may depends on the cluster.
    let deliveries = Router::new()
        .route("/v1/audit", post(audit::post_default))
        .route("/v1/audit/{cluster}", post(audit::post_cluster));
    let known = Router::new()
        .route("/v1/findings", get(findings::list))
        .route("/v1/findings/stream", get(stream::stream))
        .route("/v1/findings/{id}", get(findings::one).patch(triage::finding))
        .route("/v1/incidents", get(incidents::list))
        .route("/v1/incidents/{id}", get(incidents::one).patch(triage::incident))
        .route("/v1/silences", get(silences::list).post(silences::add))
        .route("/v1/silences/{name}", delete(silences::end))
        .route("/v1/sql", post(sql::post))
        .route("/metrics", get(health::metrics))
        .route_layer(from_fn_with_state(Arc::clone(&shared), read_body))
        .route_layer(from_extractor_with_state::<Viewer, _>(Arc::clone(&shared)));
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(deliveries)
        .merge(known)
        .fallback(|| async { Failure::NotFound("no such path".to_owned()) })
        .layer(from_fn_with_state(Arc::clone(&shared), check_host))
        .layer(CatchPanicLayer::new())
        .with_state(shared)
}

/// Refuses other names than this machine's when that is asked for.
async fn check_host(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.gate.host_check() == HostCheck::LoopbackOnly {
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = request.uri().authority().map_or(named, |authority| Some(authority.as_str()));
        if !host.is_some_and(is_loopback) {
            let message = "this address serves only clients of this machine: use localhost or \
                           127.0.0.1 as the host";
            return Failure::Forbidden(message.to_owned()).into_response();
        }
    }
    next.run(request).await
}

/// Reads a body whole, in time. Deliveries do that in their handler, within the budget.
async fn read_body(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(shared.body_timeout, read_question(body)).await {
        Ok(Ok(body)) => Body::from(body),
        Ok(Err(failure)) => return failure.into_response(),
        Err(_) => return Failure::TooSlow.into_response(),
    };
    next.run(Request::from_parts(head, body)).await
}

const QUESTION_BYTES_MAX: usize = 2 << 20;

/// So much of a body that is too large is read all the same: a client that is still sending when
/// its connection is closed may never see why.
const PASSED_OVER_BYTES_MAX: usize = 64 << 20;

async fn read_question(body: Body) -> Result<Vec<u8>, Failure> {
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| Failure::Wrong(format!("body: {error}")))?;
        length = length.saturating_add(part.len());
        if length <= QUESTION_BYTES_MAX {
            kept.extend_from_slice(&part);
        } else if length > PASSED_OVER_BYTES_MAX {
            break;
        }
    }
    if length > QUESTION_BYTES_MAX {
        return Err(Failure::QuestionTooLarge(format!(
            "the body is larger than the {QUESTION_BYTES_MAX} bytes that a question may have"
        )));
    }
    Ok(kept)
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Everything that can go wrong on the wire.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request itself is wrong.
    Wrong(String),
    NotFound(String),
    /// It is not what the request takes it for.
    Conflict(String),
    /// No credential, or none that is known.
    Unauthorized,
    Forbidden(String),
    /// Not now; the sender keeps the bytes.
    Busy {
        after: Duration,
        why: Why,
    },
    TooLarge {
        bytes_max: usize,
    },
    TooSlow,
    QueryTimedOut(String),
    /// A question longer than any that is read.
    QuestionTooLarge(String),
    /// As many queries as there is room for are under way.
    QueriesBusy {
        after: Duration,
        message: String,
    },
    /// What is asked for cannot be read at the moment.
    HistoryAway {
        after: Duration,
        message: String,
    },
    /// Our own fault.
    Broken(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy { after, why } => Self::Busy { after, why },
            Refusal::Forbidden(message) => Self::Forbidden(message),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Wrong(_) | QueryError::TooManyRows(_) | QueryError::Memory { .. } => {
                Self::Wrong(message)
            }
            QueryError::TooLong { .. } => Self::QuestionTooLarge(message),
            QueryError::Busy { after } => Self::QueriesBusy { after, message },
            QueryError::Away { after, .. } => Self::HistoryAway { after, message },
            QueryError::TimedOut(_) => Self::QueryTimedOut(message),
            QueryError::Broken => Self::Broken(message),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        error!(error = format!("{error:?}"), "question to the findings store failed");
        Self::Broken(error.to_string())
    }
}

impl Failure {
    /// A bounded word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "wrong",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Busy { why, .. } => why.as_str(),
            Self::TooLarge { .. } => "too_large",
            Self::TooSlow => "too_slow",
            Self::QueryTimedOut(_) => "query_timed_out",
            Self::QuestionTooLarge(_) => "question_too_large",
            Self::QueriesBusy { .. } => "queries_busy",
            Self::HistoryAway { .. } => "history_away",
            Self::Broken(_) => "broken",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut header = None;
        let (status, message) = match self {
            Self::Wrong(message) => (StatusCode::BAD_REQUEST, message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::Conflict(message) => (StatusCode::CONFLICT, message),
            Self::Unauthorized => {
                // RFC 9110, section 11.6.1: a 401 says how to do better.
                header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
                let message = "show the token or the certificate of an `[[auth.client]]`";
                (StatusCode::UNAUTHORIZED, message.to_owned())
            }
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Self::Busy { after, why } => {
                header = Some((RETRY_AFTER, HeaderValue::from(after.as_secs())));
                (StatusCode::TOO_MANY_REQUESTS, format!("no room now ({why}), send the same again"))
            }
            Self::TooLarge { bytes_max } => {
                let message = format!(
                    "the body is larger than {bytes_max} bytes: raise `[http] body_bytes_max`, \
                     or turn on the API server's --audit-webhook-truncate-enabled"
                );
                (StatusCode::PAYLOAD_TOO_LARGE, message)
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body came too slowly".to_owned()),
            Self::QueryTimedOut(message) => (StatusCode::REQUEST_TIMEOUT, message),
            Self::QuestionTooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, message),
            Self::QueriesBusy { after, message } => {
                header = Some((RETRY_AFTER, HeaderValue::from(after.as_secs())));
                (StatusCode::TOO_MANY_REQUESTS, message)
            }
            Self::HistoryAway { after, message } => {
                header = Some((RETRY_AFTER, HeaderValue::from(after.as_secs())));
                (StatusCode::SERVICE_UNAVAILABLE, message)
            }
            Self::Broken(message) => (StatusCode::INTERNAL_SERVER_ERROR, message),
        };
        let mut response = json(&serde_json::json!({ "error": message }));
        *response.status_mut() = status;
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A JSON answer.
pub(crate) fn json(value: &impl serde::Serialize) -> Response {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    json_bytes(bytes)
}

/// An answer that is JSON already.
pub(crate) fn json_bytes(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.8.8", "[::1]:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "127.0.0.1.nip.io"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
