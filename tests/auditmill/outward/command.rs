//! `auditmill alert`: a sample through a sink, and how sinks stand.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::judge::{Judge, Reply};
use crate::events::grant;
use crate::program::{Ended, run};
use crate::server::TestServer;
use crate::sinks::{deliver, until};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";

async fn alert(arguments: &[&str]) -> Ended {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let ended =
        tokio::task::spawn_blocking(move || run(["alert".to_owned()].into_iter().chain(arguments)));
    ended.await.unwrap()
}

/// Settings in a file beside their secret.
fn settings(dir: &tempfile::TempDir, port: u16) -> PathBuf {
    let (key, path) = (dir.path().join("key"), dir.path().join("settings.toml"));
    std::fs::write(&key, KEY).unwrap();
    let text = format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\n\
         [[sink]]\ntype = \"pagerduty\"\nname = \"pager\"\nsecret_file = \"{}\"\n\
         url = \"http://127.0.0.1:{port}/v2/enqueue\"\n",
        key.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_sample_says_whether_a_sink_works() {
    let receiver = Judge::start(None, |_| Reply(202, "", String::new())).await;
    let dir = tempfile::tempdir().unwrap();
    let path = settings(&dir, receiver.port);
    let config = path.to_str().unwrap();
    let ended = alert(&["test", "pager", "--config", config]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("pager (pagerduty): a sample, id "), "{}", ended.stdout);
    // What it opens it closes.
    let taken = receiver.taken();
    let actions: Vec<&str> =
        taken.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(taken[0]["dedup_key"], taken[1]["dedup_key"]);
    receiver.rule(|_| Reply(401, "", "who are you".to_owned()));
    let ended = alert(&["test", "pager", "--config", config]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("not taken: 401 Unauthorized: who are you"), "{}", ended.stdout);
    receiver.rule(|_| Reply(429, "retry-after: 60\r\n", String::new()));
    let ended = alert(&["test", "pager", "--config", config]).await;
    assert!(ended.stdout.contains("again after 60s"), "{}", ended.stdout);
    let ended = alert(&["test", "pagre", "--config", config]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no sink `pagre`: the settings have pager"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(KEY));
}

#[tokio::test]
async fn sinks_are_shown_with_what_waits_and_what_was_refused() {
    let receiver = Judge::start(None, |_| Reply(400, "", "no".to_owned())).await;
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(settings(&dir, receiver.port)).unwrap();
    let server = TestServer::start(&text);
    deliver(&server, &[grant(1)]).await;
    let refused = "SELECT refused FROM sinks";
    until("a refusal", &server, async || server.number(refused).await == 1).await;
    receiver.rule(|_| Reply(503, "", String::new()));
    deliver(&server, &[grant(2), grant(3)]).await;
    let url = server.url("");
    let shown = async || {
        let ended = alert(&["list", "--url", &url, "--format", "json"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut row: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
        row.as_object_mut().unwrap().remove("last_saved");
        row
    };
    let expected = json!({
        "name": "pager", "type": "pagerduty", "pending": 2, "set_aside": 0, "refused": 1,
        "trouble": "503 Service Unavailable",
    });
    until("the trouble", &server, async || shown().await == expected).await;
    let ended = alert(&["list", "--url", &url]).await;
    assert!(ended.stdout.contains("503 Service Unavailable"), "{}", ended.stdout);
    receiver.rule(|_| Reply(202, "", String::new()));
    until("no trouble", &server, async || {
        let row = shown().await;
        row["trouble"].is_null() && row["pending"] == 0
    })
    .await;
}
