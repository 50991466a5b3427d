//! A broker that asks who we are, over TLS: the same options for sinks and sources.

use serde_json::json;

use super::{Broker, library};
use crate::cluster::pki::Pki;
use crate::events::{exec, list};
use crate::server::TestServer;
use crate::sinks::until;

/// What goes out by a sink over TLS and SASL comes in by a source, which is other's form: each
/// finding is a record that is no event, and so quarantined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_reached_over_tls_with_a_password() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let identity = pki.server("broker");
    let mut broker = Broker::secured(&library, &identity, "geheim");
    broker.start();
    let secret = dir.path().join("password");
    let text = |password: &str, from: &str| {
        std::fs::write(&secret, password).unwrap();
        let reach = |sasl: &str| {
            format!(
                "brokers = [\"localhost:{}\"]\nsasl = \"{sasl}\"\nuser = \"auditmill\"\n\
                 secret_file = \"{}\"\nca = \"{}\"\noptions = {{ \
                 \"broker.address.family\" = \"v4\", \
                 \"topic.metadata.refresh.interval.ms\" = \"500\" }}\n",
                broker.port,
                secret.display(),
                pki.ca_cert().display()
            )
        };
        format!(
            "[alert]\nretry_first = \"20ms\"\nretry_max = \"200ms\"\n\
             [[sink]]\ntype = \"kafka\"\nname = \"out\"\ntopic = \"findings\"\ntimeout = \"5s\"\n\
             from = \"{from}\"\nformat = \"ocsf\"\n{}\
             [[source]]\ntype = \"kafka\"\nname = \"in\"\ntopics = [\"findings\"]\n\
             cluster = \"back\"\n{}",
            reach("plain"),
            reach("scram-sha-512")
        )
    };
    let server = TestServer::start(&text("wrong", "now"));
    assert_eq!(server.post("east", list(&[exec(1)])).await, 200);
    until("the refusal", &server, async || {
        server.sql("SELECT name FROM sinks WHERE trouble IS NOT NULL").await != json!([])
    })
    .await;
    assert!(!server.log().contains("wrong\""), "the password is in the log");
    drop(server);
    let server = TestServer::start(&text("geheim", "start"));
    assert_eq!(server.post("east", list(&[exec(1)])).await, 200);
    let back = "SELECT count(*) FROM quarantine WHERE cluster = 'back'";
    until("what went out to come in", &server, async || server.number(back).await == 1).await;
    assert!(!server.log().contains("geheim"), "the password is in the log");
}
