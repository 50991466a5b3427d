//! A history is verified as it was written, whatever ended the program; what is changed is named.
//!
//! That Go's own implementation of signed notes and Merkle trees agrees needs `AUDITMILL_NOTE_BIN`,
//! the folder where `tests/note/build.sh` put its check; `make test` sets it. Without it that part
//! says so and passes, except under `CI`.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayAccessor as _, ArrayRef, AsArray as _, DictionaryArray, Int64Array, RecordBatch,
    StringArray, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::data_directory::copy;
use super::events::{list, read, repository};
use super::program::{Ended, LIMIT, run};
use super::server::TestServer;
use super::stores::batch;

const SETTINGS: &str = "[history]\nflush_after = \"20ms\"\nkeep = \"0s\"\n\
     [journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n";
/// Places between the steps of a commit and of its proof.
const FAULTS: [&str; 7] = [
    "history_file",
    "history_committed",
    "history_committed:3",
    "proof_written",
    "proof_signed:2",
    "history_compacted",
    "history_changed",
];

fn verify(data: &Path, more: &[&str]) -> Ended {
    let data = data.display().to_string();
    let fixed = ["verify", "--data", &data, "--format", "json"];
    run(fixed.iter().chain(more))
}

/// What `verify` says.
fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr))
}

/// That all is as it was written; gives what `verify` says.
pub(crate) fn verified(data: &Path) -> Value {
    let ended = verify(data, &[]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let report = report(&ended);
    assert_eq!(report["ok"], true);
    report
}

/// That this is wrong first; gives the sentence.
fn wrong(data: &Path, more: &[&str], kind: &str) -> String {
    let ended = verify(data, more);
    assert_eq!(ended.code, Some(1), "{kind}: {}{}", ended.stdout, ended.stderr);
    let report = report(&ended);
    assert_eq!(report["problems"][0]["kind"], kind, "{report}");
    report["problems"][0]["what"].as_str().unwrap().to_owned()
}

/// Waits until so many rows are in files and signed.
async fn proven(server: &TestServer, rows: u64) {
    let deadline = Instant::now() + LIMIT;
    server.quiesce().await;
    loop {
        let ended = verify(&server.data(), &[]);
        if ended.code == Some(0) {
            let report = report(&ended);
            if report["rows"] == rows && report["behind_head"] == 0 {
                return;
            }
        }
        assert!(Instant::now() < deadline, "not proven: {}{}", ended.stdout, ended.stderr);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A data directory with so many batches of ten events, one commit or more each.
async fn written(batches: u32) -> (TestServer, PathBuf) {
    let mut server = TestServer::start(SETTINGS);
    for number in 0..batches {
        assert_eq!(server.post("prod", batch(number * 10)).await, 200);
        proven(&server, u64::from(number + 1) * 10).await;
    }
    server.stop();
    let data = server.data();
    (server, data)
}

/// Files below a folder whose names end so, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn parquet(data: &Path) -> Vec<PathBuf> {
    files(&data.join("history/cluster=prod"), ".parquet")
}

fn commits(data: &Path) -> Vec<PathBuf> {
    files(&data.join("history/_delta_log"), ".json")
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    with(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Writes a file of one batch anew with other rows, as its writer would have.
fn write_anew(path: &Path, with: impl FnOnce(&RecordBatch) -> RecordBatch) {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows = with(&reader.next().unwrap().unwrap());
    assert!(reader.next().is_none(), "more than one batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    std::fs::write(path, writer.into_inner().unwrap()).unwrap();
}

/// Another user in one row of a file.
fn edit(path: &Path, row: usize) {
    write_anew(path, |rows| {
        let at = rows.schema().index_of("user_name").unwrap();
        let users = rows.column(at).as_dictionary::<Int32Type>();
        let users = users.downcast_dict::<StringArray>().unwrap();
        let user = |at: usize| if at == row { "nobody" } else { users.value(at) };
        let other: DictionaryArray<Int32Type> = (0..rows.num_rows()).map(user).collect();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns[at] = Arc::new(other);
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    });
}

/// What is said of rows by the first problem of a data directory.
fn rows_of_first(data: &Path) -> Value {
    report(&verify(data, &[]))["problems"][0]["rows"].clone()
}

/// Says in the table's log how long a file is now.
fn say_length(data: &Path, path: &Path) {
    let bytes = std::fs::metadata(path).unwrap().len();
    for commit in commits(data) {
        let text = std::fs::read_to_string(&commit).unwrap();
        let lines = text.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).unwrap();
            let added = action["add"]["path"].as_str().map(str::to_owned);
            if added.is_some_and(|added| added.ends_with(name(path))) {
                action["add"]["size"] = bytes.into();
            }
            action.to_string()
        });
        std::fs::write(&commit, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_is_named() {
    let (_server, data) = written(3).await;
    let folder = tempfile::tempdir().unwrap();
    let mut copies = 0;
    let mut tampered = |kind: &str, with: &dyn Fn(&Path)| {
        copies += 1;
        let data_copy = folder.path().join(copies.to_string());
        copy(&data, &data_copy);
        verified(&data_copy);
        with(&data_copy);
        wrong(&data_copy, &[], kind)
    };
    let file = name(&parquet(&data)[1]).to_owned();
    let of_file = |what: String| assert!(what.contains(&file) && what.contains("leaf"), "{what}");
    of_file(tampered("file_changed", &|data| {
        change(&parquet(data)[1], |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }));
    of_file(tampered("file_missing", &|data| std::fs::remove_file(&parquet(data)[1]).unwrap()));
    of_file(tampered("file_changed", &|data| {
        edit(&parquet(data)[1], 3);
        say_length(data, &parquet(data)[1]);
    }));
    of_file(tampered("file_dropped", &|data| {
        // As if it had never been committed.
        let commit = commits(data)
            .into_iter()
            .find(|commit| std::fs::read_to_string(commit).unwrap().contains(&file));
        change(&commit.unwrap(), |bytes| {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("{\"add\""));
            *bytes = (lines.collect::<Vec<_>>().join("\n") + "\n").into_bytes();
        });
    }));
    let last = |data: &Path| commits(data).pop().unwrap();
    tampered("commits_dropped", &|data| std::fs::remove_file(last(data)).unwrap());
    let statements = |data: &Path| files(&data.join("history/_proof"), ".jsonl").remove(0);
    tampered("log_changed", &|data| {
        change(&statements(data), |bytes| {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            *bytes = text.replacen("\"rows\":10", "\"rows\":11", 1).into_bytes();
        });
    });
    tampered("log_changed", &|data| std::fs::remove_file(statements(data)).unwrap());
    // A commit that somebody else made: what it takes away was never let go.
    tampered("rows_removed", &|data| {
        let last = last(data);
        let number: u64 = name(&last).trim_end_matches(".json").parse().unwrap();
        let path =
            parquet(data)[0].strip_prefix(data.join("history")).unwrap().display().to_string();
        let remove = json!({"remove": {
            "path": path, "dataChange": true, "deletionTimestamp": 1_767_225_600_000_i64,
        }});
        let next = last.with_file_name(format!("{:020}.json", number + 1));
        std::fs::write(next, format!("{remove}\n")).unwrap();
    });
    assert_eq!(verified(&data)["rows"], 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_and_rewritten_histories_do_not_lead_to_published_heads() {
    let folder = tempfile::tempdir().unwrap();
    let heads = folder.path().join("heads").display().to_string();
    let publish = format!("[history]\npublish = [\"{heads}\"]\n");
    let settings = SETTINGS.replace("[history]\n", &publish);
    let mut server = TestServer::start(&settings);
    assert_eq!(server.post("prod", batch(0)).await, 200);
    proven(&server, 10).await;
    server.stop();
    let data = server.data();
    let older = folder.path().join("older");
    copy(&data, &older);
    server.kill_and_restart();
    assert_eq!(server.post("prod", batch(10)).await, 200);
    proven(&server, 20).await;
    server.stop();
    let with_heads = verify(&data, &["--head", &heads]);
    assert_eq!(with_heads.code, Some(0), "{}{}", with_heads.stdout, with_heads.stderr);
    assert!(report(&with_heads)["heads"].as_u64().unwrap() >= 2);
    let key = run(["verify", "--print-key", "--data", &data.display().to_string()]);
    let key = key.stdout.trim().to_owned();

    // Put back to what it was: true in itself.
    verified(&older);
    wrong(&older, &["--head", &heads, "--key", &key], "older");
    // Begun anew with the same key, and with another.
    let begun_anew = |key_too: bool, number: &str| {
        let other = folder.path().join(number);
        copy(&data, &other);
        std::fs::remove_dir_all(other.join("history/_proof")).unwrap();
        if key_too {
            std::fs::remove_file(other.join("signing.key")).unwrap();
        }
        other
    };
    for (key_too, number) in [(false, "same"), (true, "other")] {
        let other = begun_anew(key_too, number);
        wrong(&other, &["--key", &key], "no_log");
        let mut again = TestServer::start_over(&other, SETTINGS);
        for number in 0..4 {
            assert_eq!(again.post("prod", batch(100 + number * 10)).await, 200);
            proven(&again, u64::from(number + 1) * 10).await;
        }
        again.stop();
        assert_eq!(verified(&other)["rows_not_covered"], 20);
        let kind = if key_too { "other_key" } else { "rewritten" };
        wrong(&other, &["--head", &heads, "--key", &key], kind);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_changed_before_files_were_joined_are_named() {
    let (mut server, data) = written(7).await;
    let files = parquet(&data);
    assert_eq!(files.len(), 7, "{files:?}");
    edit(&files[3], 3);
    say_length(&data, &files[3]);
    server.kill_and_restart();
    assert_eq!(server.post("prod", batch(70)).await, 200);
    let deadline = Instant::now() + LIMIT;
    let is_joined = |commit: &PathBuf| {
        std::fs::read_to_string(commit).is_ok_and(|text| text.contains(r#"\"kind\":\"joined\""#))
    };
    while !commits(&data).iter().any(is_joined) {
        assert!(Instant::now() < deadline, "files are not joined");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    server.stop();
    let what = wrong(&data, &[], "rows_changed");
    assert!(what.contains("are not those that came: row 3 of segment"), "{what}");
    let rows = rows_of_first(&data);
    assert_eq!(
        (&rows[0]["how"], &rows[0]["row"], &rows[1]),
        (&json!("changed"), &json!(3), &Value::Null)
    );
    assert_eq!(rows[0]["audit_id"], "read-33", "{rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_changed_removed_or_added_are_named() {
    let (_server, data) = written(2).await;
    let folder = tempfile::tempdir().unwrap();
    let mut copies = 0;
    let mut check = |with: &dyn Fn(&RecordBatch) -> RecordBatch, expected: Value, told: &str| {
        copies += 1;
        let data_copy = folder.path().join(copies.to_string());
        copy(&data, &data_copy);
        // Nobody tells the table's log that the file has another length.
        write_anew(&parquet(&data_copy)[1], with);
        let what = wrong(&data_copy, &[], "file_changed");
        let mut rows = rows_of_first(&data_copy);
        for row in rows.as_array_mut().unwrap() {
            row.as_object_mut()
                .unwrap()
                .retain(|name, _| !["segment", "event_id"].contains(&&**name));
        }
        assert_eq!(rows, expected, "{what}");
        assert!(what.contains(told), "{what}");
    };
    let row = |how: &str, row: Option<u64>, place: Option<u64>, audit_id: Option<&str>| {
        let stage = audit_id.map(|_| "ResponseComplete");
        json!({"how": how, "row": row, "file_row": place, "audit_id": audit_id, "stage": stage})
    };
    let pick = |rows: &RecordBatch, picked: &[u32]| {
        take_record_batch(rows, &UInt32Array::from(picked.to_vec())).unwrap()
    };
    let gone = |rows: &RecordBatch| pick(rows, &[0, 1, 2, 3, 5, 6, 7, 8, 9]);
    check(&gone, json!([row("gone", Some(4), None, None)]), "row 4 of segment");
    let doubled = |rows: &RecordBatch| pick(rows, &[0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]);
    check(&doubled, json!([row("added", None, Some(3), Some("read-12"))]), "was added (now with");
    let same = |rows: &RecordBatch| rows.clone();
    check(&same, json!([]), "its rows are those that came");
    // A mark that points at somebody else.
    let misled = |rows: &RecordBatch| {
        let at = rows.schema().index_of("_row").unwrap();
        let marks = rows.column(at).as_primitive::<Int64Type>();
        let mut marks: Vec<i64> = marks.values().to_vec();
        marks[7] ^= 1;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns[at] = Arc::new(Int64Array::from(marks));
        RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    check(&misled, json!([]), "its rows are those that came");
    // Bytes that are no file at all.
    change(&parquet(&data)[1], |bytes| bytes.truncate(100));
    let what = wrong(&data, &[], "file_changed");
    assert!(what.contains("its rows cannot be read"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_any_two_steps_it_verifies() {
    for fault in FAULTS {
        let mut server = TestServer::start(SETTINGS);
        for number in 0..3 {
            assert_eq!(server.post("prod", batch(number * 10)).await, 200);
        }
        server.quiesce().await;
        server.kill_and_restart_with(fault);
        let deadline = Instant::now() + LIMIT;
        let mut sent = 30;
        while !server.has_ended() {
            assert!(Instant::now() < deadline, "{fault} was never passed:\n{}", server.log());
            let url = server.url("/v1/audit/prod");
            let _ = server.client().post(url).body(batch(sent)).send().await;
            sent += 10;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        verified(&server.data());
        server.kill_and_restart();
        for first in (0..sent).step_by(10) {
            assert_eq!(server.post("prod", batch(first)).await, 200);
        }
        proven(&server, u64::from(sent)).await;
    }
}

#[tokio::test]
async fn a_history_from_before_is_not_covered_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    copy(&repository("testdata/data-directory/v1"), &data);
    assert_eq!(verify(&data, &[]).code, Some(2));
    let settings = SETTINGS.replace("keep", "findings_keep = \"100000d\"\nkeep");
    let mut server = TestServer::start_over(&data, &settings);
    server.quiesce().await;
    assert_eq!(server.post("east", list(&[read(7)])).await, 200);
    let all = "SELECT count(*) FROM events";
    let deadline = Instant::now() + LIMIT;
    let count = |report: &Value| {
        report["rows"].as_u64().unwrap() + report["rows_not_covered"].as_u64().unwrap()
    };
    loop {
        let report = report(&verify(&data, &[]));
        if report["ok"] == true && count(&report) == 50 {
            assert!(report["rows_not_covered"].as_u64().unwrap() > 0, "{report}");
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(server.number(all).await, 50);
    server.stop();
}

/// One finding, as it is shown alone.
async fn finding(server: &TestServer, id: &str) -> Value {
    let (status, body) = server.get(&format!("/v1/findings/{id}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_says_where_its_evidence_is_once_it_is_in_files() {
    let mut server = TestServer::start("");
    assert_eq!(server.post("prod", batch(0)).await, 200);
    server.quiesce().await;
    let id = server.findings("").await[0]["id"].as_str().unwrap().to_owned();
    let one = finding(&server, &id).await;
    let event = one["evidence"][0].as_object().unwrap();
    for name in ["segment", "leaf", "row"] {
        assert_eq!(event.get(name), Some(&Value::Null), "{one}");
    }
    // What is left is written and signed at the end.
    server.stop();
    server.kill_and_restart();
    let one = finding(&server, &id).await;
    let event = &one["evidence"][0];
    assert!(event["leaf"].is_u64() && event["row"].is_u64(), "{one}");
    assert!(event["segment"].as_str().is_some_and(|segment| segment.ends_with(".0")), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_is_proven_on_another_machine() {
    let (_stopped, data) = written(3).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut server = TestServer::start_over(&data, SETTINGS);
    let findings = server.findings("").await;
    let id = findings[0]["id"].as_str().unwrap().to_owned();
    let one = finding(&server, &id).await;
    let (out, data) = (path("evidence.json"), data.display().to_string());
    // While the server runs, too.
    let ended = run(["evidence", "--data", &data, "--out", &out, &id]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    server.stop();
    let key = run(["verify", "--print-key", "--data", &data]).stdout.trim().to_owned();
    let check = |bundle: &str, key: &str| {
        run(["verify", "--bundle", bundle, "--key", key, "--format", "json"])
    };
    let ended = check(&out, &key);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(report(&ended)["events"], 1);

    let bundle: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let (event, evidence) = (&bundle["events"][0], &one["evidence"][0]);
    assert!(event["segment"].as_str().unwrap().contains('.'), "{bundle}");
    for name in ["event_id", "segment", "leaf", "row"] {
        assert_eq!(evidence[name], event[name], "{name}: {one}");
    }
    let mut changed = bundle.clone();
    changed["events"][0]["content"]["user_name"] = "somebody-else".into();
    std::fs::write(path("changed.json"), changed.to_string()).unwrap();
    assert_eq!(check(&path("changed.json"), &key).code, Some(1));
    let mut lengthened = bundle;
    let statement = lengthened["leaves"][0]["statement"].as_str().unwrap().to_owned() + " ";
    lengthened["leaves"][0]["statement"] = statement.into();
    std::fs::write(path("lengthened.json"), lengthened.to_string()).unwrap();
    assert_eq!(check(&path("lengthened.json"), &key).code, Some(1));

    let Some(go) = std::env::var_os("AUDITMILL_NOTE_BIN").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "AUDITMILL_NOTE_BIN is not set, but CI is");
        println!("skipped: AUDITMILL_NOTE_BIN is not set (tests/note/build.sh)");
        return;
    };
    let go = |bundle: &str, key: &str| {
        let output = Command::new(go.join("note")).args([key, bundle]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(go(&out, &key), (true, String::new()));
    let (sound, said) = go(&path("lengthened.json"), &key);
    assert!(!sound && said.contains("leaf"), "{said}");
    let (other, _data) = written(1).await;
    let other = other.data().display().to_string();
    let other = run(["verify", "--print-key", "--data", &other]).stdout.trim().to_owned();
    assert!(!go(&out, &other).0);
    assert_eq!(check(&out, &other).code, Some(1));
}
