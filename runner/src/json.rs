//! JSON as models' files have it: with a byte-order mark, with Python's `NaN` and `Infinity`, with `80.0` where 80 is
//! meant. What cannot be understood is an error that says where; what is merely odd is read, and said at level `debug`.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;

/// The text of a file, whatever byte-order mark it begins with. Bytes that are no text become U+FFFD.
pub(crate) fn text<'a>(bytes: &'a [u8], path: &Path) -> Cow<'a, str> {
    let wide = |bytes: &[u8], word: fn([u8; 2]) -> u16| {
        let words: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|&pair| word(pair)).collect();
        Cow::Owned(String::from_utf16_lossy(&words))
    };
    let found = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest),
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        plain => return String::from_utf8_lossy(plain),
    };
    tracing::debug!("'{}' begins with a byte-order mark", path.display());
    found
}

/// Reads `text` as JSON; if it is none, once more with `null` in the place of the numbers that JSON does not have.
///
/// # Errors
/// The parser's words, with line and column.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, String> {
    let strict = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error.to_string(),
    };
    let Some(mended) = without_infinities(text) else { return Err(strict) };
    let value = serde_json::from_str(&mended).map_err(|_| strict)?;
    tracing::debug!("'{}' holds NaN or Infinity, which JSON does not have: read as null", path.display());
    Ok(value)
}

/// `text` with `NaN`, `Infinity` and `-Infinity` outside strings replaced by `null`; `None` if there are none.
fn without_infinities(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, false);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(word) = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word)) {
            mended.push_str("null");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        let length = if rest.starts_with('"') { string_length(rest) } else { 1 };
        mended.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    mended.push_str(rest);
    found.then_some(mended)
}

/// Bytes of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A whole number that is not negative, however it is written: `80`, `80.0`, `"80"`.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    let of_float = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x < 2f64.powi(53)).then_some(x as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(of_float)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(bytes: &[u8]) -> Result<Value, String> {
        let path = Path::new("config.json");
        parse(&text(bytes, path), path)
    }

    #[test]
    fn byte_order_marks() {
        let plain = "{\"a\": \"é\"}";
        let wide = |word: fn(u16) -> [u8; 2]| [0xFEFF].into_iter().chain(plain.encode_utf16()).flat_map(word).collect();
        let utf8 = format!("\u{FEFF}{plain}").into_bytes();
        let all: [Vec<u8>; 4] = [plain.into(), utf8, wide(u16::to_le_bytes), wide(u16::to_be_bytes)];
        for bytes in all {
            assert_eq!(read(&bytes), Ok(json!({"a": "é"})), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_have() {
        let text = r#"{"a": NaN, "b": [Infinity, -Infinity, -1], "NaN": "Infinity \" NaN", "c": "x\\", "d": NaN}"#;
        let expected = json!({"a": null, "b": [null, null, -1], "NaN": "Infinity \" NaN", "c": "x\\", "d": null});
        assert_eq!(read(text.as_bytes()), Ok(expected));
        for broken in ["", "{", "{\"a\": Nan}", "{\"a\": NaN", "\"NaN", "NaNNaN"] {
            assert!(read(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn whole_numbers_however_they_are_written() {
        for value in [json!(80), json!(80.0), json!("80"), json!(" 80 ")] {
            assert_eq!(whole(&value), Some(80), "{value}");
        }
        for value in [json!(-1), json!(80.5), json!(null), json!("eighty"), json!([80]), json!(1e300)] {
            assert_eq!(whole(&value), None, "{value}");
        }
    }
}
