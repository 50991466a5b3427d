//! The command: an identity, what it used, what that comes to.

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde::Serialize;

use super::grants::{Granted, granted};
use super::permission::needed;
use super::role::{Role, roles};
use super::usage::{Identity, groups, impersonated, used};
use super::yaml::print_yaml;
use crate::cli::{SuggestArgs, SuggestFormat};
use crate::command::Verdict;
use crate::command::report::period;
use crate::command::sql::Asked;

/// All that is told.
pub(super) struct Suggestion {
    pub(super) identity: Identity,
    pub(super) requests: u64,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) granted: Vec<Granted>,
    pub(super) roles: Vec<Role>,
}

/// As machines read it.
#[derive(Serialize)]
struct Told<'a> {
    identity: String,
    requests: u64,
    first: &'a Option<String>,
    last: &'a Option<String>,
    roles: &'a [Role],
    granted: &'a [Granted],
    notes: &'a [String],
}

/// Suggests roles for an identity.
///
/// # Errors
/// When a flag is wrong, files cannot be read, or nobody can be asked.
pub fn suggest(args: &SuggestArgs) -> Result<Verdict> {
    let identity = identity(args)?;
    let period = period(&args.period)?;
    let asked = Asked::open(&args.place, &mut |_| {})?;
    let used = used(&asked, &identity, args.namespace.as_deref(), period)?;
    if used.is_empty() {
        eprintln!("nothing was allowed to `{}` in the events in reach", identity.user_name());
        return Ok(Verdict::No);
    }
    let acted = match &args.namespace {
        Some(_) => Vec::new(),
        None => impersonated(&asked, &identity, period)?,
    };
    let mut needed = needed(&used, &acted, &identity);
    let groups = groups(&asked, &identity, period)?;
    let granted = match granted(&asked, &identity, &groups, &used, period)? {
        Ok(granted) => granted,
        Err(message) => {
            needed.notes.push(format!("what is granted could not be asked: {message}"));
            Vec::new()
        }
    };
    if groups.contains("system:masters") {
        let note = "it is in system:masters, which may do everything whatever roles say";
        needed.notes.push(note.to_owned());
    }
    let suggestion = Suggestion {
        requests: used.iter().map(|one| one.requests).sum(),
        first: used.iter().map(|one| one.first.clone()).min(),
        last: used.iter().map(|one| one.last.clone()).max(),
        roles: roles(&needed, &identity),
        notes: needed.notes,
        identity,
        granted,
    };
    let mut out = io::stdout().lock();
    match args.format {
        SuggestFormat::Yaml => print_yaml(&mut out, &suggestion)?,
        SuggestFormat::Json => {
            let told = Told {
                identity: suggestion.identity.user_name(),
                requests: suggestion.requests,
                first: &suggestion.first,
                last: &suggestion.last,
                roles: &suggestion.roles,
                granted: &suggestion.granted,
                notes: &suggestion.notes,
            };
            serde_json::to_writer(&mut out, &told)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(Verdict::Done)
}

fn identity(args: &SuggestArgs) -> Result<Identity> {
    if let Some(account) = &args.serviceaccount {
        let Some((namespace, name)) = account.split_once('/') else {
            bail!("--serviceaccount: `{account}` is no NAMESPACE/NAME");
        };
        return Ok(Identity::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    }
    let user = args.user.clone().unwrap_or_default();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    Ok(match account {
        Some((namespace, name)) => {
            Identity::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        None => Identity::User(user),
    })
}
