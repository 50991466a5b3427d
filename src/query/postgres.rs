//! PostgreSQL's wire: psql, JDBC, Grafana, DBeaver ask the same tables as `POST /v1/sql`.
//!
//! ```text
//! TCP ── startup.rs ── session.rs ── order.rs      what the session answers itself
//!        TLS, who      messages   └─ prepared.rs ── query::service ── column.rs ── TCP
//! ```
//!
//! Promise: one engine, one set of limits: a question here runs, waits, is cut short and is stopped
//! as one over HTTP. A client costs a bounded amount of memory whatever it sends, and one that
//! sends or reads nothing is let go. Never: a session that sees another's statements or parameters.

pub(super) mod catalog;
pub(super) mod column;
mod cursor;
mod failure;
mod function;
pub mod message;
mod order;
pub(super) mod parameter;
mod prepared;
mod registry;
mod reply;
pub(super) mod rewrite;
mod session;
mod startup;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::failure::Failure;
use self::registry::Registry;
use self::session::{Session, State};
pub use self::startup::{Admits, TlsNow};
use self::startup::{Purpose, admit, purpose, welcome};
use self::wire::Ended;
use super::service::QueryService;

/// How long a client may take to say who it is.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections beyond the last place that are heard at the same time: some want to stop a query,
/// the others are told that there is no place.
const TURNED_AWAY_MAX: usize = 64;

/// How long queries under way get when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// When a connection without a word is asked whether its other end is there: first, and then each.
const KEEPALIVE: [Duration; 2] = [Duration::from_mins(1), Duration::from_secs(15)];

/// What happens to sessions, for who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A session has begun.
    Opened,
    /// It has ended.
    Closed,
    /// Somebody was turned away: there were as many as there may be.
    Full,
    /// Somebody was not let in.
    Refused,
    /// A query is answered.
    Answered,
    /// A query is not answered, or not from its first row on.
    Failed,
}

/// Told of what happens to sessions.
pub type Counts = Arc<dyn Fn(Happened) + Send + Sync>;

/// A socket that listens, and what sessions on it need.
pub struct Postgres {
    listener: std::net::TcpListener,
    sessions_max: usize,
    parts: Parts,
}

/// What sessions share.
#[derive(Clone)]
struct Parts {
    query: Arc<QueryService>,
    tls: Option<TlsNow>,
    admits: Admits,
    counts: Counts,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Sessions on this socket, at most `sessions_max` at the same time; in TLS only, if there is
    /// any.
    #[must_use]
    pub fn new(
        listener: std::net::TcpListener,
        sessions_max: usize,
        query: Arc<QueryService>,
        tls: Option<TlsNow>,
        (admits, counts): (Admits, Counts),
    ) -> Self {
        let parts = Parts { query, tls, admits, counts, registry: Arc::default() };
        Self { listener, sessions_max, parts }
    }

    /// Serves until `stop`, then lets queries under way come to their end for a while.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        let places = Arc::new(Semaphore::new(self.sessions_max.min(Semaphore::MAX_PERMITS)));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(ended) = sessions.join_next() => {
                    said(ended);
                    continue;
                }
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No more files, for one: it passes.
                    warn!(%error, "a connection could not be taken");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (parts, stop) = (self.parts.clone(), stop.clone());
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                sessions.spawn(parts.session(stream, peer, place, stop));
            } else if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
                (parts.counts)(Happened::Full);
                sessions.spawn(parts.turn_away(stream, place));
            } else {
                (parts.counts)(Happened::Full);
            }
        }
        drop(listener);
        let ends = async { while sessions.join_next().await.is_some() {} };
        if timeout(STOP_GRACE, ends).await.is_err() {
            sessions.shutdown().await;
        }
        Ok(())
    }
}

/// A session that panicked is a fault of ours, and of no one else's session.
fn said(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a session ended in an unforeseen way");
    }
}

/// Counts a session as long as it is there.
struct Open(Counts);

impl Drop for Open {
    fn drop(&mut self) {
        (self.0)(Happened::Closed);
    }
}

impl Parts {
    async fn session(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        _place: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let begun = timeout(STARTUP_TIMEOUT, self.begin(stream, stop)).await;
        let Ok(Some(session)) = begun else {
            debug!(%peer, "a connection became no session");
            return;
        };
        (self.counts)(Happened::Opened);
        let _open = Open(Arc::clone(&self.counts));
        session.run().await;
    }

    /// A session, if that is what a connection is for.
    async fn begin(&self, stream: TcpStream, stop: CancellationToken) -> Option<Session> {
        let [first, each] = KEEPALIVE;
        let alive = TcpKeepalive::new().with_time(first).with_interval(each);
        let kept = stream.set_nodelay(true).and(SockRef::from(&stream).set_tcp_keepalive(&alive));
        if let Err(error) = kept {
            debug!(%error, "a connection keeps the system's own settings");
        }
        let (mut wire, certificate, start) = match purpose(stream, self.tls.as_ref()).await {
            Ok(Purpose::Session { wire, certificate, start }) => (wire, certificate, start),
            Ok(Purpose::Cancel { session, secret }) => {
                self.registry.cancel(session, &secret);
                return None;
            }
            Err(_) => return None,
        };
        let certificate = certificate.as_deref();
        let admits = &self.admits;
        let let_in = admit(&mut wire, certificate, &start, admits, STARTUP_TIMEOUT).await;
        let asker = match let_in {
            Ok(asker) => asker,
            Err(Ended::Left) => return None,
            Err(Ended::Told(failure)) => {
                (self.counts)(Happened::Refused);
                debug!(code = failure.code, "a client was not let in");
                wire.close(Some(&failure)).await;
                return None;
            }
        };
        let place = self.registry.enter()?;
        welcome(&mut wire, &start, place.key());
        let counts = Arc::clone(&self.counts);
        let counted = Arc::new(move |well| {
            counts(if well { Happened::Answered } else { Happened::Failed });
        });
        let state = State::with(start.application_name());
        let query = Arc::clone(&self.query);
        Some(Session { wire, query, asker, place, stop, counted, state })
    }

    /// Says that there is no place, or stops a query.
    async fn turn_away(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let heard = async {
            match purpose(stream, self.tls.as_ref()).await {
                Ok(Purpose::Session { wire, .. }) => {
                    let message = "too many clients already, the limit of `[query] sessions_max`";
                    let failure = Failure::fatal("53300", message);
                    wire.close(Some(&failure.hint("close other sessions, or raise it"))).await;
                }
                Ok(Purpose::Cancel { session, secret }) => self.registry.cancel(session, &secret),
                Err(_) => {}
            }
        };
        if timeout(STARTUP_TIMEOUT, heard).await.is_err() {
            debug!("one that was turned away did not listen");
        }
    }
}
