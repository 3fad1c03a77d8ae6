//! What Matroska is written in: EBML's elements and numbers (RFC 8794), and the lacing of several packets in one block.

/// A length as Xiph writes it: bytes of 255 and a last one that is less.
pub(super) fn xiph(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 255).count();
    Some((full * 255 + usize::from(*bytes.get(full)?), &bytes[full + 1..]))
}

/// A number of EBML's at the start of `bytes`, its marker left out, and its length. All ones: no number.
pub(super) fn vint(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let body = bytes.get(..length).filter(|_| length <= 8)?;
    let value = body.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)) & !(1 << (7 * length));
    Some(((value != (1 << (7 * length)) - 1).then_some(value), length))
}

/// An element's name, and its length.
pub(super) fn name(bytes: &[u8]) -> Option<(u32, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let body = bytes.get(..length).filter(|_| length <= 4)?;
    Some((body.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)), length))
}

/// The elements of `bytes`, one after another: their names, and what they hold.
pub(super) fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, body, rest) = child(bytes)?;
        bytes = rest;
        Some((id, body))
    })
}

/// The first element of `bytes`: its name, what it holds, and what follows.
fn child(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (id, length) = name(bytes)?;
    let (size, more) = vint(&bytes[length..])?;
    let body = &bytes[length + more..];
    let size = size.map_or(body.len(), |size| usize::try_from(size).unwrap_or(usize::MAX)).min(body.len());
    Some((id, &body[..size], &body[size..]))
}

pub(super) fn unsigned(data: &[u8]) -> u64 {
    data.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) fn float(data: &[u8]) -> f64 {
    match data.len() {
        4 => f64::from(f32::from_bits(unsigned(data) as u32)),
        8 => f64::from_bits(unsigned(data)),
        _ => 0.0,
    }
}

/// The packets of a block (RFC 9559, section 10.3).
pub(super) fn unlace(lacing: u8, body: &[u8]) -> Option<Vec<&[u8]>> {
    if lacing == 0 {
        return Some(vec![body]);
    }
    let (count, mut rest) = body.split_first()?;
    let mut sizes = Vec::new();
    match lacing {
        1 => {
            for _ in 0..*count {
                let (size, behind) = xiph(rest)?;
                sizes.push(size);
                rest = behind;
            }
        }
        3 => {
            let mut size = 0i64;
            for index in 0..*count {
                let (value, length) = vint(rest)?;
                let value = i64::try_from(value?).ok()?;
                // All but the first are differences, with the middle of their range as 0.
                size = if index == 0 { value } else { size + value - ((1 << (7 * length - 1)) - 1) };
                sizes.push(usize::try_from(size).ok()?);
                rest = &rest[length..];
            }
        }
        _ => sizes = vec![rest.len() / (usize::from(*count) + 1); usize::from(*count)],
    }
    let mut packets = Vec::new();
    for size in sizes {
        let (packet, behind) = rest.split_at_checked(size)?;
        packets.push(packet);
        rest = behind;
    }
    packets.push(rest);
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length() {
        assert_eq!(vint(&[0x81]), Some((Some(1), 1)));
        assert_eq!(vint(&[0x40, 0x02, 9]), Some((Some(2), 2)));
        assert_eq!(vint(&[0x01, 0, 0, 0, 0, 0, 0, 5]), Some((Some(5), 8)));
        assert_eq!(vint(&[0xff]), Some((None, 1)));
        assert_eq!(vint(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some((None, 8)));
        assert_eq!((vint(&[0]), vint(&[0x40]), vint(&[])), (None, None, None));
    }

    #[test]
    fn laced_packets() {
        let packets: [&[u8]; 3] = [&[1; 300], &[2; 5], &[3; 9]];
        let all = packets.concat();
        let xiph = [&[2, 255, 45, 5][..], &all].concat();
        assert_eq!(unlace(1, &xiph).unwrap(), packets);
        // 300, and then 295 less: 5 − 300 + 8191 in two bytes.
        let ebml = [&[2, 0x41, 0x2c, 0x40 | (7896u16 >> 8) as u8, (7896u16 & 255) as u8][..], &all].concat();
        assert_eq!(unlace(3, &ebml).unwrap(), packets);
        assert_eq!(unlace(2, &[1, 7, 7, 8, 8]).unwrap(), [&[7, 7][..], &[8, 8]]);
        assert_eq!(unlace(0, &[1, 2]).unwrap(), [&[1, 2][..]]);
        assert_eq!(unlace(1, &[2, 255]), None);
    }
}
