//! `auditmill silence add`, `list`, `end`: while somebody works on something, nobody is called.

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde_json::{Value as Json, json};

use super::table::styled;
use super::{Verdict, sql};
use crate::cli::{Format, SilenceAddArgs, SilenceEndArgs, SilenceListArgs};

/// Puts a silence down; prints its name.
///
/// # Errors
/// When it says too little or too much, or the server does not answer.
pub fn add(args: &SilenceAddArgs) -> Result<Verdict> {
    let mut body = json!({
        "owner": args.owner,
        "reason": args.reason,
        "expires": args.expires,
        "match": {
            "severity": args.severity.iter().map(|of| of.as_str()).collect::<Vec<_>>(),
            "cluster": args.cluster,
            "namespace": args.namespace,
            "detection": args.detection,
            "user": args.user,
        },
    });
    if let (Some(name), Some(fields)) = (&args.name, body.as_object_mut()) {
        fields.insert("name".to_owned(), name.as_str().into());
    }
    let answer = sql::call(&args.server, "POST", &["v1", "silences"], Some(&body))?;
    let answer = good(answer)?;
    let text = |name: &str| answer.get(name).and_then(Json::as_str).unwrap_or_default();
    writeln!(io::stdout(), "{} until {}", text("name"), text("expires"))?;
    Ok(Verdict::Done)
}

/// Shows the silences that hold; those of the settings are not among them.
///
/// # Errors
/// When the server does not answer.
pub fn list(args: &SilenceListArgs) -> Result<Verdict> {
    let answer = good(sql::call(&args.server, "GET", &["v1", "silences"], None)?)?;
    let silences = answer.get("silences").and_then(Json::as_array).cloned().unwrap_or_default();
    let mut out = io::stdout().lock();
    if args.format == Format::Json {
        silences.iter().try_for_each(|silence| writeln!(out, "{silence}"))?;
        return Ok(Verdict::Done);
    }
    let mut table = styled();
    table.set_header(["name", "owner", "expires (UTC)", "reason", "match"]);
    for silence in &silences {
        let text = |name: &str| silence.get(name).and_then(Json::as_str).unwrap_or_default();
        let matches = silence.get("match").map(Json::to_string).unwrap_or_default();
        table.add_row([text("name"), text("owner"), text("expires"), text("reason"), &matches]);
    }
    if !silences.is_empty() {
        writeln!(out, "{table}")?;
    }
    Ok(Verdict::Done)
}

/// Ends a silence.
///
/// # Errors
/// When there is none of this name, or the server does not answer.
pub fn end(args: &SilenceEndArgs) -> Result<Verdict> {
    good(sql::call(&args.server, "DELETE", &["v1", "silences", &args.name], None)?)?;
    Ok(Verdict::Done)
}

fn good((status, answer): (u16, Json)) -> Result<Json> {
    if status != 200 {
        bail!("{}", answer.get("error").and_then(Json::as_str).unwrap_or("the server refused"));
    }
    Ok(answer)
}
