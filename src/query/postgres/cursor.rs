//! Cursors that are spoken of in SQL: `DECLARE`, `FETCH`, `CLOSE`. Each is a portal by its name.

use std::sync::Arc;

use bytes::BytesMut;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::column;
use super::failure::Failure;
use super::order::{Order, name, tokens, upper};
use super::prepared::{Portal, Prepared, no_portal};
use super::reply::{self, Transaction};
use super::session::Session;
use super::wire::Ended;

/// `DECLARE name [INSENSITIVE] [NO SCROLL] CURSOR [WITHOUT HOLD] FOR question`
pub(super) fn declare(sql: &str, found: &[&Token]) -> Result<Order, Failure> {
    let name = name(found, 1)?;
    let mut question = None;
    let mut words = Vec::new();
    for token in tokens(sql, false)? {
        match &mut question {
            None if upper(&token) == "FOR" => question = Some(String::new()),
            None => words.push(upper(&token)),
            Some(text) => text.push_str(&token.to_string()),
        }
    }
    let has = |word: &str| words.iter().any(|found| found == word);
    if (has("SCROLL") && !has("NO")) || has("WITH") || has("BINARY") {
        let message = "a cursor goes forward, sends text, and ends with its transaction";
        return Err(Failure::new("0A000", message).hint("DECLARE name NO SCROLL CURSOR FOR ..."));
    }
    let usage = || Failure::new("42601", "`DECLARE name CURSOR FOR SELECT ...`");
    let sql = question.filter(|_| has("CURSOR")).ok_or_else(usage)?;
    Ok(Order::Declare { name, sql })
}

/// `FETCH [NEXT | number | ALL | FORWARD [number | ALL]] [FROM | IN] name`
pub(super) fn fetch(found: &[&Token]) -> Result<Order, Failure> {
    let mut rest = found.iter().skip(1).copied().peekable();
    let mut rows = Some(1);
    while let Some(token) = rest.peek() {
        match (upper(token).as_str(), token) {
            ("NEXT" | "FORWARD" | "FROM" | "IN", _) => {}
            ("ALL", _) => rows = None,
            (_, Token::Number(number, _)) => {
                let wrong = || Failure::new("22003", format!("`{number}` is no number of rows"));
                rows = Some(number.parse().map_err(|_| wrong())?);
            }
            ("PRIOR" | "BACKWARD" | "FIRST" | "LAST" | "ABSOLUTE" | "RELATIVE", _)
            | (_, Token::Minus) => {
                return Err(Failure::new("55000", "a cursor goes forward only"));
            }
            _ => break,
        }
        rest.next();
    }
    let name = name(&rest.collect::<Vec<_>>(), 0)?;
    Ok(Order::Fetch { name, rows })
}

impl Session {
    /// Plans a cursor's question; nothing is asked before the first FETCH.
    pub(super) async fn declare(&mut self, name: String, sql: String) -> Result<(), Ended> {
        if self.state.now() == Transaction::Idle {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Failure::new("25P01", message).hint("BEGIN first").into());
        }
        // Its own kind of statement does not end here, and waits for the plan.
        let prepared = Box::pin(self.prepare(sql, Vec::new())).await?;
        if !matches!(&prepared, Prepared::Question { types, .. } if types.is_empty()) {
            return Err(
                Failure::new("0A000", "a cursor is for a question without parameters").into()
            );
        }
        Ok(self.state.open(name, Portal::of(Arc::new(prepared)))?)
    }

    /// Sends a cursor's next rows; all that there are, for no number.
    pub(super) async fn fetch_rows(
        &mut self,
        name: &str,
        rows: Option<u32>,
        described: bool,
    ) -> Result<(), Ended> {
        let mut portal = self.state.portals.remove(name).ok_or_else(|| no_portal(name))?;
        if described {
            columns(&mut self.wire.out, &portal);
        }
        let fetched = match rows {
            Some(0) => 0,
            rows => self.advance(&mut portal, rows.unwrap_or(0)).await?.1,
        };
        self.state.portals.insert(name.to_owned(), portal);
        reply::complete(&mut self.wire.out, &format!("FETCH {fetched}"));
        Ok(())
    }

    /// Tells the columns of what a FETCH of this cursor gives.
    pub(super) fn describe_cursor(&mut self, name: &str) -> Result<(), Failure> {
        let portal = self.state.portals.get(name).ok_or_else(|| no_portal(name))?;
        columns(&mut self.wire.out, portal);
        Ok(())
    }
}

fn columns(out: &mut BytesMut, portal: &Portal) {
    if let Prepared::Question { schema, .. } = portal.prepared.as_ref() {
        reply::columns(out, &column::fields(schema, &[]));
    }
}

#[cfg(test)]
mod tests {
    use crate::query::postgres::order::{Order, order};

    #[test]
    fn cursors_are_told_from_questions() {
        let fetch = |name: &str, rows| Order::Fetch { name: name.to_owned(), rows };
        for (sql, expected) in [
            ("FETCH FORWARD 100 FROM c", fetch("c", Some(100))),
            ("fetch 5 in \"C\"", fetch("C", Some(5))),
            ("FETCH c", fetch("c", Some(1))),
            ("FETCH NEXT FROM c", fetch("c", Some(1))),
            ("FETCH ALL c", fetch("c", None)),
            ("FETCH FORWARD ALL FROM c", fetch("c", None)),
            ("CLOSE c", Order::Close(Some("c".to_owned()))),
            ("CLOSE ALL", Order::Close(None)),
            (
                "DECLARE _psql_cursor NO SCROLL CURSOR FOR\nSELECT 'for' AS a",
                Order::Declare {
                    name: "_psql_cursor".to_owned(),
                    sql: "\nSELECT 'for' AS a".to_owned(),
                },
            ),
        ] {
            assert_eq!(order(sql).unwrap(), Some(expected), "{sql}");
        }
        for (sql, code) in [
            ("FETCH BACKWARD 1 FROM c", "55000"),
            ("FETCH -1 FROM c", "55000"),
            ("FETCH 99999999999 FROM c", "22003"),
            ("FETCH", "42601"),
            ("DECLARE c SCROLL CURSOR FOR SELECT 1", "0A000"),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "0A000"),
            ("DECLARE c FOR SELECT 1", "42601"),
        ] {
            assert_eq!(order(sql).unwrap_err().code, code, "{sql}");
        }
    }
}
