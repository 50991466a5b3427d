//! What clients say: the frontend's messages of the protocol's version 3.
//!
//! ```text
//! first:  length:i32  code:i32  rest      code 3.0 is a start, 1234.567x something else
//! others: kind:u8  length:i32  rest       the length counts itself, not the kind
//! ```
//!
//! Promise: any bytes are a message or [`Malformed`], and nothing is kept that was not sent. Never:
//! memory for what a length merely claims. Source: PostgreSQL, "Message Formats".

use bytes::Bytes;

/// The bytes are no message; says which part of which is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// The length and the code of a first message.
pub const FIRST_HEAD_BYTES: usize = 8;

/// The kind and the length of any other.
pub const HEAD_BYTES: usize = 5;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const MAJOR_VERSION: u32 = 3;

/// What comes before anybody is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// TLS is wished for.
    Ssl,
    /// Encryption by GSSAPI is wished for.
    Gss,
    /// Somebody else's query is to be stopped.
    Cancel {
        /// The number of its session.
        session: i32,
        /// What only its client knows.
        secret: Bytes,
    },
    /// A session begins.
    Start {
        /// The minor version that the client speaks.
        minor: u16,
        /// Names and values, in the order as sent.
        parameters: Vec<(String, String)>,
    },
}

/// A statement or a portal, by name; the unnamed has an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A prepared statement.
    Statement(String),
    /// A statement with its parameters.
    Portal(String),
}

/// What comes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Statements to be run one after the other.
    Query(String),
    /// A statement to be prepared.
    Parse {
        /// What it will be called.
        name: String,
        /// Its text.
        sql: String,
        /// The types of its first parameters, by number; 0 leaves one open.
        types: Vec<u32>,
    },
    /// Parameters for a prepared statement.
    Bind(Bind),
    /// What does this give?
    Describe(Named),
    /// Rows of a portal.
    Execute {
        /// Which.
        portal: String,
        /// At most so many; 0: all.
        rows_max: u32,
    },
    /// Forget this.
    Close(Named),
    /// The end of a group of messages: what failed before is over.
    Sync,
    /// Send what waits.
    Flush,
    /// A password, or what else an authentication asks for.
    Password(Bytes),
    /// The client leaves.
    Terminate,
    /// Data for a COPY FROM, which there is none of: passed over.
    Copy,
    /// A call by number, from before there were prepared statements.
    FunctionCall,
}

/// Parameters for a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What the two together will be called.
    pub portal: String,
    /// The prepared statement.
    pub statement: String,
    /// How parameters are written, 0 text and 1 binary: none is text for all, one is for all.
    pub parameter_formats: Vec<i16>,
    /// Their bytes; none is NULL.
    pub parameters: Vec<Option<Bytes>>,
    /// How columns are wanted, likewise.
    pub column_formats: Vec<i16>,
}

/// The first message's body, without its length.
///
/// # Errors
/// When it is none, or of a version that is not spoken.
pub fn first(body: &Bytes) -> Result<First, Malformed> {
    let mut body = Body(body.clone());
    let code = body.u32("the code of the first message")?;
    match code {
        SSL_REQUEST => Ok(First::Ssl),
        GSS_REQUEST => Ok(First::Gss),
        CANCEL_REQUEST => Ok(First::Cancel { session: body.i32("session")?, secret: body.0 }),
        _ if code >> 16 == MAJOR_VERSION => {
            let mut parameters = Vec::new();
            loop {
                let name = body.text("a parameter's name")?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.text("a parameter's value")?));
            }
            let minor = u16::try_from(code & 0xFFFF).unwrap_or(u16::MAX);
            Ok(First::Start { minor, parameters })
        }
        _ => Err(Malformed("version 3 of PostgreSQL's protocol is spoken here")),
    }
}

impl Message {
    /// The message of this kind with this body.
    ///
    /// # Errors
    /// When there is none of the kind, or the body is not of its form.
    pub fn read(kind: u8, body: Bytes) -> Result<Self, Malformed> {
        let mut body = Body(body);
        let message = match kind {
            b'Q' => Self::Query(body.text("a query")?),
            b'P' => Self::Parse {
                name: body.text("a statement's name")?,
                sql: body.text("a statement")?,
                types: body.list("types", Body::u32)?,
            },
            b'B' => Self::Bind(Bind {
                portal: body.text("a portal's name")?,
                statement: body.text("a statement's name")?,
                parameter_formats: body.list("formats of parameters", Body::i16)?,
                parameters: body.list("parameters", Body::value)?,
                column_formats: body.list("formats of columns", Body::i16)?,
            }),
            b'D' => Self::Describe(body.named()?),
            b'E' => Self::Execute {
                portal: body.text("a portal's name")?,
                // A negative number is all rows, too.
                rows_max: u32::try_from(body.i32("a number of rows")?).unwrap_or(0),
            },
            b'C' => Self::Close(body.named()?),
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'X' => Self::Terminate,
            b'p' => return Ok(Self::Password(body.0)),
            b'd' | b'c' | b'f' => return Ok(Self::Copy),
            b'F' => return Ok(Self::FunctionCall),
            _ => return Err(Malformed("its kind is not known")),
        };
        if body.0.is_empty() { Ok(message) } else { Err(Malformed("bytes behind its end")) }
    }
}

/// The password of a password's message: what is before its last byte, which is zero.
///
/// # Errors
/// When that byte is missing.
pub fn password(body: &Bytes) -> Result<&[u8], Malformed> {
    match body.split_last() {
        Some((0, password)) => Ok(password),
        _ => Err(Malformed("a password ends with a zero byte")),
    }
}

/// What of a message is still to be read.
struct Body(Bytes);

impl Body {
    fn take(&mut self, bytes: usize, what: &'static str) -> Result<Bytes, Malformed> {
        if bytes <= self.0.len() { Ok(self.0.split_to(bytes)) } else { Err(Malformed(what)) }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        self.take(N, what)?.as_ref().try_into().map_err(|_| Malformed(what))
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Text up to a zero byte.
    fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed(what))?;
        let text = self.take(end, what)?;
        self.take(1, what)?;
        std::str::from_utf8(&text)
            .map(str::to_owned)
            .map_err(|_| Malformed("text that is no UTF-8"))
    }

    /// A value behind its length, which is -1 for NULL.
    fn value(&mut self, what: &'static str) -> Result<Option<Bytes>, Malformed> {
        match self.i32(what)? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed(what))?;
                self.take(length, what).map(Some)
            }
        }
    }

    /// As many as the number before them says; no room is made for them before they are read.
    fn list<T>(
        &mut self,
        what: &'static str,
        one: fn(&mut Self, &'static str) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = u16::from_be_bytes(self.array(what)?);
        (0..count).map(|_| one(self, what)).collect()
    }

    fn named(&mut self) -> Result<Named, Malformed> {
        let [kind] = self.array("a statement or a portal")?;
        let name = self.text("a name")?;
        match kind {
            b'S' => Ok(Named::Statement(name)),
            b'P' => Ok(Named::Portal(name)),
            _ => Err(Malformed("neither a statement nor a portal")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: u8, body: &[u8]) -> Result<Message, Malformed> {
        Message::read(kind, Bytes::copy_from_slice(body))
    }

    #[test]
    fn messages_are_read_whole_or_refused() {
        assert_eq!(read(b'Q', b"SELECT 1\0"), Ok(Message::Query("SELECT 1".to_owned())));
        assert_eq!(
            read(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x19"),
            Ok(Message::Parse {
                name: "s".to_owned(),
                sql: "SELECT $1".to_owned(),
                types: vec![25],
            })
        );
        let bind = b"\0s\0\0\x01\0\x01\0\x02\xFF\xFF\xFF\xFF\0\0\0\x02ab\0\0";
        assert_eq!(
            read(b'B', bind),
            Ok(Message::Bind(Bind {
                portal: String::new(),
                statement: "s".to_owned(),
                parameter_formats: vec![1],
                parameters: vec![None, Some(Bytes::from_static(b"ab"))],
                column_formats: vec![],
            }))
        );
        for end in 0..bind.len() {
            assert!(read(b'B', &bind[..end]).is_err(), "{end} bytes of a message are one");
        }
        let execute = |rows_max| Ok(Message::Execute { portal: String::new(), rows_max });
        assert_eq!(read(b'E', b"\0\0\0\0\x05"), execute(5));
        assert_eq!(read(b'E', b"\0\xFF\xFF\xFF\xFF"), execute(0));
        assert_eq!(read(b'D', b"Px\0"), Ok(Message::Describe(Named::Portal("x".to_owned()))));
        assert!(read(b'D', b"Xx\0").is_err());
        assert!(read(b'S', b"more").is_err());
        assert!(read(b'Q', b"\xFF\0").is_err());
        assert!(read(b'~', b"").is_err());
        // More values than there are bytes.
        assert!(read(b'B', b"\0\0\0\0\xFF\xFF\0\0\0\x01").is_err());
        assert_eq!(password(&Bytes::from_static(b"x\0")), Ok(&b"x"[..]));
        assert!(password(&Bytes::from_static(b"")).is_err());
    }

    #[test]
    fn a_first_message_is_told_by_its_code() {
        let read = |body: &'static [u8]| first(&Bytes::from_static(body));
        assert_eq!(read(b"\x04\xD2\x16\x2F"), Ok(First::Ssl));
        assert_eq!(read(b"\x04\xD2\x16\x30"), Ok(First::Gss));
        let secret = Bytes::from_static(b"abcd");
        assert_eq!(
            read(b"\x04\xD2\x16\x2E\0\0\0\x07abcd"),
            Ok(First::Cancel { session: 7, secret })
        );
        let parameters = vec![("user".to_owned(), "x".to_owned())];
        assert_eq!(read(b"\0\x03\0\x02user\0x\0\0"), Ok(First::Start { minor: 2, parameters }));
        assert!(read(b"\0\x02\0\0").is_err());
        assert!(read(b"\0\x03\0\0user\0").is_err());
        assert!(read(b"\0\x03").is_err());
    }
}
