//! Patterns for people: `glob`.

use datafusion::error::Result;

use super::text::{Argument, Gives, TextFunction, Value};

/// `glob(text, pattern)`
pub(super) struct Glob;

impl TextFunction for Glob {
    const NAME: &'static str = "glob";
    const ARGUMENTS: &'static [Argument] = &[
        Argument { name: "text", meaning: "Any text." },
        Argument { name: "pattern", meaning: "`*` is any text, `?` any one character." },
    ];
    const DESCRIPTION: &'static str = "Whether the whole text fits the pattern. Letters' case \
         counts; there are no classes and no escapes.";
    const EXAMPLE: &'static str = "glob(user_name, 'system:serviceaccount:argocd-*:*')";
    const GIVES: Gives = Gives::Boolean;
    type Prepared = Vec<char>;

    fn prepare(argument: &str) -> Result<Vec<char>> {
        Ok(argument.chars().collect())
    }

    fn evaluate<'a>(pattern: &Vec<char>, text: &'a str) -> Value<'a> {
        fits(pattern, text).into()
    }
}

/// Never more steps than the text's length times the pattern's: a mismatch goes back to the last
/// star only, since an earlier one could not do better.
pub(crate) fn fits(pattern: &[char], text: &str) -> bool {
    let (mut place, mut rest) = (0, text.chars());
    let mut star = None;
    loop {
        let mut ahead = rest.clone();
        match (pattern.get(place), ahead.next()) {
            (Some('*'), _) => {
                place += 1;
                star = Some((place, rest.clone()));
            }
            (Some(wanted), Some(found)) if *wanted == '?' || *wanted == found => {
                place += 1;
                rest = ahead;
            }
            (None, None) => return true,
            _ => {
                let Some((after_star, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                place = *after_star;
                rest = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;
    use crate::sql::functions::tests::check;

    #[test]
    fn stars_and_question_marks() {
        let cases = [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a", "", false),
            ("", "a", false),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("**a**", "a", true),
            ("*ab*abc", "ababab-abc", true),
            ("*.example.com", "example.com", false),
            ("a.c", "abc", false),
            ("[ab]", "a", false),
            ("*", "*", true),
            ("A", "a", false),
        ];
        for (pattern, text, expected) in cases {
            let pattern_chars: Vec<char> = pattern.chars().collect();
            assert_eq!(fits(&pattern_chars, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern: Vec<char> = "*a".repeat(50).chars().chain(['b']).collect();
        assert!(!fits(&pattern, &"a".repeat(100_000)));
    }

    #[test]
    fn over_columns() {
        let rows = [Some("kube-system"), Some("dev"), None, Some("kube-")];
        check(&rows, "glob({}, 'kube-?*')", &["true", "false", "NULL", "false"]);
        check(&rows, "glob('kube-public', {})", &["false", "false", "NULL", "false"]);
        check(&rows, "glob({}, {})", &["true", "true", "NULL", "true"]);
    }
}
