//! A panic as an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use datafusion::error::{DataFusionError, Result};

/// Runs one detection. A panic in it is its fault alone: the process would only meet the same
/// events again after a restart.
pub(crate) fn unwound<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    outcome.unwrap_or_else(|_| Err(DataFusionError::Execution("it panicked".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault_and_the_next_run_goes_on() {
        let panics = || {
            assert_eq!("this", "that", "on purpose");
            Ok(())
        };
        assert!(unwound(panics).unwrap_err().to_string().contains("it panicked"));
        assert_eq!(unwound(|| Ok(7)).unwrap(), 7);
    }
}
