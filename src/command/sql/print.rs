//! Rows for people: a table that fits the terminal, or one line per value.

use std::borrow::Cow;
use std::io::{Cursor, IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Attribute, Cell, CellAlignment, Table};
use futures::StreamExt as _;

use super::super::table::styled;
use super::source::{AskError, Parts};

/// An answer beyond that is not for reading.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// More rows are not printed as a table.
const ROWS_MAX: usize = 10_000;
/// A column of a table needs about so much room; with less, values are printed one per line.
const COLUMN_WIDTH_MIN: usize = 8;

/// How rows are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    /// Columns of the terminal; `None`: as wide as the rows are.
    pub(super) width: Option<u16>,
    pub(super) colours: bool,
    pub(super) expanded: Expanded,
}

/// Whether each value has a line of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expanded {
    /// When the columns have no room beside each other.
    #[default]
    Auto,
    Always,
    Never,
}

impl Expanded {
    /// The one after it.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Auto => Self::Always,
            Self::Always => Self::Never,
            Self::Never => Self::Auto,
        }
    }
}

impl Looks {
    /// As the terminal is that standard output goes to, if it goes to one.
    pub(super) fn of_terminal() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self { width: Table::new().width(), colours, expanded: Expanded::Auto }
    }
}

/// A whole answer.
pub(super) struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    /// Reads an Arrow stream to its end.
    pub(super) async fn gather(mut parts: Parts) -> Result<Self, AskError> {
        let mut bytes = Vec::new();
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part?);
            if bytes.len() > ANSWER_BYTES_MAX {
                let message = "the answer is too large for a table: add LIMIT, or give `--format \
                               csv` or another format for machines";
                return Err(AskError::Wrong(message.to_owned()));
            }
        }
        let fail = "read the answer";
        let reader = StreamReader::try_new(Cursor::new(bytes), None).context(fail)?;
        let schema = reader.schema();
        let batches: Result<Vec<RecordBatch>, _> = reader.collect();
        Ok(Self { schema, batches: batches.context(fail)? })
    }

    /// The rows.
    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The number of rows.
    pub(super) fn count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Prints the rows, [`ROWS_MAX`] at most.
    pub(super) fn print(&self, looks: Looks, out: &mut impl Write) -> Result<()> {
        let columns = self.schema.fields().len();
        let width = looks.width.map(usize::from);
        let expanded = match looks.expanded {
            Expanded::Always => true,
            Expanded::Never => false,
            Expanded::Auto => width.is_some_and(|width| columns * COLUMN_WIDTH_MIN > width),
        };
        if expanded {
            self.print_values(out)?;
        } else {
            self.print_table(looks, out)?;
        }
        if self.count() > ROWS_MAX {
            writeln!(out, "the first {ROWS_MAX} of {} rows", self.count())?;
        }
        Ok(())
    }

    fn print_table(&self, looks: Looks, out: &mut impl Write) -> Result<()> {
        let mut table = styled();
        if let Some(width) = looks.width {
            table.set_width(width);
        } else {
            table.force_no_tty();
        }
        let bold =
            |cell: Cell| if looks.colours { cell.add_attribute(Attribute::Bold) } else { cell };
        let fields = self.schema.fields().iter();
        table.set_header(fields.map(|field| bold(Cell::new(shown(field.name())))));
        self.for_each_row(|_, values| {
            table.add_row(values.iter().zip(self.schema.fields()).map(|(value, field)| {
                let cell = Cell::new(value);
                let number = field.data_type().is_numeric();
                if number { cell.set_alignment(CellAlignment::Right) } else { cell }
            }));
            Ok(())
        })?;
        writeln!(out, "{table}")?;
        Ok(())
    }

    fn print_values(&self, out: &mut impl Write) -> Result<()> {
        let fields = self.schema.fields();
        let width = fields.iter().map(|field| field.name().chars().count()).max().unwrap_or(0);
        self.for_each_row(|number, values| {
            writeln!(out, "-[ row {number} ]{}", "-".repeat(width))?;
            for (field, value) in fields.iter().zip(values) {
                writeln!(out, "{:width$} | {value}", shown(field.name()))?;
            }
            Ok(())
        })
    }

    /// Calls `row` with the number of each row, from 1, and its values as text.
    fn for_each_row(&self, mut row: impl FnMut(usize, &[String]) -> Result<()>) -> Result<()> {
        let options = FormatOptions::default().with_null("NULL");
        let mut number = 0;
        for batch in &self.batches {
            let columns = batch.columns().iter();
            let columns: Result<Vec<_>, _> =
                columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
            let columns = columns?;
            for place in 0..batch.num_rows().min(ROWS_MAX - number) {
                number += 1;
                let values = columns
                    .iter()
                    .map(|column| Ok(shown(&column.value(place).try_to_string()?).into_owned()));
                row(number, &values.collect::<Result<Vec<String>>>()?)?;
            }
        }
        Ok(())
    }
}

/// Text without what would steer a terminal or turn the order of its letters: what is logged is
/// also an attacker's word.
fn shown(text: &str) -> Cow<'_, str> {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    let isolates = |c| matches!(c, '\u{2066}'..='\u{2069}');
    let steers = |c: char| (c.is_control() && c != '\n') || turns(c) || isolates(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::asker::Asker;
    use crate::query::format::Format;
    use crate::query::service::{Limits, QueryService};

    async fn printed(sql: &str, looks: Looks) -> String {
        let service = QueryService::new(Vec::new(), Limits::default()).unwrap();
        let parts = service.ask(&Asker::local(), sql, Format::Arrow).await.unwrap().into_parts();
        let parts = parts.map(|part| part.map_err(AskError::from)).boxed();
        let rows = Rows::gather(parts).await.map_err(|error| format!("{error:?}")).unwrap();
        let mut out = Vec::new();
        rows.print(looks, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const SQL: &str = "SELECT * FROM (VALUES (1, 'a', TIMESTAMP '2026-03-01T10:00:00Z'), \
                       (20, NULL, NULL), (300, 'esc\u{1b}[31m\u{202e}\tx\ny', NULL)) \
                       AS t(n, text, at) ORDER BY n";

    #[tokio::test]
    async fn tables_show_null_and_escape_what_steers_a_terminal() {
        insta::assert_snapshot!(printed(SQL, Looks::default()).await, @r"
        ┌─────┬──────────────────────────┬─────────────────────┐
        │ n   ┆ text                     ┆ at                  │
        ╞═════╪══════════════════════════╪═════════════════════╡
        │   1 ┆ a                        ┆ 2026-03-01T10:00:00 │
        │  20 ┆ NULL                     ┆ NULL                │
        │ 300 ┆ esc\u{1b}[31m\u{202e}\tx ┆ NULL                │
        │     ┆ y                        ┆                     │
        └─────┴──────────────────────────┴─────────────────────┘
        ");
    }

    #[tokio::test]
    async fn values_have_a_line_each_when_there_is_no_room() {
        let looks = Looks { width: Some(20), ..Looks::default() };
        insta::assert_snapshot!(printed(SQL, looks).await, @r"
        -[ row 1 ]----
        n    | 1
        text | a
        at   | 2026-03-01T10:00:00
        -[ row 2 ]----
        n    | 20
        text | NULL
        at   | NULL
        -[ row 3 ]----
        n    | 300
        text | esc\u{1b}[31m\u{202e}\tx
        y
        at   | NULL
        ");
    }

    #[tokio::test]
    async fn a_table_is_no_wider_than_the_terminal() {
        let sql = "SELECT repeat('word ', 40) AS long, 1 AS short";
        let looks = Looks { width: Some(60), ..Looks::default() };
        let text = printed(sql, looks).await;
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    }
}
