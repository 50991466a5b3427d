//! What happens to a connection before its first request: it gets a place or is closed, it shakes
//! hands in time, and from then on its requests say who is at the other end, and whether it stays.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower_http::add_extension::AddExtension;
use tracing::{debug, warn};

use crate::http::auth::Peer;
use crate::query::postgres::{Counts, Happened};

/// How long a client may take until it is welcome: for the bytes that tell HTTP/1 from HTTP/2, as
/// the HTTP library sets its own limits only after them, or for a request that is let in.
const PATIENCE: Duration = Duration::from_secs(10);

/// The length of HTTP/2's preface (RFC 9113, section 3.4).
const FIRST_BYTES: usize = 24;

/// Places for connections; clones share them.
#[derive(Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    full: Arc<AtomicBool>,
    /// The setting that says how many there are.
    setting: &'static str,
    welcome: Welcome,
    counts: Option<Counts>,
}

/// When a connection may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Its first bytes are here.
    AtFirstBytes,
    /// One of its requests was let in.
    WhenLetIn,
}

/// What becomes of a connection; each of its requests is told too.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Standing(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    welcome: AtomicBool,
    over: AtomicBool,
}

impl Standing {
    /// It may stay.
    pub(in crate::http) fn welcome(&self) {
        self.0.welcome.store(true, Ordering::Relaxed);
    }

    /// It is closed when it is looked at next, which pings see to.
    pub(in crate::http) fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    fn is_welcome(&self) -> bool {
        self.0.welcome.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }
}

impl Room {
    pub(super) fn new(setting: &'static str, connections_max: usize, welcome: Welcome) -> Self {
        let places = Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS));
        let (places, full) = (Arc::new(places), Arc::default());
        Self { places, full, setting, welcome, counts: None }
    }

    /// The same, with somebody who counts.
    pub(super) fn counted(self, counts: Counts) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// A place, if one is free; says in the log when that changes.
    fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let full = place.is_none();
        if full && !self.full.swap(full, Ordering::Relaxed) {
            warn!("new connections are closed: there are `{}` already", self.setting);
        }
        if !full {
            self.full.store(false, Ordering::Relaxed);
        }
        self.tell(if full { Happened::Full } else { Happened::Opened });
        place.map(|permit| Place { _permit: permit, room: self.clone() })
    }

    fn tell(&self, happened: Happened) {
        if let Some(counts) = &self.counts {
            counts(happened);
        }
    }
}

/// The place of one connection.
struct Place {
    _permit: OwnedSemaphorePermit,
    room: Room,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.tell(Happened::Closed);
    }
}

/// Accepts connections as `inner` does, within limits.
pub(super) struct Entrance<A, T> {
    pub(super) inner: A,
    /// Who is at the other end of a connection that `inner` accepted.
    pub(super) peer: fn(&T) -> Peer,
    pub(super) room: Room,
}

// Derived, it would ask for `T: Clone`.
impl<A: Clone, T> Clone for Entrance<A, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), peer: self.peer, room: self.room.clone() }
    }
}

impl<A, S, T> Accept<TcpStream, S> for Entrance<A, T>
where
    A: Accept<TcpStream, S, Stream = T, Service = S>,
    A::Future: Send + 'static,
    S: Send + 'static,
    T: Send + 'static,
{
    type Stream = Connection<T>;
    type Service = AddExtension<AddExtension<S, Peer>, Standing>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Some(place) = self.room.place() else {
            return Box::pin(async { Err(io::Error::other("no place for a connection")) });
        };
        let peer = self.peer;
        let accepted = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepted.await.inspect_err(|error| {
                debug!(%error, "a connection was not accepted");
            })?;
            let (peer, standing) = (peer(&stream), Standing::default());
            let connection = Connection {
                stream,
                patience: Some(Box::pin(tokio::time::sleep(PATIENCE))),
                read: 0,
                standing: standing.clone(),
                place,
            };
            Ok((connection, AddExtension::new(AddExtension::new(service, peer), standing)))
        })
    }
}

/// A connection with its place.
pub(super) struct Connection<T> {
    stream: T,
    /// Until it is welcome.
    patience: Option<Pin<Box<Sleep>>>,
    read: usize,
    standing: Standing,
    place: Place,
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.standing.is_over() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.patience.is_none() {
            return polled;
        }
        self.read = self.read.saturating_add(buffer.filled().len() - before);
        let has_said_enough =
            self.place.room.welcome == Welcome::AtFirstBytes && FIRST_BYTES <= self.read;
        if has_said_enough || self.standing.is_welcome() {
            self.patience = None;
        }
        if polled.is_pending()
            && let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
