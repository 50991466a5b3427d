//! Files of findings: rotated by themselves or by others, in any format.

use serde_json::Value;

use crate::events::exec;
use crate::server::TestServer;
use crate::sinks::{deliver, until};

#[tokio::test]
async fn files_rotate_and_no_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("findings.jsonl");
    let server = TestServer::start(&format!(
        "[[sink]]\ntype = \"jsonl\"\nname = \"all\"\npath = \"{}\"\nrotate_bytes = \"6KiB\"\n\
         rotate_keep = 100\nformat = \"ecs\"\n",
        path.display()
    ));
    for number in 0..20 {
        deliver(&server, &[exec(number)]).await;
    }
    let lines = || {
        let mut lines: Vec<Value> = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        lines
    };
    until("all lines", &server, async || lines().len() == 20).await;
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 2);
    assert!(lines().iter().all(|line| line["event"]["kind"] == "alert"));
    // Somebody else's rotation: what comes next is in a new file.
    let moved = dir.path().join("moved");
    std::fs::rename(&path, &moved).unwrap();
    deliver(&server, &[exec(20)]).await;
    until("a new file", &server, async || path.exists() && lines().len() == 21).await;
}
