//! A suggestion as YAML that can be applied, with what proves it as comments.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;

use super::grants::Granted;
use super::role::{Proved, Role, Rule};
use super::run::Suggestion;
use super::usage::Identity;

const API_GROUP: &str = "rbac.authorization.k8s.io";
/// Verbs and resources that a comment names.
const UNUSED_SHOWN: usize = 40;

pub(super) fn print_yaml(out: &mut impl Write, suggestion: &Suggestion) -> Result<()> {
    let user = suggestion.identity.user_name();
    comment(
        out,
        "",
        &format!("What {user} used: {} requests that were allowed.", suggestion.requests),
    )?;
    if let (Some(first), Some(last)) = (&suggestion.first, &suggestion.last) {
        comment(out, "", &format!("The first at {first}, the last at {last}."))?;
    }
    for note in &suggestion.notes {
        comment(out, "", &format!("NOTE: {note}."))?;
    }
    print_granted(out, suggestion)?;
    for role in &suggestion.roles {
        print_role(out, role)?;
        print_bindings(out, role, &suggestion.identity)?;
    }
    Ok(())
}

fn print_granted(out: &mut impl Write, suggestion: &Suggestion) -> Result<()> {
    for of in &suggestion.granted {
        let place = of.namespace.as_ref().map_or_else(String::new, |name| format!("{name}/"));
        let Granted { kind, binding, role, subject, .. } = of;
        let what = format!("{kind} {place}{binding} ({role} to {subject})");
        let told = match (&of.unknown, of.used, of.unused.is_empty()) {
            (Some(unknown), ..) => {
                format!("granted by {what}: what it gives is not known: {unknown}")
            }
            (None, _, true) => format!("granted by {what}: all of it was used"),
            (None, false, _) => format!("granted by {what}: nothing of it was used"),
            (None, true, _) => format!("granted by {what} and not used:"),
        };
        comment(out, "", &told)?;
        if of.unknown.is_none() {
            for unused in of.unused.iter().take(UNUSED_SHOWN) {
                comment(out, "  ", unused)?;
            }
            if of.unused.len() > UNUSED_SHOWN {
                comment(out, "  ", &format!("and {} more", of.unused.len() - UNUSED_SHOWN))?;
            }
        }
    }
    Ok(())
}

fn print_role(out: &mut impl Write, role: &Role) -> Result<()> {
    writeln!(out, "---\napiVersion: {API_GROUP}/v1\nkind: {}\nmetadata:", role.kind)?;
    writeln!(out, "  name: {}", scalar(&role.name))?;
    if let Some(namespace) = &role.namespace {
        writeln!(out, "  namespace: {}", scalar(namespace))?;
    }
    writeln!(out, "rules:")?;
    for rule in &role.rules {
        for proof in &rule.proofs {
            comment(out, "", &words(proof))?;
        }
        print_rule(out, rule)?;
    }
    Ok(())
}

fn print_rule(out: &mut impl Write, rule: &Rule) -> Result<()> {
    let mut start = "- ";
    for (name, words) in [
        ("apiGroups", &rule.groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.names),
        ("nonResourceURLs", &rule.paths),
        ("verbs", &rule.verbs),
    ] {
        if !words.is_empty() {
            let words: Vec<String> = words.iter().map(|word| scalar(word)).collect();
            writeln!(out, "{start}{name}: [{}]", words.join(", "))?;
            start = "  ";
        }
    }
    Ok(())
}

fn print_bindings(out: &mut impl Write, role: &Role, identity: &Identity) -> Result<()> {
    let places: Vec<Option<&String>> = if role.bound_in.is_empty() {
        vec![None]
    } else {
        role.bound_in.iter().map(Some).collect()
    };
    for namespace in places {
        let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        writeln!(out, "---\napiVersion: {API_GROUP}/v1\nkind: {kind}\nmetadata:")?;
        writeln!(out, "  name: {}", scalar(&role.name))?;
        if let Some(namespace) = namespace {
            writeln!(out, "  namespace: {}", scalar(namespace))?;
        }
        writeln!(out, "roleRef:\n  apiGroup: {API_GROUP}\n  kind: {}", role.kind)?;
        writeln!(out, "  name: {}\nsubjects:", scalar(&role.name))?;
        match identity {
            Identity::User(name) => {
                writeln!(out, "- apiGroup: {API_GROUP}\n  kind: User\n  name: {}", scalar(name))?;
            }
            Identity::ServiceAccount { namespace, name } => {
                writeln!(out, "- kind: ServiceAccount\n  name: {}", scalar(name))?;
                writeln!(out, "  namespace: {}", scalar(namespace))?;
            }
        }
    }
    Ok(())
}

fn words(proof: &Proved) -> String {
    let Proved { verb, resource, requests, done, .. } = proof;
    let mut words = format!("{verb} {resource}: {requests} requests, {done} done");
    if !proof.first.is_empty() {
        words = format!("{words}, {} to {}", proof.first, proof.last);
    }
    if let Some(because) = proof.because {
        words = format!("{words}; {because}");
    }
    if !proof.audit_ids.is_empty() {
        words = format!("{words}; audit ids {}", proof.audit_ids.join(", "));
    }
    words
}

/// A comment of one line, whatever is in it.
fn comment(out: &mut impl Write, indent: &str, text: &str) -> Result<()> {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_odd(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    writeln!(out, "#{indent} {safe}")?;
    Ok(())
}

/// A scalar that is a text to every reader of YAML.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '-' || c == '/' || c == '.';
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && text.chars().all(plain) && !reserved.contains(&text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            // Writing to a String cannot fail.
            c if is_odd(c) => drop(match u32::from(c) {
                code @ 0..=0xffff => write!(quoted, "\\u{code:04x}"),
                code => write!(quoted, "\\U{code:08x}"),
            }),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What ends lines, steers a terminal or is not ASCII.
fn is_odd(c: char) -> bool {
    c.is_control() || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_and_comments_stay_on_their_line() {
        assert_eq!(scalar("pods/exec"), "pods/exec");
        assert_eq!(scalar("no"), "\"no\"");
        assert_eq!(scalar(""), "\"\"");
        assert_eq!(scalar("*"), "\"*\"");
        assert_eq!(
            scalar("a: b\n- \"x\"\u{2028}\u{1f600}"),
            "\"a: b\\u000a- \\\"x\\\"\\u2028\\U0001f600\""
        );
        let mut out = Vec::new();
        comment(&mut out, "", "a\nkind: x\u{85}y\r").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "# a\\nkind: x\\u{85}y\\r\n");
    }
}
