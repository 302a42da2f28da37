//! Parser of the protobuf wire format.

/// The value of a field.
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `visit` with the number and value of each field of a protobuf message. Returns `None` if the message is
/// truncated or not valid, or if `visit` returns `None`.
pub(crate) fn read_message<'a>(mut bytes: &'a [u8], mut visit: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        visit(key >> 3, value)?;
    }
    Some(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

/// Reads a varint: seven bits per byte, least significant first; the highest bit is set if another byte follows.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends the values of a repeated number field, packed (all in one field) or not (one field for each).
pub(crate) fn numbers(value: &Value, out: &mut Vec<u64>) -> Option<()> {
    match value {
        Value::Number(number) => out.push(*number),
        Value::Bytes(bytes) => {
            let mut packed = *bytes;
            while !packed.is_empty() {
                out.push(varint(&mut packed)?);
            }
        }
    }
    Some(())
}

/// A string; invalid UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
