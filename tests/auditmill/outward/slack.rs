//! Slack: a receiver that holds to the published form of messages and blocks.

use serde_json::{Value, json};

use super::judge::{Judge, Reply, Request};
use crate::events::grant;
use crate::server::TestServer;
use crate::sinks::{deliver, until};

/// What is wrong with a text object, by Slack's reference of Block Kit (2025).
fn wrong_text(object: &Value, kinds: &[&str], characters_max: usize) -> Option<String> {
    let kind = object["type"].as_str().unwrap_or_default();
    let text = object["text"].as_str().unwrap_or_default();
    let allowed: &[&str] = match kind {
        "mrkdwn" => &["type", "text", "verbatim"],
        _ => &["type", "text", "emoji"],
    };
    if !kinds.contains(&kind) {
        return Some(format!("a text of type `{kind}`"));
    }
    if text.is_empty() || text.chars().count() > characters_max {
        return Some(format!("a text of {} characters", text.chars().count()));
    }
    let unknown = object.as_object()?.keys().find(|name| !allowed.contains(&name.as_str()));
    if let Some(unknown) = unknown {
        return Some(format!("`{unknown}` in a text"));
    }
    // Not a rule of Slack's but ours: nothing in a finding is markup.
    let bare = text.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "");
    (kind == "mrkdwn" && bare.contains(['<', '>', '&'])).then(|| format!("markup in `{text}`"))
}

fn wrong_block(block: &Value) -> Option<String> {
    const ANY: [&str; 2] = ["mrkdwn", "plain_text"];
    match block["type"].as_str().unwrap_or_default() {
        "header" => wrong_text(&block["text"], &["plain_text"], 150),
        "section" => {
            let fields = block["fields"].as_array();
            if block["text"].is_null() && fields.is_none_or(Vec::is_empty) {
                return Some("an empty section".to_owned());
            }
            if fields.is_some_and(|fields| fields.len() > 10) {
                return Some("more than 10 fields".to_owned());
            }
            let text = (!block["text"].is_null()).then(|| wrong_text(&block["text"], &ANY, 3000));
            let mut fields = fields.into_iter().flatten();
            text.flatten().or_else(|| fields.find_map(|field| wrong_text(field, &ANY, 2000)))
        }
        "context" => {
            let elements = block["elements"].as_array()?;
            if elements.is_empty() || elements.len() > 10 {
                return Some("elements of a context".to_owned());
            }
            elements.iter().find_map(|element| wrong_text(element, &ANY, 3000))
        }
        "actions" => block["elements"].as_array()?.iter().find_map(|button| {
            let url = button["url"].as_str().unwrap_or_default();
            if button["type"] != "button" || url.chars().count() > 3000 {
                return Some("a button".to_owned());
            }
            wrong_text(&button["text"], &["plain_text"], 75)
        }),
        other => Some(format!("a block of type `{other}`")),
    }
}

fn wrong(message: &Value) -> Option<String> {
    let text = message["text"].as_str().unwrap_or_default();
    if text.is_empty() || text.chars().count() > 40_000 {
        return Some("no_text".to_owned());
    }
    let blocks = message["blocks"].as_array()?;
    if blocks.is_empty() || blocks.len() > 50 {
        return Some("invalid_blocks".to_owned());
    }
    blocks.iter().find_map(wrong_block)
}

fn judge(request: &Request) -> Reply {
    match wrong(&request.body) {
        None => Reply::ok("ok"),
        Some(wrong) => Reply(400, "", format!("invalid_payload: {wrong}")),
    }
}

fn start(port: u16) -> (TestServer, tempfile::NamedTempFile) {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), format!("http://127.0.0.1:{port}/services/geheim\n")).unwrap();
    let settings = format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\nlink = \"https://mill.example\"\n\
         [[sink]]\ntype = \"slack\"\nname = \"chat\"\nsecret_file = \"{}\"\n",
        secret.path().display()
    );
    (TestServer::start(&settings), secret)
}

#[tokio::test]
async fn slack_takes_what_is_found_and_nothing_in_it_is_markup() {
    let receiver = Judge::start(None, judge).await;
    let (server, _secret) = start(receiver.port);
    let mut hostile = grant(2);
    hostile["user"]["username"] = json!("<!channel> `*eve*` & <https://evil.example|click>");
    let mut long = grant(3);
    long["user"]["username"] = json!("<".repeat(9_000));
    deliver(&server, &[grant(1), hostile, long]).await;
    until("three messages", &server, async || receiver.taken().len() == 3).await;
    // More of the same is no news to people.
    let mut more = grant(1);
    more["auditID"] = json!("more");
    deliver(&server, &[more]).await;
    deliver(&server, &[grant(4)]).await;
    until("the fourth", &server, async || receiver.taken().len() == 4).await;
    let seen = receiver.seen();
    assert!(seen.iter().all(|(_, status)| *status == 200), "{seen:#?}");
    assert_eq!(seen.len(), 4);
    let (request, _) = seen.first().unwrap();
    assert_eq!(request.path, "/services/geheim");
    assert!(request.body.to_string().contains("https://mill.example/v1/incidents/"));
    assert!(!server.log().contains("geheim"), "the URL is in the log");
}

#[tokio::test]
async fn slack_refuses_and_asks_for_time() {
    let receiver = Judge::start(None, |request| {
        if request.body.to_string().contains("p1 ") {
            return Reply(400, "", "invalid_blocks".to_owned());
        }
        Reply(429, "Retry-After: 60\r\n", "rate_limited".to_owned())
    })
    .await;
    let (server, _secret) = start(receiver.port);
    deliver(&server, &[grant(1)]).await;
    let letters = "SELECT reason FROM dead_letters";
    until("the refusal", &server, async || server.sql(letters).await != json!([])).await;
    let reason = server.sql(letters).await[0]["reason"].to_string();
    assert!(reason.contains("invalid_blocks"), "{reason}");
    deliver(&server, &[grant(2), grant(3), grant(4)]).await;
    let busy = || receiver.seen().iter().filter(|(_, status)| *status == 429).count();
    let trouble = "SELECT trouble FROM sinks WHERE name = 'chat' AND trouble LIKE '429%'";
    until("the trouble", &server, async || server.sql(trouble).await != json!([])).await;
    // The others of the batch are not even tried.
    assert_eq!(busy(), 1);
}

#[test]
fn the_receiver_refuses_what_is_not_as_published() {
    let text = |text: &str| json!({"type": "mrkdwn", "text": text});
    let check = |blocks: Vec<Value>, is_good: bool| {
        let wrong = wrong(&json!({"text": "x", "blocks": blocks}));
        assert_eq!(wrong.is_none(), is_good, "{wrong:?}");
    };
    check(vec![json!({"type": "section", "text": text("x")})], true);
    check(vec![json!({"type": "section", "text": text(&"x".repeat(3001))})], false);
    check(vec![json!({"type": "section", "text": text("<!here>")})], false);
    check(vec![json!({"type": "section", "fields": vec![text("x"); 11]})], false);
    check(vec![json!({"type": "header", "text": text("x")})], false);
    check(vec![json!({"type": "section", "text": text("x")}); 51], false);
    assert!(wrong(&json!({"blocks": []})).is_some());
}
