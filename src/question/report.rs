//! Reports: an investigator's first questions, each a file of `queries/reports`.
//!
//! A file is SQL; its leading comment says what it is for:
//! ```sql
//! /*
//! name: secrets-read
//! title: Who read which secrets
//! describe: what a row is, and what it does not say
//! params: {user: null, limit: 1000}     # `$user` in the query; what the flags do not give
//! requires_one: [user, ip]              # optional: it makes no sense without one of them
//! needs: {level: Metadata, resources: [secrets]}
//! controls: [SEC-1]
//! */
//! SELECT ... WHERE event_time >= $since AND event_time < $until
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::control::Period;
use super::text::{self, FillError, Value};
use crate::detect::detection::{LoadError, Needs, front_matter, yaml_message};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/reports");

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it is about, as read.
    pub about: About,
    /// The whole text of its file.
    pub sql: String,
}

/// The YAML of the leading comment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What it is called by.
    pub name: String,
    /// One line that says what it tells.
    pub title: String,
    /// What a row is, and what it does not say.
    pub describe: String,
    /// Values of the query with their defaults; null for none.
    #[serde(default)]
    pub params: BTreeMap<String, serde_json::Value>,
    /// Params of which one at least must be given.
    #[serde(default)]
    pub requires_one: Vec<String>,
    /// What the audit policy must record.
    #[serde(default)]
    pub needs: Needs,
    /// Hardening controls that it belongs to.
    #[serde(default)]
    pub controls: Vec<String>,
}

/// Why a report cannot be asked as it was.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AskError {
    /// A value for something that it does not have.
    #[error("report `{report}` has no `{param}`: {}", has(.known))]
    Unknown {
        /// The report.
        report: String,
        /// What was given.
        param: String,
        /// What it has.
        known: Vec<String>,
    },
    /// None of those that it needs one of.
    #[error("report `{report}` needs one of {}", flags(.of))]
    Missing {
        /// The report.
        report: String,
        /// What it needs one of.
        of: Vec<String>,
    },
    /// A value of another kind.
    #[error("`{value}` is no whole number, as `{param}` is")]
    NoNumber {
        /// What it was given for.
        param: String,
        /// What was given.
        value: String,
    },
    /// Its text is wrong.
    #[error(transparent)]
    Text(#[from] FillError),
}

fn has(known: &[String]) -> String {
    if known.is_empty() { "it takes none".to_owned() } else { format!("it has {}", flags(known)) }
}

fn flags(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The shipped reports, by name.
///
/// # Errors
/// Every file that cannot be read.
pub fn shipped() -> Result<BTreeMap<String, Report>, Vec<LoadError>> {
    let (mut reports, mut errors) = (BTreeMap::new(), Vec::new());
    for file in SHIPPED.files() {
        let path = format!("queries/reports/{}", file.path().display());
        match Report::parse(&path, file.contents_utf8().unwrap_or_default()) {
            Ok(report) => drop(reports.insert(report.about.name.clone(), report)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(reports) } else { Err(errors) }
}

impl Report {
    /// Reads a report's file.
    ///
    /// # Errors
    /// When there is no leading comment, its YAML is wrong, or the query names an unknown value.
    pub fn parse(path: &str, text: &str) -> Result<Self, LoadError> {
        let path: Arc<str> = Arc::from(path);
        let fail = |line, message| LoadError { path: Arc::clone(&path), line, message, hint: None };
        let (yaml, before) =
            front_matter(text).ok_or_else(|| fail(Some(1), "no front matter".to_owned()))?;
        let about: About = serde_saphyr::from_str(yaml).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            fail(Some(line + before), yaml_message(&error.to_string()))
        })?;
        let names = text::names(text).map_err(|error| fail(None, error.to_string()))?;
        let known = |name: &&String| {
            matches!(name.as_str(), "since" | "until") || about.params.contains_key(*name)
        };
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(fail(None, format!("`${name}` is none of its params")));
        }
        if let Some(name) = about.params.keys().find(|name| !names.contains(*name)) {
            return Err(fail(None, format!("the query has no `${name}`")));
        }
        Ok(Self { about, sql: text.to_owned() })
    }

    /// The question, with these values by the names of its params.
    ///
    /// # Errors
    /// When a value is for none of them, or one is missing.
    pub fn asked(
        &self,
        period: Period,
        given: &BTreeMap<String, String>,
    ) -> Result<String, AskError> {
        let About { name, params, requires_one, .. } = &self.about;
        if let Some(param) = given.keys().find(|param| !params.contains_key(*param)) {
            let known = params.keys().cloned().collect();
            return Err(AskError::Unknown { report: name.clone(), param: param.clone(), known });
        }
        if !requires_one.is_empty() && !requires_one.iter().any(|one| given.contains_key(one)) {
            return Err(AskError::Missing { report: name.clone(), of: requires_one.clone() });
        }
        let mut values = BTreeMap::from([
            ("since".to_owned(), Value::Time(period.since)),
            ("until".to_owned(), Value::Time(period.until)),
        ]);
        for (param, default) in params {
            values.insert(param.clone(), value(param, default, given.get(param))?);
        }
        Ok(text::filled(&self.sql, &values)?)
    }
}

fn value(
    param: &str,
    default: &serde_json::Value,
    given: Option<&String>,
) -> Result<Value, AskError> {
    let number = default.as_i64();
    Ok(match (given, number) {
        (Some(given), Some(_)) => {
            let number = given.trim().parse();
            let wrong = |_| AskError::NoNumber { param: param.to_owned(), value: given.clone() };
            Value::Int(number.map_err(wrong)?)
        }
        (Some(given), None) => Value::Text(given.clone()),
        (None, Some(number)) => Value::Int(number),
        (None, None) => default.as_str().map_or(Value::Null, |text| Value::Text(text.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "/*\nname: a\ntitle: t\ndescribe: d\nparams: {user: null, limit: 10}\n\
                        requires_one: [user]\n*/\n\
                        SELECT 1 WHERE u = $user AND t > $since LIMIT $limit";
    const PERIOD: Period = Period { since: 0, until: 1 };

    #[test]
    fn the_shipped_ones_are_read() {
        let reports = shipped().unwrap();
        assert!(reports.len() >= 12, "{:?}", reports.keys());
    }

    #[test]
    fn values_are_what_was_given_or_the_default() {
        let report = Report::parse("r.sql", TEXT).unwrap();
        let given = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let sql = report.asked(PERIOD, &given(&[("user", "o'x")])).unwrap();
        assert!(sql.contains("u = 'o''x' AND t > '1970-01-01T00:00:00.000000Z' LIMIT 10"));
        let refused = |pairs: &[(&str, &str)], expected: &str| {
            let error = report.asked(PERIOD, &given(pairs)).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        refused(&[], "report `a` needs one of `user`");
        refused(&[("pod", "x")], "report `a` has no `pod`: it has `limit`, `user`");
        refused(&[("user", "x"), ("limit", "all")], "`all` is no whole number, as `limit` is");
    }

    #[test]
    fn a_wrong_file_says_where() {
        let wrong = |text: &str, expected: &str| {
            let error = Report::parse("r.sql", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        wrong("SELECT 1", "r.sql:1: no front matter");
        wrong(&TEXT.replace("title", "titel"), "r.sql:3: ");
        wrong(&TEXT.replace("$user", "$who"), "r.sql: `$who` is none");
        wrong(&TEXT.replace("LIMIT $limit", ""), "r.sql: the query has no `$limit`");
    }
}
