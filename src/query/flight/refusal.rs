//! Errors as gRPC has them: a code that says whether to ask again, and what to do in words.

use tonic::{Code, Status};

use crate::query::service::QueryError;

/// Longest message. It travels in a header, of which clients read 8 KiB, with three letters for
/// each that is not ASCII.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// What a client is told of a question that has no answer, or not a whole one.
pub(super) fn refusal(error: &QueryError) -> Status {
    let code = match error {
        QueryError::Wrong(_) | QueryError::TooLong { .. } => Code::InvalidArgument,
        QueryError::Busy { .. } | QueryError::TooManyRows(_) | QueryError::Memory { .. } => {
            Code::ResourceExhausted
        }
        QueryError::TimedOut(_) => Code::DeadlineExceeded,
        QueryError::Away { .. } => Code::Unavailable,
        QueryError::Broken => Code::Internal,
    };
    Status::new(code, shortened(error.to_string()))
}

/// A message that goes into a header.
pub(super) fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push_str(" ...");
    }
    message
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_code_says_whether_to_ask_again() {
        let check = |error: QueryError, code| assert_eq!(refusal(&error).code(), code, "{error:?}");
        check(QueryError::Wrong("x".to_owned()), Code::InvalidArgument);
        check(QueryError::Busy { after: Duration::ZERO }, Code::ResourceExhausted);
        check(QueryError::TimedOut(Duration::ZERO), Code::DeadlineExceeded);
        check(
            QueryError::Away { message: String::new(), after: Duration::ZERO },
            Code::Unavailable,
        );
        let long = refusal(&QueryError::Wrong("ä".repeat(MESSAGE_BYTES_MAX)));
        assert!(long.message().len() < MESSAGE_BYTES_MAX + 10 && long.message().ends_with("ä ..."));
    }
}
