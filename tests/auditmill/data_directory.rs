//! A data directory of an earlier version opens, with all that is in it.
//!
//! With `AUDITMILL_NEW_SAMPLE=1` one is made with the present program: for a version whose formats
//! differ from those before, into a folder of its own. A folder that is there is never made anew.

use std::path::Path;

use serde_json::Value;

use super::events::{exec, list, read, recorded_lines, repository, secret};
use super::program::run;
use super::server::TestServer;

const NEW_SAMPLE: &str = "AUDITMILL_NEW_SAMPLE";
/// A segment is as small as can be; nothing is written to files before it is time.
const WRITING: &str = "[journal]\nsegment = \"64KiB\"\nreserve = \"1MiB\"\n\
     [history]\nkeep = \"0s\"\nfindings_keep = \"100000d\"\n";
const READING: &str = "[journal]\nreserve = \"1MiB\"\n\
     [history]\nkeep = \"0s\"\nfindings_keep = \"100000d\"\n";

/// Events of two clusters, and pieces that are none.
fn deliveries() -> [(&'static str, String); 6] {
    let recorded = recorded_lines();
    let secrets: Vec<Value> = (1..=15).map(secret).collect();
    [
        ("east", recorded.iter().take(20).cloned().collect::<Vec<_>>().join("\n")),
        ("west", list(&secrets)),
        ("west", "{\"auditID\": \"torn".to_owned()),
        // From here on in the journal only.
        ("east", list(&[exec(1), read(2), read(3)])),
        ("west", recorded.iter().skip(20).take(10).cloned().collect::<Vec<_>>().join("\n")),
        ("west", format!("{}\nno event\n", read(4))),
    ]
}

#[tokio::test]
async fn a_directory_of_the_first_version_opens() {
    if std::env::var_os(NEW_SAMPLE).is_some() {
        write_the_sample().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    copy(&repository("testdata/data-directory/v1"), &data);
    let mut server = TestServer::start_over(&data, READING);
    for _ in 0..2 {
        server.quiesce().await;
        let count = |what: &'static str| server.number(what);
        let east = "SELECT count(DISTINCT event_id) FROM events WHERE cluster = 'east'";
        assert_eq!(count(east).await, 23);
        let west = "SELECT count(DISTINCT event_id) FROM events WHERE cluster = 'west'";
        assert_eq!(count(west).await, 26);
        assert_eq!(count("SELECT count(*) FROM events").await, 49);
        // Its files do not tell them.
        assert_eq!(server.minutes_are_those_of_events().await, 49);
        let findings = server.findings("").await;
        let mut detections: Vec<&str> =
            findings.iter().filter_map(|finding| finding["detection"].as_str()).collect();
        detections.sort_unstable();
        assert_eq!(detections, ["K8A-205", "K8A-401"]);
        assert_eq!(count("SELECT count(*) FROM quarantine").await, 2);
        let counted = "SELECT CAST(sum(count) AS BIGINT) FROM ledger WHERE kind = 'quarantined'";
        assert_eq!(count(counted).await, 2);
        assert_eq!(count("SELECT count(*) FROM clusters").await, 2);
        server.kill_and_restart();
    }
}

/// Not all of it was in the history when it was copied, or the test above tells nothing of the
/// journal's format.
#[test]
fn the_sample_has_rows_in_history_and_others_in_the_journal_only() {
    let manifest = repository("testdata/data-directory/v1/backup.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let written = manifest["history_position"].as_u64().unwrap();
    assert!(written > 0 && manifest["journal"][1].as_u64().unwrap() > written, "{manifest}");
    assert!(manifest["files"].to_string().contains(".parquet"), "{manifest}");
}

/// Writes to the repository, once per format.
async fn write_the_sample() {
    let to = repository("testdata/data-directory/new");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let [first, second, third, rest @ ..] = deliveries();
    for (flush, deliveries) in [("100ms", vec![first, second, third]), ("1h", rest.into())] {
        let settings = format!("{WRITING}flush_after = \"{flush}\"\n");
        let mut server = TestServer::start_over(&data, &settings);
        for (cluster, body) in deliveries {
            assert_eq!(server.post(cluster, body).await, 200);
        }
        server.quiesce().await;
        if flush == "1h" {
            let ended =
                run(["backup".as_ref(), "--data".as_ref(), data.as_os_str(), to.as_os_str()]);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        } else {
            server.stop();
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
