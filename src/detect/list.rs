//! A list: what is known to be harmless on many clusters, as pairs of who and with what or from
//! where. A detection names the lists that hold for it: `exempt: [control-plane, cloud]`.
//!
//! ```yaml
//! about: The controllers of the control plane.
//! owner: platform@acme.example
//! entries:
//!   - name: kube-controller-manager
//!     condition: >-
//!       user_name LIKE 'system:serviceaccount:kube-system:%'
//!       AND user_agent LIKE 'kube-controller-manager/%'
//!     reason: Each controller acts under its own account.
//!     expires: 2027-06-30                 # optional: the last day, UTC; or a time
//! ```
//!
//! Promise: each entry is an [`Exception`] for the detections that name its list, so that what it
//! hides is counted and can be shown. No entry goes by one column alone, nor by what a client
//! chooses: a stolen credential must not vanish behind its owner's name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::detection::{Detection, LoadError, yaml_message};
use super::exception::{self, Detections, Exception};

/// The folder of lists, in the operator's folder of detections.
pub(super) const FOLDER: &str = "lists";

/// Of what never ends: the end of the year 9999, microseconds since 1970, UTC.
const NEVER: i64 = 253_402_300_799_000_000;

/// What a client says of itself.
const CHOSEN_BY_CLIENT: [&str; 3] = ["user_agent", "request_uri", "audit_id"];

/// The lists by their names, each as exceptions of no detection yet.
pub(super) type Lists = BTreeMap<String, Vec<Exception>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "about")]
    _about: String,
    owner: String,
    entries: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    condition: Spanned<String>,
    reason: String,
    #[serde(default)]
    expires: Option<String>,
}

/// Reads a list; its name is the file's stem.
///
/// # Errors
/// Every entry that is wrong, with its line and what to do.
pub(super) fn parse(path: &str, text: &str) -> Result<(String, Vec<Exception>), Vec<LoadError>> {
    let path: Arc<str> = Arc::from(path);
    let fail = |line: Option<u64>, message: String, hint: Option<String>| {
        let path = Arc::clone(&path);
        LoadError { path, line, message, hint }
    };
    let list: Written = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let hint = "a list has `about`, `owner` and `entries` with `name`, `condition`, `reason`";
        vec![fail(line, yaml_message(&error.to_string()), Some(hint.to_owned()))]
    })?;
    let name = path.rsplit('/').next().unwrap_or(&path).trim_end_matches(".yaml").to_owned();
    let mut errors = Vec::new();
    let mut exceptions: Vec<Exception> = Vec::new();
    for entry in list.entries {
        let line = entry.referenced.line();
        let Entry { name: of_entry, condition, reason, expires } = entry.value;
        let condition_line = Some(condition.referenced.line());
        match exception::check(&condition.value) {
            Err(told) => {
                let message = format!("condition: {}", told.message);
                errors.push(fail(condition_line, message, told.hint));
            }
            Ok(()) => errors.extend(pair(&condition.value).err().map(|message| {
                let hint = "name who, and with what or from where: \
                            `user_name = 'x' AND user_agent LIKE 'x/%'`";
                fail(condition_line, message, Some(hint.to_owned()))
            })),
        }
        if reason.trim().is_empty() || list.owner.trim().is_empty() {
            let message = "no `reason` or no `owner`".to_owned();
            errors.push(fail(Some(line), message, None));
        }
        let expires = expires.map(|text| exception::expires(&text).ok_or(text)).transpose();
        let expires = expires.unwrap_or_else(|text| {
            let message = format!("expires: `{text}` is not a date");
            errors.push(fail(Some(line), message, Some("write `2027-06-30`".to_owned())));
            None
        });
        let of_entry = format!("{name}/{of_entry}");
        if exceptions.iter().any(|other| other.name == of_entry) {
            errors.push(fail(Some(line), format!("`{of_entry}` is there twice"), None));
        }
        exceptions.push(Exception {
            name: of_entry,
            list: Some(name.clone()),
            detections: Detections::Ids(BTreeSet::new()),
            condition: condition.value.trim().to_owned(),
            owner: list.owner.clone(),
            reason,
            expires: expires.unwrap_or(NEVER),
            clusters: BTreeSet::new(),
            path: Arc::clone(&path),
            line,
        });
    }
    if errors.is_empty() { Ok((name, exceptions)) } else { Err(errors) }
}

/// Whether a condition asks for two things, one of which a client does not choose.
fn pair(condition: &str) -> Result<(), String> {
    let Ok(expr) = exception::planned(condition) else { return Ok(()) };
    let columns = expr.column_refs();
    let given =
        columns.iter().filter(|column| !CHOSEN_BY_CLIENT.contains(&column.name.as_str())).count();
    if columns.len() < 2 || given == 0 {
        return Err("an entry that goes by one thing alone hides whoever takes it on".to_owned());
    }
    Ok(())
}

/// The exceptions that the lists are to those of these detections that name them; unknown names
/// are errors.
pub(super) fn exempting<'a>(
    lists: &Lists,
    detections: impl Iterator<Item = &'a Arc<Detection>>,
) -> (Vec<Exception>, Vec<LoadError>) {
    let mut naming: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut errors = Vec::new();
    for detection in detections {
        for name in &detection.exempt {
            if lists.contains_key(name) {
                naming.entry(name).or_default().insert(detection.id.clone());
                continue;
            }
            let known: Vec<&str> = lists.keys().map(String::as_str).collect();
            let hint = format!("there are: {}", known.join(", "));
            let message = format!("exempt: no list `{name}`");
            errors.push(detection.error(detection.line_of("exempt"), message, Some(hint)));
        }
    }
    let exceptions = naming.into_iter().flat_map(|(name, ids)| {
        let entries = lists.get(name).into_iter().flatten().cloned();
        entries.map(move |entry| Exception { detections: Detections::Ids(ids.clone()), ..entry })
    });
    (exceptions.collect(), errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "about: a\nowner: o\nentries:\n  - name: one\n    condition: user_name = \
                        'x' AND user_agent LIKE 'x/%'\n    reason: r\n";

    #[test]
    fn a_list_is_exceptions_of_those_that_name_it() {
        let (name, entries) = parse("lists/cloud.yaml", GOOD).unwrap();
        let lists = BTreeMap::from([(name, entries)]);
        let detection = |id: &str, exempt: &str| {
            let text = format!(
                "/*\nid: {id}\ntitle: t\nseverity: low\ndescribe: d\nexempt: [{exempt}]\n*/\n\
                 SELECT cluster FROM events"
            );
            Arc::new(Detection::parse("t.sql", &text).unwrap())
        };
        let detections = [detection("A", "cloud"), detection("B", ""), detection("C", "clod")];
        let (exceptions, errors) = exempting(&lists, detections.iter());
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0].name, "cloud/one");
        assert_eq!(exceptions[0].detections.ids().collect::<Vec<_>>(), ["A"]);
        assert!(!exceptions[0].is_expired(NEVER - 1));
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["t.sql:6: exempt: no list `clod`\n  hint: there are: cloud"]);
    }

    #[test]
    fn a_wrong_list_says_where_and_why() {
        check(&GOOD.replace(" AND user_agent LIKE 'x/%'", ""), "cloud.yaml:5: an entry that goes");
        check(
            &GOOD.replace("user_name = 'x'", "request_uri = 'x'"),
            "cloud.yaml:5: an entry that goes",
        );
        check(&GOOD.replace("user_name", "user_nmae"), "cloud.yaml:5: condition: ");
        check(&GOOD.replace("reason: r", "reason: ''"), "cloud.yaml:4: no `reason`");
        check(&GOOD.replace("reason: r", "reason: r\n    expires: soon"), "cloud.yaml:4: expires:");
        check(&GOOD.replace("owner: o\n", ""), "cloud.yaml:");
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("  - name").unwrap()..]);
        check(&twice, "cloud.yaml:7: `cloud/one` is there twice");
    }

    fn check(text: &str, expected: &str) {
        let errors = parse("cloud.yaml", text).unwrap_err();
        let error = errors[0].to_string();
        assert!(error.starts_with(expected), "{error}\nexpected: {expected}");
    }
}
