//! Which sessions there are: places for them, and how a query of one is stopped by another
//! connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Stops of queries by the numbers of their sessions, and the secrets that they ask for.
#[derive(Debug, Default)]
pub(super) struct Registry {
    next: AtomicI32,
    sessions: Mutex<HashMap<i32, Stop>>,
}

/// A session's secret, and who waits for its being asked to stop.
type Stop = ([u8; 4], Arc<Notify>);

/// A session's entry, gone with its last clone.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    registry: Arc<Registry>,
    session: i32,
    secret: [u8; 4],
    cancel: Arc<Notify>,
}

impl Registry {
    /// A new session's place; `None` when the system gives no randomness for its secret.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut secret = [0; 4];
        let random = tokio_rustls::rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut secret).ok()?;
        let session = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let cancel = Arc::new(Notify::new());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session, (secret, Arc::clone(&cancel)));
        let registry = Arc::clone(self);
        Some(Place(Arc::new(Entry { registry, session, secret, cancel })))
    }

    /// Stops what the session is doing now, if this is its secret.
    pub(super) fn cancel(&self, session: i32, secret: &[u8]) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((expected, cancel)) = sessions.get(&session)
            && bool::from(expected.as_slice().ct_eq(secret))
        {
            cancel.notify_waiters();
        }
    }
}

impl Place {
    /// The session's number and secret, which its client is told.
    pub(super) fn key(&self) -> (i32, [u8; 4]) {
        (self.0.session, self.0.secret)
    }

    /// Ends when the session is asked to stop what it does, from now on.
    pub(super) fn cancelled(&self) -> Notified<'_> {
        self.0.cancel.notified()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.session);
    }
}
