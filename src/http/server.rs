//! The listening socket: plain on loopback, or TLS, with limits on what connections may take.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use self::accept::{Entrance, Room, Welcome};
use self::tls::{Stamp, TlsFiles};
use super::auth::Peer;
use crate::config::Http;
use crate::config::auth::{Auth, Credential};

mod accept;
mod beside;
mod tls;

pub(super) use self::accept::Standing;
pub use self::beside::Beside;

/// Why the server cannot be set up; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings would open the door to everyone.
    #[error(
        "`{setting}` is {address}, which others can reach: set `[http] tls_cert` and `tls_key`, \
         and `[auth] client_ca` or an `[[auth.client]]`, or listen on 127.0.0.1"
    )]
    Open {
        /// Which of them.
        setting: &'static str,
        /// What it says.
        address: SocketAddr,
    },
    /// One of two settings that go together.
    #[error("`[http] tls_cert` and `tls_key` go together: set both or none")]
    HalfTls,
    /// Client certificates need TLS.
    #[error("`[auth] client_ca` needs TLS: set `[http] tls_cert` and `tls_key`")]
    ClientCaWithoutTls,
    /// A certificate that nobody could show.
    #[error("`[[auth.client]]` `{0}` has a `certificate`: set `[auth] client_ca` to who signed it")]
    CertificateWithoutCa(String),
    /// A PEM file cannot be used.
    #[error("{setting} `{path}`: {message}")]
    Pem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Certificate and key cannot be used together.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// The address cannot be listened on.
    #[error("listen on {address}, as `{setting}` says")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl ServerError {
    /// Somebody else has the port.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// A socket that listens, not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    connections_max: usize,
    handle: Handle<SocketAddr>,
}

#[derive(Debug)]
struct Tls {
    files: TlsFiles,
    seen: Stamp,
    config: RustlsConfig,
}

impl Server {
    /// Checks the settings and takes the port.
    ///
    /// # Errors
    /// When the settings are unsafe or incomplete, a file cannot be used, or the port is taken.
    pub fn bind(http: &Http, auth: &Auth) -> Result<Self, ServerError> {
        let tls = match TlsFiles::new(http, auth)? {
            // Stamped before they are read: a change in between is seen later.
            Some(files) => {
                let (seen, config) = (files.stamp(), files.load()?);
                Some(Tls { seen, config: RustlsConfig::from_config(config), files })
            }
            None => None,
        };
        check(auth)?;
        let (listener, address) = listen("[http] listen", http.listen, http, auth)?;
        let connections_max = http.connections_max.get();
        Ok(Self { listener, address, tls, connections_max, handle: Handle::new() })
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What TLS is as of each call, for another protocol on another socket; none without TLS.
    pub fn tls_for(
        &self,
        protocol: &'static [u8],
    ) -> Option<impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static> {
        let config = self.tls.as_ref()?.config.clone();
        Some(move || {
            let mut now = ServerConfig::clone(&config.get_inner());
            now.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(now)
        })
    }

    /// Stops it: no new requests, those under way are answered within `grace`.
    pub fn stopper(&self) -> impl Fn(Duration) + Send + 'static {
        let handle = self.handle.clone();
        move |grace| handle.graceful_shutdown(Some(grace))
    }

    /// Serves until stopped. SIGHUP and changed files load TLS again.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve(self, router: Router) -> std::io::Result<()> {
        // Also without TLS: by default, this signal would end the process.
        let hangup = signal(SignalKind::hangup())?;
        let mut server = axum_server::from_tcp(self.listener)?.handle(self.handle);
        let timer = hyper_util::rt::TokioTimer::new;
        server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT).timer(timer());
        let mut http2 = server.http_builder().http2();
        http2.max_concurrent_streams(STREAMS_MAX).timer(timer());
        http2.keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
        let setting = "[http] connections_max";
        let room = Room::new(setting, self.connections_max, Welcome::AtFirstBytes);
        let Some(Tls { files, seen, config }) = self.tls else {
            return enter(server, router, None, room).await;
        };
        tokio::select! {
            ended = enter(server, router, Some(config.clone()), room) => ended,
            never = tls::follow(files, seen, config, hangup) => match never {},
        }
    }
}

/// Serves whoever gets a place, in TLS if there is any, until it is stopped.
async fn enter(
    server: axum_server::Server<SocketAddr>,
    router: Router,
    tls: Option<RustlsConfig>,
    room: Room,
) -> std::io::Result<()> {
    let service = router.into_make_service();
    // Without TCP_NODELAY, HTTP/2 stalls for 40 ms at a time.
    let plain = NoDelayAcceptor::new();
    let Some(config) = tls else {
        let entrance = Entrance { inner: plain, peer: |_| Peer::default(), room };
        return server.acceptor(entrance).serve(service).await;
    };
    let inner = RustlsAcceptor::new(config).handshake_timeout(HANDSHAKE_TIMEOUT);
    let entrance = Entrance {
        inner: inner.acceptor(plain),
        peer: |stream: &Encrypted| peer(stream.get_ref().1),
        room,
    };
    server.acceptor(entrance).serve(service).await
}

/// What the TLS acceptor makes of a connection, whatever service it is for.
type Encrypted = <RustlsAcceptor<NoDelayAcceptor> as Accept<TcpStream, ()>>::Stream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 has no idle timeout; pings find out who has gone without a word.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;

/// Whoever the handshake found at the other end.
fn peer(connection: &rustls::ServerConnection) -> Peer {
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    leaf.map_or_else(Peer::default, |leaf| Peer::from_certificate(leaf))
}

/// Takes a port: of an address that others can reach only with TLS and credentials.
///
/// # Errors
/// When the settings would leave the door open, or the port is taken.
pub fn listen(
    setting: &'static str,
    address: SocketAddr,
    http: &Http,
    auth: &Auth,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    let credentials = auth.client_ca.is_some() || !auth.clients.is_empty();
    if !address.ip().is_loopback() && (http.tls_cert.is_none() || !credentials) {
        return Err(ServerError::Open { setting, address });
    }
    let fail = |source| ServerError::Listen { setting, address, source };
    let listener = TcpListener::bind(address).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

/// Refuses settings that leave the door shut for good.
fn check(auth: &Auth) -> Result<(), ServerError> {
    let mut clients = auth.clients.iter();
    let is_certificate = |credential: &Credential| matches!(credential, Credential::Certificate(_));
    match clients.find(|client| is_certificate(&client.credential)) {
        Some(client) if auth.client_ca.is_none() => {
            Err(ServerError::CertificateWithoutCa(client.name.clone()))
        }
        _ => Ok(()),
    }
}
