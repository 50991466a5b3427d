//! `GET /v1/findings/stream`: findings as server-sent events, as they come.
//!
//! An event's `id` is the number of its change, its `data` the finding as in `/v1/findings`. A
//! client that comes again says in `Last-Event-ID` what it had last, and gets everything since,
//! each finding once, in its newest version; a new one begins with the present. Nothing is
//! buffered: what a slow client has not read is still in the store.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use tokio::sync::watch;
use tracing::error;

use super::auth::Viewer;
use super::findings::Params;
use super::routes::{Failure, Shared};
use crate::findings::reading::{Changes, Filter};
use crate::findings::record::FindingRecord;
use crate::findings::store::{Change, Store, Tip};

/// Findings read at once for one client.
const PART: usize = 64;
/// A comment this often keeps proxies from closing a connection on which nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The stream.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
    headers: HeaderMap,
    params: Result<Query<Params>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(params) = params.map_err(|error| Failure::Wrong(error.body_text()))?;
    if params.has_pages() {
        return Err(Failure::Wrong("limit, cursor: a stream has no pages".to_owned()));
    }
    let tip = shared.store.follow();
    let after = match headers.get("last-event-id") {
        None => tip.borrow().change,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.trim().parse().ok());
            let wrong = "Last-Event-ID: must be the `id` of an event of this stream";
            id.ok_or_else(|| Failure::Wrong(wrong.to_owned()))?
        }
    };
    let filter = params.filter(viewer.clusters())?;
    let store = Arc::clone(&shared.store);
    let reader = Reader { store, tip, filter, after, read: VecDeque::new() };
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(events(reader)).keep_alive(heartbeat).into_response())
}

struct Reader {
    store: Arc<Store>,
    tip: watch::Receiver<Tip>,
    filter: Filter,
    /// The client has, or will get from `read`, everything up to here.
    after: Change,
    read: VecDeque<(Change, Arc<FindingRecord>)>,
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some((change, record)) = reader.read.pop_front() {
                // Texts and numbers only: there is nothing that cannot be written.
                let data = serde_json::to_string(record.as_ref()).unwrap_or_default();
                return Some((Ok(Event::default().id(change.to_string()).data(data)), reader));
            }
            let closed = reader.tip.borrow_and_update().closed;
            let changes = reader.changes().await?;
            let nothing = changes.findings.is_empty();
            reader.after = changes.next;
            reader.read = changes.findings.into();
            if nothing && (closed || reader.tip.changed().await.is_err()) {
                return None;
            }
        }
    })
}

impl Reader {
    /// What came since; `None` ends the stream, and the client comes again.
    async fn changes(&self) -> Option<Changes> {
        let (store, filter, after) = (Arc::clone(&self.store), self.filter.clone(), self.after);
        let read = tokio::task::spawn_blocking(move || {
            let changes = store.changes_after(after, &filter, PART)?;
            // A number that a client may come back with must not be given again.
            store.sync_change(changes.next)?;
            Ok::<_, crate::findings::database::StoreError>(changes)
        });
        match read.await {
            Ok(Ok(changes)) => Some(changes),
            Ok(Err(error)) => {
                error!(error = format!("{error:?}"), "a stream of findings ends");
                None
            }
            Err(_) => None,
        }
    }
}
