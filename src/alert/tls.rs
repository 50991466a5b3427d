//! TLS for sinks that speak no HTTP: the same options, and the same trust, as for those that do.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsConnector;

use crate::config::sink::Tls;

/// What makes TLS of a connection.
///
/// # Errors
/// When a certificate or a key cannot be used.
pub(super) fn connector(tls: &Tls<'_>) -> Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().context("set up TLS")?;
    let builder = match tls.ca {
        Some(path) => {
            let fail = || format!("read `ca`: `{}`", path.display());
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).with_context(fail)? {
                roots.add(certificate.with_context(fail)?).with_context(fail)?;
            }
            anyhow::ensure!(!roots.is_empty(), "{}: no certificate is in it", fail());
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().context("read this machine's authorities")?,
    };
    let config = match (tls.client_cert, tls.client_key) {
        (Some(cert), Some(key)) => {
            let fail = || format!("use `client_cert` `{}` with `client_key`", cert.display());
            let chain = CertificateDer::pem_file_iter(cert).with_context(fail)?;
            let chain = chain.collect::<Result<Vec<_>, _>>().with_context(fail)?;
            let key = PrivateKeyDer::from_pem_file(key).with_context(fail)?;
            builder.with_client_auth_cert(chain, key).with_context(fail)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}
