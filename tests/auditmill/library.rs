//! The shipped detections as a whole: what the documents say of them.

use std::fmt::Write as _;

use auditmill::detect::catalog::Catalog;

use super::events::repository;

const BEGIN: &str =
    "<!-- The table is made of the files: AUDITMILL_UPDATE=1 cargo test library -->\n";
const END: &str = "<!-- Here it ends. -->";

#[test]
fn the_manual_lists_the_detections_as_they_are() {
    let path = repository("queries/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("AUDITMILL_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == expected, "queries/README.md is not what the files say: {BEGIN}");
}

fn table() -> String {
    let catalog = Catalog::load(None).unwrap();
    let mut all: Vec<_> = catalog.detections().chain(catalog.disabled()).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut table = String::new();
    let mut area = "";
    for detection in &all {
        let path = detection.path.trim_start_matches("queries/detections/");
        let of = path.split('/').next().unwrap();
        if area != of {
            area = of;
            writeln!(
                table,
                "\n### {area}\n\n| id | title | severity | needs | ATT&CK | controls |"
            )
            .unwrap();
            table.push_str("|---|---|---|---|---|---|\n");
        }
        let level = detection.needs.level.as_deref().unwrap_or("Metadata");
        let addresses: Vec<String> = detection.needs.of_addresses().collect();
        let level = [&[level.to_owned()], addresses.as_slice()].concat().join(", ");
        let off = if detection.enabled { "" } else { " (off)" };
        writeln!(
            table,
            "| [{}](detections/{path}) | {}{off} | {} | {level} | {} | {} |",
            detection.id,
            detection.title.replace('|', "\\|"),
            detection.severity,
            detection.attack.join(", "),
            detection.controls.join(", ")
        )
        .unwrap();
    }
    table.push('\n');
    table
}
