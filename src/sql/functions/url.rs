//! What a request's URI says in its query: `exec_command`, `url_param`.
//!
//! The query is read as the API server reads it (Go's `url.ParseQuery`), or else one could hide
//! from the one what the other obeys: parts are divided by `&` only, `+` is a blank, a part with a
//! `;` or with a broken escape is dropped, `#` ends nothing. Bytes that are not UTF-8 become
//! U+FFFD.

use std::borrow::Cow;

use datafusion::error::Result;

use super::text::{Argument, Gives, TextFunction, Value};

/// Longest command given back; what is beyond is cut. The API server's own limit on the whole
/// request head is 1 MiB.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

const URI: Argument =
    Argument { name: "request_uri", meaning: "The request's path and query: `request_uri`." };

/// `exec_command(request_uri)`
pub(super) struct ExecCommand;

impl TextFunction for ExecCommand {
    const NAME: &'static str = "exec_command";
    const ARGUMENTS: &'static [Argument] = &[URI];
    const DESCRIPTION: &'static str = "The command an exec request runs: its `command` parameters, \
         decoded, joined by one blank, cut after 64 KiB. NULL if it has none.";
    const EXAMPLE: &'static str = "exec_command(request_uri)";
    const GIVES: Gives = Gives::Text;
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        let mut words = parameters(text).filter(|(name, _)| name == "command");
        let Some((_, mut command)) = words.next() else { return Value::Null };
        for (_, word) in words {
            let command = command.to_mut();
            command.push(' ');
            command.push_str(&word);
            if command.len() > COMMAND_BYTES_MAX {
                break;
            }
        }
        if command.len() > COMMAND_BYTES_MAX {
            let end = command.floor_char_boundary(COMMAND_BYTES_MAX);
            command.to_mut().truncate(end);
        }
        Value::Text(command)
    }
}

/// `url_param(request_uri, name)`
pub(super) struct UrlParam;

impl TextFunction for UrlParam {
    const NAME: &'static str = "url_param";
    const ARGUMENTS: &'static [Argument] =
        &[URI, Argument { name: "name", meaning: "The exact name of a query parameter." }];
    const DESCRIPTION: &'static str = "The decoded value of the first query parameter of that \
         name: empty if it has none, NULL if there is no such parameter.";
    const EXAMPLE: &'static str = "url_param(request_uri, 'dryRun')";
    const GIVES: Gives = Gives::Text;
    type Prepared = String;

    fn prepare(argument: &str) -> Result<String> {
        Ok(argument.to_owned())
    }

    fn evaluate<'a>(wanted: &String, text: &'a str) -> Value<'a> {
        parameters(text).find(|(name, _)| name == wanted).map(|(_, value)| value).into()
    }
}

/// Names and values in their order, decoded.
fn parameters(uri: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = uri.split_once('?').map_or("", |(_path, query)| query);
    query.split('&').filter(|part| !part.is_empty() && !part.contains(';')).filter_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decode(name)?, decode(value)?))
    })
}

/// `None` for a broken escape.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::COMMAND_BYTES_MAX;
    use crate::sql::functions::tests::{check, check_one};

    #[test]
    fn commands_are_decoded_and_joined() {
        let rows = [
            Some("/exec?command=sh&command=-c&command=echo+cat+%2Fetc%2Fshadow&container=c"),
            Some("/exec?container=c&command=%2Fbin%2Fbash"),
            Some("/exec?comm%61nd=id"),
            Some("/exec?container=c"),
            Some("/exec"),
            Some(""),
            None,
        ];
        let expected =
            ["sh -c echo cat /etc/shadow", "/bin/bash", "id", "NULL", "NULL", "NULL", "NULL"];
        check(&rows, "exec_command({})", &expected);
    }

    #[test]
    fn commands_with_odd_bytes() {
        check_one("/?command=a%00b%ff", "exec_command({})", "a\0b\u{fffd}");
        check_one("/?command=%e2%82%ac", "exec_command({})", "€");
        check_one("/?command=&command=x", "exec_command({})", " x");
    }

    #[test]
    fn long_commands_are_cut_at_a_character() {
        let uri = format!("/?command=x{}", "%e2%82%ac".repeat(COMMAND_BYTES_MAX));
        check_one(&uri, "octet_length(exec_command({}))", &COMMAND_BYTES_MAX.to_string());
        let uri = format!("/?command=xy{}", "&command=%e2%82%ac".repeat(COMMAND_BYTES_MAX));
        check_one(&uri, "octet_length(exec_command({})) <= 65536", "true");
    }

    #[test]
    fn parameters_are_read_as_the_api_server_reads_them() {
        let cases = [
            ("/x?dryRun=All", "All"),
            ("/x?a=1&dryRun=All&dryRun=x", "All"),
            ("/x?dryRun", ""),
            ("/x?dryRun=", ""),
            ("/x?dryRun=a=b", "a=b"),
            ("/x?%64ryRun=%41ll", "All"),
            ("/x?DRYRUN=All", "NULL"),
            ("/dryRun=All", "NULL"),
            ("/x?a=1;dryRun=All", "NULL"),
            ("/x?dryRun=All;", "NULL"),
            ("/x?dryRun=All%zz", "NULL"),
            ("/x?dryRun=All%4", "NULL"),
            ("/x?dryRun=%zz&dryRun=All", "All"),
            ("/x?a#b&dryRun=All", "All"),
            ("/x??dryRun=All", "NULL"),
        ];
        for (uri, expected) in cases {
            check_one(uri, "url_param({}, 'dryRun')", expected);
        }
    }
}
