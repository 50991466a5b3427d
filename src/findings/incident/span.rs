//! What an actor did without a gap longer than is set: the spans of one actor do not touch.

use rusqlite::{Transaction, params};

use super::member::Member;

/// A span of an actor.
pub(super) struct Span {
    first: i64,
    last: i64,
    pub(super) incident: String,
}

/// The spans of an actor that a finding touches.
pub(super) fn touching(
    transaction: &Transaction<'_>,
    actor: &str,
    member: &Member,
    gap: i64,
) -> rusqlite::Result<Vec<Span>> {
    let mut question = transaction.prepare_cached(
        "SELECT first, last, incident FROM incident_spans
         WHERE actor = ?1 AND first <= ?2 ORDER BY first DESC",
    )?;
    let mut rows = question.query(params![actor, member.last.saturating_add(gap)])?;
    let mut spans = Vec::new();
    while let Some(row) = rows.next()? {
        let span = Span { first: row.get(0)?, last: row.get(1)?, incident: row.get(2)? };
        // They do not overlap: those before it end before it.
        if span.last < member.first.saturating_sub(gap) {
            break;
        }
        spans.push(span);
    }
    Ok(spans)
}

/// Makes one span of those that a finding touches and of the finding itself, for each actor.
/// `touched` are those, actor by actor.
pub(super) fn span(
    transaction: &Transaction<'_>,
    member: &Member,
    home: &str,
    touched: Vec<Vec<Span>>,
) -> rusqlite::Result<()> {
    for (actor, spans) in member.actors.iter().zip(touched) {
        let (mut first, mut last) = (member.first, member.last);
        if let [span] = spans.as_slice()
            && span.first <= first
            && span.last >= last
        {
            continue;
        }
        let delete = "DELETE FROM incident_spans WHERE actor = ?1 AND first = ?2";
        for span in spans {
            (first, last) = (first.min(span.first), last.max(span.last));
            transaction.prepare_cached(delete)?.execute(params![actor, span.first])?;
        }
        let put = "INSERT INTO incident_spans (actor, first, last, incident)
                   VALUES (?1, ?2, ?3, ?4)";
        transaction.prepare_cached(put)?.execute(params![actor, first, last, home])?;
    }
    Ok(())
}
