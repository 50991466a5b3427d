//! `auditmill triage`: what somebody makes of an incident or a finding, told to a server.

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde_json::{Map, Value as Json};

use super::{Verdict, sql};
use crate::cli::TriageArgs;

/// Tells a server; prints what is known now, and an exception to fill in where one is given.
///
/// # Errors
/// When nothing is said, there is nothing of this id, or the server does not answer.
pub fn run(args: &TriageArgs) -> Result<Verdict> {
    let mut body = Map::new();
    let mut say = |name: &str, value: &str| body.insert(name.to_owned(), value.into());
    if args.ack {
        say("state", "acknowledged");
    }
    if args.reopen {
        say("state", "open");
    }
    if let Some(reason) = &args.close {
        say("state", "closed");
        say("reason", reason);
    }
    if let Some(name) = &args.assign {
        say("assignee", name);
    }
    if let Some(comment) = &args.comment {
        say("comment", comment);
    }
    let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
    if let Some(by) = args.by.clone().or_else(user) {
        say("by", &by);
    }
    let body = Json::Object(body);
    let kinds = if args.finding { &["findings"][..] } else { &["incidents", "findings"] };
    let mut answered = (404, Json::Null);
    for kind in kinds {
        let path = ["v1", kind, args.id.as_str()];
        answered = sql::call(&args.server, "PATCH", &path, Some(&body))?;
        if answered.0 != 404 {
            break;
        }
    }
    let (status, answer) = answered;
    if status != 200 {
        bail!("{}", answer.get("error").and_then(Json::as_str).unwrap_or("nothing of this id"));
    }
    let mut out = io::stdout().lock();
    for done in answer.get("triage").and_then(Json::as_array).into_iter().flatten() {
        let text = |name: &str| done.get(name).and_then(Json::as_str).unwrap_or_default();
        writeln!(out, "{} {} {} {}", text("at"), text("who"), text("action"), text("detail"))?;
    }
    if let Some(exempt) = answer.get("exempt").and_then(Json::as_str) {
        writeln!(out, "\nFor exceptions.yaml, once you have checked it:\n{exempt}")?;
    }
    Ok(Verdict::Done)
}
