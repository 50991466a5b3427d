//! Findings that reach people: incidents, triage, routes, over the program's own wires.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::events::{grant, list, secret, time};
use super::program::{LIMIT, run};
use super::receiver::{Behaviour, OK, Receiver};
use super::server::{TestServer, text};

/// Secrets read and somebody made an administrator, by one person.
pub(crate) fn attack(user: &str) -> Vec<Value> {
    let mut events: Vec<Value> = (1..=15).map(secret).collect();
    events.push(grant(60));
    for event in &mut events {
        event["user"] = json!({"username": user, "groups": ["system:authenticated"]});
        event["auditID"] = json!(format!("{}-{user}", event["auditID"].as_str().unwrap()));
    }
    events
}

async fn call(server: &TestServer, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = server.client().request(method, server.url(path)).json(body);
    let (status, answer) = text(request.send().await.expect("ask")).await;
    (status, serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
}

async fn patch(server: &TestServer, path: &str, body: Value) -> Value {
    let (status, answer) = call(server, Method::PATCH, path, &body).await;
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

async fn incidents(server: &TestServer, query: &str) -> Vec<Value> {
    let (status, body) = server.get(&format!("/v1/incidents?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    page["incidents"].as_array().unwrap().clone()
}

#[tokio::test]
async fn findings_of_one_actor_are_one_incident_that_people_work_on() {
    let mut server = TestServer::start("");
    let events: Vec<Value> = ["alice", "mallory"].into_iter().flat_map(attack).collect();
    assert_eq!(server.post("east", list(&events)).await, 200);
    server.quiesce().await;
    let found = incidents(&server, "severity=high&cluster=east").await;
    assert_eq!(found.len(), 2, "{found:?}");
    let alice = found.iter().find(|of| of["actors"] == json!(["user alice"])).unwrap();
    assert_eq!(alice["tactics"], json!(["credential-access", "privilege-escalation"]));
    assert_eq!((&alice["state"], &alice["pages"]), (&json!("open"), &json!(true)));
    let id = alice["id"].as_str().unwrap();
    let path = format!("/v1/incidents/{id}");

    let ack = json!({"state": "acknowledged", "assignee": "bob", "by": "bob", "comment": "mine"});
    let first = patch(&server, &path, ack.clone()).await;
    assert_eq!(first["incident"]["state"], "acknowledged");
    assert_eq!(patch(&server, &path, ack).await, first, "the same again changes nothing");
    let closed = json!({"state": "closed", "reason": "false-positive", "comment": "the backup"});
    let answer = patch(&server, &path, closed).await;
    let exempt = answer["exempt"].as_str().unwrap();
    assert!(exempt.contains("detection: \"K8A-205\"") && exempt.contains("alice"), "{exempt}");
    assert_eq!(incidents(&server, "state=open").await.len(), 1);
    server.kill_and_restart();
    server.quiesce().await;
    let (_, body) = server.get(&path).await;
    let whole: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&whole["state"], &whole["reason"]), (&json!("closed"), &json!("false-positive")));
    assert_eq!(whole["timeline"].as_array().unwrap().len(), 2);
    for line in ["Who: alice\n", "Allowed by: RBAC: allowed by ClusterRoleBinding \"owners\"\n"] {
        assert!(whole["text"].as_str().unwrap().contains(line), "{whole}");
    }
    let trail = "SELECT who, action, detail FROM triage ORDER BY time, action";
    let expected = json!([
        {"who": "bob", "action": "acknowledge", "detail": ""},
        {"who": "bob", "action": "assign", "detail": "bob"},
        {"who": "bob", "action": "comment", "detail": "mine"},
        {"who": "somebody on this machine", "action": "close", "detail": "false-positive"},
        {"who": "somebody on this machine", "action": "comment", "detail": "the backup"},
    ]);
    assert_eq!(server.sql(trail).await, expected);
    let joined = "SELECT count(*) FROM incidents i JOIN incident_findings f ON f.incident = i.id
                  JOIN findings ON findings.id = f.finding WHERE i.state = 'closed'";
    assert_eq!(server.number(joined).await, 2);
}

#[tokio::test]
async fn what_cannot_be_asked_is_told() {
    let server = TestServer::start("");
    let check = async |path: &str, body: Value, status: u16, said: &str| {
        let (found, answer) = call(&server, Method::PATCH, path, &body).await;
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
    };
    let open = json!({"state": "open"});
    check("/v1/incidents/none", open.clone(), 404, "nothing of this id").await;
    check("/v1/findings/none", open, 404, "nothing of this id").await;
    check("/v1/findings/x", json!({}), 400, "say `state`").await;
    check("/v1/findings/x", json!({"state": "gone"}), 400, "`gone` is not a state").await;
    check("/v1/findings/x", json!({"reason": "resolved"}), 400, "only what is closed").await;
    let merged = json!({"state": "closed", "reason": "merged"});
    check("/v1/findings/x", merged, 400, "`merged` is not a reason").await;
    check("/v1/findings/x", json!({"comment": "x".repeat(10_001)}), 400, "comment: more").await;
    check("/v1/findings/x", json!({"stat": "open"}), 400, "unknown field `stat`").await;
    assert_eq!(server.get("/v1/incidents?state=none").await.0, 400);
    assert_eq!(server.get("/v1/incidents/none").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incidents_and_triage_on_the_command_line() {
    let server = TestServer::start("");
    assert_eq!(server.post("east", list(&attack("alice"))).await, 200);
    server.quiesce().await;
    let url = server.url("");
    let listed = run(["incidents", "list", "--format", "json", "--url", &url]);
    let incident: Value = serde_json::from_str(listed.stdout.trim()).expect("one incident");
    assert_eq!(incident["actors"], json!(["user alice"]));
    let id = incident["id"].as_str().unwrap();
    let table = run(["incidents", "list", "--url", &url]);
    assert!(
        table.stdout.contains(id) && table.stdout.contains("credential-access"),
        "{}",
        table.stdout
    );
    let shown = run(["incidents", "show", id, "--url", &url]);
    assert!(shown.stdout.contains("What to do first"), "{shown:?}");
    let said = run(["triage", id, "--ack", "--by", "bob", "--comment", "hm", "--url", &url]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("bob acknowledge"), "{said:?}");
    let close = ["triage", id, "--finding", "--close", "false-positive", "--by", "bob"];
    let said = run(close.into_iter().chain(["--url", &url]));
    assert!(said.stdout.contains("- detection: \""), "{said:?}");
    let left = run(["incidents", "list", "--format", "json", "--url", &url]);
    let incident: Value = serde_json::from_str(left.stdout.trim()).expect("one incident");
    assert_eq!((&incident["findings"], &incident["state"]), (&json!(1), &json!("acknowledged")));
    let wrong = run(["triage", "none", "--ack", "--url", &url]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("nothing of this id"), "{wrong:?}");
}

/// A webhook for people, and one sink for machines.
fn settings(port: u16, more: &str) -> String {
    format!(
        "[alert]\nretry_first = \"5ms\"\nretry_max = \"50ms\"\nlink = \"https://a.example\"\n\
         [[sink]]\ntype = \"webhook\"\nname = \"pager\"\ntakes = \"incidents\"\n\
         url = \"http://127.0.0.1:{port}/in\"\ntimeout = \"2s\"\n{more}"
    )
}

/// What a receiver was told and took, as id, revision and state.
fn calls(receiver: &Receiver) -> Vec<(String, u64, String)> {
    let taken = receiver.posts().into_iter().filter(|post| post.behaviour == OK);
    let call = |call: Value| {
        let text = |name: &str| call[name].as_str().expect("a text").to_owned();
        (text("id"), call["revision"].as_u64().expect("a number"), text("state"))
    };
    taken.map(|post| call(post.finding())).collect()
}

/// Asks `condition` again and again until it holds.
async fn until(what: &str, server: &TestServer, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_called_and_told_what_becomes_of_it() {
    let receiver = Receiver::start(0, &[Behaviour::Status(500), Behaviour::Close]).await;
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("only.jsonl");
    let more = format!(
        "[[sink]]\ntype = \"jsonl\"\nname = \"only\"\npath = \"{}\"\n\
         [[route]]\nname = \"secrets\"\nmatch = {{ detection = [\"K8A-2*\"] }}\n\
         sinks = [\"only\"]\n",
        path.display()
    );
    let server = TestServer::start(&settings(receiver.port(), &more));
    let url = server.url("");
    let silence = ["silence", "add", "--owner", "o", "--reason", "r", "--expires", "2h"];
    let said = run(silence.into_iter().chain(["--name", "s", "--user", "bob", "--url", &url]));
    assert!(said.stdout.starts_with("s until "), "{said:?}");
    let events: Vec<Value> = ["alice", "bob"].into_iter().flat_map(attack).collect();
    assert_eq!(server.post("east", list(&events)).await, 200);
    server.quiesce().await;
    until("a call", &server, async || calls(&receiver).len() == 1).await;
    let (id, revision, state) = calls(&receiver).remove(0);
    assert_eq!((revision, state.as_str()), (1, "open"));
    let call = receiver.posts().pop().unwrap();
    let event: Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!(event["type"], "io.auditmill.incident");
    assert_eq!((&event["subject"], &event["id"]), (&json!(id), &json!(format!("{id}-1"))));
    assert_eq!(event["data"]["incidents"][0]["actors"], json!(["user alice"]));
    let text = event["data"]["text"].as_str().unwrap();
    assert!(text.contains(&format!("More: https://a.example/v1/incidents/{id}")), "{text}");
    let path = format!("/v1/incidents/{id}");
    patch(&server, &path, json!({"state": "acknowledged"})).await;
    until("what was acknowledged", &server, async || calls(&receiver).len() == 2).await;
    patch(&server, &path, json!({"state": "closed"})).await;
    until("the end", &server, async || calls(&receiver).len() == 3).await;
    let states: Vec<String> = calls(&receiver).into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(states, ["open", "acknowledged", "closed"]);
    // Bob's is heard of once his silence is over.
    let counted = "SELECT count FROM ledger WHERE kind = 'silenced' AND item = 's'";
    assert_eq!(server.number(counted).await, 1);
    let listed = run(["silence", "list", "--url", &url]);
    assert!(listed.stdout.contains("\"user\":[\"bob\"]"), "{listed:?}");
    assert_eq!(run(["silence", "end", "s", "--url", &url]).code, Some(0));
    assert_eq!(run(["silence", "end", "s", "--url", &url]).code, Some(2));
    until("bob's", &server, async || calls(&receiver).len() == 4).await;
    // The sink for machines was told of what its route fits, nothing else.
    until("its route's findings", &server, async || {
        let text = std::fs::read_to_string(file.path().join("only.jsonl")).unwrap_or_default();
        let told = |line: &str| serde_json::from_str::<Value>(line).unwrap()["detection"].clone();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let told: Vec<Value> = lines.map(told).collect();
        assert!(told.iter().all(|of| of == "K8A-205"), "{told:?}");
        told.len() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_of_a_call_people_are_called_under_one_id() {
    for fault in ["call_written", "call_delivered", "call_settled"] {
        let receiver = Receiver::start(0, &[]).await;
        let mut server = TestServer::start(&settings(receiver.port(), ""));
        server.kill_and_restart_with(fault);
        assert_eq!(server.post("east", list(&attack("alice"))).await, 200);
        let deadline = Instant::now() + LIMIT;
        while !server.has_ended() {
            assert!(Instant::now() < deadline, "{fault} was never passed:\n{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.kill_and_restart();
        server.quiesce().await;
        let found = incidents(&server, "").await;
        let id = found[0]["id"].as_str().unwrap().to_owned();
        patch(&server, &format!("/v1/incidents/{id}"), json!({"state": "closed"})).await;
        let told = async || calls(&receiver).last().is_some_and(|(_, _, state)| state == "closed");
        until("the end", &server, told).await;
        let mut bodies: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for post in receiver.posts() {
            let call = post.finding();
            assert_eq!(call["id"], id.as_str(), "{fault}");
            bodies.entry(call["revision"].as_u64().unwrap()).or_default().insert(post.body);
        }
        assert!(bodies.values().all(|bodies| bodies.len() == 1), "{fault}: {bodies:?}");
        assert!(calls(&receiver).len() <= bodies.len() + 1, "{fault}: one is told again at most");
        assert_eq!(calls(&receiver)[0].2, "open", "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_dead_sink_people_hear_through_another() {
    let (dead, alive) = (Receiver::start(0, &[]).await, Receiver::start(0, &[]).await);
    dead.choose(|_| Behaviour::Status(500));
    let more = format!(
        "[[sink]]\ntype = \"webhook\"\nname = \"soc\"\nurl = \"http://127.0.0.1:{}/in\"\n",
        dead.port()
    );
    let settings = settings(alive.port(), &more).replace("[alert]", "[alert]\ndead_after = \"1s\"");
    let server = TestServer::start(&settings);
    assert_eq!(server.post("east", list(&attack("alice"))).await, 200);
    let of_sink = |state: &str| {
        let told = calls(&alive);
        told.iter().any(|(id, _, is)| id == "auditmill: sink soc" && is == state)
    };
    until("the dead sink", &server, async || of_sink("open")).await;
    dead.choose(|_| OK);
    until("its end", &server, async || of_sink("closed")).await;
}

/// `AUDITMILL_STORM=100000` makes it as long as one that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_a_handful_of_pages_and_people_can_work() {
    let number = std::env::var("AUDITMILL_STORM").map_or(3_000, |number| number.parse().unwrap());
    let receiver = Receiver::start(0, &[]).await;
    let more = format!(
        "[[route]]\nname = \"all\"\nsinks = [\"pager\"]\nrate = 3\n\
         [history]\nfindings_max = {}\n",
        2 * number
    );
    let server = TestServer::start(&settings(receiver.port(), &more));
    // Each is a finding of its own; a hundred of each person.
    let storm = |number: u32| {
        let mut event = grant(number);
        event["user"]["username"] = json!(format!("user-{}", number / 100));
        event["stageTimestamp"] = json!(time(number % 60));
        event["requestReceivedTimestamp"] = json!(time(number % 60));
        event
    };
    let mut slowest = Duration::ZERO;
    for first in (0..number).step_by(500) {
        let events: Vec<Value> = (first..number.min(first + 500)).map(storm).collect();
        assert_eq!(server.post("east", list(&events)).await, 200);
        if let Some(incident) = incidents(&server, "limit=1").await.first() {
            let path = format!("/v1/incidents/{}", incident["id"].as_str().unwrap());
            let began = Instant::now();
            patch(&server, &path, json!({"comment": format!("{first}")})).await;
            slowest = slowest.max(began.elapsed());
        }
    }
    server.quiesce_within(10 * LIMIT).await;
    let findings = "SELECT count(*) FROM findings WHERE detection = 'K8A-301'";
    assert_eq!(server.number(findings).await, i64::from(number));
    let people = i64::from(number.div_ceil(100));
    assert_eq!(server.number("SELECT count(*) FROM incidents").await, people);
    until("all to be told", &server, async || {
        server.metric("auditmill_sink_lag_findings{sink=\"pager\"}").await == 0.0
            && calls(&receiver).len() >= 4
    })
    .await;
    let told = calls(&receiver).len();
    assert!(told <= 10, "{told} calls");
    eprintln!("{told} calls for {number} findings; the slowest answer took {slowest:?}");
}
