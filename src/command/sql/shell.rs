//! The conversation: lines from a terminal, with editing, history and completion, or from a pipe.
//!
//! On a terminal a wrong query is told and the conversation goes on; in a pipe it ends there, so
//! that a script does not go on after a mistake.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::completion::{NAMES, Words};
use super::print::{Expanded, Looks, Rows};
use super::run::{answer, summary};
use super::script::{HELP, Order, is_blank, order, take_statements};
use super::source::{AskError, Source};
use crate::cli::SqlFormat;
use crate::command::Verdict;
use crate::query::format::Format;

const PROMPT: &str = "auditmill=> ";
const PROMPT_OF_MORE: &str = "auditmill-> ";
const HISTORY_LINES_MAX: usize = 10_000;

/// Answers until the end of the input.
pub(super) fn run(runtime: &Runtime, source: &Source, format: SqlFormat) -> Result<Verdict> {
    let mut shell = Shell {
        runtime,
        source,
        format,
        looks: Looks::of_terminal(),
        timing: stderr().is_terminal(),
        goes_on: stdin().is_terminal(),
    };
    if shell.goes_on { shell.converse() } else { shell.follow() }
}

struct Shell<'a> {
    runtime: &'a Runtime,
    source: &'a Source,
    format: SqlFormat,
    looks: Looks,
    timing: bool,
    /// After a wrong query.
    goes_on: bool,
}

/// What a line came to.
enum Step {
    On,
    Wrong,
    Quit,
}

impl Shell<'_> {
    /// Lines from a pipe.
    fn follow(&mut self) -> Result<Verdict> {
        let mut pending = String::new();
        for line in stdin().lock().lines() {
            match self.line(&mut pending, &line.context("read standard input")?)? {
                Step::On => {}
                Step::Wrong => return Ok(Verdict::No),
                Step::Quit => return Ok(Verdict::Done),
            }
        }
        if is_blank(&pending) {
            return Ok(Verdict::Done);
        }
        // The last statement needs no end of its own.
        Ok(match self.ask(&pending)? {
            Step::Wrong => Verdict::No,
            Step::On | Step::Quit => Verdict::Done,
        })
    }

    /// Lines from a terminal.
    fn converse(&mut self) -> Result<Verdict> {
        let config = Config::builder()
            .history_ignore_space(true)
            .max_history_size(HISTORY_LINES_MAX)?
            .completion_type(CompletionType::List)
            .build();
        let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(self.words()));
        let history = history();
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        writeln!(stderr(), "SQL ends with `;`, `\\?` shows more, Ctrl-D leaves.")?;
        let mut pending = String::new();
        loop {
            let prompt = if pending.is_empty() { PROMPT } else { PROMPT_OF_MORE };
            match editor.readline(prompt) {
                Ok(line) => {
                    // The history is of no use when it cannot be kept, and no harm.
                    let _ = editor.add_history_entry(line.as_str());
                    if matches!(self.line(&mut pending, &line)?, Step::Quit) {
                        break;
                    }
                }
                // Ctrl-C gives up what was begun.
                Err(ReadlineError::Interrupted) => pending.clear(),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("read from the terminal"),
            }
        }
        if let Some(path) = &history
            && let Err(error) = editor.save_history(path)
        {
            writeln!(stderr(), "the history is not kept: write `{}`: {error}", path.display())?;
        }
        Ok(Verdict::Done)
    }

    fn line(&mut self, pending: &mut String, line: &str) -> Result<Step> {
        if pending.is_empty() && line.trim_start().starts_with('\\') {
            return self.obey(line);
        }
        pending.push_str(line);
        pending.push('\n');
        for statement in take_statements(pending) {
            if matches!(self.ask(&statement)?, Step::Wrong) && !self.goes_on {
                return Ok(Step::Wrong);
            }
        }
        Ok(Step::On)
    }

    fn obey(&mut self, line: &str) -> Result<Step> {
        match order(line) {
            Order::Ask(query) => return self.ask(&query),
            Order::Timing => {
                self.timing = !self.timing;
                writeln!(stderr(), "timing is {}", if self.timing { "on" } else { "off" })?;
            }
            Order::Expanded => {
                self.looks.expanded = self.looks.expanded.next();
                let says = match self.looks.expanded {
                    Expanded::Auto => "when rows are wide",
                    Expanded::Always => "always",
                    Expanded::Never => "never",
                };
                writeln!(stderr(), "one line per value: {says}")?;
            }
            Order::Help => writeln!(stdout(), "{HELP}")?,
            Order::Quit => return Ok(Step::Quit),
            Order::Unknown(message) => {
                writeln!(stderr(), "error: {message}")?;
                return Ok(Step::Wrong);
            }
        }
        Ok(Step::On)
    }

    /// Asks one statement; Ctrl-C stops it.
    fn ask(&self, query: &str) -> Result<Step> {
        let started = Instant::now();
        // A terminal's size may have changed.
        let looks = Looks { expanded: self.looks.expanded, ..Looks::of_terminal() };
        let told = self.runtime.block_on(async {
            let mut out = stdout();
            let asked = answer(self.source, query, self.format, looks, &mut out);
            if !self.goes_on {
                return asked.await.map(Some);
            }
            tokio::select! {
                told = asked => told.map(Some),
                _ = tokio::signal::ctrl_c() => Ok(None),
            }
        });
        match told {
            Ok(Some(rows)) => {
                if self.timing {
                    summary(rows, started.elapsed())?;
                }
                Ok(Step::On)
            }
            Ok(None) => {
                writeln!(stderr(), "stopped")?;
                Ok(Step::Wrong)
            }
            Err(AskError::Wrong(message)) => {
                writeln!(stderr(), "error: {message}")?;
                Ok(Step::Wrong)
            }
            // A server that is away may come back while somebody sits at the terminal.
            Err(AskError::Failed(error)) if self.goes_on => {
                writeln!(stderr(), "error: {error:#}")?;
                Ok(Step::Wrong)
            }
            Err(AskError::Failed(error)) => Err(error),
        }
    }

    /// What can be completed; keywords alone while there is nobody to ask.
    fn words(&self) -> Words {
        let names = self
            .runtime
            .block_on(async { Rows::gather(self.source.ask(NAMES, Format::Arrow).await?).await });
        Words::new(names.as_ref().map(Rows::batches).unwrap_or_default())
    }
}

/// Where the history is kept: the user's folder of state, by the XDG base directories.
fn history() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_absolute()).or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        home.is_absolute().then(|| home.join(".local/state"))
    })?;
    let folder = folder.join("auditmill");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}
