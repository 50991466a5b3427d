//! A stock JDBC driver. It needs `AUDITMILL_JDBC`, the folder that `tests/clients/build.sh` sets
//! up; without it the test passes without looking.

#![expect(clippy::print_stdout, reason = "what a test prints is its report, seen with --nocapture")]

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::filled;
use crate::events::repository;

#[tokio::test]
async fn a_jdbc_driver_lists_tables_and_asks() {
    let Some(folder) = env::var_os("AUDITMILL_JDBC").map(PathBuf::from) else {
        assert!(env::var_os("CI").is_none(), "AUDITMILL_JDBC is not set, but CI is");
        println!("skipped: AUDITMILL_JDBC is not set (tests/clients/build.sh sets it up)");
        return;
    };
    let server = filled().await;
    let mut java = Command::new("java");
    java.arg("-cp").arg(folder.join("*")).arg(repository("tests/clients/Ask.java"));
    java.arg(format!("jdbc:postgresql://{}/auditmill?user=ann", server.postgres()));
    let output = java.output().expect("run java");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "table events TABLE",
        "table requests VIEW",
        "column event_time timestamptz",
        "column verb text",
        "column response_code int4",
        "prepared c2 200",
        "again 6 times",
        "fetched 100000",
        "state 42703",
        "rolled back",
    ] {
        assert!(said.lines().any(|line| line == expected), "no `{expected}` in {said}");
    }
}
