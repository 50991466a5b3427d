//! What clients say to a session rather than ask of the tables: SET, SHOW, BEGIN and their like;
//! and where one statement ends and the next begins.
//!
//! Never: an order that reaches another session, or changes how a question is answered.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::column::Copied;
use super::cursor;
use super::failure::Failure;

/// Most statements of one message.
const STATEMENTS_MAX: usize = 100;

/// A longer text is one question: it is not looked into where sessions are served, because that
/// would hold up who delivers. The engine reads it on threads of its own.
const LOOKED_INTO_BYTES_MAX: usize = 64 << 10;

/// A statement that the session itself answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A transaction begins.
    Begin,
    /// It ends; `true` when what was done in it is to be undone, which is nothing.
    End { undone: bool },
    /// A parameter is set.
    Set { name: String, value: String },
    /// A parameter is shown.
    Show(String),
    /// All that the session keeps is forgotten.
    DiscardAll,
    /// PREPARE
    Prepare { name: String, sql: String },
    /// EXECUTE, with the texts of its arguments; none is NULL.
    Execute { name: String, arguments: Vec<Option<String>> },
    /// DEALLOCATE; none: all.
    Deallocate(Option<String>),
    /// DECLARE
    Declare { name: String, sql: String },
    /// FETCH; no number: all.
    Fetch { name: String, rows: Option<u32> },
    /// CLOSE; none: all.
    Close(Option<String>),
    /// COPY (question) TO STDOUT
    Copy { sql: String, form: Copied },
    /// Done when it is said.
    Nothing(&'static str),
}

pub(super) fn tokens(sql: &str, unescape: bool) -> Result<Vec<Token>, Failure> {
    let mut tokenizer = Tokenizer::new(&PostgreSqlDialect {}, sql).with_unescape(unescape);
    tokenizer.tokenize().map_err(|error| Failure::new("42601", error.to_string()))
}

/// The statements of a text; none of them is empty.
///
/// # Errors
/// When it has no tokens, or too many statements.
pub(super) fn statements(sql: &str) -> Result<Vec<String>, Failure> {
    if sql.len() > LOOKED_INTO_BYTES_MAX {
        return Ok(vec![sql.to_owned()]);
    }
    let mut found = vec![(String::new(), false)];
    let (mut said, mut ends) = (0, 0);
    for token in tokens(sql, false)? {
        if token == Token::SemiColon {
            ends += 1;
            found.push((String::new(), false));
            continue;
        }
        let Some((text, is_said)) = found.last_mut() else { continue };
        if !matches!(token, Token::Whitespace(_)) && !*is_said {
            *is_said = true;
            said += 1;
        }
        text.push_str(&token.to_string());
    }
    if said > STATEMENTS_MAX {
        let message = format!("{said} statements, more than the {STATEMENTS_MAX} of one message");
        return Err(Failure::new("54000", message));
    }
    if said == 1 && ends == 0 {
        // As it was written.
        return Ok(vec![sql.to_owned()]);
    }
    Ok(found.into_iter().filter(|(_, is_said)| *is_said).map(|(text, _)| text).collect())
}

/// The order that a statement is, if it is one.
///
/// # Errors
/// When it begins like one and goes on like none.
pub(super) fn order(sql: &str) -> Result<Option<Order>, Failure> {
    if sql.len() > LOOKED_INTO_BYTES_MAX {
        return Ok(None);
    }
    // The first word decides: most statements need not be looked at.
    let first = sql.trim_start().chars().take(64).collect::<String>().to_ascii_uppercase();
    let is_comment = first.starts_with("--") || first.starts_with("/*");
    if !is_comment && !FIRST_WORDS.iter().any(|word| first.starts_with(word)) {
        return Ok(None);
    }
    let tokens: Vec<Token> = tokens(sql, true)?;
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let word = |at: usize| tokens.get(at).map_or(String::new(), |token| upper(token));
    let done = |tag| Ok(Some(Order::Nothing(tag)));
    match word(0).as_str() {
        "BEGIN" | "START" => Ok(Some(Order::Begin)),
        "COMMIT" | "END" => Ok(Some(Order::End { undone: false })),
        "ROLLBACK" if word(1) == "TO" => done("ROLLBACK"),
        "ROLLBACK" | "ABORT" => Ok(Some(Order::End { undone: true })),
        "SAVEPOINT" => done("SAVEPOINT"),
        "RELEASE" => done("RELEASE"),
        "LISTEN" => done("LISTEN"),
        "UNLISTEN" => done("UNLISTEN"),
        "DISCARD" if word(1) == "ALL" => Ok(Some(Order::DiscardAll)),
        "DISCARD" => done("DISCARD"),
        "RESET" => done("RESET"),
        "SET" => Ok(Some(set(&tokens))),
        "SHOW" => Ok(show(&tokens)),
        "DEALLOCATE" => {
            let at = if word(1) == "PREPARE" { 2 } else { 1 };
            let name = Some(name(&tokens, at)?).filter(|_| word(at) != "ALL");
            Ok(Some(Order::Deallocate(name)))
        }
        "PREPARE" => prepare(sql, &name(&tokens, 1)?).map(Some),
        "EXECUTE" => execute(&tokens).map(Some),
        "DECLARE" => cursor::declare(sql, &tokens).map(Some),
        "FETCH" => cursor::fetch(&tokens).map(Some),
        "CLOSE" => {
            let name = Some(name(&tokens, 1)?).filter(|_| word(1) != "ALL");
            Ok(Some(Order::Close(name)))
        }
        "COPY" => copy(sql, &tokens).map(Some),
        _ => Ok(None),
    }
}

const FIRST_WORDS: [&str; 20] = [
    "ABORT",
    "BEGIN",
    "CLOSE",
    "COMMIT",
    "COPY",
    "DEALLOCATE",
    "DECLARE",
    "DISCARD",
    "END",
    "EXECUTE",
    "FETCH",
    "LISTEN",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "SHOW",
    "START",
];

pub(super) fn upper(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn name(tokens: &[&Token], at: usize) -> Result<String, Failure> {
    match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_some() => Ok(word.value.clone()),
        Some(Token::Word(word)) => Ok(word.value.to_ascii_lowercase()),
        _ => Err(Failure::new("42601", "a name is missing")),
    }
}

/// `SET [SESSION | LOCAL] name { TO | = } value`, `SET TIME ZONE value`, `SET TRANSACTION ...`.
fn set(tokens: &[&Token]) -> Order {
    let mut rest = tokens.iter().skip(1).copied().peekable();
    while rest.peek().is_some_and(|token| matches!(upper(token).as_str(), "SESSION" | "LOCAL")) {
        rest.next();
    }
    let Some(first) = rest.next() else { return Order::Nothing("SET") };
    match upper(first).as_str() {
        "TRANSACTION" | "CHARACTERISTICS" | "CONSTRAINTS" | "ROLE" | "TIME" => {
            return Order::Nothing("SET");
        }
        _ => {}
    }
    let name = plain(first).to_ascii_lowercase();
    let is_sign = |token: &&Token| **token == Token::Eq || upper(token) == "TO";
    let value = rest.skip_while(is_sign).map(plain).collect::<Vec<_>>().concat();
    Order::Set { name, value }
}

/// Of SHOW, what is not about tables.
fn show(tokens: &[&Token]) -> Option<Order> {
    let words: Vec<String> =
        tokens.iter().skip(1).map(|token| plain(token).to_ascii_lowercase()).collect();
    match words.first()?.as_str() {
        "tables" | "columns" | "functions" | "all" | "full" | "extended" | "create"
        | "databases" | "schemas" => None,
        "transaction" => Some(Order::Show("transaction_isolation".to_owned())),
        "time" => Some(Order::Show("timezone".to_owned())),
        name => Some(Order::Show(name.to_owned())),
    }
}

/// `PREPARE name [(types)] AS statement`: the types are those that the statement asks for.
fn prepare(sql: &str, name: &str) -> Result<Order, Failure> {
    let mut statement = None;
    for token in tokens(sql, false)? {
        match &mut statement {
            None if upper(&token) == "AS" => statement = Some(String::new()),
            None => {}
            Some(text) => text.push_str(&token.to_string()),
        }
    }
    let sql = statement.ok_or_else(|| Failure::new("42601", "`PREPARE name AS SELECT ...`"))?;
    Ok(Order::Prepare { name: name.to_owned(), sql })
}

/// `EXECUTE name (constants)`
fn execute(tokens: &[&Token]) -> Result<Order, Failure> {
    let name = name(tokens, 1)?;
    let wrong = || Failure::new("0A000", "the arguments of EXECUTE are constants");
    let mut arguments = Vec::new();
    let mut rest = tokens.iter().skip(2).copied();
    match rest.next() {
        None => return Ok(Order::Execute { name, arguments }),
        Some(Token::LParen) => {}
        Some(_) => return Err(wrong()),
    }
    let (mut sign, mut current) = ("", None);
    for token in rest {
        match token {
            Token::Minus if current.is_none() => sign = "-",
            Token::Number(number, _) => current = Some(Some(format!("{sign}{number}"))),
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                current = Some(Some(text.clone()));
            }
            Token::Word(_) if upper(token) == "NULL" => current = Some(None),
            Token::Word(_) if matches!(upper(token).as_str(), "TRUE" | "FALSE") => {
                current = Some(Some(plain(token)));
            }
            // A cast adds nothing: the statement knows the type.
            Token::DoubleColon | Token::Word(_) if current.is_some() => {}
            Token::Comma | Token::RParen => {
                arguments.push(current.take().ok_or_else(wrong)?);
                sign = "";
            }
            _ => return Err(wrong()),
        }
    }
    Ok(Order::Execute { name, arguments })
}

/// `COPY (question) TO STDOUT [WITH] [(FORMAT csv, HEADER)]`
fn copy(sql: &str, found: &[&Token]) -> Result<Order, Failure> {
    let usage = || {
        Failure::new("0A000", "of COPY there is `COPY (SELECT ...) TO STDOUT`")
            .hint("options: (FORMAT csv, HEADER)")
    };
    let (mut depth, mut question, mut options) = (0_usize, None, Vec::new());
    for token in tokens(sql, false)? {
        match (&mut question, &token) {
            (None, Token::LParen) => question = Some(String::new()),
            (Some(_), _) if depth == usize::MAX => options.push(upper(&token)),
            (Some(text), Token::LParen) => {
                depth += 1;
                text.push('(');
            }
            (Some(_), Token::RParen) if depth == 0 => depth = usize::MAX,
            (Some(text), Token::RParen) => {
                depth -= 1;
                text.push(')');
            }
            (Some(text), token) => text.push_str(&token.to_string()),
            (None, _) => {}
        }
    }
    let is_question = matches!(found.get(1), Some(Token::LParen));
    let says = |word: &str| options.iter().any(|option| option == word);
    let sql = question.filter(|_| is_question && depth == usize::MAX).ok_or_else(usage)?;
    if !says("TO") || !says("STDOUT") || says("BINARY") {
        return Err(usage());
    }
    let form = if says("CSV") { Copied::Csv { header: says("HEADER") } } else { Copied::Text };
    Ok(Order::Copy { sql, form })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_a_semicolon_is_no_part_of_them() {
        let check = |sql: &str, expected: &[&str]| {
            assert_eq!(statements(sql).unwrap(), expected, "{sql}");
        };
        check("SELECT 1", &["SELECT 1"]);
        check("SELECT ';', \";\"; SELECT 2;", &["SELECT ';', \";\"", " SELECT 2"]);
        check("SELECT 'it''s' -- ; no\n; ;", &["SELECT 'it''s' -- ; no\n"]);
        check(" ; -- nothing\n", &[]);
        check("", &[]);
        assert!(statements("SELECT 'open").is_err());
        assert_eq!(statements(&"SELECT 1;".repeat(200)).unwrap_err().code, "54000");
        assert_eq!(statements(&"SELECT 1;".repeat(10_000)).unwrap().len(), 1);
    }

    #[test]
    fn orders_are_told_from_questions() {
        let check = |sql: &str, expected: Option<Order>| {
            assert_eq!(order(sql).unwrap(), expected, "{sql}");
        };
        let set = |name: &str, value: &str| {
            Some(Order::Set { name: name.to_owned(), value: value.to_owned() })
        };
        check("SELECT 1", None);
        check("begin", Some(Order::Begin));
        check("/* pool */ START TRANSACTION READ ONLY", Some(Order::Begin));
        check("END", Some(Order::End { undone: false }));
        check("SET extra_float_digits = 3", set("extra_float_digits", "3"));
        check("SET SESSION application_name TO 'a b'", set("application_name", "a b"));
        check("set search_path = public, x", set("search_path", "public,x"));
        check("SET TIME ZONE 'UTC'", Some(Order::Nothing("SET")));
        check("SHOW TABLES", None);
        check(
            "SHOW TRANSACTION ISOLATION LEVEL",
            Some(Order::Show("transaction_isolation".to_owned())),
        );
        check("DEALLOCATE ALL", Some(Order::Deallocate(None)));
        check("DEALLOCATE PREPARE s1", Some(Order::Deallocate(Some("s1".to_owned()))));
        let sql = " SELECT 'a''b', $1".to_owned();
        check(
            "PREPARE p (text) AS SELECT 'a''b', $1",
            Some(Order::Prepare { name: "p".to_owned(), sql }),
        );
        let arguments = vec![Some("a'b".to_owned()), Some("-5".to_owned()), None];
        check(
            "EXECUTE p('a''b'::text, -5, NULL)",
            Some(Order::Execute { name: "p".to_owned(), arguments }),
        );
        let copy = |form| Some(Order::Copy { sql: "SELECT (1), ')'".to_owned(), form });
        check("COPY (SELECT (1), ')') TO STDOUT", copy(Copied::Text));
        check(
            "copy (SELECT (1), ')') to stdout with (format csv, header)",
            copy(Copied::Csv { header: true }),
        );
        for wrong in ["COPY events FROM STDIN", "COPY (SELECT 1) TO '/x'", "EXECUTE p(now())"] {
            assert_eq!(order(wrong).unwrap_err().code, "0A000", "{wrong}");
        }
    }
}
