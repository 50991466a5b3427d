//! `GET /v1/silences`, `POST /v1/silences`, `DELETE /v1/silences/{name}`: while somebody works on
//! something, nobody is called for it.
//!
//! ```json
//! {"name": "upgrade", "owner": "platform", "reason": "nodes are replaced", "expires": "2h",
//!  "match": {"cluster": ["prod-eu"], "detection": ["K8A-4*"]}}
//! ```

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json as object;

use super::auth::{Caller, Viewer};
use super::findings::ask;
use super::routes::{Failure, Shared, json};
use crate::clock::now_micros;
use crate::event::Clusters;
use crate::event::time::{parse_rfc3339, rfc3339};
use crate::findings::matcher::Matcher;
use crate::findings::paging::silence::Silence;

/// The longest that a silence may last, microseconds: what is known for longer is an exception.
const LASTS_MAX: i64 = 30 * 86_400_000_000;
/// Letters of one of its texts.
const CHARS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: Option<String>,
    owner: String,
    reason: String,
    /// RFC 3339, or how long, such as `2h`.
    expires: String,
    #[serde(rename = "match")]
    matches: Matcher,
}

/// A silence with its times as text.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    silence: Silence,
    expires: String,
}

fn shown(silence: Silence) -> Shown {
    Shown { expires: rfc3339(silence.expires), silence }
}

/// The silences that hold; those of the settings are not among them.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Viewer(viewer): Viewer,
) -> Result<Response, Failure> {
    let silences = ask(&shared, |store| store.silences(now_micros())).await?;
    let silences = silences.into_iter().filter(|silence| is_theirs(&viewer, &silence.matcher));
    let silences: Vec<Shown> = silences.map(shown).collect();
    Ok(json(&object!({ "silences": silences })))
}

/// A new silence, or another in place of the one of this name.
pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Failure> {
    caller.may_triage()?;
    let wrong = |message: String| Failure::Wrong(message);
    let body: Body =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("body: {error}")))?;
    let now = now_micros();
    let expires = parse_rfc3339(&body.expires).or_else(|| {
        let lasts = humantime::parse_duration(&body.expires).ok()?;
        Some(now.saturating_add(i64::try_from(lasts.as_micros()).ok()?))
    });
    let expires = expires.ok_or_else(|| {
        wrong(format!("expires: `{}` is neither a time nor a duration such as 2h", body.expires))
    })?;
    if expires <= now || expires > now.saturating_add(LASTS_MAX) {
        return Err(wrong("expires: a silence ends within 30 days from now".to_owned()));
    }
    for (name, text) in [("owner", &body.owner), ("reason", &body.reason)] {
        if text.trim().is_empty() || text.chars().count() > CHARS_MAX {
            return Err(wrong(format!("{name}: must say something, in {CHARS_MAX} letters")));
        }
    }
    if body.matches.is_blank() {
        return Err(wrong("match: it fits everything: name what is quiet".to_owned()));
    }
    if !is_theirs(&caller, &body.matches) {
        let message = "match: name clusters in `cluster`, each one that you see: a silence \
                       of yours is for these only";
        return Err(Failure::Forbidden(message.to_owned()));
    }
    let name = body.name.unwrap_or_else(|| format!("silence-{now:x}"));
    if name.is_empty() || name.chars().count() > CHARS_MAX {
        return Err(wrong(format!("name: has 1 to {CHARS_MAX} letters")));
    }
    let owner = match &caller {
        Caller::Anyone => body.owner,
        Caller::Known(_) => caller.name(Some(&body.owner)),
    };
    let matcher = body.matches;
    let silence = Silence { name, owner, reason: body.reason, begins: now, expires, matcher };
    let kept = silence.clone();
    let put =
        ask(&shared, move |store| store.put_silence(&kept, |matcher| is_theirs(&caller, matcher)));
    if !put.await? {
        let message = "name: a silence of clusters that you do not see has this name already";
        return Err(Failure::Conflict(message.to_owned()));
    }
    Ok(json(&shown(silence)))
}

/// Whether a silence is about nothing but what is seen from here.
fn is_theirs(caller: &Caller, matcher: &Matcher) -> bool {
    caller.clusters() == Clusters::All
        || (!matcher.cluster.is_empty() && matcher.cluster.iter().all(|name| caller.sees(name)))
}

/// Ends a silence.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Response, Failure> {
    caller.may_triage()?;
    let ended = ask(&shared, move |store| {
        store.end_silence(&name, now_micros(), |matcher| is_theirs(&caller, matcher))
    });
    if ended.await? {
        return Ok(json(&object!({ "ended": true })));
    }
    Err(Failure::NotFound("no silence of this name".to_owned()))
}
