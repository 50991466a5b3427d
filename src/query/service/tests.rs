//! Formats, limits, and what becomes of a query whose asker has gone.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow::ipc::reader::StreamReader;
use datafusion::datasource::MemTable;
use futures::StreamExt as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// A table `t` with `rows` rows: numbers, and every other one a text.
fn service(rows: i64, limits: Limits) -> QueryService {
    let texts = (0..rows).map(|n| (n % 2 == 0).then(|| format!("n{n}, \"quoted\"")));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from_iter_values(0..rows)) as _, false),
        ("t", Arc::new(texts.collect::<StringViewArray>()) as _, true),
    ]);
    let batch = batch.unwrap();
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    QueryService::new(vec![("t", Arc::new(table))], limits).unwrap()
}

async fn gather(answer: Answer) -> Result<Vec<u8>, QueryError> {
    let parts: Vec<_> = answer.into_parts().collect().await;
    let parts: Result<Vec<Bytes>, _> = parts.into_iter().collect();
    Ok(parts?.concat())
}

async fn bytes(service: &QueryService, sql: &str, format: Format) -> Result<Vec<u8>, QueryError> {
    gather(service.ask(&Asker::local(), sql, format).await?).await
}

async fn text(service: &QueryService, sql: &str, format: Format) -> String {
    String::from_utf8(bytes(service, sql, format).await.unwrap()).unwrap()
}

const ENDLESS: &str = "SELECT max(a.n + b.n + c.n) FROM t a, t b, t c, t d, t e, t f";

#[tokio::test]
async fn rows_are_the_same_in_every_format() {
    let service = service(5_000, Limits::default());
    let sql = "SELECT n, t FROM t ORDER BY n";
    let json: Vec<serde_json::Value> =
        serde_json::from_slice(&bytes(&service, sql, Format::Json).await.unwrap()).unwrap();
    assert_eq!(json.len(), 5_000);
    assert_eq!(json[1], serde_json::json!({"n": 1, "t": null}));
    let csv = text(&service, sql, Format::Csv).await;
    assert_eq!(csv.lines().count(), 5_001);
    assert!(csv.starts_with("n,t\n0,\"n0, \"\"quoted\"\"\"\n1,\n2,"), "{}", &csv[..60]);
    let arrow = bytes(&service, sql, Format::Arrow).await.unwrap();
    let batches: Result<Vec<_>, _> =
        StreamReader::try_new(Cursor::new(arrow), None).unwrap().collect();
    assert_eq!(batches.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 5_000);
    let parquet = Bytes::from(bytes(&service, sql, Format::Parquet).await.unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 5_000);
}

#[tokio::test]
async fn no_rows_are_an_answer_too() {
    let service = service(1, Limits::default());
    let sql = "SELECT n, t FROM t WHERE n > 5";
    assert_eq!(text(&service, sql, Format::Json).await, "[]");
    assert_eq!(text(&service, sql, Format::Csv).await, "n,t\n");
    let arrow = bytes(&service, sql, Format::Arrow).await.unwrap();
    assert_eq!(StreamReader::try_new(Cursor::new(arrow), None).unwrap().count(), 0);
    assert!(bytes(&service, sql, Format::Parquet).await.unwrap().starts_with(b"PAR1"));
}

#[tokio::test]
async fn lists_and_structs_have_a_form_everywhere() {
    let service = service(3, Limits::default());
    let sql = "SELECT array_agg(t ORDER BY n) AS l, named_struct('a', 1) AS s, \
               TIMESTAMP '2026-03-01T10:00:00Z' AS at FROM t";
    let json = r#"[{"l":["n0, \"quoted\"",null,"n2, \"quoted\""],"s":{"a":1},"#;
    let json = format!("{json}\"at\":\"2026-03-01T10:00:00\"}}]");
    assert_eq!(text(&service, sql, Format::Json).await, json);
    insta::assert_snapshot!(text(&service, sql, Format::Csv).await, @r#"
    l,s,at
    "[n0, ""quoted"", NULL, n2, ""quoted""]",{a: 1},2026-03-01T10:00:00
    "#);
    for format in [Format::Arrow, Format::Parquet] {
        bytes(&service, sql, format).await.unwrap();
    }
}

#[tokio::test]
async fn what_fails_before_the_first_part_is_an_error_and_after_it_an_end_without_end() {
    let service = service(200_000, Limits { rows_max: 150_000, ..Limits::default() });
    let small = service
        .ask(&Asker::local(), "SELECT 1 / (n - 999) FROM t WHERE n < 1000", Format::Json)
        .await;
    assert!(small.unwrap_err().to_string().contains("Divide by zero"));
    let answer = service.ask(&Asker::local(), "SELECT n FROM t", Format::Json).await.unwrap();
    let mut parts = Box::pin(answer.into_parts());
    let (mut kept, mut error) = (Vec::new(), None);
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => kept.extend_from_slice(&part),
            Err(wrong) => error = Some(wrong),
        }
    }
    assert!(matches!(error, Some(QueryError::TooManyRows(150_000))), "{error:?}");
    assert!(serde_json::from_slice::<serde_json::Value>(&kept).is_err());
}

#[tokio::test]
async fn a_query_whose_asker_has_gone_frees_its_slot() {
    let limits = Limits { concurrent_max: 1, ..Limits::default() };
    let service = service(1_000, limits);
    {
        let asker = Asker::local();
        let asking = service.ask(&asker, ENDLESS, Format::Json);
        // It has begun once another must wait.
        let begun = async {
            while service.running.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            () = begun => {}
        }
    }
    assert_eq!(text(&service, "SELECT count(*) AS n FROM t", Format::Csv).await, "n\n1000\n");
    // An answer that nobody reads any more.
    let answer =
        service.ask(&Asker::local(), "SELECT a.t FROM t a, t b", Format::Csv).await.unwrap();
    drop(answer);
    assert_eq!(text(&service, "SELECT count(*) AS n FROM t", Format::Csv).await, "n\n1000\n");
}

#[tokio::test]
async fn who_finds_no_room_is_told_at_once() {
    let limits = Limits {
        concurrent_max: 1,
        queue_max: 1,
        timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let log = QuestionLog::open(&folder.path().join("q"), 1, || 0).unwrap();
    let service = service(1_000, limits).with_log(Arc::new(log));
    let asker = Asker::local();
    let (running, waiting, refused) = tokio::join!(
        service.ask(&asker, ENDLESS, Format::Json),
        service.ask(&asker, ENDLESS, Format::Json),
        service.ask(&asker, ENDLESS, Format::Json),
    );
    assert!(matches!(running, Err(QueryError::TimedOut(_))), "{running:?}");
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(matches!(refused, Err(QueryError::Busy { .. })), "{refused:?}");
    assert_eq!(text(&service, "SELECT 1 AS one", Format::Csv).await, "one\n1\n");
    let noted = service.log.as_ref().unwrap().all().unwrap();
    let errors: Vec<&str> = noted.iter().filter_map(|one| one.error.as_deref()).collect();
    assert!(errors.iter().any(|error| error.contains("too many queries at once")), "{noted:?}");
}

#[tokio::test]
async fn what_cannot_be_begun_is_written_down_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = QuestionLog::open(&folder.path().join("q"), 1, || 0).unwrap();
    let service = service(1, Limits::default()).with_log(Arc::new(log));
    let asker = Asker { name: Arc::from("ann"), wire: "postgres", ..Asker::local() };
    service.describe(&asker, "SELECT n FROM t", Vec::new()).await.unwrap();
    service.describe(&asker, "SELECT nothing FROM t", Vec::new()).await.unwrap_err();
    let huge = format!("SELECT '{}'", "x".repeat(statement::BYTES_MAX));
    service.ask(&asker, &huge, Format::Json).await.unwrap_err();
    service.ask_as_flight(&asker, &huge, Vec::new()).await.unwrap_err();
    bytes(&service, "SELECT missing FROM t", Format::Json).await.unwrap_err();
    let noted = service.log.as_ref().unwrap().all().unwrap();
    let failed = |one: &crate::findings::questions::Asked| {
        let error = one.error.clone().unwrap_or_default();
        (one.client.clone(), one.outcome.clone().unwrap_or_default(), error)
    };
    let failed: Vec<_> = noted.iter().map(failed).collect();
    assert_eq!(failed.len(), 4, "{failed:?}");
    for ((client, outcome, error), (who, why)) in failed.iter().zip([
        ("ann", "nothing"),
        ("ann", "more than the"),
        ("ann", "more than the"),
        ("", "missing"),
    ]) {
        assert_eq!((client.as_str(), outcome.as_str()), (who, "failed"), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_in_time_ends_without_end_and_frees_its_slot() {
    let limits =
        Limits { concurrent_max: 1, timeout: Duration::from_millis(500), ..Limits::default() };
    let service = service(200_000, limits);
    let answer = service.ask(&Asker::local(), "SELECT t FROM t", Format::Csv).await.unwrap();
    let freed = async {
        while service.running.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), freed).await.unwrap();
    let error = gather(answer).await.unwrap_err();
    assert!(matches!(error, QueryError::TimedOut(_)), "{error}");
}
