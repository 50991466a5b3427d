//! Any bytes of a client of PostgreSQL are a message or none: nothing panics, what is read is in
//! the bytes, and is no larger than they are.
#![no_main]

use auditmill_fuzz::message::{First, Message, first, password};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    if *kind == 0 {
        if let Ok(First::Start { parameters, .. }) = first(&body) {
            let kept: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(kept + 2 * parameters.len() < body.len());
        }
        return;
    }
    match Message::read(*kind, body.clone()) {
        Ok(Message::Query(sql)) => assert_eq!(sql.len() + 1, body.len()),
        Ok(Message::Parse { name, sql, types }) => {
            assert_eq!(name.len() + sql.len() + 4 + 4 * types.len(), body.len());
        }
        Ok(Message::Bind(bind)) => {
            let values: usize = bind.parameters.iter().flatten().map(Bytes::len).sum();
            let formats = bind.parameter_formats.len() + bind.column_formats.len();
            let names = bind.portal.len() + bind.statement.len() + 2;
            let counts = 6 + 4 * bind.parameters.len() + 2 * formats;
            assert_eq!(names + counts + values, body.len());
        }
        Ok(Message::Password(body)) => {
            if let Ok(password) = password(&body) {
                assert_eq!(password.len() + 1, body.len());
            }
        }
        _ => {}
    }
});
