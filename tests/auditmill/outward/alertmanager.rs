//! Alertmanager: a receiver that holds to its published API, and the real one.
//!
//! The real one needs `AUDITMILL_ALERTMANAGER_BIN`, the folder where `tests/alertmanager/build.sh`
//! put it; `make test` sets it. Without it that test says so and passes, except under `CI`.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{Judge, Reply, Request};
use crate::cluster::process::{Process, lasting_port};
use crate::events::grant;
use crate::server::{TestServer, client};
use crate::sinks::{deliver, until};

/// What is wrong with alerts, by `postableAlerts` of Alertmanager's API (api/v2/openapi.yaml,
/// version 0.28) and what it checks beyond (`types.Alert.Validate`).
fn wrong(request: &Request) -> Option<String> {
    if request.path != "/prefix/api/v2/alerts" {
        return Some(format!("path {}", request.path));
    }
    let texts = |value: &Value| {
        let members = value.as_object()?;
        members.values().all(Value::is_string).then(|| members.clone())
    };
    let time = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
    for alert in request.body.as_array()? {
        let Some(labels) = texts(&alert["labels"]) else { return Some("labels".to_owned()) };
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let is_name = |name: &str| {
            name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        };
        if labels.is_empty() || !labels.keys().all(|name| is_name(name)) {
            return Some("names of labels".to_owned());
        }
        if labels.values().any(|value| value == "") {
            return Some("an empty label".to_owned());
        }
        if texts(&alert["annotations"]).is_none() {
            return Some("annotations".to_owned());
        }
        let (Some(start), Some(end)) = (time(&alert["startsAt"]), time(&alert["endsAt"])) else {
            return Some("times".to_owned());
        };
        if end < start {
            return Some("it ends before it begins".to_owned());
        }
        let known = ["labels", "annotations", "startsAt", "endsAt", "generatorURL"];
        let unknown = |name: &&String| !known.contains(&name.as_str());
        if let Some(name) = alert.as_object()?.keys().find(unknown) {
            return Some(format!("`{name}`"));
        }
    }
    None
}

fn judge(request: &Request) -> Reply {
    match wrong(request) {
        None => Reply::ok(""),
        Some(wrong) => Reply(400, "", format!("\"bad request: {wrong}\"")),
    }
}

/// Old events stand, too, and are repeated soon.
fn settings(url: &str) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\nlink = \"https://mill.example\"\n\
         [[sink]]\ntype = \"alertmanager\"\nname = \"am\"\nurl = \"{url}\"\nrepeat = \"1s\"\n\
         stands = \"100000h\"\nlabels = {{ team = \"platform\" }}\n"
    )
}

fn ids(alerts: &Value) -> Vec<String> {
    let id = |alert: &Value| alert["labels"]["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = alerts.as_array().unwrap().iter().map(id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn alerts_are_as_published_and_told_again_while_they_stand() {
    let receiver = Judge::start(None, judge).await;
    let server =
        TestServer::start(&settings(&format!("http://127.0.0.1:{}/prefix/", receiver.port)));
    let mut odd = grant(3);
    odd["user"]["username"] = json!("ä\n\"{}");
    deliver(&server, &[grant(1), grant(2), odd]).await;
    let told = |id: &str| {
        let taken = receiver.taken();
        taken.iter().filter(|alerts| ids(alerts).iter().any(|known| known == id)).count()
    };
    let all = || {
        let mut all: Vec<String> = receiver.taken().iter().flat_map(ids).collect();
        all.sort();
        all.dedup();
        all
    };
    until("three alerts", &server, async || all().len() == 3).await;
    until("each to be told three times", &server, async || all().iter().all(|id| told(id) > 2))
        .await;
    let seen = receiver.seen();
    assert!(seen.iter().all(|(_, status)| *status == 200), "{seen:#?}");
    let alert = &seen[0].0.body[0];
    assert_eq!(alert["labels"]["team"], "platform");
    assert_eq!(alert["labels"]["severity"], "high");
    assert!(
        alert["generatorURL"].as_str().unwrap().starts_with("https://mill.example/v1/incidents/")
    );
    // What stands is told again by a new start, too, and its repeats are no new alerts.
    assert_eq!(server.number("SELECT pending FROM sinks").await, 0);
}

#[tokio::test]
async fn an_alert_that_is_refused_holds_up_no_other() {
    let receiver = Judge::start(None, |request| {
        let is_bad = request.body.to_string().contains("p2 ");
        if is_bad { Reply(400, "", "\"bad request\"".to_owned()) } else { Reply::ok("") }
    })
    .await;
    let server = TestServer::start(&settings(&format!("http://127.0.0.1:{}", receiver.port)));
    deliver(&server, &[grant(1), grant(2), grant(3)]).await;
    until("the refusal", &server, async || {
        server.number("SELECT count(*) FROM dead_letters").await == 1
    })
    .await;
    until("the others", &server, async || {
        let taken = receiver.taken();
        ["p1", "p3"].iter().all(|name| taken.iter().any(|alerts| alerts.to_string().contains(name)))
    })
    .await;
    receiver.rule(|_| Reply(429, "retry-after: 60\r\n", String::new()));
    deliver(&server, &[grant(4)]).await;
    let trouble = "SELECT name FROM sinks WHERE trouble LIKE '429%'";
    until("the trouble", &server, async || server.sql(trouble).await != json!([])).await;
    assert_eq!(receiver.seen().iter().filter(|(_, status)| *status == 429).count(), 1);
}

#[test]
fn the_receiver_refuses_what_is_not_as_published() {
    let good = json!([{
        "labels": {"alertname": "a"}, "annotations": {}, "startsAt": "2026-03-01T00:00:00Z",
        "endsAt": "2026-03-01T00:00:00Z",
    }]);
    let check = |pointer: &str, value: Value, is_good: bool| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        let path = "/prefix/api/v2/alerts".to_owned();
        let request = Request { path, body, bytes: 0 };
        assert_eq!(wrong(&request).is_none(), is_good, "{pointer}: {:?}", wrong(&request));
    };
    check("/0/labels", json!({"a": "b"}), true);
    check("/0/labels", json!({}), false);
    check("/0/labels", json!({"a-b": "c"}), false);
    check("/0/labels", json!({"a": ""}), false);
    check("/0/labels", json!({"a": 7}), false);
    check("/0/annotations", Value::Null, false);
    check("/0/endsAt", json!("2026-02-01T00:00:00Z"), false);
    check("/0/startsAt", json!("now"), false);
}

/// A real Alertmanager that can be killed and started again; it forgets then.
struct Real {
    program: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    starts: u32,
    process: Option<Process>,
}

impl Real {
    async fn start(&mut self) {
        self.starts += 1;
        let mut command = Command::new(&self.program);
        let flag = |name: &str, value: &str| format!("--{name}={value}");
        command.args([
            flag("config.file", self.dir.path().join("am.yml").to_str().unwrap()),
            flag("storage.path", self.dir.path().join("data").to_str().unwrap()),
            flag("web.listen-address", &format!("127.0.0.1:{}", self.port)),
            flag("cluster.listen-address", ""),
        ]);
        let name = format!("alertmanager-{}", self.starts);
        self.process = Some(Process::spawn(&name, &mut command, self.dir.path()));
        let deadline = std::time::Instant::now() + crate::program::LIMIT;
        while client().get(self.url("/-/ready")).send().await.is_err() {
            let process = self.process.as_mut().unwrap();
            assert!(process.exit_status().is_none(), "it ended:\n{}", process.last_words());
            assert!(std::time::Instant::now() < deadline, "{}", process.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Alerts that stand.
    async fn alerts(&self) -> Value {
        let url = self.url("/api/v2/alerts?active=true");
        match client().get(url).send().await {
            Ok(response) => response.json().await.expect("alerts are JSON"),
            Err(_) => json!([]),
        }
    }
}

fn program() -> Option<PathBuf> {
    let folder = std::env::var_os("AUDITMILL_ALERTMANAGER_BIN").map(PathBuf::from);
    if folder.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "AUDITMILL_ALERTMANAGER_BIN is not set, but CI is"
        );
        println!("skipped: AUDITMILL_ALERTMANAGER_BIN is not set (tests/alertmanager/build.sh)");
    }
    folder.map(|folder| folder.join("alertmanager"))
}

#[tokio::test]
async fn a_real_alertmanager_has_what_stands_and_forgets_what_is_over() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rules = "route: {receiver: none}\nreceivers: [{name: none}]\n";
    std::fs::write(dir.path().join("am.yml"), rules).unwrap();
    let mut real = Real { program, dir, port: lasting_port(), starts: 0, process: None };
    // It is not there yet.
    let mut server = TestServer::start(&settings(&real.url("")));
    deliver(&server, &[grant(1), grant(2)]).await;
    real.start().await;
    until("two alerts", &server, async || ids(&real.alerts().await).len() == 2).await;
    let first = real.alerts().await;
    assert_eq!(first[0]["labels"]["alertname"], "AuditmillIncident");
    // Later than they would have ended: they are told again.
    let end = |alerts: &Value| alerts[0]["endsAt"].as_str().map(str::to_owned);
    until("a later end", &server, async || {
        let alerts = real.alerts().await;
        let updated = alerts[0]["updatedAt"].as_str().map(str::to_owned);
        updated > end(&first) && ids(&alerts) == ids(&first)
    })
    .await;
    // It forgets when it is killed, and is told again.
    real.process = None;
    real.start().await;
    until("them again", &server, async || ids(&real.alerts().await) == ids(&first)).await;
    // Nobody tells it any more: they end by themselves.
    assert!(server.stop().success());
    let deadline = std::time::Instant::now() + crate::program::LIMIT;
    while real.alerts().await != json!([]) {
        assert!(std::time::Instant::now() < deadline, "they never end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A sample comes and is over at once.
    let config = real.dir.path().join("settings.toml");
    std::fs::write(&config, settings(&real.url(""))).unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        crate::program::run(["alert", "test", "am", "--config", config.to_str().unwrap()])
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(real.alerts().await, json!([]));
}
