//! Questions that are asked again and again, as data: hardening controls and reports.
//!
//! [`control`] reads `queries/controls`, [`report`] reads `queries/reports`; both are shipped in
//! the binary. [`text`] puts values into a question's SQL.
//!
//! Invariant: nothing here asks. A question is text, and its values cannot become more than values
//! in it. Invariant: what is shipped is read by the same code, with the same checks, in a test.

pub mod control;
pub mod report;
pub mod text;
