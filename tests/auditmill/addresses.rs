//! Lists and databases of addresses: what is not supplied is told, what is supplied is asked, and
//! a file that goes bad changes nothing.

use std::path::Path;

use serde_json::{Value, json};

use super::events::{list, read, repository};
use super::program::{Ended, run};
use super::reload::until;
use super::server::{TestServer, refused};

fn read_from(ip: &str, number: u32) -> Value {
    let mut event = read(number);
    event["sourceIPs"] = json!([ip]);
    event
}

/// Two that ask for what is known of addresses.
const SHIPPED: &str = "K8A-118,K8A-136";

/// The files of the tests, by kind.
fn database(name: &str) -> String {
    repository("testdata/addresses").join(format!("{name}.mmdb")).display().to_string()
}

fn lists(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn with(arguments: &[&str], dir: &Path) -> Ended {
    let dir = dir.display().to_string();
    let (asn, country) = (database("asn"), database("country"));
    let supplied =
        ["--address-lists", &dir, "--asn-database", &asn, "--country-database", &country];
    run(arguments.iter().chain(&supplied))
}

fn listed(text: &str, id: &str) -> Value {
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    all.into_iter().find(|detection| detection["id"] == id).unwrap()
}

#[test]
fn what_is_not_supplied_is_told() {
    let tor = "cannot be evaluated: needs address list tor ([detect] address_lists)";
    let asn = "cannot be evaluated: needs asn database ([detect] asn_database)";
    let ended = run(["detections", "list", "--format", "json"]);
    for (id, lacks) in [("K8A-118", json!(tor)), ("K8A-208", json!(asn)), ("K8A-101", Value::Null)]
    {
        let found = listed(&ended.stdout, id);
        assert_eq!(found["lacks"], lacks, "{found}");
        assert_eq!(found["enabled"], lacks.is_null(), "{found}");
    }
    let ended = run(["detections", "explain", "K8A-118"]);
    assert!(ended.stdout.contains(&format!("shipped ({tor})")), "{}", ended.stdout);
    let ended = run(["detections", "coverage"]);
    assert!(ended.stdout.contains(&format!("Credential used through Tor: {tor}")));

    let dir = lists(&[("tor.txt", "198.51.100.7\n")]);
    let ended = with(&["detections", "list", "--format", "json"], dir.path());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for id in ["K8A-118", "K8A-135", "K8A-208"] {
        let found = listed(&ended.stdout, id);
        assert_eq!((&found["lacks"], &found["enabled"]), (&Value::Null, &json!(true)), "{found}");
    }
    // That list is not there.
    let found = listed(&ended.stdout, "K8A-116");
    assert_eq!(
        found["lacks"],
        "cannot be evaluated: needs address list cluster ([detect] address_lists)"
    );
}

#[test]
fn a_scan_asks_what_is_supplied() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let events = [read_from("198.51.100.7", 1), read_from("203.0.113.9", 2)];
    std::fs::write(log.path(), events.map(|event| event.to_string()).join("\n")).unwrap();
    let path = log.path().display().to_string();
    let found = |ended: &Ended| -> Vec<String> {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let lines = ended.stdout.lines().map(line);
        lines.map(|finding| finding["detection"].as_str().unwrap().to_owned()).collect()
    };
    let alone = run(["scan", "--shipped", SHIPPED, "--format", "json", &path]);
    assert_eq!(found(&alone), Vec::<String>::new());
    let dir = lists(&[("tor.txt", "198.51.100.0/24 # exits\n")]);
    let ended = with(&["scan", "--shipped", SHIPPED, "--format", "json", &path], dir.path());
    assert_eq!(found(&ended), ["K8A-118", "K8A-136"], "{}", ended.stdout);
    assert!(
        ended.stdout.contains("was used in BR from 203.0.113.9 and in DE from 198.51.100.7"),
        "{}",
        ended.stdout
    );

    std::fs::write(dir.path().join("tor.txt"), "<html>\n").unwrap();
    let ended = with(&["scan", &path], dir.path());
    assert_eq!(ended.code, Some(2));
    let told = "tor.txt:1: `<html>` is neither an address nor a network";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn files_and_folders_are_asked_with_what_is_supplied() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.jsonl");
    let events = [read_from("198.51.100.7", 1), read_from("203.0.113.9", 2)];
    std::fs::write(&log, events.map(|event| event.to_string()).join("\n")).unwrap();
    let (log, data) = (log.display().to_string(), dir.path().join("data").display().to_string());
    let imported = run(["history", "import", "--data", &data, &log]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let asked = "SELECT source_ip, listed_ip(source_ip, 'tor') AS tor, ip_asn(source_ip) AS asn, \
                 ip_country(source_ip) AS country FROM events ORDER BY source_ip";
    let rows = |ended: &Ended| -> Value {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let lists = lists(&[("tor.txt", "198.51.100.0/24\n")]);
    let sql = ["sql", "--data", &data, "--format", "json", asked];
    let known = json!([
        {"source_ip": "198.51.100.7", "tor": true, "asn": 64501, "country": "DE"},
        {"source_ip": "203.0.113.9", "tor": false, "asn": 4_200_000_001_u32, "country": "BR"},
    ]);
    assert_eq!(rows(&with(&sql, lists.path())), known);
    let unknown = json!([
        {"source_ip": "198.51.100.7", "tor": null, "asn": null, "country": null},
        {"source_ip": "203.0.113.9", "tor": null, "asn": null, "country": null},
    ]);
    assert_eq!(rows(&run(sql)), unknown);

    let countries = |told: &Value| -> Vec<String> {
        let of = told.as_array().unwrap().iter();
        of.map(|row| format!("{} {}", row["provider"], row["country"])).collect()
    };
    for place in [&["--data", data.as_str()][..], &[log.as_str()]] {
        let report = [&["report", "sources", "--format", "json"], place].concat();
        let told = rows(&with(&report, lists.path()));
        let expected = ["\"Example Hosting\" \"DE\"", "\"Example Mobile\" \"BR\""];
        assert_eq!(countries(&told), expected);
        assert_eq!(countries(&rows(&run(report))), ["null null", "null null"]);
    }

    let asked = ["sql", "--url", "http://127.0.0.1:1", "SELECT 1"];
    let ended = with(&asked, lists.path());
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("leave `--address-lists` out"), "{}", ended.stderr);
    std::fs::write(lists.path().join("tor.txt"), "<html>\n").unwrap();
    let ended = with(&sql, lists.path());
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("tor.txt:1: `<html>` is neither"), "{}", ended.stderr);
}

/// Settings with these lists, and two detections as those of an operator.
fn settings(lists: &Path, detections: &Path) -> String {
    for name in ["tor_exit", "machine_from_public_address"] {
        let shipped = repository(&format!("queries/detections/identity/{name}.sql"));
        std::fs::copy(shipped, detections.join(format!("{name}.sql"))).unwrap();
    }
    let (asn, country) = (database("asn"), database("country"));
    format!(
        "[detect]\ndir = \"{}\"\naddress_lists = \"{}\"\nasn_database = {asn:?}\n\
         country_database = {country:?}\n",
        detections.display(),
        lists.display()
    )
}

#[tokio::test]
async fn lists_change_while_the_service_runs() {
    let dir = lists(&[("tor.txt", "198.51.100.7\n")]);
    let own = tempfile::tempdir().unwrap();
    let server = TestServer::start(&settings(dir.path(), own.path()));
    let reloads = async |outcome: &str| {
        let name = format!("auditmill_detections_reloads_total{{outcome=\"{outcome}\"}}");
        server.metric(&name).await
    };
    let lacks = "SELECT id, enabled FROM detections WHERE lacks LIKE '%address list cluster%'";
    let row = json!([{"id": "K8A-116", "enabled": false}]);
    assert_eq!(server.sql(lacks).await, row);
    server.logged("address list cluster ([detect] address_lists)", 1);
    let asked = "SELECT listed_ip('198.51.100.7', 'tor') AS tor, listed_ip('198.51.100.7', 'vpn') \
                 AS vpn, ip_asn('198.51.100.7') AS asn, ip_as_org('198.51.100.7') AS org, \
                 ip_country('198.51.100.7') AS country";
    let row = json!([{"tor": true, "vpn": null, "asn": 64501, "org": "Example Hosting",
        "country": "DE"}]);
    assert_eq!(server.sql(asked).await, row);
    until("it is counted", async || {
        server.metric("auditmill_detections{state=\"lacking\"}").await >= 1.0
    })
    .await;

    let post = async |ip: &str, number: u32| {
        assert_eq!(server.post("east", list(&[read_from(ip, number)])).await, 200);
        server.quiesce().await;
    };
    let addresses = async || -> Vec<String> {
        let findings = server.findings("detection=K8A-118").await;
        let address = |of: &Value| of["key"]["source_ip"].as_str().unwrap().to_owned();
        let mut addresses: Vec<String> = findings.iter().map(address).collect();
        addresses.sort();
        addresses
    };
    post("198.51.100.7", 1).await;
    post("203.0.113.9", 2).await;
    assert_eq!(addresses().await, ["198.51.100.7"]);

    // Nobody says so: it is seen.
    std::fs::write(dir.path().join("tor.txt"), "203.0.113.0/24\n").unwrap();
    std::fs::write(dir.path().join("cluster.txt"), "192.0.2.0/24\n").unwrap();
    until("the lists are read", async || reloads("taken").await >= 1.0).await;
    post("203.0.113.10", 3).await;
    post("198.51.100.8", 4).await;
    assert_eq!(addresses().await, ["198.51.100.7", "203.0.113.10"], "what was found stays");
    let tor = "SELECT count(*) FROM (VALUES ('203.0.113.9')) AS t(ip) WHERE listed_ip(ip, 'tor')";
    assert_eq!(server.number(tor).await, 1);
    let now_on = "SELECT count(*) FROM detections WHERE id = 'K8A-116' AND enabled";
    assert_eq!(server.number(now_on).await, 1);

    // What goes bad changes nothing.
    std::fs::write(dir.path().join("tor.txt"), "203.0.113.0/24\n404 not found\n").unwrap();
    server.signal("HUP");
    until("it is refused", async || reloads("rejected").await >= 1.0).await;
    server.logged("`404 not found` is neither an address nor a network", 1);
    post("203.0.113.11", 5).await;
    assert_eq!(addresses().await.len(), 3, "the list before goes on");
    assert_eq!(server.number(tor).await, 1);
}

#[test]
fn a_start_without_what_is_named_fails() {
    let ended = refused("[detect]\nasn_database = \"/nowhere/asn.mmdb\"\n");
    assert!(ended.stderr.contains("/nowhere/asn.mmdb: read: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("`[detect] asn_database` names a database"), "{}", ended.stderr);
}
