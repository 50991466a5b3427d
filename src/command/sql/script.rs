//! Text as statements: where one ends, and what a line that begins with `\` asks for.

/// Takes the statements off the front of `text` that end in `;`, without it; what is left has no
/// end yet. Quotes and comments hide what is in them.
pub(super) fn take_statements(text: &mut String) -> Vec<String> {
    let mut statements = Vec::new();
    while let Some(end) = end_of_statement(text) {
        let rest = text.split_off(end + 1);
        let mut statement = std::mem::replace(text, rest);
        statement.pop();
        if !is_blank(&statement) {
            statements.push(statement.trim().to_owned());
        }
    }
    if is_blank(text) {
        text.clear();
    }
    statements
}

/// Whether there is nothing but white space and comments.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with("--")
    })
}

fn end_of_statement(text: &str) -> Option<usize> {
    let mut inside = Inside::Nothing;
    let mut characters = text.char_indices().peekable();
    while let Some((place, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        inside = match (inside, character, next) {
            (Inside::Nothing, ';', _) => return Some(place),
            (Inside::Nothing, '\'' | '"', _) => Inside::Quotes(character),
            (Inside::Nothing, '-', Some('-')) => Inside::Line,
            (Inside::Nothing, '/', Some('*')) => {
                characters.next();
                Inside::Comment
            }
            // A doubled quote closes and opens again: as good.
            (Inside::Quotes(quote), other, _) if quote == other => Inside::Nothing,
            (Inside::Line, '\n', _) => Inside::Nothing,
            (Inside::Comment, '*', Some('/')) => {
                characters.next();
                Inside::Nothing
            }
            (inside, ..) => inside,
        };
    }
    None
}

#[derive(Clone, Copy)]
enum Inside {
    Nothing,
    Quotes(char),
    Line,
    Comment,
}

/// A line that begins with `\`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Ask this instead.
    Ask(String),
    Timing,
    Expanded,
    Help,
    Quit,
    /// It is none; why.
    Unknown(String),
}

/// What the orders are, for people.
pub(super) const HELP: &str = "\
SQL ends with `;` and may take several lines. Ctrl-C stops a running query, Ctrl-D leaves.
  \\d          tables and views
  \\d TABLE    columns of a table
  \\dt         tables only
  \\df         functions
  \\timing     show how long an answer took, or not
  \\x          one line per value: when rows are wide, always, never
  \\q          leave
  \\?          this page";

/// Reads a line that begins with `\`.
pub(super) fn order(line: &str) -> Order {
    let mut words = line.trim().trim_end_matches(';').split_whitespace();
    let (name, argument) = (words.next().unwrap_or_default(), words.next());
    let tables = "SELECT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' \
                  END AS kind FROM information_schema.tables WHERE table_schema = 'public'";
    match (name, argument) {
        ("\\d", None) => Order::Ask(format!("{tables} ORDER BY name")),
        ("\\dt", None) => Order::Ask(format!("{tables} AND table_type <> 'VIEW' ORDER BY name")),
        ("\\df", None) => Order::Ask(
            "SELECT DISTINCT routine_name AS name FROM information_schema.routines ORDER BY name"
                .to_owned(),
        ),
        ("\\d", Some(table)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if table.chars().all(plain) {
                Order::Ask(format!("DESCRIBE {table}"))
            } else {
                Order::Unknown(format!("`{table}` is not the name of a table"))
            }
        }
        ("\\timing", None) => Order::Timing,
        ("\\x", None) => Order::Expanded,
        ("\\?" | "\\h", _) => Order::Help,
        ("\\q", _) => Order::Quit,
        _ => Order::Unknown(format!("`{}` is no order: `\\?` lists them", line.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let check = |text: &str, expected: &[&str], rest: &str| {
            let mut left = text.to_owned();
            assert_eq!(take_statements(&mut left), expected, "{text}");
            assert_eq!(left, rest, "{text}");
        };
        check("SELECT 1; SELECT 2;", &["SELECT 1", "SELECT 2"], "");
        check("SELECT 1", &[], "SELECT 1");
        check(
            "SELECT ';', \"a;b\" -- no; end\n /* ; */, 'it''s;' ; x",
            &["SELECT ';', \"a;b\" -- no; end\n /* ; */, 'it''s;'"],
            " x",
        );
        check(";;\n-- nothing;\n", &[], "");
        check("SELECT 'open;", &[], "SELECT 'open;");
    }

    #[test]
    fn orders_are_words_after_a_backslash() {
        assert_eq!(order("\\d events;"), Order::Ask("DESCRIBE events".to_owned()));
        assert_eq!(order("\\q"), Order::Quit);
        assert_eq!(order("\\x"), Order::Expanded);
        assert!(matches!(order("\\d a;b"), Order::Unknown(_)));
        assert!(matches!(order("\\nope"), Order::Unknown(_)));
    }
}
