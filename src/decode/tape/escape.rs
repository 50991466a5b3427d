//! What an escaped JSON text means.

/// Appends the meaning of the inside of a string (RFC 8259, section 7) to `meaning`; None when it
/// has none: an unknown escape, or half of a surrogate pair. What was appended by then stays.
pub(super) fn unescape(mut inside: &str, meaning: &mut String) -> Option<()> {
    while let Some((plain, escape)) = inside.split_once('\\') {
        meaning.push_str(plain);
        let mut rest = escape.chars();
        let character = match rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, after) = utf_16(rest.as_str())?;
                rest = after.chars();
                character
            }
            other @ ('"' | '\\' | '/') => other,
            _ => return None,
        };
        meaning.push(character);
        inside = rest.as_str();
    }
    meaning.push_str(inside);
    Some(())
}

/// The character of four hexadecimal digits, or of a surrogate pair, and what follows.
fn utf_16(text: &str) -> Option<(char, &str)> {
    let (first, rest) = unit(text)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, rest));
    }
    let (second, rest) = unit(rest.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, rest))
}

fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok().map(|unit| (unit, rest))).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(inside: &str, expected: Option<&str>) {
        let mut meaning = String::new();
        let found = unescape(inside, &mut meaning).map(|()| meaning.as_str());
        assert_eq!(found, expected, "{inside}");
    }

    #[test]
    fn every_escape() {
        check("", Some(""));
        check(r#"a\"\\\/\b\f\n\r\t"#, Some("a\"\\/\u{8}\u{c}\n\r\t"));
        check(r"\u0041\u00e9é\ud83d\ude00!", Some("Aéé😀!"));
        for broken in [r"\", r"\x", r"\u00", r"\u+041", r"\ud800", r"\ud800\n", r"\udc00\ud800"] {
            check(broken, None);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_parser(inside in r#"([a-z😀]|\\[nrt"/u]|\\ud83d|\\ude00|00e9){0,6}"#) {
            let parsed: Option<String> = serde_json::from_str(&format!("\"{inside}\"")).ok();
            check(&inside, parsed.as_deref());
        }
    }
}
