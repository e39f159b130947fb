//! Secrets: token checksums, JSON web token headers, and what only looks like a secret.

/// Alphabet of GitHub's checksum: digits, upper case, lower case.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a GitHub token after its prefix: 30 random ones and six of checksum.
const GITHUB_RANDOM: usize = 30;
const GITHUB_CHECKSUM: usize = 6;
/// The reflected polynomial of CRC-32 (ISO-HDLC).
const CRC32_POLYNOMIAL: u32 = 0xEDB8_8320;

/// Longest value of letters alone that is taken for a word or a variable's name.
const WORD_CHARACTERS_MAX: usize = 15;

/// Words of which a placeholder consists: `changeme`, `your-password-here`, `example_key_1`.
const PLACEHOLDERS: &[&str] = &[
    "api",
    "change",
    "changeit",
    "changeme",
    "changethis",
    "db",
    "dummy",
    "enter",
    "example",
    "false",
    "fixme",
    "foobar",
    "hidden",
    "here",
    "insert",
    "ipsum",
    "it",
    "key",
    "lorem",
    "me",
    "my",
    "mypass",
    "mypassword",
    "mysecret",
    "name",
    "none",
    "not",
    "null",
    "optional",
    "pass",
    "password",
    "placeholder",
    "pw",
    "pwd",
    "redacted",
    "replace",
    "replaceme",
    "required",
    "sample",
    "secret",
    "set",
    "string",
    "text",
    "the",
    "this",
    "to",
    "todo",
    "token",
    "true",
    "undefined",
    "unset",
    "value",
    "with",
    "your",
    "yourpass",
    "yourpassword",
    "yoursecret",
];
/// Fewest words between hyphens that are read as prose.
const PROSE_WORDS_MIN: usize = 3;
/// Beginnings of a reference to a secret, which is how it should be done.
const REFERENCES: &[&str] = &[
    "${",
    "$(",
    "$env:",
    "{{",
    "{%",
    "<",
    "%(",
    "%{",
    "#{",
    "env.",
    "env(",
    "env[",
    "process.env",
    "os.environ",
    "os.getenv",
    "getenv(",
    "system.getenv",
    "vault:",
    "secret:",
    "ref:",
    "arn:",
    "var.",
    "data.",
    "file(",
    "!ref",
    "!sub",
    "config.",
    "self.",
    "this.",
    "args.",
    "params.",
    "settings.",
    "request.",
];

/// `prefix_` + 30 characters + CRC-32 of them in six characters of base 62.
///
/// GitHub, "Behind GitHub's new authentication token formats" (2021); npm's tokens follow the same scheme.
pub(super) fn github_crc32(value: &str) -> bool {
    let Some((_, body)) = value.rsplit_once('_') else {
        return false;
    };
    let Some((random, checksum)) = body.split_at_checked(GITHUB_RANDOM) else {
        return false;
    };
    checksum.len() == GITHUB_CHECKSUM && base62_six(crc32(random.as_bytes())).as_deref() == Some(checksum)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = if crc & 1 == 1 { CRC32_POLYNOMIAL } else { 0 };
            (crc >> 1) ^ carry
        })
    })
}

/// `number` in base 62 with leading zeros, most significant first.
fn base62_six(number: u32) -> Option<String> {
    let mut rest = usize::try_from(number).ok()?;
    let mut reversed = Vec::with_capacity(GITHUB_CHECKSUM);
    for _ in 0..GITHUB_CHECKSUM {
        reversed.push(char::from(*BASE62.get(rest % BASE62.len())?));
        rest /= BASE62.len();
    }
    Some(reversed.into_iter().rev().collect())
}

/// Not a reference, a placeholder word, a mask, a plain word or a run of neighbours such as `12345678`.
pub(super) fn not_placeholder(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '`', ' ']).to_ascii_lowercase();
    let stands_for_another = REFERENCES.iter().any(|start| value.starts_with(start))
        || is_placeholder(&value)
        || is_call(&value)
        || is_variable(&value);
    let says_nothing = is_mask(&value) || is_run(&value) || is_word(&value);
    !stands_for_another && !says_nothing
}

/// What is assigned looks made up: a digit and another class of characters, no code and no words.
///
/// For values behind a name and a colon, where prose and code stand more often than secrets.
pub(super) fn not_prose(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '`', ' ']);
    let digit = value.bytes().any(|b| b.is_ascii_digit());
    let other = value.bytes().any(|b| !b.is_ascii_digit());
    digit && other && !is_code(value) && !is_hyphenated(value)
}

/// Every word of it, digits at its end aside, is one of [`PLACEHOLDERS`].
fn is_placeholder(value: &str) -> bool {
    let mut words = value
        .split(|c: char| !c.is_alphanumeric())
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()))
        .filter(|word| !word.is_empty())
        .peekable();
    words.peek().is_some() && words.all(|word| PLACEHOLDERS.contains(&word))
}

/// A call that fetches the secret: `getpass()`.
fn is_call(value: &str) -> bool {
    value.ends_with(')') && value.split_once('(').is_some_and(|(name, _)| is_path(name))
}

/// A call, whole or cut off at its first argument, or a path of Rust or C++: `os.path.join(a`, `Key::random`.
fn is_code(value: &str) -> bool {
    let called = value.split_once('(').is_some_and(|(name, _)| is_path(name));
    called || value.split_once("::").is_some_and(|(name, _)| is_path(name))
}

/// Names joined by `.` or `::`.
fn is_path(text: &str) -> bool {
    text.replace("::", ".").split('.').all(|name| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// Words and numbers between hyphens, as in `at-least-8-characters`.
fn is_hyphenated(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ':', ')', '?']);
    value.split('-').count() >= PROSE_WORDS_MIN
        && value.split('-').all(|word| {
            let letters = word.bytes().all(|b| b.is_ascii_alphabetic());
            !word.is_empty() && (letters || word.bytes().all(|b| b.is_ascii_digit()))
        })
}

/// A shell variable: `$DB_PASSWORD`, `$1`.
fn is_variable(value: &str) -> bool {
    let name = value.strip_prefix('$');
    name.is_some_and(|name| {
        name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') || name.parse::<u8>().is_ok()
    })
}

/// Fewer than four different characters: `xxxxxxxx`, `********`, `ababab`.
fn is_mask(value: &str) -> bool {
    let mut seen: Vec<char> = value.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() < 4
}

/// Letters alone, as in `password = newPassword` or `password: information`.
fn is_word(value: &str) -> bool {
    value.len() <= WORD_CHARACTERS_MAX && value.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Each character is the successor of the one before it.
fn is_run(value: &str) -> bool {
    value.as_bytes().windows(2).all(|pair| match pair {
        [a, b] => a.checked_add(1) == Some(*b) || (*a, *b) == (b'9', b'0'),
        _ => true,
    })
}

/// The first part of a JSON web token is base64url of a JSON object that names its algorithm (RFC 7515, section 4.1.1).
pub(super) fn jwt_header(value: &str) -> bool {
    let Some((header, rest)) = value.split_once('.') else {
        return false;
    };
    let Some(header) = base64url(header) else {
        return false;
    };
    let object = header.trim_ascii();
    object.starts_with(b"{")
        && object.ends_with(b"}")
        && object.windows(5).any(|w| w == b"\"alg\"")
        && rest.contains('.')
}

/// RFC 4648, section 5, without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut held, mut bits) = (0_u32, 0_u32);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn crc32_gives_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(base62_six(0), Some("000000".to_owned()));
        assert_eq!(base62_six(61), Some("00000z".to_owned()));
        assert_eq!(base62_six(62), Some("000010".to_owned()));
    }

    #[test]
    fn a_token_with_its_checksum_holds_and_with_another_does_not() {
        let random = "A".repeat(GITHUB_RANDOM);
        let checksum = base62_six(crc32(random.as_bytes())).unwrap();
        assert!(github_crc32(&format!("ghp_{random}{checksum}")));
        assert!(!github_crc32(&format!("ghp_{random}000000")));
        assert!(!github_crc32(&format!("ghp_{checksum}")));
        assert!(!github_crc32("ghp"));
    }

    #[test]
    fn references_placeholders_masks_and_runs_are_no_secrets() {
        for value in [
            "${DB_PASSWORD}",
            "{{ vault_password }}",
            "<password>",
            "process.env.KEY",
            "changeme",
            "your-password-here",
            "xxxxxxxxxxxx",
            "********",
            "123456789",
            "abcdefgh",
            "newPassword",
            "\"placeholder\"",
            "getpass()",
            "$1",
            "$DB_PASSWORD",
        ] {
            assert!(!not_placeholder(value), "{value}");
        }
        assert!(not_placeholder("tr0mbone-Kettle-41"));
        assert!(not_placeholder("Nonesuch-string77"), "words inside words");
        assert!(not_placeholder("(b9Q!w2Lz7p)"), "no name is called");
        assert!(not_placeholder("'b9Q!w2Lz7p'"));
        assert!(not_placeholder("$tr0ng-Kettle"));
    }

    #[test]
    fn prose_and_code_behind_a_colon_are_no_secrets() {
        for value in [
            "mindestens-8-Zeichen",
            "Santa-Wichteln-2026)",
            "ask-the-helpdesk",
            "get_secret(",
            "get_secret2('db')",
            "os.path.join(a1",
            "SecretKey::random2",
            "84736251",
        ] {
            assert!(!not_prose(value), "{value}");
        }
        for value in [
            "tr0mbone-Kettle-41",
            "9f8a7b6c5d4e3f2a1b0c",
            "b9Q!w2(Lz7p)",
            "Kettle-41",
        ] {
            assert!(not_prose(value), "{value}");
        }
    }

    /// The header of the example in RFC 7519, section 3.1.
    #[test]
    fn a_web_token_has_a_header_with_an_algorithm() {
        assert!(jwt_header(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.c2ln"
        ));
        assert!(!jwt_header("eyJ0eXAiOiJKV1QifQ.eyJpc3MiOiJqb2UifQ.c2ln"));
        assert!(!jwt_header(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ"
        ));
        assert!(!jwt_header("not base64.a.b"));
    }
}
