//! What came of cases, as `JUnit` XML: the form that CI systems read
//! (<https://github.com/testmoapp/junitxml>).

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One case.
pub(super) struct Done {
    /// Id of its detection.
    pub(super) detection: String,
    pub(super) name: String,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

/// A suite for each detection.
pub(super) fn report(cases: &[Done]) -> String {
    let mut suites: BTreeMap<&str, Vec<&Done>> = BTreeMap::new();
    for case in cases {
        suites.entry(&case.detection).or_default().push(case);
    }
    let failed = |cases: &[&Done]| cases.iter().filter(|case| case.failure.is_some()).count();
    let all: Vec<&Done> = cases.iter().collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        xml,
        "<testsuites name=\"auditmill\" tests=\"{}\" failures=\"{}\">",
        all.len(),
        failed(&all)
    );
    for (id, cases) in suites {
        let (tests, failures) = (cases.len(), failed(&cases));
        let id = escaped(id);
        let _ =
            writeln!(xml, "  <testsuite name=\"{id}\" tests=\"{tests}\" failures=\"{failures}\">");
        for case in cases {
            let _ =
                write!(xml, "    <testcase classname=\"{id}\" name=\"{}\"", escaped(&case.name));
            let _ = match &case.failure {
                None => writeln!(xml, "/>"),
                Some(why) => writeln!(
                    xml,
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    escaped(why.lines().next().unwrap_or_default()),
                    escaped(why)
                ),
            };
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// Text as XML 1.0 may hold it: characters that it may not become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(char),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_and_failures_are_counted_and_text_is_escaped() {
        let done = |detection: &str, name: &str, failure: Option<&str>| Done {
            detection: detection.to_owned(),
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
        };
        let cases = [
            done("B", "fine", None),
            done("A", "a < b & \"c\"", Some("missing: <x>\nfound: \u{1b}nothing")),
            done("B", "too", None),
        ];
        assert_eq!(
            report(&cases),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="auditmill" tests="3" failures="1">
  <testsuite name="A" tests="1" failures="1">
    <testcase classname="A" name="a &lt; b &amp; &quot;c&quot;">
      <failure message="missing: &lt;x&gt;">missing: &lt;x&gt;
found: "#
                .to_owned()
                + "\u{fffd}nothing</failure>\n    </testcase>\n  </testsuite>\n  <testsuite \
                   name=\"B\" tests=\"2\" failures=\"0\">\n    <testcase classname=\"B\" \
                   name=\"fine\"/>\n    <testcase classname=\"B\" name=\"too\"/>\n  \
                   </testsuite>\n</testsuites>\n"
        );
    }
}
