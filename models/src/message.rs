//! Protobuf messages that are in memory, field by field: what an edit of an ONNX graph needs, without copying its
//! weights.

/// The bytes are no protobuf message, or not a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// A field of a message.
pub(crate) struct Field<'m> {
    pub(crate) number: u64,
    /// What a number is; 0 for fields of other kinds.
    pub(crate) value: u64,
    /// What it holds; empty for numbers of variable length.
    pub(crate) content: &'m [u8],
    /// With its key and length.
    pub(crate) whole: &'m [u8],
}

/// `name` of `ValueInfoProto`.
pub(crate) const VALUE_NAME: u64 = 1;

/// A `ValueInfoProto` without a type, which ONNX Runtime infers.
pub(crate) fn value(name: &str) -> Vec<u8> {
    let mut value = Vec::new();
    put(&mut value, VALUE_NAME, name.as_bytes());
    value
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken)
}

/// The first field of this number.
pub(crate) fn only(message: &[u8], number: u64) -> Result<&[u8], Broken> {
    for part in fields(message) {
        let part = part?;
        if part.number == number {
            return Ok(part.content);
        }
    }
    Err(Broken)
}

/// All fields of this number.
pub(crate) fn all(message: &[u8], number: u64) -> Result<Vec<&[u8]>, Broken> {
    let wanted = fields(message).filter(|part| part.as_ref().map_or(true, |part| part.number == number));
    wanted.map(|part| part.map(|part| part.content)).collect()
}

/// The fields of a message, one after another.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Broken>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let start = rest;
        let field = (|| {
            let key = varint(&mut rest)?;
            let mut value = 0;
            let length = match key & 7 {
                0 => {
                    value = varint(&mut rest)?;
                    0
                }
                1 => 8,
                2 => usize::try_from(varint(&mut rest)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (content, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Field { number: key >> 3, value, content, whole: &start[..start.len() - after.len()] })
        })();
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or(Broken))
    })
}

/// A number of variable length, which is taken off `bytes`.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a field of bytes.
pub(crate) fn put(message: &mut Vec<u8>, number: u64, content: &[u8]) {
    let mut number_or_length = |mut value: u64| {
        while value >= 0x80 {
            message.push(value as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    };
    number_or_length(number << 3 | 2);
    number_or_length(content.len() as u64);
    message.extend_from_slice(content);
}
