//! Exceptions as they are written, and as they must not be.

use super::*;
use crate::sql::context::session;

const GOOD: &str = "# ours
- detection: [T-2, T-1]
  condition: user_name = 'backup' AND user_agent LIKE 'velero/%'
  owner: platform
  reason: it reads everything
  expires: 2027-06-30
- name: one cluster
  detection: \"*\"
  condition: >-
    cidr_match(source_ip, '10.0.0.0/8')
  owner: net
  reason: scanners
  expires: 2027-06-30T12:00:00+02:00
  clusters: [prod-eu]
";

#[test]
fn good_ones_are_read() {
    let exceptions = parse("e.yaml", GOOD).unwrap();
    let [first, second] = exceptions.as_slice() else { panic!("{exceptions:?}") };
    assert_eq!((first.line, second.line), (2, 7));
    assert!(first.name.starts_with("exempt-") && first.name.len() == 15, "{}", first.name);
    assert_eq!(first.detections.ids().collect::<Vec<_>>(), ["T-1", "T-2"]);
    assert!(first.detections.names("T-1") && !first.detections.names("T-3"));
    assert!(first.is_of("prod-us") && second.is_of("prod-eu") && !second.is_of("prod-us"));
    assert!(second.detections.names("T-3"));
    // The whole last day counts.
    let midnight = parse_rfc3339("2027-07-01T00:00:00Z").unwrap();
    assert!(!first.is_expired(midnight - 1) && first.is_expired(midnight));
    assert_eq!(second.expires, parse_rfc3339("2027-06-30T10:00:00Z").unwrap());
    assert_eq!(parse("e.yaml", "# nothing yet\n").unwrap(), []);
}

#[test]
fn a_name_that_is_made_stays_while_the_same_is_exempt() {
    let name = |text: &str| parse("e.yaml", text).unwrap().remove(0).name;
    let made = name(GOOD);
    assert_eq!(made, name(&GOOD.replace("2027-06-30\n", "2030-01-01\n").replace("platform", "p")));
    assert_ne!(made, name(&GOOD.replace("'backup'", "'restore'")));
    assert_ne!(made, name(&GOOD.replace("T-2, ", "")));
}

#[test]
fn wrong_ones_say_where_and_what_to_do() {
    check(&GOOD.replace("  owner: platform\n", ""), "e.yaml:2: no `owner`\n  hint: ");
    check(&GOOD.replace("owner: platform", "owner: ''"), "e.yaml:2: no `owner`");
    check(&GOOD.replace("  reason: it reads everything\n", ""), "e.yaml:2: no `reason`");
    check(&GOOD.replace("  expires: 2027-06-30\n", ""), "e.yaml:2: no `expires`");
    check(&GOOD.replace("2027-06-30\n", "next week\n"), "e.yaml:6: expires: `next week` is not");
    check(&GOOD.replace("2027-06-30\n", "2027-02-31\n"), "e.yaml:6: expires: ");
    check(&GOOD.replace("[T-2, T-1]", "[]"), "e.yaml:2: detection: not an id");
    check(&GOOD.replace("[T-2, T-1]", "{}"), "e.yaml:2: detection: not an id");
    check(&GOOD.replace("owner: net", "ower: net"), "e.yaml:11: ");
    check(&GOOD.replace("[prod-eu]", "[Prod EU]"), "e.yaml:7: clusters: `Prod EU`");
    check(&GOOD.replace("- name", "- {name: one cluster}\n- name"), "e.yaml:7: no `owner`");
    let twice = GOOD.split_once("- name").unwrap().0;
    check(&format!("{GOOD}{}", twice.trim_start_matches("# ours\n")), "e.yaml:15: `exempt-");
    check("K8A-1: {}\n", "e.yaml:1: ");
}

#[test]
fn conditions_are_planned() {
    condition(
        "user_nme = 'backup'",
        "column 'user_nme' not found\n  hint: did you mean `user_name`",
    );
    condition("user_name = ", "");
    condition("user_name", "not true or false");
    condition("count(*) > 3", "it counts events");
    condition("event_time < now()", "a function's value changes by itself");
    condition("user_name = $who", "");
    condition("user_name IN (SELECT 'x')", "");
    condition("verb = 'get' AS x", "AS has no meaning here");
    condition("true", "true of every event");
    condition("1 = 1 OR user_name = 'x'", "true of every event");
    condition("verb = 'get' OR (verb IS DISTINCT FROM 'get')", "true of every event");
    condition("name IS NULL OR name IS NOT NULL", "true of every event");
    condition("verb = 'get' AND verb = 'list'", "true of no event");
    condition("(name IS DISTINCT FROM 'a' AND verb = 'get')", "`IS DISTINCT FROM` takes");
    // NULL is not true: this is not all of them.
    for fine in ["verb = 'get' OR verb <> 'get'", "NOT truncated", "response_code >= 500"] {
        parse("e.yaml", &with(fine)).unwrap();
    }
}

#[test]
fn what_is_planned_runs_over_rows_of_the_table() {
    use super::super::intake::Expressions;
    let condition = planned("user_name = 'backup' AND response_code >= 500").unwrap();
    assert!(condition.column_refs().iter().all(|column| column.relation.is_none()));
    Expressions::new(&session().unwrap(), &[condition]).unwrap();
}

fn with(condition: &str) -> String {
    GOOD.replace("user_name = 'backup' AND user_agent LIKE 'velero/%'", condition)
}

fn condition(condition: &str, expected: &str) {
    check(&with(condition), &format!("e.yaml:3: condition: {expected}"));
}

fn check(text: &str, expected: &str) {
    let errors = parse("e.yaml", text).unwrap_err();
    let first = errors.first().unwrap().to_string();
    assert!(first.starts_with(expected), "{first}\nexpected: {expected}");
}
