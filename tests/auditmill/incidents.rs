//! Findings that reach people: incidents, triage, routes, over the program's own wires.

use reqwest::Method;
use serde_json::{Value, json};

use super::events::{exec, list, secret};
use super::program::run;
use super::server::{TestServer, text};

/// Secrets read and a shell in a pod, by one person.
fn attack(user: &str) -> Vec<Value> {
    let mut events: Vec<Value> = (1..=15).map(secret).collect();
    events.push(exec(60));
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
    assert_eq!(alice["tactics"], json!(["credential-access", "execution"]));
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
    assert!(whole["text"].as_str().unwrap().contains("Who: alice"), "{whole}");
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
    assert!(table.stdout.contains(id) && table.stdout.contains("execution"), "{}", table.stdout);
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
