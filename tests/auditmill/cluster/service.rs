//! The program under test, as an operator runs it: a configuration file, TLS, client certificates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity as ClientIdentity};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::pki::{Identity, Pki};
use super::process::{Process, until};

/// Its start plans every detection, which takes a debug build some seconds on a quiet machine.
const LIMIT: Duration = Duration::from_mins(1);
const SETTINGS: &str = "auditmill.toml";
/// The largest body that it takes.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
const LISTENING: &str = "listening on ";

/// A running `auditmill serve` and a client with a certificate that it accepts.
pub(crate) struct Service {
    process: Process,
    dir: PathBuf,
    url: String,
    client: Client,
    stranger: Client,
    runtime: Runtime,
    ca: PathBuf,
    analyst: Identity,
}

impl Service {
    /// Starts it on a free port with a fresh data folder and waits until it says where it listens.
    pub(crate) fn start(dir: &Path, pki: &Pki) -> Self {
        Self::start_on(dir, pki, 0, "")
    }

    /// The same on this port, with more settings: whole sections, of other names than `[http]`.
    pub(crate) fn start_on(dir: &Path, pki: &Pki, port: u16, settings: &str) -> Self {
        let serving = pki.server("auditmill");
        let settings = [
            settings.to_owned(),
            "[http]".to_owned(),
            format!("listen = \"127.0.0.1:{port}\""),
            format!("body_bytes_max = {BODY_BYTES_MAX}"),
            setting("tls_cert", &serving.cert),
            setting("tls_key", &serving.key),
            "[auth]".to_owned(),
            setting("client_ca", &pki.ca_cert()),
        ];
        fs::write(dir.join(SETTINGS), settings.join("\n")).expect("write the configuration");
        let (process, url) = start(dir);
        let (ca, analyst) = (pki.ca_cert(), pki.client("analyst", None));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            process,
            dir: dir.to_owned(),
            url,
            client: client(&ca, Some(&analyst)),
            stranger: client(&ca, None),
            runtime: runtime.expect("build a runtime"),
            ca,
            analyst,
        }
    }

    /// Kills it (SIGKILL), lets `meanwhile` pass, and starts it again with the same settings and
    /// data.
    pub(crate) fn kill_and_restart(&mut self, meanwhile: impl FnOnce()) {
        self.process.kill();
        meanwhile();
        (self.process, self.url) = start(&self.dir);
        // One that knows nothing of connections that are gone.
        self.client = client(&self.ca, Some(&self.analyst));
    }

    /// Posts spaces, as many as fit into a body, and holds back the end until `done`: as long as it
    /// lasts, there is no room for other deliveries when the budget is that of one body. Tries
    /// again when there is no room for itself.
    pub(crate) fn fill_budget(&self, done: &watch::Receiver<bool>) -> impl Future<Output = ()> {
        let (client, url) = (self.client.clone(), self.ingest_url("hog"));
        let mut done = done.clone();
        async move {
            while !*done.borrow_and_update() && done.has_changed().is_ok() {
                let (sender, receiver) = mpsc::channel::<io::Result<Vec<u8>>>(1);
                let request = client
                    .post(&url)
                    .body(reqwest::Body::wrap_stream(ReceiverStream::new(receiver)));
                let piece = 16 << 10;
                let mut done = done.clone();
                let body = async move {
                    for _ in 1..BODY_BYTES_MAX / piece {
                        if sender.send(Ok(vec![b' '; piece])).await.is_err() {
                            return;
                        }
                    }
                    let _ = sender.send(Ok(vec![b' '; piece - 512])).await;
                    let _ = done.wait_for(|done| *done).await;
                };
                let answer = async {
                    // Refused or not: the next turn asks whether it is over.
                    let _ = request.send().await;
                };
                // Refused early, the pieces may all be in the sockets' buffers: nobody drops them.
                tokio::pin!(body, answer);
                tokio::select! {
                    () = &mut answer => {}
                    () = &mut body => answer.await,
                }
            }
        }
    }

    /// Where the API server posts the events of `cluster`.
    pub(crate) fn ingest_url(&self, cluster: &str) -> String {
        format!("{}/v1/audit/{cluster}", self.url)
    }

    /// All findings.
    pub(crate) fn findings(&self) -> Vec<Value> {
        let page = self.get("/v1/findings?limit=1000");
        let page: Value = serde_json::from_str(&page).expect("findings are JSON");
        let next = page.get("next").is_some_and(|next| !next.is_null());
        assert!(!next, "all findings are on one page: {page}");
        let findings = page.get("findings").and_then(Value::as_array);
        findings.unwrap_or_else(|| panic!("`findings` is no list: {page}")).clone()
    }

    /// The rows that `query` gives.
    pub(crate) fn sql(&self, query: &str) -> Vec<Value> {
        let request = self.client.post(format!("{}/v1/sql", self.url));
        let request = request.json(&json!({ "query": query }));
        let (status, body) = self.answer(request).expect("ask /v1/sql");
        assert_eq!(status, 200, "{query}: {body}");
        serde_json::from_str(&body).expect("the rows are a JSON list")
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("`{name}` is not among the metrics:\n{metrics}"))
    }

    /// The value of a counter, named with its labels as in `/metrics`; 0 before it first counts.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    /// Does a client without a certificate get an answer, whatever it is?
    pub(crate) fn answers_strangers(&self) -> bool {
        self.answer(self.stranger.get(format!("{}/v1/findings", self.url))).is_ok()
    }

    /// Stops it as a service manager does; it must end well.
    pub(crate) fn stop(self) {
        let Self { mut process, client, stranger, runtime, .. } = self;
        // Our connections are only served while we ask something: left open, they would look like
        // clients that hang, and be waited for.
        drop((client, stranger, runtime));
        let status = process.stop(LIMIT);
        assert!(status.success(), "auditmill ended with {status}:\n{}", process.last_words());
    }

    fn get(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url));
        let (status, body) = self.answer(request).unwrap_or_else(|error| {
            panic!("GET {path}: {error:?}\n{}", self.process.last_words());
        });
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    fn answer(&self, request: reqwest::RequestBuilder) -> reqwest::Result<(u16, String)> {
        let again = request.try_clone();
        self.runtime.block_on(async {
            let mut sent = request.send().await;
            // Nobody looks after a connection between two questions: it may have been closed.
            if let (Err(_), Some(again)) = (&sent, again) {
                sent = again.send().await;
            }
            let response = sent?;
            Ok((response.status().as_u16(), response.text().await?))
        })
    }
}

/// Starts it with the settings and data of this folder; gives its address too.
fn start(dir: &Path) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditmill"));
    command.env("AUDITMILL_QUERY_POSTGRES_LISTEN", "127.0.0.1:0");
    command.env("AUDITMILL_QUERY_FLIGHT_LISTEN", "127.0.0.1:0");
    command.arg("serve").arg("--config").arg(dir.join(SETTINGS));
    command.arg("--data").arg(dir.join("data")).env("NO_COLOR", "1");
    let mut process = Process::spawn("auditmill", &mut command, dir);
    let url = until("auditmill to say where it listens", LIMIT, || {
        let ended = process.exit_status();
        assert!(ended.is_none(), "auditmill ended ({ended:?}):\n{}", process.last_words());
        address(&process.output())
    });
    (process, url)
}

/// The address in `listening on https://127.0.0.1:PORT`, once it is printed whole.
fn address(output: &str) -> Option<String> {
    let (_, rest) = output.split_once(LISTENING)?;
    let (url, _) = rest.split_once(|char: char| char.is_whitespace())?;
    let port = url.strip_prefix("https://127.0.0.1:")?;
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    Some(format!("https://127.0.0.1:{}", &port[..digits]))
}

fn client(ca_cert: &Path, identity: Option<&Identity>) -> Client {
    // An error says that somebody installed a provider before: as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |path: &Path| fs::read(path).expect("read a certificate or key");
    let ca = Certificate::from_pem(&read(ca_cert)).expect("parse the authority's certificate");
    let mut builder = Client::builder().tls_certs_only([ca]).timeout(LIMIT).no_proxy();
    if let Some(identity) = identity {
        let pem = [read(&identity.cert), read(&identity.key)].concat();
        builder = builder.identity(ClientIdentity::from_pem(&pem).expect("parse an identity"));
    }
    builder.build().expect("build an HTTP client")
}

fn setting(name: &str, path: &Path) -> String {
    format!("{name} = \"{}\"", path.display())
}
