//! Proof that the history is what was written: nothing changed, nothing gone, nothing added.
//!
//! Each commit of the table is told by one signed [`statement`]: which rows came, which files were
//! joined, what was let go and by which rule. Statements are the leaves of a Merkle [`tree`]
//! (RFC 6962) whose head is signed as a checkpoint (<https://c2sp.org/tlog-checkpoint>) with the
//! data directory's [`key`]. Who has an older head, kept elsewhere, sees that the log only grew.
//!
//! ```text
//! checkpoint ── signs ──> root of all statements
//!                          statement of a commit ──> segments: rows of one cluster and day
//!                                                     root of a tree of rows ──> row's content
//! ```
//!
//! What is proven is the content of rows ([`row`]), whatever file they lie in: files may be joined,
//! and of the files of the moment there are hashes beside it. A [`mark`] beside each row names
//! those that were changed. [`account`] follows statements to what the table must have;
//! [`bundle`] is a finding's evidence that is checked without a history.
//!
//! A *leaf* is a statement, by its number in the log. A *segment* is what one commit brought of one
//! cluster and day. Never: no clock, no disk but for the key, no query engine. What is read here
//! may be an attacker's: it is bounded, and an error, never a panic.

pub mod account;
pub mod bundle;
pub mod key;
pub mod mark;
pub mod problem;
pub mod row;
pub mod statement;
pub mod tree;
