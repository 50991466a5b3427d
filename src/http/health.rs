//! `GET /healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::auth::Viewer;
use super::routes::{Failure, Shared};

/// Whether deliveries are taken; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says whether deliveries are taken from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::SeqCst);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Deliveries are taken; 503 while starting and stopping.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    if shared.ready.get() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

/// All counters, for Prometheus.
pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
) -> Result<Response, Failure> {
    viewer.may_see_all()?;
    shared.metrics.pending(shared.door.pending());
    let store = Arc::clone(&shared.store);
    // Without an answer from the disk the figures stay as they were.
    if let Ok(Ok(lags)) = tokio::task::spawn_blocking(move || store.lags()).await {
        for (sink, findings) in lags {
            shared.metrics.sink_lag(&sink, findings);
        }
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], shared.metrics.render()).into_response())
}
