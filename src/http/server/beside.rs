//! Another protocol over HTTP/2 on a port of its own, with the TLS of the server beside it.
//!
//! Promise: a connection gets a place or is closed, and keeps it only if one of its requests is let
//! in soon. HTTP/1 is for the router to refuse: the library cannot be told to.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use super::accept::{Room, Welcome};
use super::{PING_INTERVAL, PING_TIMEOUT, Server, enter};
use crate::query::postgres::Counts;

/// Requests at the same time on one connection. Each may hold a message and a part of an answer;
/// more of them wait at the client.
const STREAMS_MAX: u32 = 16;

/// How long requests under way get when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A socket that listens, not serving yet.
pub struct Beside {
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    room: Room,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// Another protocol on this socket, with the TLS of this server and its reload; the setting
    /// says how many connections there may be.
    #[must_use]
    pub fn beside(
        &self,
        listener: TcpListener,
        router: Router,
        (setting, connections_max): (&'static str, usize),
        counts: Counts,
    ) -> Beside {
        let tls = self.tls.as_ref().map(|tls| tls.config.clone());
        let room = Room::new(setting, connections_max, Welcome::WhenLetIn).counted(counts);
        Beside { listener, router, tls, room }
    }
}

impl Beside {
    /// Serves until `stop`, then lets requests under way come to their end for a while.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let handle: Handle<SocketAddr> = Handle::new();
        let mut server = axum_server::from_tcp(self.listener)?.handle(handle.clone());
        let mut http2 = server.http_builder().http2();
        http2.max_concurrent_streams(STREAMS_MAX).timer(TokioTimer::new());
        http2.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
        let stopped = async {
            stop.cancelled().await;
            handle.graceful_shutdown(Some(STOP_GRACE));
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = enter(server, self.router, self.tls, self.room) => ended,
            never = stopped => match never {},
        }
    }
}
