//! Who may do what: tokens, client certificates, TLS that is renewed, limits on connections.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use reqwest::Client;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::program::{LIMIT, run};
use super::server::{TestServer, client, install_crypto, refused};

const EAST: &str = "east-token";
const EVERY: &str = "every-token";
const READER: &str = "reader-token";
const LOOKER: &str = "looker-token";

#[tokio::test]
async fn each_credential_opens_what_is_its_own() {
    let pki = Pki::new();
    let server = TestServer::start(&(pki.tls("127.0.0.1:0") + &pki.client_ca() + &clients()));
    let nobody = || pki.client();
    let west = || pki.client().identity(pki.identity("west-api"));
    let stranger = || pki.client().identity(pki.identity("stranger"));
    let paths = [
        "/v1/audit",
        "/v1/audit/east",
        "/v1/audit/west",
        "/v1/audit/NO",
        "/v1/findings",
        "/v1/findings/x",
        "/v1/sql",
        "/metrics",
        "/healthz",
        "/readyz",
        "/nothing",
    ];
    let table: [(&str, reqwest::ClientBuilder, &str, [u16; 11]); 11] = [
        ("none", nobody(), "", [401, 401, 401, 401, 401, 401, 401, 401, 200, 200, 404]),
        ("wrong", nobody(), "wrong", [401, 401, 401, 401, 401, 401, 401, 401, 200, 200, 404]),
        ("east", nobody(), EAST, [403, 200, 403, 403, 403, 403, 403, 403, 200, 200, 404]),
        ("every", nobody(), EVERY, [200, 200, 200, 403, 200, 404, 200, 200, 200, 200, 404]),
        ("reader", nobody(), READER, [403, 403, 403, 403, 200, 404, 200, 200, 200, 200, 404]),
        ("looker", nobody(), LOOKER, [403, 403, 403, 403, 200, 404, 200, 403, 200, 200, 404]),
        ("west", west(), "", [403, 403, 200, 403, 403, 403, 403, 403, 200, 200, 404]),
        ("stranger", stranger(), "", [401, 401, 401, 401, 401, 401, 401, 401, 200, 200, 404]),
        // With both, the token counts.
        ("west, east", west(), EAST, [403, 200, 403, 403, 403, 403, 403, 403, 200, 200, 404]),
        ("west, wrong", west(), "wrong", [401, 401, 401, 401, 401, 401, 401, 401, 200, 200, 404]),
        // The hash is not the token.
        ("hash", nobody(), &sha256(EAST), [401, 401, 401, 401, 401, 401, 401, 401, 200, 200, 404]),
    ];
    for (who, builder, token, expected) in table {
        let client = builder.build().unwrap();
        for (path, expected) in paths.into_iter().zip(expected) {
            let status = ask(&client, &server, path, token).await.unwrap();
            assert_eq!(status, expected, "{who} at {path}");
        }
    }
    let every = pki.client().build().unwrap();
    let metrics = every.get(server.url("/metrics")).bearer_auth(EVERY).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for (reason, count) in [("unauthorized", 20), ("forbidden", 18)] {
        let line = format!("auditmill_ingest_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    // Nothing of what was refused got in.
    for (cluster, count) in [("default", 1), ("east", 3), ("west", 2)] {
        let line = format!("auditmill_ingest_deliveries_total{{cluster=\"{cluster}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let log = server.log();
    assert!(log.contains("\"client\":\"east\"") && log.contains("\"cluster\":\"west\""), "{log}");
    for token in [EAST, EVERY, READER, LOOKER, &sha256(EAST)] {
        assert!(!log.contains(token), "{log}");
    }
}

#[tokio::test]
async fn a_401_says_what_is_wanted_and_a_host_is_not_checked() {
    let server =
        TestServer::start(&format!("{LOOPBACK}{}", token_client("east", "[\"east\"]", EAST)));
    let client = client();
    let request = || client.post(server.url("/v1/audit/east")).body("{}");
    let refused = request().send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let named = request().bearer_auth(EAST).header("host", "auditmill.example").send().await;
    assert_eq!(named.unwrap().status(), 200);
}

#[tokio::test]
async fn without_tokens_a_valid_certificate_is_demanded() {
    let (pki, other) = (Pki::new(), Pki::new());
    let west = certificate_client("west", "[\"west\"]", "west-api");
    for settings in [pki.client_ca(), pki.client_ca() + &west] {
        let server = TestServer::start(&(pki.tls("127.0.0.1:0") + &settings));
        let status = async |builder: reqwest::ClientBuilder| {
            ask(&builder.build().unwrap(), &server, "/v1/audit/west", "").await.ok()
        };
        assert_eq!(status(pki.client().identity(pki.identity("west-api"))).await, Some(200));
        assert_eq!(status(pki.client()).await, None);
        assert_eq!(status(pki.client().identity(other.identity("west-api"))).await, None);
        assert_eq!(status(pki.client().identity(pki.expired("west-api"))).await, None);
        // Who signed alone does not count where clients are named.
        let stranger = status(pki.client().identity(pki.identity("stranger"))).await;
        assert_eq!(stranger, Some(if settings.contains("west") { 401 } else { 200 }));
    }
}

#[tokio::test]
async fn new_files_are_served_without_a_restart() {
    let (pki, next) = (Pki::new(), Pki::new());
    let server = TestServer::start(&(pki.tls("127.0.0.1:0") + &pki.client_ca()));
    let known = |pki: &Pki| pki.client().identity(pki.identity("api")).build().unwrap();
    let deliver = async |client: &Client| ask(client, &server, "/v1/audit/a", "").await.ok();
    let old = known(&pki);
    assert_eq!(deliver(&old).await, Some(200));
    assert_eq!(deliver(&known(&next)).await, None);

    pki.put_files_of(&next);
    server.signal("HUP");
    server.logged("TLS files loaded again", 1);
    until(async || deliver(&known(&next)).await == Some(200)).await;
    assert_eq!(deliver(&known(&pki)).await, None, "a new connection to the old files");
    assert_eq!(deliver(&old).await, Some(200), "the connection that was open");

    // A key that is not the certificate's, and then no certificate at all.
    for (file, text) in [("server.key", Pki::new().text("server.key")), ("server.crt", "no".into())]
    {
        let before = server.count("TLS files not loaded");
        fs::write(pki.path(file), text).unwrap();
        server.signal("HUP");
        server.logged("TLS files not loaded", before + 1);
        assert_eq!(deliver(&known(&next)).await, Some(200), "after a bad {file}");
    }

    // Also without a signal.
    let again = Pki::new();
    pki.put_files_of(&again);
    until(async || deliver(&known(&again)).await == Some(200)).await;
    assert_eq!(deliver(&old).await, Some(200), "the connection that was open");
}

#[test]
fn more_connections_than_the_limit_are_closed() {
    let server = TestServer::start(&format!("{LOOPBACK}connections_max = 2\n"));
    let mut held = [server.connect(), server.connect()];
    for stream in &mut held {
        assert!(healthy(stream).unwrap());
    }
    let mut third = server.connect();
    assert!(!healthy(&mut third).unwrap_or(false), "a third connection is served");
    server.logged("there are `[http] connections_max` already", 1);
    for stream in &mut held {
        assert!(healthy(stream).unwrap(), "those that were open go on");
    }
    drop(held);
    let deadline = Instant::now() + LIMIT;
    while !healthy(&mut server.connect()).unwrap_or(false) {
        assert!(Instant::now() < deadline, "a place never became free");
    }
}

#[test]
fn a_connection_without_a_request_is_closed() {
    let pki = Pki::new();
    let (plain, tls) = (TestServer::start(LOOPBACK), TestServer::start(&pki.tls("127.0.0.1:0")));
    let preface = "PRI * HTTP/2.0\r\n";
    let mut streams = [&plain, &plain, &plain, &tls, &tls].map(TestServer::connect);
    for (stream, bytes) in streams.iter_mut().zip(["", "P", preface, "", "\u{16}"]) {
        stream.write_all(bytes.as_bytes()).unwrap();
    }
    for mut stream in streams {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(!ended.is_err_and(|error| is_timeout(&error)), "still open after {LIMIT:?}");
    }
}

#[test]
fn a_slow_question_gets_408() {
    let server = TestServer::start(&format!("{LOOPBACK}body_timeout = \"1s\"\n"));
    let mut stream = server.connect();
    let head = "POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 13];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 408 ");
}

#[test]
fn who_ignores_that_we_stop_does_not_keep_us() {
    let mut server = TestServer::start(LOOPBACK);
    let mut stream = server.connect();
    // HTTP/2: preface and empty settings. The answer is read once, the farewell never.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    let status = server.stop();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("gave up waiting"), "{}", server.log());
}

#[test]
fn an_open_address_needs_tls_and_credentials() {
    let pki = Pki::new();
    let token = token_client("east", "[\"east\"]", EAST);
    let open = "which others can reach: set `[http] tls_cert` and `tls_key`, and `[auth] \
                client_ca` or an `[[auth.client]]`, or listen on 127.0.0.1";
    let plain = "[http]\nlisten = \"0.0.0.0:0\"\n";
    for (settings, expected) in [
        (plain.to_owned(), open),
        (plain.replace("0.0.0.0", "[::]"), open),
        (plain.to_owned() + &token, open),
        (pki.tls("0.0.0.0:0"), open),
        (LOOPBACK.to_owned() + &pki.client_ca(), "`[auth] client_ca` needs TLS"),
        (
            pki.tls("127.0.0.1:0") + &certificate_client("w", "[\"w\"]", "w"),
            "`[[auth.client]]` `w` has a `certificate`: set `[auth] client_ca`",
        ),
    ] {
        let ended = refused(&settings);
        assert_eq!(ended.code, Some(2), "{settings}");
        assert!(ended.stderr.contains(expected), "{settings}\n{}", ended.stderr);
    }
    for credentials in [token, pki.client_ca()] {
        let server = TestServer::start(&(pki.tls("0.0.0.0:0") + &credentials));
        assert!(server.url("").starts_with("https://0.0.0.0:"));
    }
}

#[test]
fn printed_settings_show_no_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auditmill.toml");
    fs::write(&path, clients()).unwrap();
    let printed = run(["config", "--config", path.to_str().unwrap()]).stdout;
    assert!(printed.contains("token_sha256 = \"***\""), "{printed}");
    assert!(printed.contains("certificate = \"west-api\""), "{printed}");
    assert!(!printed.contains(&sha256(EAST)), "{printed}");
    assert!(printed.contains("connections_max = 1024"), "{printed}");
}

#[test]
fn a_new_token_is_its_own_and_fits_its_line() {
    let made = [0, 1].map(|_| {
        let ended = run(["token", "new"]);
        let (token, line) = (ended.stdout, ended.stderr);
        let token = token.strip_suffix('\n').unwrap().to_owned();
        assert_eq!(line, format!("token_sha256 = \"{}\"\n", sha256(&token)));
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(token.len() == 43 && token.bytes().all(alphabet), "{token}");
        token
    });
    assert_ne!(made[0], made[1]);
}

#[test]
fn a_kubeconfig_leads_to_the_server() {
    let pki = Pki::new();
    let token = run(["token", "new"]).stdout;
    fs::write(pki.path("east.token"), &token).unwrap();
    pki.write_identity("west-api");
    let settings = pki.tls("127.0.0.1:0")
        + &pki.client_ca()
        + &token_client("east", "[\"east\"]", token.trim())
        + &certificate_client("west", "[\"west\"]", "west-api");
    let server = TestServer::start(&settings);
    let path = |name: &str| pki.path(name).to_str().unwrap().to_owned();
    let (ca, url) = (path("ca.crt"), server.url("/"));
    let (token_file, cert, key) = (path("east.token"), path("west-api.crt"), path("west-api.key"));
    let with_token = ["--token-file", token_file.as_str()];
    let with_certificate = ["--client-certificate", &cert, "--client-key", &key];
    for (cluster, flags) in [("east", &with_token[..]), ("west", &with_certificate[..])] {
        let flags = [&["kubeconfig", "--cluster", cluster, "--url", &url, "--ca", &ca], flags];
        let ended = run(flags.concat());
        assert_eq!((ended.code, ended.stderr), (Some(0), String::new()));
        let config: Value = serde_saphyr::from_str(&ended.stdout).unwrap();
        assert_eq!(config["current-context"], config["contexts"][0]["name"]);
        assert_eq!(config["contexts"][0]["context"]["cluster"], config["clusters"][0]["name"]);
        assert_eq!(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
        let (there, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let field = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let authority = field(there, "certificate-authority-data").unwrap();
        fs::write(pki.path("told.crt"), STANDARD.decode(authority).unwrap()).unwrap();
        let mut curl = vec!["--cacert".to_owned(), path("told.crt")];
        if let Some(token) = field(user, "token") {
            curl.extend(["--header".to_owned(), format!("Authorization: Bearer {token}")]);
        }
        if let Some(certificate) = field(user, "client-certificate") {
            curl.extend(["--cert".to_owned(), certificate]);
            curl.extend(["--key".to_owned(), field(user, "client-key").unwrap()]);
        }
        let server = field(there, "server").unwrap();
        assert_eq!(curl_status(&curl, &server), "200", "{cluster}");
        assert_eq!(curl_status(&curl, &server.replace(cluster, "north")), "403", "{cluster}");
    }
}

#[test]
fn a_kubeconfig_is_written_once_and_for_its_owner() {
    let pki = Pki::new();
    let path = |name: &str| pki.path(name).to_str().unwrap().to_owned();
    fs::write(path("token"), "one two\n").unwrap();
    let (ca, key, token, out) = (path("ca.crt"), path("server.key"), path("token"), path("out"));
    let base = ["kubeconfig", "--cluster", "east", "--url"];
    let kubeconfig = |flags: &[&str]| {
        let ended = run([&base, flags].concat());
        (ended.code, ended.stderr)
    };
    let https = "https://a.example";
    let (code, stderr) = kubeconfig(&[https, "--token-file", &token]);
    assert!(code == Some(2) && stderr.contains("no token in this file"), "{stderr}");
    fs::write(&token, "one\n").unwrap();
    let (code, stderr) = kubeconfig(&["http://a.example", "--token-file", &token]);
    assert!(code == Some(0) && stderr.contains("leaves out its credentials"), "{stderr}");
    assert_eq!(kubeconfig(&["http://a.example"]), (Some(0), String::new()));
    assert_eq!(
        kubeconfig(&[https, "--ca", &ca, "--token-file", &token, "--output", &out]).0,
        Some(0)
    );
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&out).unwrap();
    let (code, stderr) = kubeconfig(&["https://b.example", "--output", &out]);
    assert!(code == Some(2) && stderr.contains("File exists"), "{stderr}");
    assert_eq!(fs::read_to_string(&out).unwrap(), written);
    let both = pki.text("ca.crt") + &pki.text("server.key");
    fs::write(path("both"), both).unwrap();
    let both = path("both");
    let (code, stderr) = kubeconfig(&[https, "--ca", &both]);
    assert!(code == Some(2) && stderr.contains("has a private key"), "{stderr}");
    for wrong in [
        &["a.example"][..],
        &[https, "--client-key", &key],
        &[https, "--client-certificate", &ca],
        &[https, "--token-file", &token, "--client-certificate", &ca, "--client-key", &key],
        &[https, "--ca", &key],
    ] {
        assert_eq!(kubeconfig(wrong).0, Some(2), "{wrong:?}");
    }
}

fn curl_status(flags: &[String], url: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    // A refusal does not wait for the body; over HTTP/2, curl may take that for an error.
    curl.arg("--http1.1");
    curl.args(["--noproxy", "*", "--max-time", "60", "--data", "{}"]).args(flags).arg(url);
    let ended = curl.output().expect("run curl");
    assert!(ended.status.success(), "{url}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// The status of a request: a delivery, a query, or a question.
async fn ask(
    client: &Client,
    server: &TestServer,
    path: &str,
    token: &str,
) -> reqwest::Result<u16> {
    let url = server.url(path);
    let request = match path {
        "/v1/sql" => client.post(url).body(r#"{"query": "SELECT 1"}"#),
        _ if path.starts_with("/v1/audit") => client.post(url).body("{}"),
        _ => client.get(url),
    };
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    let answer = request.send().await?;
    Ok(answer.status().as_u16())
}

/// Waits until this holds.
async fn until(holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a request on this connection is answered with 200; false when it was closed.
fn healthy(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"\r\n\r\nok\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

const LOOPBACK: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";

/// Tokens for east, for everything, for who only asks, about all or about east; a certificate for
/// west.
fn clients() -> String {
    token_client("east", "[\"east\"]", EAST)
        + &client_with_role("every", "[\"*\"]", EVERY, "admin")
        + &client_with_role("reader", "[\"*\"]", READER, "viewer")
        + &client_with_role("looker", "[\"east\"]", LOOKER, "viewer")
        + &certificate_client("west", "[\"west\", \"far-west\"]", "CN=west-api")
}

fn token_client(name: &str, clusters: &str, token: &str) -> String {
    client_of(name, clusters, "token_sha256", &sha256(token))
}

pub(crate) fn client_with_role(name: &str, clusters: &str, token: &str, role: &str) -> String {
    token_client(name, clusters, token) + &format!("role = \"{role}\"\n")
}

fn certificate_client(name: &str, clusters: &str, common_name: &str) -> String {
    client_of(name, clusters, "certificate", common_name)
}

fn client_of(name: &str, clusters: &str, key: &str, value: &str) -> String {
    format!("[[auth.client]]\nname = \"{name}\"\nclusters = {clusters}\n{key} = \"{value}\"\n")
}

fn sha256(token: &str) -> String {
    let digest = Sha256::digest(token);
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// An authority, in files, with a certificate for a server.
pub(crate) struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        install_crypto();
        let dir = tempfile::tempdir().expect("create a folder");
        // With the library's own name for both, OpenSSL takes what it signed for self-signed.
        let mut authority = named("authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("generate a key");
        let certificate = authority.self_signed(&key).expect("sign a certificate");
        fs::write(dir.path().join("ca.crt"), certificate.pem())
            .expect("write a file of the authority");
        fs::write(dir.path().join("authority.crt"), certificate.pem())
            .expect("write a file of the authority");
        let pki = Self { dir, issuer: Issuer::new(authority, key) };
        let names = CertificateParams::new(["127.0.0.1".to_owned()])
            .expect("write a file of the authority");
        pki.write("server", &pki.signed(&names));
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read a file")
    }

    /// A certificate and its key, in PEM.
    fn signed(&self, params: &CertificateParams) -> [String; 2] {
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign a certificate");
        [certificate.pem(), key.serialize_pem()]
    }

    fn write(&self, name: &str, [certificate, key]: &[String; 2]) {
        fs::write(self.path(&format!("{name}.crt")), certificate)
            .expect("write a file of the authority");
        fs::write(self.path(&format!("{name}.key")), key).expect("write a file of the authority");
    }

    fn write_identity(&self, common_name: &str) {
        self.write(common_name, &self.signed(&named(common_name)));
    }

    fn identity(&self, common_name: &str) -> reqwest::Identity {
        let pem = self.signed(&named(common_name)).concat();
        reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity")
    }

    fn expired(&self, common_name: &str) -> reqwest::Identity {
        let mut params = named(common_name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        reqwest::Identity::from_pem(self.signed(&params).concat().as_bytes()).expect("an identity")
    }

    /// The authority's certificate, as a file.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("authority.crt")
    }

    /// A client that knows this authority.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        let authority = reqwest::Certificate::from_pem(self.text("authority.crt").as_bytes());
        Client::builder()
            .tls_certs_only([authority.expect("a certificate")])
            .timeout(LIMIT)
            .no_proxy()
    }

    /// The settings of a server with these files.
    pub(crate) fn tls(&self, listen: &str) -> String {
        let (cert, key) = (self.path("server.crt"), self.path("server.key"));
        let (cert, key) = (cert.display(), key.display());
        format!("[http]\nlisten = {listen:?}\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\n")
    }

    fn client_ca(&self) -> String {
        format!("[auth]\nclient_ca = \"{}\"\n", self.path("ca.crt").display())
    }

    /// Puts another one's files where a server reads this one's.
    fn put_files_of(&self, other: &Self) {
        for name in ["ca.crt", "server.crt", "server.key"] {
            replace(&self.path(name), &other.text(name));
        }
    }
}

/// As certificates are renewed: a new file takes the name.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("write a file of the authority");
    fs::rename(new, path).expect("write a file of the authority");
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
