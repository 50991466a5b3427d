//! Whether a history is what was written, by its log of proofs and nothing else.
//!
//! It is read as it lies there, also while a server writes it. First the log: that its leaves lead
//! to its signed head, and on the way to every head that was published. Then the table: that it
//! names the files that the statements leave, no other. Then the files: that each is the one that
//! was written, and its rows those that came. Of a file that is another one nothing is read but its
//! bytes: what an attacker wrote is hashed, never decoded. The table's own log has to be decoded;
//! if that panics, it is an answer too.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use datafusion::error::DataFusionError;
use futures::FutureExt as _;
use serde::Serialize;
use tokio::runtime::Builder;

use super::error::{HistoryError, is_away};
use super::file::DataFile;
use super::location::Location;
use super::log::Log;
use super::proven::{Place, no_log};
use super::stored::{check_file, rows_of};
use crate::clock::now_micros;
use crate::proof::account::Account;
use crate::proof::key::{Head, VerifierKey};
use crate::proof::problem::{Kind, Problem};
use crate::proof::statement::Statement;
use crate::proof::tree::{Frontier, Hash};

/// So many problems are told.
const PROBLEMS_MAX: usize = 100;

/// What is to be verified.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who must have signed.
    pub key: VerifierKey,
    /// Of files whose events are all older than this nothing is read, microseconds.
    pub since: Option<i64>,
    /// Heads that were published, all of this key.
    pub heads: Vec<Head>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The name of the key.
    pub origin: String,
    /// Leaves of the log.
    pub leaves: u64,
    /// The log's root.
    pub root: String,
    /// The table's version that was looked at.
    pub version: Option<u64>,
    /// Commits behind the head: signed one by one, by a server that is about to sign a head.
    pub behind_head: u64,
    /// Files that were read and are what was written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that are those that came.
    pub rows: u64,
    /// Files that were not read because they are older than asked for.
    pub files_passed_over: u64,
    /// Files from before the log began, or joined with such.
    pub files_not_covered: u64,
    /// Rows of which nothing was signed.
    pub rows_not_covered: u64,
    /// Rows that were let go by rule, as was signed.
    pub rows_let_go: u64,
    /// Published heads that the log leads to.
    pub heads: u64,
    /// What is wrong, the first thing first.
    pub problems: Vec<Problem>,
}

impl Report {
    pub(super) fn tell(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// Verifies the history of a place; `progress` is told of bytes read, of how many, and of rows.
///
/// # Errors
/// When the place cannot be read, or there is no history.
pub fn verify(
    location: &Location,
    asked: &Asked,
    mut progress: impl FnMut(u64, u64, u64),
) -> Result<Report, HistoryError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DataFusionError::from)?;
    runtime.block_on(async {
        let place = Place::new(location, &asked.key);
        let origin = asked.key.name().to_owned();
        let mut report = Report { origin, ..Report::default() };
        let Some(account) = read_log(&place, asked, &mut report).await? else { return Ok(report) };
        let Some((account, files)) = read_table(location, account, asked, &mut report).await?
        else {
            return Ok(report);
        };
        let total = files.values().map(|file| file.bytes).sum();
        let mut done = 0;
        for (path, held) in account.files() {
            let Some(file) = files.get(path) else { continue };
            check_file(location, asked, &account, (file, held), &mut report).await?;
            done += file.bytes;
            progress(done, total, report.rows);
        }
        Ok(report)
    })
}

/// What is wrong with the log, if that is what the error says.
fn of_log(error: HistoryError, report: &mut Report) -> Result<(), HistoryError> {
    match error {
        HistoryError::Proof { path, why } => {
            let kind = if why.contains("not signed by this key") {
                Kind::OtherKey
            } else {
                Kind::LogChanged
            };
            report.tell(Problem::new(kind, format!("`{path}`: {why}")).of_file(&path));
            Ok(())
        }
        error => Err(error),
    }
}

/// What the log says, once it leads to its head and to those that were published.
async fn read_log(
    place: &Place<'_>,
    asked: &Asked,
    report: &mut Report,
) -> Result<Option<Account>, HistoryError> {
    let head = match place.head().await {
        Ok(head) => head,
        Err(error) if no_log(&error) => {
            report.tell(no_log_of(place, asked).await?);
            return Ok(None);
        }
        Err(error) => return of_log(error, report).map(|()| None),
    };
    (report.leaves, report.root) = (head.size, head.root.to_string());
    let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
    let wanted: BTreeSet<u64> = asked.heads.iter().map(|head| head.size).collect();
    let walked = place.walk(head.size, |_, _, tree| {
        if wanted.contains(&tree.size()) {
            roots.insert(tree.size(), tree.root());
        }
        Ok(())
    });
    let tree = match walked.await {
        Ok(tree) => tree,
        Err(error) => return of_log(error, report).map(|()| None),
    };
    if tree.root() != head.root {
        let what = "the log's leaves do not lead to its signed head: leaves were changed";
        report.tell(Problem::new(Kind::LogChanged, what));
        return Ok(None);
    }
    roots.insert(0, Frontier::default().root());
    for published in &asked.heads {
        let size = published.size;
        match roots.get(&size) {
            Some(root) if *root == published.root => report.heads += 1,
            None => {
                let what = format!(
                    "the history is older than a published head: that has {size} leaves, the log \
                     has {}",
                    head.size
                );
                report.tell(Problem::new(Kind::Older, what));
            }
            Some(_) => {
                let what = format!(
                    "the log was rewritten: its first {size} leaves do not lead to the head that \
                     was published"
                );
                report.tell(Problem::new(Kind::Rewritten, what));
            }
        }
    }
    // Only now, when these are the leaves that were signed, they are looked into.
    let mut account = Account::default();
    let read = place.walk(head.size, |leaf, line, _| {
        let said = Statement::parse(line).ok_or_else(|| {
            place.fail(&format!("leaf {leaf} is no statement that this version knows"))
        })?;
        account.take(Some(leaf), said);
        Ok(())
    });
    match read.await {
        Ok(tree) if tree.root() == head.root => Ok(Some(account)),
        Ok(_) => of_log(place.fail("it changed while it was read"), report).map(|()| None),
        Err(error) => of_log(error, report).map(|()| None),
    }
}

async fn no_log_of(place: &Place<'_>, asked: &Asked) -> Result<Problem, HistoryError> {
    let keys: Vec<String> = place.keys().await?.into_iter().collect();
    let (name, id) = (asked.key.name(), asked.key.id());
    if keys.is_empty() {
        let what = "no log of proofs: the history is not covered; a server that is started on it \
                    begins one";
        return Ok(Problem::new(Kind::NoLog, what));
    }
    let what = format!(
        "no head that key {name}+{id} signed: the logs of proofs here are of other keys ({})",
        keys.join(", ")
    );
    Ok(Problem::new(Kind::OtherKey, what))
}

type Files = BTreeMap<String, DataFile>;

/// The table's files, once it names those that it must.
async fn read_table(
    location: &Location,
    mut account: Account,
    asked: &Asked,
    report: &mut Report,
) -> Result<Option<(Account, Files)>, HistoryError> {
    let opened = AssertUnwindSafe(Log::open_existing(location, "")).catch_unwind().await;
    let unreadable = |why: String| {
        Problem::new(Kind::LogChanged, format!("the table's log cannot be read: {why}"))
    };
    let log = match opened {
        Ok(Ok(Some(log))) => log,
        Ok(Ok(None)) => {
            report.tell(Problem::new(Kind::CommitsDropped, "the table's log is gone"));
            return Ok(None);
        }
        Ok(Err(error)) if is_away(&error) => return Err(error),
        Ok(Err(error)) => {
            report.tell(unreadable(error.to_string()));
            return Ok(None);
        }
        Err(_) => {
            report.tell(unreadable("its reader gave up".to_owned()));
            return Ok(None);
        }
    };
    let said = account.version().unwrap_or(0);
    report.version = Some(log.version());
    if log.version() < said {
        let what = format!(
            "the table's last commits are gone: it is at version {}, and its log of proofs tells \
             of version {said}",
            log.version()
        );
        report.tell(Problem::new(Kind::CommitsDropped, what));
    }
    for version in said.saturating_add(1)..=log.version() {
        let line = log.statement(version, &asked.key, now_micros()).await?;
        if let Some(statement) = Statement::parse(line.as_bytes()) {
            account.take(None, statement);
        }
        report.behind_head += 1;
    }
    account.problems().iter().for_each(|problem| report.tell(problem.clone()));
    report.rows_let_go = account.rows_let_go();
    let files = log.files()?.into_iter().map(|file| (file.path.clone(), file));
    let files: Files = files.collect();
    for (path, held) in account.files() {
        if !files.contains_key(path) {
            let what =
                format!("the table does not name `{path}` any more{}", rows_of(&account, held));
            report.tell(Problem::new(Kind::FileDropped, what).of_file(path));
        }
    }
    for path in files.keys().filter(|path| !account.files().contains_key(*path)) {
        let what = match account.let_go(path) {
            Some(version) => format!("the table names `{path}`, which version {version} let go"),
            None => format!("the table names `{path}`, which this server never wrote"),
        };
        report.tell(Problem::new(Kind::FileAdded, what).of_file(path));
    }
    Ok(Some((account, files)))
}
