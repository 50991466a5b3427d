//! Hardening controls: what a checklist demands, and how events show whether it is so.
//!
//! A file of `queries/controls` is a list of them:
//! ```yaml
//! - id: WL-1
//!   title: No privileged containers
//!   cis: ["5.2.2"]                     # sections of the CIS Kubernetes Benchmark v1.10
//!   about: what passes, and what events cannot say
//!   needs: {level: Request, resources: [pods], verbs: [create]}    # as in a detection
//!   from: pod_specs                    # or a query; without it, events
//!   evidence: response_code < 300      # rows that could show it broken
//!   fail: privileged                   # which of them do
//!   what: concat(user_name, ' ...')    # such a row in words
//! ```
//! `findings: true` counts findings of its detections, from severity medium on, as failures too.
//! `never` says why no event can show it. `lists` are values that only the operator knows, each
//! with the condition that is asked for each of them (`$each`); `requires` names those without
//! which nothing can be said. `figures` is a query whose rows, `name` and `value`, stand beside.
//! `change: true` says that it is broken by a deed: none is as good as evidence, where the audit
//! policy would have shown it. `summary: true` is made of the lines that have sections of CIS.
//! `$since` and `$until` in `from` and `figures` bound the time; a table or view is bounded here.
//! `$done` and `$written` are conditions that many share, and `$name` a list's, `$name_given`
//! whether it was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::text::{self, FillError, Value};
use crate::detect::detection::{LoadError, Needs, yaml_message};

static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/queries/controls");

/// The release of the benchmark that sections are of.
pub const BENCHMARK: &str = "CIS Kubernetes Benchmark v1.10";

/// Conditions that many controls share: an event that changed something, a workload written
/// outside kube-system (of the view `pod_specs`).
const SHARED: [(&str, &str); 2] = [
    (
        "done",
        "(stage IN ('ResponseComplete', 'Panic') AND response_code BETWEEN 200 AND 299 \
         AND (url_param(request_uri, 'dryRun') IS DISTINCT FROM 'All'))",
    ),
    (
        "written",
        "(response_code BETWEEN 200 AND 299 AND NOT dry_run \
         AND (namespace IS DISTINCT FROM 'kube-system'))",
    ),
];

/// Events that show a control broken, which are named.
pub const SHOWN: usize = 5;

/// A control.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Its id, as in the `controls` of detections.
    pub id: String,
    /// What is demanded.
    pub title: String,
    /// Sections of the CIS Kubernetes Benchmark.
    #[serde(default)]
    pub cis: Vec<String>,
    /// What passes, and what is left open.
    #[serde(default)]
    pub about: String,
    /// What the audit policy must record.
    #[serde(default)]
    pub needs: Needs,
    /// What it is asked of: a table, a view or a query.
    #[serde(default = "events")]
    pub from: String,
    /// Which rows could show it broken.
    #[serde(default)]
    pub evidence: Option<String>,
    /// Which of these do.
    #[serde(default)]
    pub fail: Option<String>,
    /// Such a row in words.
    #[serde(default)]
    pub what: Option<String>,
    /// Whether findings of its detections are failures.
    #[serde(default)]
    pub findings: bool,
    /// Why no event can show that it holds.
    #[serde(default)]
    pub never: Option<String>,
    /// Values of the operator's, by name, and the condition for each of them.
    #[serde(default)]
    pub lists: BTreeMap<String, String>,
    /// Those of `lists` that must be given.
    #[serde(default)]
    pub requires: Vec<String>,
    /// A query for figures that are shown beside.
    #[serde(default)]
    pub figures: Option<String>,
    /// Whether it is broken by a deed, so that the silence of a sound log is evidence.
    #[serde(default)]
    pub change: bool,
    /// Whether it is made of all lines with sections of CIS.
    #[serde(default)]
    pub summary: bool,
}

fn events() -> String {
    "events".to_owned()
}

/// The time that a control is asked about, microseconds since 1970, UTC; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its start.
    pub since: i64,
    /// Its end.
    pub until: i64,
}

/// What only the operator knows: values by the names of lists.
pub type Known = BTreeMap<String, Vec<String>>;

/// The shipped controls, in the order of their files.
///
/// # Errors
/// Every file that cannot be read.
pub fn shipped() -> Result<Vec<Control>, Vec<LoadError>> {
    let mut files: Vec<_> = SHIPPED.files().collect();
    files.sort_by_key(|file| file.path());
    let (mut controls, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        let path = format!("queries/controls/{}", file.path().display());
        match parse(&path, file.contents_utf8().unwrap_or_default()) {
            Ok(read) => controls.extend(read),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(controls) } else { Err(errors) }
}

/// Reads a file of controls.
///
/// # Errors
/// What is wrong with it.
pub fn parse(path: &str, text: &str) -> Result<Vec<Control>, Vec<LoadError>> {
    let path: Arc<str> = Arc::from(path);
    let fail = |line, message| LoadError { path: Arc::clone(&path), line, message, hint: None };
    let controls: Vec<Control> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        vec![fail(line, yaml_message(&error.to_string()))]
    })?;
    let mut errors = Vec::new();
    for control in &controls {
        let id = &control.id;
        let asks = control.evidence.is_some() && control.fail.is_some() && control.what.is_some();
        let silent = control.evidence.is_none() && control.fail.is_none();
        if !asks && !(silent && (control.never.is_some() || control.summary)) {
            let message = "names `evidence`, `fail` and `what`, or says why `never`";
            errors.push(fail(None, format!("{id}: {message}")));
        }
        if let Some(name) = control.requires.iter().find(|name| !control.lists.contains_key(*name))
        {
            errors.push(fail(None, format!("{id}: requires `{name}`, which is none of its lists")));
        }
    }
    if errors.is_empty() { Ok(controls) } else { Err(errors) }
}

impl Control {
    /// Those of its lists that nobody gave although nothing can be said without.
    pub fn missing<'a>(&'a self, known: &'a Known) -> impl Iterator<Item = &'a str> {
        self.requires.iter().map(String::as_str).filter(|name| !known.contains_key(*name))
    }

    /// The question how many rows could show it broken, how many do, and when. `None` when nothing
    /// is asked of events.
    ///
    /// # Errors
    /// When its text is no SQL.
    pub fn counting(&self, period: Period, known: &Known) -> Result<Option<String>, FillError> {
        let (Some(evidence), Some(fail)) = (&self.evidence, &self.fail) else { return Ok(None) };
        let sql = format!(
            "SELECT count(*) AS seen, coalesce(sum(CASE WHEN failing THEN 1 ELSE 0 END), 0) \
             AS failing, min(event_time) AS first_event, max(event_time) AS last_event, \
             min(CASE WHEN failing THEN event_time END) AS first_failing, \
             max(CASE WHEN failing THEN event_time END) AS last_failing \
             FROM (SELECT event_time, coalesce({fail}, false) AS failing FROM {} \
             WHERE {}({evidence})) AS judged",
            self.rows(),
            self.bounds()
        );
        text::filled(&sql, &self.values(period, known)).map(Some)
    }

    /// The question for the latest [`SHOWN`] rows that show it broken.
    ///
    /// # Errors
    /// When its text is no SQL.
    pub fn showing(&self, period: Period, known: &Known) -> Result<Option<String>, FillError> {
        let (Some(evidence), Some(fail), Some(what)) = (&self.evidence, &self.fail, &self.what)
        else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT cluster, event_time, event_id, audit_id, {what} AS what FROM {} \
             WHERE {}({evidence}) AND ({fail}) \
             ORDER BY event_time DESC, event_id DESC LIMIT {SHOWN}",
            self.rows(),
            self.bounds()
        );
        text::filled(&sql, &self.values(period, known)).map(Some)
    }

    /// The question for figures.
    ///
    /// # Errors
    /// When its text is no SQL.
    pub fn figuring(&self, period: Period, known: &Known) -> Result<Option<String>, FillError> {
        let Some(figures) = &self.figures else { return Ok(None) };
        text::filled(figures, &self.values(period, known)).map(Some)
    }

    /// The question how many events there are of what it needs, at whatever level. `None` when it
    /// names no resource.
    ///
    /// # Errors
    /// Never in practice: when what it needs is no SQL.
    pub fn reaching(&self, period: Period) -> Result<Option<String>, FillError> {
        if self.needs.resources.is_empty() {
            return Ok(None);
        }
        let list = |words: &[String]| {
            words.iter().map(|word| text::quoted(word)).collect::<Vec<_>>().join(", ")
        };
        let verbs = if self.needs.verbs.is_empty() {
            String::new()
        } else {
            format!(" AND verb IN ({})", list(&self.needs.verbs))
        };
        let sql = format!(
            "SELECT count(*) AS seen FROM events WHERE event_time >= $since \
             AND event_time < $until AND concat_ws('/', resource, subresource) IN ({}){verbs}",
            list(&self.needs.resources)
        );
        text::filled(&sql, &self.values(period, &Known::new())).map(Some)
    }

    fn rows(&self) -> String {
        let from = self.from.trim();
        if self.is_query() { format!("({from}) AS rows_of_control") } else { from.to_owned() }
    }

    fn is_query(&self) -> bool {
        !self.from.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// The bounds of time, unless its own text has them.
    fn bounds(&self) -> &'static str {
        let own = text::names(&self.from).is_ok_and(|names| names.iter().any(|n| n == "since"));
        if own { "" } else { "event_time >= $since AND event_time < $until AND " }
    }

    fn values(&self, period: Period, known: &Known) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::from([
            ("since".to_owned(), Value::Time(period.since)),
            ("until".to_owned(), Value::Time(period.until)),
        ]);
        for (name, condition) in SHARED {
            values.insert(name.to_owned(), Value::Sql(condition.to_owned()));
        }
        for (name, condition) in &self.lists {
            let of_each = |value: &String| {
                let each = BTreeMap::from([("each".to_owned(), Value::Text(value.clone()))]);
                text::filled(condition, &each).ok()
            };
            let each: Vec<String> =
                known.get(name).into_iter().flatten().filter_map(of_each).collect();
            let any = if each.is_empty() { "false".to_owned() } else { each.join(" OR ") };
            values.insert(name.clone(), Value::Sql(format!("({any})")));
            let given = if each.is_empty() { "false" } else { "true" };
            values.insert(format!("{name}_given"), Value::Sql(given.to_owned()));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Period = Period { since: 0, until: 1_000_000 };

    #[test]
    fn the_shipped_ones_are_read_and_each_is_there_once() {
        let controls = shipped().unwrap();
        let mut ids: Vec<&str> = controls.iter().map(|control| control.id.as_str()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(count >= 40, "{ids:?}");
        for control in &controls {
            let known = control.lists.keys().map(|name| (name.clone(), vec!["x".to_owned()]));
            let known: Known = known.collect();
            for sql in [
                control.counting(PERIOD, &known).unwrap(),
                control.showing(PERIOD, &known).unwrap(),
                control.figuring(PERIOD, &known).unwrap(),
                control.reaching(PERIOD).unwrap(),
            ]
            .into_iter()
            .flatten()
            {
                assert_eq!(
                    text::names(&sql).unwrap(),
                    Vec::<String>::new(),
                    "{}: {sql}",
                    control.id
                );
            }
        }
    }

    #[test]
    fn what_asks_half_a_question_is_refused() {
        let wrong = |yaml: &str, expected: &str| {
            let errors = parse("c.yaml", yaml).unwrap_err();
            assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
        };
        wrong("- {id: A, title: t, evidence: 'true'}", "c.yaml: A: names `evidence`");
        wrong("- {id: A, title: t}", "c.yaml: A: names");
        wrong("- {id: A, titel: t}", "c.yaml:1: ");
        let requires = "- {id: A, title: t, never: x, requires: [l]}";
        wrong(requires, "c.yaml: A: requires `l`");
    }

    #[test]
    fn values_of_lists_are_asked_one_by_one() {
        let yaml = "- {id: A, title: t, evidence: 'true', fail: NOT $nets, what: \"'x'\",
                    lists: {nets: 'cidr_match(source_ip, $each)'}}";
        let control = parse("c.yaml", yaml).unwrap().remove(0);
        let nets = vec!["10.0.0.0/8".to_owned(), "o'x".to_owned()];
        let known = Known::from([("nets".to_owned(), nets)]);
        let sql = control.counting(PERIOD, &known).unwrap().unwrap();
        let each = "(cidr_match(source_ip, '10.0.0.0/8') OR cidr_match(source_ip, 'o''x'))";
        assert!(sql.contains(each), "{sql}");
        let sql = control.counting(PERIOD, &Known::new()).unwrap().unwrap();
        assert!(sql.contains("NOT (false)"), "{sql}");
        assert!(sql.contains("WHERE event_time >= '1970-01-01T00:00:00"), "{sql}");
    }
}
