//! `PagerDuty`: a receiver that holds to the published Events API version 2.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::judge::{Judge, Reply, Request};
use crate::events::grant;
use crate::server::TestServer;
use crate::sinks::{deliver, until};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";

/// What is wrong with an event, by the service's developer documentation ("Send an Alert Event",
/// Events API v2, as of 2025): the members that must be there, their values, their lengths.
fn wrong(request: &Request) -> Option<String> {
    let event = &request.body;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    if request.bytes > 512 * 1024 {
        return Some("the event is too large".to_owned());
    }
    if text("/routing_key").is_none_or(|key| key.len() != 32) {
        return Some("routing_key".to_owned());
    }
    let action = text("/event_action").unwrap_or_default();
    if !["trigger", "acknowledge", "resolve"].contains(&action) {
        return Some("event_action".to_owned());
    }
    let key = text("/dedup_key");
    if key.is_some_and(|key| key.chars().count() > 255) || (action != "trigger" && key.is_none()) {
        return Some("dedup_key".to_owned());
    }
    if action == "trigger" {
        let summary = text("/payload/summary").unwrap_or_default();
        if summary.is_empty() || summary.chars().count() > 1024 {
            return Some("payload.summary".to_owned());
        }
        if text("/payload/source").is_none_or(str::is_empty) {
            return Some("payload.source".to_owned());
        }
        let severity = text("/payload/severity").unwrap_or_default();
        if !["critical", "error", "warning", "info"].contains(&severity) {
            return Some("payload.severity".to_owned());
        }
        let timestamp = event.pointer("/payload/timestamp");
        let is_time = |t: &Value| t.as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok());
        if !timestamp.is_none_or(is_time) {
            return Some("payload.timestamp".to_owned());
        }
    }
    let allowed = [
        "routing_key",
        "event_action",
        "dedup_key",
        "payload",
        "images",
        "links",
        "client",
        "client_url",
    ];
    let unknown = |event: &serde_json::Map<String, Value>| {
        event.keys().find(|name| !allowed.contains(&name.as_str())).cloned()
    };
    event.as_object().map_or(Some("no object".to_owned()), unknown)
}

fn judge(request: &Request) -> Reply {
    match wrong(request) {
        None => Reply(202, "", r#"{"status":"success"}"#.to_owned()),
        Some(wrong) => {
            let body = json!({"status": "invalid event", "message": wrong});
            Reply(400, "", body.to_string())
        }
    }
}

fn settings(port: u16, key: &std::path::Path) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\nlink = \"https://mill.example/\"\n\
         [[sink]]\ntype = \"pagerduty\"\nname = \"pager\"\nsecret_file = \"{}\"\n\
         url = \"http://127.0.0.1:{port}/v2/enqueue\"\n",
        key.display()
    )
}

fn secret(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn pagerduty_takes_what_is_found() {
    let receiver = Judge::start(None, judge).await;
    let key = secret(KEY);
    let server = TestServer::start(&settings(receiver.port, key.path()));
    // A name as long as a name may be, and one that wants to be markup.
    let mut long = grant(3);
    long["objectRef"]["name"] = json!("x".repeat(5_000));
    long["user"]["username"] = json!("\u{1f980}".repeat(3_000));
    deliver(&server, &[grant(1), grant(2), long]).await;
    let keys = || {
        let taken = receiver.taken().into_iter();
        taken.map(|event| event["dedup_key"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    until("three alerts", &server, async || keys().len() == 3).await;
    // More of the same is no news to people; what somebody does with it is.
    let mut more = grant(1);
    more["auditID"] = json!("more");
    deliver(&server, &[more, grant(4)]).await;
    until("a fourth alert", &server, async || keys().len() == 4).await;
    assert_eq!(receiver.taken().len(), 4);
    let first = receiver.taken()[0]["dedup_key"].as_str().unwrap().to_owned();
    for (state, action) in [("acknowledged", "acknowledge"), ("closed", "resolve")] {
        let url = server.url(&format!("/v1/incidents/{first}"));
        let change = if state == "closed" {
            json!({"state": state, "reason": "resolved"})
        } else {
            json!({"state": state})
        };
        let answer = server.client().patch(url).json(&change).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        until(action, &server, async || {
            let taken = receiver.taken();
            taken.last().is_some_and(|of| of["event_action"] == action && of["dedup_key"] == first)
        })
        .await;
    }
    let bad: Vec<_> = receiver.seen().into_iter().filter(|(_, status)| *status != 202).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let event = receiver.taken().into_iter().next().unwrap();
    let id = event["dedup_key"].as_str().unwrap();
    assert_eq!(event["links"][0]["href"], format!("https://mill.example/v1/incidents/{id}"));
    assert_eq!(event["payload"]["severity"], "error");
    assert!(event["payload"]["custom_details"]["respond"].is_string(), "{event}");
    until("the place", &server, async || {
        server.metric("auditmill_sink_lag_findings{sink=\"pager\"}").await == 0.0
    })
    .await;
    assert!(!server.log().contains(KEY), "the key is in the log");
}

#[tokio::test]
async fn pagerduty_refuses_and_asks_for_time() {
    let receiver = Judge::start(None, |request| {
        match request.body["payload"]["custom_details"]["who"].as_str() {
            // As the published receiver says of an event that lacks something.
            Some("p1") => Reply(400, "", r#"{"status":"invalid event"}"#.to_owned()),
            _ => Reply(429, "retry-after: 60\r\n", String::new()),
        }
    })
    .await;
    let key = secret(KEY);
    let server = TestServer::start(&settings(receiver.port, key.path()));
    deliver(&server, &[grant(1)]).await;
    let letters = "SELECT reason FROM dead_letters";
    until("the refusal", &server, async || server.sql(letters).await != json!([])).await;
    let reason = server.sql(letters).await[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("400") && reason.contains("invalid event"), "{reason}");
    // A minute is a minute, however short our own waits are: two tries are a minute apart.
    deliver(&server, &[grant(2)]).await;
    let busy = || receiver.seen().iter().filter(|(_, status)| *status == 429).count();
    until("it to be asked for time", &server, async || busy() == 1).await;
    deliver(&server, &[grant(3), grant(4)]).await;
    let trouble = "SELECT trouble FROM sinks WHERE name = 'pager'";
    until("the trouble to be told", &server, async || {
        server.sql(trouble).await[0]["trouble"].as_str().is_some_and(|why| why.contains("429"))
    })
    .await;
    assert_eq!(busy(), 1);
}

/// The receiver itself sees what is wrong.
#[test]
fn the_receiver_refuses_what_is_not_as_published() {
    let good = json!({
        "routing_key": KEY, "event_action": "trigger", "dedup_key": "x",
        "payload": {"summary": "s", "source": "east", "severity": "error"},
    });
    let check = |pointer: &str, value: Value, expected: Option<&str>| {
        let mut body = good.clone();
        if let Some(place) = body.pointer_mut(pointer) {
            *place = value;
        }
        let bytes = body.to_string().len();
        let request = Request { path: String::new(), body, bytes };
        assert_eq!(wrong(&request).as_deref(), expected, "{pointer}");
    };
    check("/none", json!(1), None);
    check("/routing_key", json!("short"), Some("routing_key"));
    check("/event_action", json!("open"), Some("event_action"));
    check("/dedup_key", json!("x".repeat(256)), Some("dedup_key"));
    check("/payload/summary", json!("x".repeat(1025)), Some("payload.summary"));
    check("/payload/source", Value::Null, Some("payload.source"));
    check("/payload/severity", json!("high"), Some("payload.severity"));
    check("/payload/summary", json!("x".repeat(600_000)), Some("the event is too large"));
}
