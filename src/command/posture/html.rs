//! One page for an auditor: no script, nothing from elsewhere, every text escaped.

use std::io::Write;

use anyhow::Result;
use serde_json::Value as Json;

use super::line::{Line, Posture, Verdict};
use super::print::brief;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;\
padding:0 1rem;color:#1a1a1a}h1{font-size:1.5rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
.pass{color:#0a6b2d}.fail{color:#b00020;font-weight:600}.no{color:#8a5a00}\
section{border-top:2px solid #ccc;margin-top:1.5rem;break-inside:avoid}\
pre{background:#f5f5f5;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px}\
td{overflow-wrap:anywhere}summary{cursor:pointer}.sum b{font-size:1.3rem;margin-right:.3rem}";

pub(super) fn print_html(out: &mut impl Write, posture: &Posture) -> Result<()> {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\"><title>Posture</title><style>{STYLE}</style></head><body>\n\
         <h1>Kubernetes hardening posture</h1>\n"
    )?;
    let summary = posture.summary;
    writeln!(
        out,
        "<p class=\"sum\"><b class=\"pass\">{}</b>pass &nbsp; <b class=\"fail\">{}</b>fail &nbsp; \
         <b class=\"no\">{}</b>without evidence</p>",
        summary.pass, summary.fail, summary.no_evidence
    )?;
    let time = |time: &Option<String>| time.as_deref().map(brief).unwrap_or_default();
    writeln!(
        out,
        "<p>Made at {} (UTC) of {} audit events from {} to {}. Sections are those of the {}. A \
         control fails when an event of this time shows it broken, also when that was mended \
         since; without evidence, nobody can tell.</p>",
        brief(&posture.at),
        posture.events,
        time(&posture.first_event),
        time(&posture.last_event),
        posture.benchmark
    )?;
    out.write_all(
        b"<table><tr><th>Control</th><th>Demand</th><th>CIS</th><th>Verdict</th>\
                    <th>Events</th><th>Failing</th></tr>\n",
    )?;
    for line in &posture.controls {
        writeln!(
            out,
            "<tr><td><a href=\"#{0}\">{0}</a></td><td>{1}</td><td>{2}</td>\
             <td class=\"{3}\">{4}</td><td>{5}</td><td>{6}</td></tr>",
            escaped(&line.id),
            escaped(&line.title),
            escaped(&line.cis.join(", ")),
            class(line.verdict),
            line.verdict.words(),
            line.seen,
            line.failing
        )?;
    }
    out.write_all(b"</table>\n")?;
    for line in &posture.controls {
        print_section(out, line)?;
    }
    out.write_all(b"</body></html>\n")?;
    Ok(())
}

fn print_section(out: &mut impl Write, line: &Line) -> Result<()> {
    writeln!(
        out,
        "<section id=\"{0}\"><h2>{0} {1} <span class=\"{2}\">{3}</span></h2>\n\
         <p>{4}</p>\n<p>{5}</p>",
        escaped(&line.id),
        escaped(&line.title),
        class(line.verdict),
        line.verdict.words(),
        escaped(&line.reason),
        escaped(&line.about)
    )?;
    if let (Some(first), Some(last)) = (&line.first_event, &line.last_event) {
        writeln!(out, "<p>Events from {} to {}.</p>", brief(first), brief(last))?;
    }
    if !line.evidence.is_empty() {
        out.write_all(b"<table><tr><th>When</th><th>What</th><th>Audit id</th></tr>\n")?;
        for row in &line.evidence {
            let word = |name: &str| row.get(name).and_then(Json::as_str).unwrap_or_default();
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&brief(word("event_time"))),
                escaped(word("what")),
                escaped(word("audit_id"))
            )?;
        }
        out.write_all(b"</table>\n")?;
    }
    if !line.figures.is_empty() {
        out.write_all(b"<table>\n")?;
        for figure in &line.figures {
            let value = figure.value.to_string();
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td></tr>",
                escaped(&figure.name),
                escaped(&value)
            )?;
        }
        out.write_all(b"</table>\n")?;
    }
    if let Some(rule) = &line.rule {
        writeln!(out, "<p>A rule that would give evidence:</p><pre>{}</pre>", escaped(rule))?;
    }
    if !line.detections.is_empty() {
        out.write_all(b"<details><summary>Detections</summary><table>\n")?;
        for of in &line.detections {
            let (id, title) = (escaped(&of.id), escaped(&of.title));
            let came = format!("{} findings", of.findings);
            let came = escaped(of.lacks.as_ref().unwrap_or(&came));
            writeln!(out, "<tr><td>{id}</td><td>{title}</td><td>{came}</td></tr>")?;
        }
        out.write_all(b"</table></details>\n")?;
    }
    if let Some(query) = &line.query {
        writeln!(out, "<details><summary>Query</summary><pre>{}</pre></details>", escaped(query))?;
    }
    out.write_all(b"</section>\n")?;
    Ok(())
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::NoEvidence => "no",
    }
}

/// Text that can be nothing but text, in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(character),
            // What turns the order of letters, hides, or is no text.
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                safe.extend(c.escape_default());
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let text = "<script>alert('x')</script>&\"\u{202e}\u{0}";
        let expected = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\u{202e}\\u{0}";
        assert_eq!(escaped(text), expected);
    }
}
