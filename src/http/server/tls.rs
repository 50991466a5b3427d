//! TLS 1.2 and 1.3 from PEM files, and their reload while the service runs.
//!
//! A reload takes new connections to the new files; those that are open go on. Files that cannot
//! be used change nothing: the ones before stay in use.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::ServerError;
use crate::config::Http;
use crate::config::auth::{Auth, Credential};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What TLS is made of.
#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// A client without a certificate may still show a token.
    certificate_optional: bool,
}

/// Tells one state of the files from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i64; 6]>>);

impl TlsFiles {
    /// The files that the settings name; none for plain HTTP.
    pub(super) fn new(http: &Http, auth: &Auth) -> Result<Option<Self>, ServerError> {
        let (cert, key) = match (&http.tls_cert, &http.tls_key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            (None, None) if auth.client_ca.is_some() => {
                return Err(ServerError::ClientCaWithoutTls);
            }
            (None, None) => return Ok(None),
            _ => return Err(ServerError::HalfTls),
        };
        let is_token = |credential: &Credential| matches!(credential, Credential::Token(_));
        let certificate_optional = auth.clients.iter().any(|client| is_token(&client.credential));
        Ok(Some(Self { cert, key, client_ca: auth.client_ca.clone(), certificate_optional }))
    }

    /// Changes whenever a file does; following links, as a mounted secret is one.
    pub(super) fn stamp(&self) -> Stamp {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let stamp = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            let (inode, size) = (data.ino().cast_signed(), data.size().cast_signed());
            let modified = [data.mtime(), data.mtime_nsec()];
            let changed = [data.ctime(), data.ctime_nsec()];
            Some([inode, size, modified[0], modified[1], changed[0], changed[1]])
        };
        Stamp(files.into_iter().flatten().map(stamp).collect())
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Arc<ServerConfig>, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(ServerError::Tls)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(CLIENT_CA, path)? {
                    roots.add(certificate).map_err(|error| pem(CLIENT_CA, path, &error))?;
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if self.certificate_optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier.build().map_err(|error| pem(CLIENT_CA, path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("[http] tls_cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|error| pem("[http] tls_key", &self.key, &error))?;
        let mut config = builder.with_single_cert(chain, key).map_err(ServerError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would not look at the client's certificate again, which may have
        // expired. Connections are few and long: a whole handshake each is cheap.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

const CLIENT_CA: &str = "[auth] client_ca";

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| pem(setting, path, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| pem(setting, path, &error))?;
    if found.is_empty() {
        return Err(pem(setting, path, &"no certificate in this file"));
    }
    Ok(found)
}

fn pem(setting: &'static str, path: &Path, message: &dyn std::fmt::Display) -> ServerError {
    ServerError::Pem { setting, path: path.to_owned(), message: message.to_string() }
}

/// Keeps `config` as the files are, which were `seen` when it was loaded: looks at them at
/// `hangup` and every ten seconds. Never ends.
pub(super) async fn follow(
    files: TlsFiles,
    mut seen: Stamp,
    config: RustlsConfig,
    mut hangup: Signal,
) -> Infallible {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => true,
            _ = look.tick() => false,
        };
        let (reader, before) = (files.clone(), seen.clone());
        let read = tokio::task::spawn_blocking(move || {
            let stamp = reader.stamp();
            let loaded = (asked || stamp != before).then(|| reader.load());
            (stamp, loaded)
        });
        let Ok((stamp, loaded)) = read.await else { continue };
        seen = stamp;
        match loaded {
            None => {}
            Some(Ok(new)) => {
                config.reload_from_config(new);
                info!("TLS files loaded again");
            }
            Some(Err(failure)) => {
                let error = format!("{:#}", anyhow::Error::from(failure));
                error!(error, "TLS files not loaded, the ones before stay");
            }
        }
    }
}
