//! What happens to a connection before its first request: it gets a place or is closed, it shakes
//! hands in time, and from then on its requests say who is at the other end.

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

/// How long a client may take for the bytes that tell HTTP/1 from HTTP/2; the HTTP library sets
/// its own limits only after them.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// The length of HTTP/2's preface (RFC 9113, section 3.4).
const FIRST_BYTES: usize = 24;

/// Places for connections; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    full: Arc<AtomicBool>,
}

impl Room {
    pub(super) fn new(connections_max: usize) -> Self {
        let places = Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS));
        Self { places: Arc::new(places), full: Arc::default() }
    }

    /// A place, if one is free; says in the log when that changes.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let full = place.is_none();
        if full && !self.full.swap(full, Ordering::Relaxed) {
            warn!("new connections are closed: there are `[http] connections_max` already");
        }
        if !full {
            self.full.store(false, Ordering::Relaxed);
        }
        place
    }
}

/// Accepts connections as `inner` does, within limits.
#[derive(Debug)]
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
    type Service = AddExtension<S, Peer>;
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
            let peer = peer(&stream);
            let connection = Connection {
                stream,
                first_bytes: Some(Box::pin(tokio::time::sleep(FIRST_BYTES_TIMEOUT))),
                read: 0,
                _place: place,
            };
            Ok((connection, AddExtension::new(service, peer)))
        })
    }
}

/// A connection with its place.
pub(super) struct Connection<T> {
    stream: T,
    /// Until the first bytes are here.
    first_bytes: Option<Pin<Box<Sleep>>>,
    read: usize,
    _place: OwnedSemaphorePermit,
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(timeout) = &mut self.first_bytes else { return polled };
        if polled.is_pending() {
            return match timeout.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            };
        }
        self.read += buffer.filled().len() - before;
        if FIRST_BYTES <= self.read {
            self.first_bytes = None;
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
