//! For whom a certificate is requested: `csr_common_name`, `csr_organizations`.
//!
//! A `CertificateSigningRequest` has a PEM text in base64, and in that a PKCS #10 request (RFC
//! 2986).
//! Its subject is read as Go's `crypto/x509` does, by which the API server makes a user of the last
//! common name and groups of all organisations (kubernetes/apiserver,
//! `pkg/authentication/request/x509`). Whatever that accepts is read here; no more of a request
//! than its subject is looked at, so what comes behind it hides nothing.
//!
//! The elements are read by asn1-rs, the walk over them is ours: x509-parser reads a whole request
//! or none, and its names end at an empty set, which Go passes over, as at a string with letters
//! that its kind does not have.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use datafusion::error::Result;
use x509_parser::asn1_rs::{Any, Class, FromDer as _, Tag};

use super::text::{Argument, Gives, TextFunction, Value};

const ARGUMENTS: &[Argument] = &[Argument {
    name: "request",
    meaning: "The base64 text of `spec.request` of a CertificateSigningRequest.",
}];

/// `csr_common_name(request)`
pub(super) struct CommonName;

impl TextFunction for CommonName {
    const NAME: &'static str = "csr_common_name";
    const ARGUMENTS: &'static [Argument] = ARGUMENTS;
    const DESCRIPTION: &'static str = "The user that a requested certificate is for, its common \
         name. NULL if the text is not such a request or names none.";
    const EXAMPLE: &'static str = "csr_common_name(json_value(request_object, '$.spec.request'))";
    const GIVES: Gives = Gives::Text;
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        subject(text).and_then(|subject| subject.common_name).map(Cow::<str>::Owned).into()
    }
}

/// `csr_organizations(request)`
pub(super) struct Organizations;

impl TextFunction for Organizations {
    const NAME: &'static str = "csr_organizations";
    const ARGUMENTS: &'static [Argument] = ARGUMENTS;
    const DESCRIPTION: &'static str = "The groups that a requested certificate is for, its \
         organisations, as a JSON list of strings. NULL if the text is not such a request.";
    const EXAMPLE: &'static str = "has_group(csr_organizations(json_value(request_object, \
         '$.spec.request')), 'system:masters')";
    const GIVES: Gives = Gives::Text;
    type Prepared = ();

    fn prepare(_argument: &str) -> Result<()> {
        Ok(())
    }

    fn evaluate<'a>((): &(), text: &'a str) -> Value<'a> {
        let organizations = subject(text).map(|subject| subject.organizations);
        let list = organizations.and_then(|list| serde_json::to_string(&list).ok());
        list.map(Cow::<str>::Owned).into()
    }
}

/// Whom a request names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Subject {
    common_name: Option<String>,
    organizations: Vec<String>,
}

/// Longer than any body that an API server takes (3 MiB).
const TEXT_BYTES_MAX: usize = 4 << 20;

/// As Go decodes: bits beyond the last byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE REQUEST-----";
const END: &[u8] = b"-----END";

fn subject(text: &str) -> Option<Subject> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let pem = decoded(text.as_bytes())?;
    // What is around a block, or a block that is broken, is passed over.
    let mut rest = pem.as_slice();
    while let Some(at) = memchr::memmem::find(rest, BEGIN) {
        rest = rest.get(at + BEGIN.len()..)?;
        let block = memchr::memmem::find(rest, END).and_then(|end| rest.get(..end))?;
        // Lines with a colon are headers.
        let lines = block.split(|byte| *byte == b'\n').filter(|line| !line.contains(&b':'));
        let body: Vec<u8> = lines.flatten().copied().collect();
        if let Some(found) = decoded(&body).and_then(|der| named(&der)) {
            return Some(found);
        }
    }
    None
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
    BASE64.decode(text).ok()
}

/// 2.5.4.3 and 2.5.4.10, encoded (RFC 5280, appendix A).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];

/// The subject of a request: the name behind the version in its first part.
fn named(der: &[u8]) -> Option<Subject> {
    let (request, _) = expect(Tag::Sequence, der)?;
    let (info, _) = expect(Tag::Sequence, request)?;
    let (_version, rest) = expect(Tag::Integer, info)?;
    let (mut names, _) = expect(Tag::Sequence, rest)?;
    let mut subject = Subject::default();
    while !names.is_empty() {
        let (mut set, others) = expect(Tag::Set, names)?;
        names = others;
        while !set.is_empty() {
            let (attribute, others) = expect(Tag::Sequence, set)?;
            set = others;
            let (kind, value) = expect(Tag::Oid, attribute)?;
            let (_, value) = Any::from_der(value).ok()?;
            let Some(value) = string(&value) else { continue };
            if kind == COMMON_NAME {
                subject.common_name = Some(value);
            } else if kind == ORGANIZATION {
                subject.organizations.push(value);
            }
        }
    }
    Some(subject)
}

/// The content of the first element, which is of this tag, and what is behind it.
fn expect(tag: Tag, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, found) = Any::from_der(der).ok()?;
    let nested = matches!(tag, Tag::Sequence | Tag::Set);
    let is_it = found.class() == Class::Universal
        && found.tag() == tag
        && found.header.is_constructed() == nested;
    is_it.then_some((found.data, rest))
}

/// The kinds of strings that Go reads; `None` of what it passes over.
fn string(value: &Any<'_>) -> Option<String> {
    if value.class() != Class::Universal || value.header.is_constructed() {
        return None;
    }
    match value.tag() {
        Tag::Utf8String
        | Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String => Some(String::from_utf8_lossy(value.data).into_owned()),
        // UTF-16, its end may be marked.
        Tag::BmpString => {
            let (units, []) = value.data.as_chunks::<2>() else { return None };
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            Some(String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;
    use crate::sql::functions::tests::{check, check_one};

    fn request(names: &[(DnType, DnValue)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn in_base64(pem: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(pem)
    }

    /// DER of a request whose subject has these attributes; nothing stands behind it.
    fn der(attributes: &[([u8; 3], u8, &[u8])]) -> Vec<u8> {
        let sets = attributes.iter().flat_map(|(kind, tag, value)| {
            wrap(0x31, &wrap(0x30, &[wrap(0x06, kind), wrap(*tag, value)].concat()))
        });
        of_name(&sets.collect::<Vec<u8>>())
    }

    fn of_name(sets: &[u8]) -> Vec<u8> {
        wrap(0x30, &wrap(0x30, &[vec![0x02, 1, 0], wrap(0x30, sets)].concat()))
    }

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }

    fn pem(der: &[u8]) -> String {
        format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            in_base64(der)
        )
    }

    fn of(common_name: &str, organizations: &[&str]) -> Subject {
        Subject {
            common_name: Some(common_name.to_owned()),
            organizations: organizations.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_subject_is_read_from_a_request() {
        let name = |text: &str| DnValue::Utf8String(text.to_owned());
        let pem = request(&[
            (DnType::OrganizationName, name("system:masters")),
            (DnType::CountryName, DnValue::PrintableString("NL".try_into().unwrap())),
            (DnType::CommonName, name("\u{e9}ve \"x\"")),
        ]);
        let text = in_base64(pem.as_bytes());
        check_one(&text, "csr_common_name({})", "\u{e9}ve \"x\"");
        check_one(&text, "csr_organizations({})", r#"["system:masters"]"#);
        check_one(&text, "has_group(csr_organizations({}), 'system:masters')", "true");
        let none = in_base64(request(&[]).as_bytes());
        check(&[Some(&none)], "csr_common_name({})", &["NULL"]);
        check_one(&none, "csr_organizations({})", "[]");
    }

    #[test]
    fn what_go_reads_is_read() {
        let twice = [
            (COMMON_NAME, 0x0c, b"first".as_slice()),
            (ORGANIZATION, 0x13, b"one"),
            ([0x55, 0x04, 0x05], 0x02, b"\x01"),
            (ORGANIZATION, 0x1e, b"\0t\0w\0o\0\0"),
            (ORGANIZATION, 0x05, b""),
            (COMMON_NAME, 0x16, b"last"),
        ];
        let expected = of("last", &["one", "two"]);
        let good = pem(&der(&twice));
        let broken = good.replacen("\nM", "\n!", 1);
        let forms = [
            good.clone(),
            good.replace('\n', "\r\n"),
            good.replace('\n', "\n \t"),
            good.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1),
            format!("whose is it\n{good}"),
            format!("{broken}{good}"),
            format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{good}"),
        ];
        for form in forms {
            assert_eq!(
                subject(&in_base64(form.as_bytes())),
                Some(Subject { ..of("last", &["one", "two"]) }),
                "{form}"
            );
        }
        let around = [b"\xff\0\xfe".as_slice(), good.as_bytes()].concat();
        assert_eq!(subject(&in_base64(&around)), Some(expected));
        let lines: Vec<String> = in_base64(good.as_bytes())
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        assert!(subject(&lines.join("\n")).is_some(), "base64 in lines");
    }

    #[test]
    fn what_libraries_stop_at_hides_nothing() {
        let attribute = |kind: [u8; 3], tag: u8, value: &[u8]| {
            wrap(0x31, &wrap(0x30, &[wrap(0x06, &kind), wrap(tag, value)].concat()))
        };
        let sets = [
            attribute(COMMON_NAME, 0x0c, b"someone"),
            // Nothing is in it.
            vec![0x31, 0],
            // A letter that a printable string does not have, bytes that are no text.
            attribute(ORGANIZATION, 0x13, b"a*\xff"),
            // Half of a pair of UTF-16.
            attribute(ORGANIZATION, 0x1e, b"\xd8\x00\0x"),
            attribute(COMMON_NAME, 0x14, b"root"),
        ];
        let expected = of("root", &["a*\u{fffd}", "\u{fffd}x"]);
        assert_eq!(named(&of_name(&sets.concat())), Some(expected));
        // A string in parts is none to Go, and another class's element no sequence.
        let parts = attribute(COMMON_NAME, 0x2c, b"\x0c\x01x");
        assert_eq!(named(&of_name(&parts)), Some(Subject::default()));
        assert_eq!(named(&of_name(&wrap(0xb1, b""))), None);
    }

    #[test]
    fn what_is_no_request_gives_null() {
        let good = pem(&der(&[(COMMON_NAME, 0x0c, b"x")]));
        let cut = good.replace("-----END", "----");
        let other = good.replace("CERTIFICATE REQUEST", "PUBLIC KEY");
        for text in [
            "",
            "not base64!",
            "abc",
            "AAAA",
            &good,
            &in_base64(cut.as_bytes()),
            &in_base64(other.as_bytes()),
        ] {
            assert_eq!(subject(text), None, "{text}");
        }
        // A length that the content does not have.
        let mut short = der(&[(COMMON_NAME, 0x0c, b"x")]);
        short.pop();
        assert_eq!(subject(&in_base64(pem(&short).as_bytes())), None);
        let long = format!("{}{}", " ".repeat(TEXT_BYTES_MAX), in_base64(good.as_bytes()));
        assert_eq!(subject(&long), None);
    }

    proptest! {
        #[test]
        fn a_subject_comes_back(
            common_name in "\\PC{1,40}",
            organizations in prop::collection::vec("\\PC{0,40}", 0..5),
        ) {
            let mut attributes: Vec<([u8; 3], u8, &[u8])> = organizations
                .iter()
                .map(|name| (ORGANIZATION, 0x0c, name.as_bytes()))
                .collect();
            attributes.push((COMMON_NAME, 0x0c, common_name.as_bytes()));
            let request = in_base64(pem(&der(&attributes)).as_bytes());
            let found = subject(&request);
            let expected = Subject { common_name: Some(common_name), organizations };
            prop_assert_eq!(found, Some(expected));
        }

        #[test]
        fn no_bytes_hurt(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = named(&bytes);
            let _ = subject(&in_base64(&bytes));
            let _ = subject(&in_base64(pem(&bytes).as_bytes()));
            let _ = subject(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn damage_does_not_hurt(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut der = der(&[(COMMON_NAME, 0x0c, b"alice"), (ORGANIZATION, 0x1e, b"\0d\0v")]);
            let at = at.index(der.len());
            der[at] = byte;
            let _ = named(&der);
        }
    }
}
