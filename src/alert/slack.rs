//! Messages in a channel of Slack, through an incoming webhook.
//!
//! What Slack says it takes (its reference of Block Kit and "Sending messages using incoming
//! webhooks", 2025): at most 50 blocks; a header of at most 150 characters, plain; a section's text
//! of at most 3000, of its fields at most 10 with 2000 each; a button's URL of at most 3000; in
//! text `&`, `<` and `>` are written `&amp;`, `&lt;`, `&gt;`. It answers 200 with `ok`, 400 for
//! what it cannot take, 429 with `Retry-After` beyond about one message a second.
//!
//! Everything in a message is something that an attacker may have chosen: nothing of it becomes a
//! link, a mention or a format of its own (`verbatim`, code spans without backticks).

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Url};
use serde_json::{Value as Json, json};

use super::notice::{Notice, State, cut};
use super::pager::Pager;
use super::sink::Answer;
use super::{http, secret};
use crate::config::sink::SlackSettings;
use crate::findings::paging::Call;
use crate::findings::record::Severity;

const HEADER_MAX: usize = 150;
/// Below 3000: escapes are put in afterwards, and cut again.
const TEXT_MAX: usize = 3_000;
const FIELD_MAX: usize = 2_000;
const FIELDS_MAX: usize = 10;
const URL_MAX: usize = 3_000;

/// The sink.
pub struct Slack {
    client: Client,
    /// A secret as a whole.
    url: Url,
}

impl std::fmt::Debug for Slack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slack").finish_non_exhaustive()
    }
}

impl Slack {
    /// A sink for these settings; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL or a certificate cannot be used.
    pub fn new(settings: &SlackSettings) -> Result<Self> {
        let secret = secret::read(settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
        let what = "the URL of the incoming webhook: name it by `secret_file` or `secret_env`";
        // An error would repeat the URL.
        let Ok(url) = secret.context(what)?.parse::<Url>() else {
            bail!("the secret is not a URL such as https://hooks.slack.com/services/...");
        };
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            bail!("the secret is not a URL that begins with https://");
        }
        let client = http::client(&url, &settings.tls(), settings.timeout.0, 1)?;
        Ok(Self { client, url })
    }
}

impl Pager for Slack {
    async fn page(&mut self, call: &Call) -> Answer {
        let message = message(&Notice::new(call));
        let request = self.client.post(self.url.clone()).json(&message);
        http::send(request, &http::REFUSALS, true).await
    }
}

/// The message: what it says in a notification, and its blocks.
fn message(notice: &Notice) -> Json {
    let mark = match (notice.state, notice.severity) {
        (State::Closed, _) => ":white_check_mark:",
        (State::Acknowledged, _) => ":eyes:",
        (State::Open, Severity::Critical | Severity::High) => ":rotating_light:",
        (State::Open, _) => ":warning:",
    };
    let header = format!("{mark} {}", notice.title);
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&cut(&header, HEADER_MAX)) }),
        json!({ "type": "section", "text": text(&notice.line(), TEXT_MAX) }),
    ];
    let known = [("first", &notice.first_seen), ("last", &notice.last_seen)];
    let facts = notice.facts.iter().map(|(name, value)| (*name, value));
    let known = known.into_iter().chain(facts).take(FIELDS_MAX);
    let fields: Vec<Json> = known.map(|(name, value)| field(name, value)).collect();
    blocks.push(json!({ "type": "section", "fields": fields }));
    if !notice.respond.is_empty() && notice.state == State::Open {
        blocks.push(json!({ "type": "section", "text": text(&notice.respond, TEXT_MAX) }));
    }
    if let Some(link) = notice.link.as_ref().filter(|link| link.len() <= URL_MAX) {
        blocks.push(json!({
            "type": "actions",
            "elements": [{ "type": "button", "text": plain("Incident"), "url": link }],
        }));
    }
    let origin = format!("{} · {} · {}", notice.kind, notice.cluster, notice.id);
    blocks.push(json!({ "type": "context", "elements": [text(&origin, TEXT_MAX)] }));
    json!({ "text": escaped(&notice.line(), TEXT_MAX), "blocks": blocks })
}

fn plain(text: &str) -> Json {
    json!({ "type": "plain_text", "text": text, "emoji": true })
}

/// Text in which nothing becomes a link or a mention.
fn text(text: &str, characters_max: usize) -> Json {
    json!({ "type": "mrkdwn", "text": escaped(text, characters_max), "verbatim": true })
}

fn field(name: &str, value: &str) -> Json {
    // A code span shows what is in it as it is; a backtick would end it.
    let name = escaped(&cut(name, 100), 200);
    let value = escaped(&value.replace('`', "'"), FIELD_MAX - name.len() - 10);
    let value = if value.trim().is_empty() { "(empty)" } else { &value };
    json!({ "type": "mrkdwn", "text": format!("*{name}*\n`{value}`"), "verbatim": true })
}

/// A text with Slack's three escapes, at most so many characters with them.
fn escaped(text: &str, characters_max: usize) -> String {
    let mut escaped = String::new();
    let mut characters = 0;
    for c in text.chars() {
        let mut buffer = [0; 4];
        let written = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            c => c.encode_utf8(&mut buffer),
        };
        characters += written.chars().count();
        if characters >= characters_max {
            escaped.push('…');
            break;
        }
        escaped.push_str(written);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_whole_and_within_bounds() {
        assert_eq!(escaped("<!channel> & co", 100), "&lt;!channel&gt; &amp; co");
        assert_eq!(escaped("a<b", 5), "a…");
        assert_eq!(escaped(&"ä".repeat(50), 10), format!("{}…", "ä".repeat(9)));
    }
}
