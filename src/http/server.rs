//! The listening socket: plain on loopback, or TLS 1.2 and 1.3 with client certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::config::{Auth, Http};

/// Why the server cannot be set up; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings would open the door to everyone.
    #[error(
        "`[http] listen` is {0}, which others can reach: set `[http] tls_cert` and `tls_key`, \
         and `[auth] client_ca`, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// One of two settings that go together.
    #[error("`[http] tls_cert` and `tls_key` go together: set both or none")]
    HalfTls,
    /// Client certificates need TLS.
    #[error("`[auth] client_ca` needs TLS: set `[http] tls_cert` and `tls_key`")]
    ClientCaWithoutTls,
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
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A socket that listens, not serving yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    handle: Handle<SocketAddr>,
}

impl Server {
    /// Checks the settings and takes the port.
    ///
    /// # Errors
    /// When the settings are unsafe or incomplete, a file cannot be used, or the port is taken.
    pub fn bind(http: &Http, auth: &Auth) -> Result<Self, ServerError> {
        let tls = tls(http, auth)?;
        if !http.listen.ip().is_loopback() && (tls.is_none() || auth.client_ca.is_none()) {
            return Err(ServerError::Open(http.listen));
        }
        let fail = |source| ServerError::Listen { address: http.listen, source };
        let listener = std::net::TcpListener::bind(http.listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address, tls, handle: Handle::new() })
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Stops it: no new requests, those under way are answered within `grace`.
    pub fn stopper(&self) -> impl Fn(Duration) + Send + 'static {
        let handle = self.handle.clone();
        move |grace| handle.graceful_shutdown(Some(grace))
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve(self, router: Router) -> std::io::Result<()> {
        let service = router.into_make_service();
        let mut server = axum_server::from_tcp(self.listener)?.handle(self.handle);
        server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT).timer(timer());
        // Without TCP_NODELAY, HTTP/2 stalls for 40 ms at a time.
        let plain = NoDelayAcceptor::new();
        if let Some(config) = self.tls {
            let tls = RustlsAcceptor::new(RustlsConfig::from_config(config)).acceptor(plain);
            server.acceptor(tls).serve(service).await
        } else {
            server.acceptor(plain).serve(service).await
        }
    }
}

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

fn timer() -> hyper_util::rt::TokioTimer {
    hyper_util::rt::TokioTimer::new()
}

fn tls(http: &Http, auth: &Auth) -> Result<Option<Arc<ServerConfig>>, ServerError> {
    let (cert, key) = match (&http.tls_cert, &http.tls_key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if auth.client_ca.is_some() => return Err(ServerError::ClientCaWithoutTls),
        (None, None) => return Ok(None),
        _ => return Err(ServerError::HalfTls),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(ServerError::Tls)?;
    let builder = match &auth.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("[auth] client_ca", path)? {
                roots.add(certificate).map_err(ServerError::Tls)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build().map_err(|error| ServerError::Pem {
                setting: "[auth] client_ca",
                path: path.clone(),
                message: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates("[http] tls_cert", cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| ServerError::Pem {
        setting: "[http] tls_key",
        path: key.clone(),
        message: error.to_string(),
    })?;
    let mut config = builder.with_single_cert(chain, key).map_err(ServerError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let fail = |message: String| ServerError::Pem { setting, path: path.to_owned(), message };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| fail(error.to_string()))?;
    if found.is_empty() {
        return Err(fail("no certificate in this file".to_owned()));
    }
    Ok(found)
}
