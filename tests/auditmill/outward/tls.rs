//! Whom sinks trust, and who they are: authorities and client certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::judge::{Judge, Reply};
use crate::cluster::pki::Pki;
use crate::events::exec;
use crate::server::{TestServer, install_crypto, refused};
use crate::sinks::{deliver, until};

/// TLS of a server that lets in only whom its own authority knows, if asked to.
pub(crate) fn acceptor(pki: &Pki, demands_certificate: bool) -> TlsAcceptor {
    install_crypto();
    let identity = pki.server("receiver");
    let chain = CertificateDer::pem_file_iter(&identity.cert).unwrap().map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let builder = ServerConfig::builder();
    let builder = if demands_certificate {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(pki.ca_cert()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain.collect(), key).unwrap()))
}

fn settings(port: u16, options: &str) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\n\
         [[sink]]\ntype = \"webhook\"\nname = \"soc\"\n\
         url = \"https://localhost:{port}/\"\n{options}"
    )
}

fn line(name: &str, path: &Path) -> String {
    format!("{name} = \"{}\"\n", path.display())
}

#[tokio::test]
async fn a_receiver_must_be_known_and_may_ask_who_we_are() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(&dir.path().join("ours"));
    let other = Pki::new(&dir.path().join("theirs"));
    let (client, stranger) = (pki.client("auditmill", None), other.client("auditmill", None));
    let ca = line("ca", &pki.ca_cert());
    let with = |client: &crate::cluster::pki::Identity| {
        line("client_cert", &client.cert) + &line("client_key", &client.key)
    };
    for (options, demands, is_taken) in [
        (ca.clone(), false, true),
        // Nobody of this machine's authorities signed it, nor did this one.
        (String::new(), false, false),
        (line("ca", &other.ca_cert()), false, false),
        // The receiver asks.
        (ca.clone(), true, false),
        (ca.clone() + &with(&stranger), true, false),
        (ca.clone() + &with(&client), true, true),
    ] {
        let receiver = Judge::start(Some(acceptor(&pki, demands)), |_| Reply::ok("")).await;
        let server = TestServer::start(&settings(receiver.port, &options));
        deliver(&server, &[exec(1)]).await;
        let trouble = "SELECT trouble FROM sinks WHERE trouble IS NOT NULL";
        if is_taken {
            until("the finding", &server, async || receiver.taken().len() == 1).await;
        } else {
            until("the trouble", &server, async || server.sql(trouble).await != json!([])).await;
            assert_eq!(receiver.seen().len(), 0, "{options}");
        }
    }
}

#[test]
fn certificates_that_cannot_be_used_are_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let client = pki.client("auditmill", None);
    let none = dir.path().join("none.pem");
    let check = |options: &str, expected: &str| {
        let ended = refused(&settings(1, options));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    };
    check(&line("client_cert", &client.cert), "`client_cert` and `client_key` go together");
    check(&line("ca", &none), "read `ca`: `");
    let both = line("client_cert", &client.cert) + &line("client_key", &none);
    check(&both, "none.pem");
    let both = line("client_cert", &client.cert) + &line("client_key", &client.cert);
    check(&both, "use `client_cert`");
}
