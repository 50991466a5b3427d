//! Each rule, firing and silent.

use super::*;
use crate::detect::catalog::Catalog;

/// The rules, levels and messages of what is wrong with a detection of this WHERE and more.
struct Case {
    front: String,
    select: &'static str,
    rest: String,
}

const NEEDS: &str = "needs: {level: RequestResponse}\n";

/// A filter over single events.
fn event(condition: &str) -> Case {
    Case {
        front: format!("key: [user_name]\n{NEEDS}"),
        select: "user_name, name, verb",
        rest: format!("WHERE {condition}"),
    }
}

/// A count over windows.
fn window(condition: &str, having: &str) -> Case {
    Case {
        front: format!("window: 10m\n{NEEDS}"),
        select: "user_name, min(name) AS name, min(verb) AS verb",
        rest: format!("WHERE {condition}\nGROUP BY user_name\nHAVING {having}"),
    }
}

impl Case {
    fn needs(mut self, needs: &str) -> Self {
        self.front = self.front.replace(NEEDS, &format!("needs: {needs}\n"));
        self
    }

    fn select(mut self, select: &'static str) -> Self {
        self.select = select;
        self
    }

    fn complaints(&self) -> Vec<Complaint> {
        let Self { front, select, rest } = self;
        let text = format!(
            "/*\nid: T-1\ntitle: t\nseverity: low\n{front}describe: \"{{{{user_name}}}} did \
             {{{{verb}}}} {{{{name}}}}\"\n*/\nSELECT {select}\nFROM events\n{rest}\n"
        );
        lint(&Detection::parse("t.sql", &text).unwrap())
    }

    /// Complaints of a rule, each with its level, as `error: message`.
    fn of(&self, rule: &str) -> Vec<String> {
        let all = self.complaints();
        let loads = all.iter().all(|complaint| complaint.rule != "load");
        assert!(loads, "{all:?}");
        let of_rule = all.iter().filter(|complaint| complaint.rule == rule);
        of_rule.map(|c| format!("{}: {}", c.level.as_str(), c.message)).collect()
    }
}

fn fires(rule: &str, case: &Case, expected: &str) {
    let found = case.of(rule);
    let hit = found.iter().any(|message| message.starts_with(expected));
    assert!(hit, "{}: {found:?}, not {expected}", case.rest);
}

fn silent(rule: &str, case: &Case) {
    assert_eq!(case.of(rule), Vec::<String>::new(), "{}", case.rest);
}

#[test]
fn conditions_that_never_hold() {
    let never = "error: the condition can never be true: no value of `verb`";
    fires("never-true", &event("verb = 'get' AND verb = 'list'"), never);
    fires("never-true", &event("verb = 'get' AND (verb IN ('list', 'watch'))"), never);
    fires("never-true", &event("verb = 'get' AND NOT (verb = 'get' OR name = 'x')"), never);
    fires("never-true", &event("verb = 'get' AND verb IS NULL"), never);
    let code = "error: the condition can never be true: no value of `response_code`";
    fires("never-true", &event("response_code >= 400 AND response_code < 300"), code);
    fires("never-true", &event("response_code BETWEEN 299 AND 200"), "error: ");
    fires("never-true", &event("false"), "error: the condition can never be true");
    fires("never-true", &event("truncated AND NOT truncated"), "error: ");
    let alternative = event("resource = 'pods' AND (name = 'a' OR verb = 'get' AND verb = 'list')");
    fires("never-true", &alternative, "warning: the condition has an alternative that can never");
    fires("never-true", &window("true", "count(*) > 5 AND count(*) < 3"), "error: ");
    let filter =
        window("true", "count(DISTINCT name) FILTER (WHERE stage = 'a' AND stage = 'b') > 1");
    fires("never-true", &filter, "error: the FILTER of `count` can never be true");

    silent("never-true", &event("verb = 'get' OR verb = 'list'"));
    silent("never-true", &event("verb LIKE 'g%' AND verb LIKE '%t'"));
    silent("never-true", &event("verb = 'get' AND (verb = 'list') IS NOT TRUE"));
    silent("never-true", &event("response_code >= 200 AND response_code < 300"));
    let as_text = "CAST(response_code AS TEXT) > '5' AND CAST(response_code AS TEXT) < '51'";
    silent("never-true", &event(as_text));
    silent("never-true", &event("user_name = impersonated_user AND user_name = 'a'"));
    silent("never-true", &event("is_system_user(user_name) AND user_name <> 'a'"));
    silent("never-true", &window("true", "count(*) >= 5 AND count(*) < 9"));
}

#[test]
fn the_line_is_told() {
    let line = |case: &Case| case.complaints().first().unwrap().line;
    assert_eq!(line(&event("verb = 'get'\n  AND stage = 'Complete'")), Some(12));
    assert_eq!(line(&event("name = 'a'\n AND verb = 'get'\n AND verb = 'list'")), Some(12));
}

#[test]
fn words_that_no_event_says() {
    let words = [
        ("stage = 'Complete'", "error: `Complete` is not a stage"),
        ("stage IN ('ResponseStarted', 'Done')", "error: `Done` is not a stage"),
        ("stage = CASE WHEN verb = 'watch' THEN 'Started' END", "error: `Started` is not a stage"),
        ("level = 'Full'", "error: `Full` is not a level"),
        ("decision = 'deny'", "error: `deny` is not a decision"),
        ("verb = 'read'", "error: `read` is not a verb"),
        ("verb <> 'portforward'", "error: `portforward` is not a verb"),
        ("verb = 'GET'", "error: `GET` is not a verb"),
        ("verb = 'impersonate'", "error: `impersonate` is not a verb"),
        ("resource = 'secret'", "error: `secret` is not a resource's name"),
        ("resource = 'networkpolicy'", "error: `networkpolicy` is not"),
        ("resource = 'Secrets'", "error: `Secrets` is not"),
        ("resource = 'pods/exec'", "error: `pods/exec` is not"),
        ("subresource = 'pods/exec'", "error: `pods/exec` is not a subresource"),
        ("api_group = 'core'", "error: `core` is not an API group"),
        ("api_group = 'apps/v1'", "error: `apps/v1` is not"),
        ("api_group = ''", "error: `api_group` is never an empty text"),
        ("name IN ('', 'a')", "error: `name` is never an empty text"),
        ("user_name = 'system:masters'", "error: `system:masters` is a group"),
        ("response_code = 20", "error: no response has the code 20"),
    ];
    for (condition, expected) in words {
        fires("unknown-word", &event(condition), expected);
    }
    let fine = [
        "stage = 'ResponseComplete' AND level = 'Metadata' AND decision = 'forbid'",
        "verb IN ('get', 'post', 'deletecollection') AND resource = 'widgets'",
        "api_group = 'apps' AND name <> '' AND subresource = 'exec'",
        "response_code BETWEEN 0 AND 999 AND user_agent = ''  IS NOT TRUE",
    ];
    silent("unknown-word", &event(fine[0]));
    silent("unknown-word", &event(fine[1]));
    silent("unknown-word", &event(fine[2]));
    fires("unknown-word", &event(fine[3]), "error: `user_agent` is never");
    // A value of the query's own may have any words.
    let own = "AS e JOIN (SELECT audit_id, left(verb, 1) AS stage FROM events) AS f \
               ON e.audit_id = f.audit_id WHERE f.stage = 'w'";
    let front = format!("window: 10m\nkey: [user_name]\n{NEEDS}");
    let joined = Case { front, select: "e.user_name, e.name, e.verb", rest: own.to_owned() };
    silent("unknown-word", &joined);
    let needs =
        event("true").needs("{level: Full, verbs: [read], stages: [End], resources: [pod]}");
    assert_eq!(needs.of("unknown-word").len(), 4, "{:?}", needs.complaints());
}

#[test]
fn comparisons_with_null() {
    fires("null-comparison", &event("name = NULL"), "error: `name = NULL` is never true");
    fires("null-comparison", &event("name = 'a' OR verb <> NULL"), "error: `verb != NULL`");
    silent("null-comparison", &event("name IS NULL"));
    silent("null-comparison", &event("(name IS NOT DISTINCT FROM NULL)"));
}

#[test]
fn requests_that_count_twice() {
    let count = "count(*) >= 3";
    let error = "error: `count` counts a request more than once: watch, exec";
    fires("counts-twice", &window("decision = 'allow'", count), error);
    let exec = window("subresource = 'exec' AND response_code < 300", count);
    fires("counts-twice", &exec, "error: `count` counts a request more than once: exec at Resp");
    let watch = window("verb = 'watch' AND resource = 'secrets' AND response_code = 200", count);
    fires("counts-twice", &watch, "error: `count` counts a request more than once: watch at Resp");
    let plain = window("verb = 'delete' AND resource = 'secrets'", count);
    let received = "error: `count` counts a request more than once: delete at RequestReceived and";
    fires("counts-twice", &plain, received);
    let shown = window("verb = 'delete'", "count(DISTINCT name) > 3")
        .select("user_name, min(name) AS name, min(verb) AS verb, count(*) AS requests");
    fires("counts-twice", &shown, "warning: `count` counts a request more than once");
    let single = event("verb = 'delete' AND resource = 'secrets'");
    fires("counts-twice", &single, "warning: a request is found more than once: delete at");
    let filter = "count(*) FILTER (WHERE verb = 'watch') > 3";
    fires("counts-twice", &window("response_code = 200", filter), "error: `count` counts");

    silent("counts-twice", &window("stage = 'ResponseComplete'", count));
    silent(
        "counts-twice",
        &window("verb = 'get' AND resource = 'secrets' AND response_code = 200", count),
    );
    silent("counts-twice", &window("decision = 'allow'", "count(DISTINCT audit_id) > 3"));
    silent("counts-twice", &window("subresource = 'exec' AND stage = 'ResponseStarted'", count));
    // Who fails authentication is told of once.
    silent("counts-twice", &window("response_code = 401 AND user_name IS NULL", count));
    silent("counts-twice", &window("user_name IS NULL", count));
    let filter = "count(*) FILTER (WHERE verb = 'watch' AND stage = 'ResponseStarted') > 3";
    silent("counts-twice", &window("response_code = 200", filter));
    silent("counts-twice", &event("verb = 'delete' AND stage = 'ResponseComplete'"));
}

#[test]
fn what_is_not_known_when_a_request_is_received() {
    let received = "stage = 'RequestReceived'";
    let code = event(&format!("{received} AND response_code = 403"));
    fires("stage", &code, "error: `response_code` is not known yet at stage RequestReceived");
    let decision = event(&format!("{received} AND decision = 'forbid'"));
    fires("stage", &decision, "error: `decision` is not known yet");
    silent("stage", &event(&format!("{received} AND verb = 'get'")));
    silent("stage", &event(&format!("({received} OR response_code = 403)")));
    silent("stage", &event("stage <> 'RequestReceived' AND response_code = 403"));
}

#[test]
fn verbs_that_come_in_pairs() {
    let exec = event("resource = 'pods' AND subresource = 'exec' AND verb = 'create'");
    fires("verb", &exec, "error: exec is looked for as `create` only");
    let both = event("resource = 'pods' AND subresource = 'exec' AND verb IN ('create', 'get')");
    silent("verb", &both);
    fires("verb", &event("verb = 'delete'"), "warning: `delete` is looked for");
    silent("verb", &event("verb IN ('delete', 'deletecollection')"));
    silent("verb", &event("verb = 'delete' AND resource = 'namespaces'"));
    silent("verb", &event("verb = 'delete' AND name = 'kube-dns'"));
    fires("verb", &event("verb IN ('create', 'update')"), "warning: `update` is looked for");
    fires("verb", &event("verb = 'patch'"), "warning: `patch` is looked for");
    silent("verb", &event("verb IN ('create', 'update', 'patch')"));
    silent("verb", &event("verb <> 'update'"));
}

#[test]
fn needs_that_do_not_carry_the_query() {
    let body = "json_value(request_object, '$.a') = 'b'";
    let answer = "json_value(response_object, '$.a') = 'b'";
    let at = |condition: &str, level: &str| event(condition).needs(&format!("{{level: {level}}}"));
    let never = "error: needs level Metadata, at which it can never fire";
    fires("needs", &at(body, "Metadata"), never);
    fires("needs", &at(answer, "Request"), "error: needs level Request, at which it can never");
    fires("needs", &event(body).needs("{verbs: [get]}"), "error: needs no level, at which it can");
    silent("needs", &at(body, "Request"));
    let partly = event(body).needs("{level: Request, least: Metadata}");
    fires("needs", &partly, "error: needs least Metadata, at which it can never fire");
    let either = event(&format!("({body} OR name = 'x')"));
    silent("needs", &either.needs("{level: Request, least: Metadata}"));
    silent("needs", &at(answer, "RequestResponse"));
    // The answer may stay away where the question is enough.
    silent("needs", &at(&format!("({body} OR {answer})"), "Request"));
    let shown = at("name = 'a'", "Metadata")
        .select("user_name, json_value(request_object, '$.a') AS name, verb");
    fires("needs", &shown, "warning: needs level Metadata, at which `name` is always NULL");
    let filter = format!("count(DISTINCT name) FILTER (WHERE {body}) > 3");
    let counted = window("verb = 'get'", &filter).needs("{level: Metadata}");
    fires("needs", &counted, "error: needs level Metadata, at which `count` counts nothing");
}

#[test]
fn needs_of_addresses_that_say_something_else_than_the_query() {
    let case = |condition: &str, needs: &str| {
        event(condition).needs(&format!("{{level: Metadata, {needs}}}"))
    };
    let listed = "listed_ip(source_ip, 'tor')";
    let say = "warning: needs: address_";
    fires("needs", &case(listed, ""), &format!("{say}lists do not name `tor`, which is asked"));
    fires("needs", &case(listed, "address_lists: [tor, vpn]"), &format!("{say}lists name `vpn`"));
    silent("needs", &case(listed, "address_lists: [tor]"));
    let far = "ip_country(source_ip) = 'NL'";
    fires("needs", &case(far, ""), &format!("{say}databases do not name `country`"));
    let both = "address_databases: [asn, country]";
    fires("needs", &case(far, both), &format!("{say}databases name `asn`, which is never asked"));
    silent("needs", &case(far, "address_databases: [country]"));
    // What is only shown may be missing.
    let shown = case("verb = 'get'", "verbs: [get]").select(
        "user_name, ip_as_org(source_ip) AS \
        name, verb",
    );
    silent("needs", &shown);
}

#[test]
fn needs_that_say_something_else_than_the_query() {
    fires("needs", &event("verb = 'get'").needs("{}"), "warning: no `needs`");
    let condition = "resource = 'pods' AND subresource = 'exec' AND verb IN ('get', 'create') AND \
                     stage = 'ResponseStarted'";
    let full = "{level: Metadata, resources: [pods/exec], verbs: [get, create], stages: \
                [ResponseStarted]}";
    let case = |from: &str, to: &str| event(condition).needs(&full.replace(from, to));
    silent("needs", &case("", ""));
    let say = "warning: needs: ";
    fires("needs", &case("get, create", "get"), &format!("{say}verbs do not name `create`"));
    fires("needs", &case("[pods/exec]", "[]"), &format!("{say}resources do not name `pods/exec`"));
    fires("needs", &case("Started", "Complete"), &format!("{say}stages do not name `ResponseSt"));
    fires("needs", &case("get,", "get, list,"), &format!("{say}verbs name `list`, which is never"));
    fires("needs", &case("/exec", "/exec, nodes"), &format!("{say}resources name `nodes`, which"));
    fires("needs", &case("Started", "Complete"), &format!("{say}stages name `ResponseComplete`"));
    silent("needs", &event("verb <> 'get'").needs("{level: Metadata, verbs: [list]}"));
}

#[test]
fn aggregates_that_depend_on_order() {
    let case = |having: &str| window("stage = 'ResponseComplete'", having);
    fires("order", &case("first_value(name) = 'a'"), "error: `first_value` depends on the order");
    fires("order", &case("array_length(array_agg(name)) > 2"), "error: `array_agg` depends");
    fires("order", &case("string_agg(name, ',') = 'a'"), "error: `string_agg` depends");
    fires("order", &case("sum(response_code * 0.1) > 2"), "error: `sum` over fractions");
    fires("order", &case("stddev(response_code) > 2"), "error: `stddev");
    silent("order", &case("first_value(name ORDER BY event_time, event_id) = 'a'"));
    silent("order", &case("sum(response_code) > 2 AND avg(response_code) > 1"));
    silent("order", &case("count(DISTINCT name) > 2 AND max(name) = 'a'"));
    let limited = |rest: &str| Case {
        front: format!("window: 10m\nkey: [user_name]\n{NEEDS}"),
        select: "user_name, name, verb",
        rest: format!("WHERE stage = 'ResponseComplete' {rest}"),
    };
    fires("order", &limited("LIMIT 3"), "error: LIMIT without ORDER BY");
    silent("order", &limited("ORDER BY event_id LIMIT 3"));
}

#[test]
fn sentences_and_advice() {
    let text = |severity: &str, describe: &str, more: &str| {
        let text = format!(
            "/*\nid: T-1\ntitle: t\nseverity: {severity}\nkey: [who]\n{more}describe: \
             \"{describe}\"\n{NEEDS}*/\nSELECT concat('u:', user_name) AS who, name FROM events \
             WHERE stage = 'ResponseComplete'"
        );
        let all = lint(&Detection::parse("t.sql", &text).unwrap());
        let all = all.iter().filter(|c| ["describe", "prose"].contains(&c.rule));
        all.map(|c| format!("{}: {}", c.rule, c.message)).collect::<Vec<_>>()
    };
    assert_eq!(text("low", "{{who}} took {{name}}", ""), Vec::<String>::new());
    let who = "describe: describe does not say who it was";
    let what = "describe: describe does not say what was done to what";
    assert_eq!(text("low", "{{name}} was taken", ""), [who]);
    assert_eq!(text("low", "{{who}} was here", ""), [what]);
    assert_eq!(text("low", "something was taken", ""), [what, who]);
    let both = ["no `false_positives`, and severity medium", "no `respond`, and severity medium"];
    assert_eq!(text("medium", "{{who}} took {{name}}", ""), both.map(|m| format!("prose: {m}")));
    let said = "false_positives: x\nrespond: y\n";
    assert_eq!(text("high", "{{who}} took {{name}}", said), Vec::<String>::new());
}

#[test]
fn what_is_shipped_is_clean() {
    let (catalog, errors) = Catalog::readable(None);
    assert!(errors.is_empty(), "{errors:?}");
    let complaints: Vec<String> = catalog
        .detections()
        .flat_map(|detection| lint(detection))
        .map(|complaint| complaint.to_string())
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(catalog.detections().count() >= 9);
}
