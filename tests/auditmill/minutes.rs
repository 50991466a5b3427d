//! Events per minute are what a count over events says, wherever the events are.

use std::time::{Duration, Instant};

use super::events::{list, read, recorded_lines};
use super::program::LIMIT;
use super::server::TestServer;

const COLUMNS: &str = "cluster, stage, verb, api_group, resource, decision, response_code";

impl TestServer {
    /// Whether both tables tell the same of all minutes, and of some; how many events there are.
    pub(crate) async fn minutes_are_those_of_events(&self) -> i64 {
        for condition in [
            "true",
            "minute >= TIMESTAMP '2026-03-01T00:01:00Z' \
             AND minute < TIMESTAMP '2026-03-01T00:03:00Z'",
            "cluster = 'east'",
            "resource = 'configmaps' AND response_code = 200",
        ] {
            let kept = format!(
                "SELECT minute, {COLUMNS}, CAST(sum(events) AS BIGINT) AS n FROM events_per_minute \
                 WHERE {condition} GROUP BY minute, {COLUMNS}"
            );
            let counted = format!(
                "SELECT minute, {COLUMNS}, CAST(count(*) AS BIGINT) AS n \
                 FROM (SELECT date_trunc('minute', event_time) AS minute, {COLUMNS} FROM events) \
                 WHERE {condition} GROUP BY minute, {COLUMNS}"
            );
            for (a, b) in [(&kept, &counted), (&counted, &kept)] {
                let query = format!("SELECT * FROM ({a}) EXCEPT SELECT * FROM ({b})");
                let differ = self.sql(&query).await;
                assert_eq!(differ, serde_json::json!([]), "{condition}");
            }
        }
        self.number("SELECT CAST(sum(events) AS BIGINT) FROM events_per_minute").await
    }
}

#[tokio::test]
async fn minutes_are_counted_in_memory_in_files_and_in_joined_files() {
    let mut server = TestServer::start("[history]\nflush_after = \"1s\"\n");
    let mut sent = 0;
    for part in 0..12 {
        // Minutes are in several files each.
        let events: Vec<_> = (0..20).map(|number| read(number * 12 + part)).collect();
        assert_eq!(server.post("east", list(&events)).await, 200);
        sent += 20;
        if part % 3 == 0 {
            server.quiesce().await;
            assert_eq!(server.minutes_are_those_of_events().await, sent);
        }
        if part % 4 == 3 {
            wait_until_in_files(&server).await;
        }
    }
    assert_eq!(server.post("west", recorded_lines().join("\n")).await, 200);
    server.quiesce().await;
    let all = server.minutes_are_those_of_events().await;
    assert_eq!(all, server.number("SELECT count(*) FROM events").await);
    wait_until_in_files(&server).await;
    assert_eq!(server.minutes_are_those_of_events().await, all);
    let told = server.sql("EXPLAIN ANALYZE SELECT count(*) FROM events WHERE verb = 'get'").await;
    let told = told.to_string();
    assert!(told.contains("bytes_scanned=") && told.contains("files_opened="), "{told}");
    server.kill_and_restart();
    server.quiesce().await;
    assert_eq!(server.minutes_are_those_of_events().await, all);
}

async fn wait_until_in_files(server: &TestServer) {
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let rows = server.number("SELECT count(*) FROM events").await as f64;
    let deadline = Instant::now() + LIMIT;
    while server.metric("auditmill_history_rows_total").await < rows {
        assert!(Instant::now() < deadline, "rows stay in memory: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
