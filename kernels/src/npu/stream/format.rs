//! The words of a stream: the transaction format, version 0.1, which mlir-aie writes, aiebu reads and the NPU's
//! firmware executes.
//!
//! A header of four words, then the operations. Each begins with its code; sizes are in bytes and count the whole
//! operation.
//!
//! | operation | words |
//! |---|---|
//! | header | `rows:8 generation:8 minor:8 major:8`, `0:16 memory tile rows:8 columns:8`, operations, bytes of the stream |
//! | write | 0, 0, address, 0, value, size |
//! | block write | 1, 0, address, size, values … |
//! | mask write | 3, 0, address, 0, value, mask, size |
//! | sync | 0x80, size, `0:8 column:8 row:8 direction:8`, `channel:8 columns:8 rows:8 0:8` |
//! | patch | 0x81, size, 0, 0, 0, 0, address, 0, argument, 0, offset, 0 |

use super::{Op, StreamError};
use crate::npu::{
    design::{Argument, Direction},
    target::Target,
};

const WRITE: u32 = 0;
const BLOCK_WRITE: u32 = 1;
const MASK_WRITE: u32 = 3;
const SYNC: u32 = 0x80;
const PATCH: u32 = 0x81;

const MAJOR: u32 = 0;
const MINOR: u32 = 1;
/// Rows of tiles of every NPU: a shim tile, a memory tile, four cores.
const TILE_ROWS: u32 = 6;
const MEMORY_TILE_ROWS: u32 = 1;
const HEADER_WORDS: usize = 4;

/// The number by which a header names the silicon.
fn generation(target: Target) -> u32 {
    match target {
        Target::Npu1 => 3,
        Target::Npu4 => 4,
    }
}

/// The stream of some operations.
///
/// # Panics
/// If they take 4 GiB or more; no memory that the NPU reaches would hold them.
pub fn encode(target: Target, ops: &[Op]) -> Vec<u32> {
    let mut words = vec![
        TILE_ROWS << 24 | generation(target) << 16 | MINOR << 8 | MAJOR,
        MEMORY_TILE_ROWS << 8 | target.columns() as u32,
        ops.len() as u32,
        0,
    ];
    for op in ops {
        match *op {
            Op::Write { address, value } => words.extend([WRITE, 0, address, 0, value, 24]),
            Op::MaskWrite { address, value, mask } => words.extend([MASK_WRITE, 0, address, 0, value, mask, 28]),
            Op::BlockWrite { address, words: ref values } => {
                words.extend([BLOCK_WRITE, 0, address, 4 * (values.len() as u32 + 4)]);
                words.extend_from_slice(values);
            }
            Op::Sync { column, row, direction, channel, columns, rows } => words.extend([
                SYNC,
                16,
                u32::from(column) << 16 | u32::from(row) << 8 | u32::from(direction == Direction::Mm2s),
                u32::from(channel) << 24 | u32::from(columns) << 16 | u32::from(rows) << 8,
            ]),
            Op::Patch { address, argument, offset } => {
                words.extend([PATCH, 48, 0, 0, 0, 0, address, 0, argument as u32, 0, offset, 0]);
            }
        }
    }
    words[3] = u32::try_from(4 * words.len()).expect("a stream of less than 4 GiB");
    words
}

/// The operations of a stream.
///
/// # Errors
/// For everything that [`encode`] does not write.
pub fn decode(words: &[u32], target: Target) -> Result<Vec<Op>, StreamError> {
    let &[version, array, count, bytes, ..] = words else {
        return Err(StreamError::Truncated { words: words.len(), what: "the header", at: 0 });
    };
    let header = [
        ("major version", version & 0xff, MAJOR),
        ("minor version", version >> 8 & 0xff, MINOR),
        ("device generation", version >> 16 & 0xff, generation(target)),
        ("rows", version >> 24, TILE_ROWS),
        ("columns", array & 0xff, target.columns() as u32),
        ("memory tile rows", array >> 8, MEMORY_TILE_ROWS),
        ("size in bytes", bytes, u32::try_from(4 * words.len()).unwrap_or(u32::MAX)),
    ];
    if let Some((field, found, expected)) = header.into_iter().find(|(_, found, expected)| found != expected) {
        return Err(StreamError::Header { field, found, expected });
    }
    let mut reader = Reader { words, at: HEADER_WORDS, index: 0 };
    // The count is not trusted with memory: an operation has three words at least.
    let mut ops = Vec::with_capacity((count as usize).min(words.len() / 3));
    while reader.at < words.len() {
        ops.push(reader.op()?);
        reader.index += 1;
    }
    if ops.len() != count as usize {
        return Err(StreamError::Header { field: "operations", found: count, expected: ops.len() as u32 });
    }
    Ok(ops)
}

/// A place in a stream.
struct Reader<'a> {
    words: &'a [u32],
    at: usize,
    index: usize,
}

impl<'a> Reader<'a> {
    /// The words of one operation of a known length, without the first; goes on behind it.
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u32], StreamError> {
        let rest = &self.words[self.at..];
        let Some(op) = rest.get(1..length) else {
            return Err(StreamError::Truncated { words: self.words.len(), what, at: self.at });
        };
        self.at += length;
        Ok(op)
    }

    fn op(&mut self) -> Result<Op, StreamError> {
        let (index, at) = (self.index, self.at);
        let refuse = move |field, value| Err(StreamError::Field { index, at, field, value });
        // Fields that can have one value only.
        let fixed = move |fields: &[(&'static str, u32, u32)]| match fields.iter().find(|(_, is, must)| is != must) {
            Some(&(field, value, _)) => refuse(field, value),
            None => Ok(Op::Write { address: 0, value: 0 }),
        };
        match self.words[at] {
            WRITE => {
                let op = self.take(6, "a write")?;
                fixed(&[("padding", op[0], 0), ("upper address", op[2], 0), ("size", op[4], 24)])?;
                Ok(Op::Write { address: op[1], value: op[3] })
            }
            MASK_WRITE => {
                let op = self.take(7, "a mask write")?;
                fixed(&[("padding", op[0], 0), ("upper address", op[2], 0), ("size", op[5], 28)])?;
                Ok(Op::MaskWrite { address: op[1], value: op[3], mask: op[4] })
            }
            BLOCK_WRITE => {
                let head = self.words.get(at..at + 4);
                let Some(&[_, padding, address, size]) = head else {
                    return Err(StreamError::Truncated { words: self.words.len(), what: "a block write", at });
                };
                fixed(&[("padding", padding, 0)])?;
                if !size.is_multiple_of(4) || size < 16 {
                    return refuse("size", size);
                }
                let op = self.take(size as usize / 4, "a block write")?;
                Ok(Op::BlockWrite { address, words: op[3..].to_vec() })
            }
            SYNC => {
                let op = self.take(4, "a sync")?;
                let [_, column, row, direction] = op[1].to_be_bytes();
                let [channel, columns, rows, padding] = op[2].to_be_bytes();
                fixed(&[("size", op[0], 16), ("padding", op[1] >> 24, 0), ("padding", padding.into(), 0)])?;
                let direction = match direction {
                    0 => Direction::S2mm,
                    1 => Direction::Mm2s,
                    other => return refuse("direction", other.into()),
                };
                Ok(Op::Sync { column, row, direction, channel, columns, rows })
            }
            PATCH => {
                let op = self.take(12, "a patch")?;
                fixed(&[("size", op[0], 48), ("action", op[4], 0)])?;
                fixed(&[1, 2, 3, 6, 8, 10].map(|word| ("padding", op[word], 0)))?;
                let Some(&argument) = Argument::ALL.get(op[7] as usize) else {
                    return refuse("argument", op[7]);
                };
                Ok(Op::Patch { address: op[5], argument, offset: op[9] })
            }
            code => Err(StreamError::Opcode { index, at, code }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn any_op() -> impl Strategy<Value = Op> {
        let direction = prop_oneof![Just(Direction::S2mm), Just(Direction::Mm2s)];
        let argument = prop_oneof![Just(Argument::A), Just(Argument::B), Just(Argument::C)];
        prop_oneof![
            any::<(u32, u32)>().prop_map(|(address, value)| Op::Write { address, value }),
            any::<(u32, u32, u32)>().prop_map(|(address, value, mask)| Op::MaskWrite { address, value, mask }),
            (any::<u32>(), proptest::collection::vec(any::<u32>(), 0..20))
                .prop_map(|(address, words)| Op::BlockWrite { address, words }),
            (any::<u32>(), argument, any::<u32>()).prop_map(|(address, argument, offset)| Op::Patch {
                address,
                argument,
                offset
            }),
            (any::<[u8; 5]>(), direction).prop_map(|([column, row, channel, columns, rows], direction)| Op::Sync {
                column,
                row,
                direction,
                channel,
                columns,
                rows
            }),
        ]
    }

    /// Word for word what mlir-aie's description of the format says, worked out by hand.
    #[test]
    fn the_words_are_those_of_the_format() {
        let ops = [
            Op::Write { address: 0x0201_d214, value: 0x8003_0001 },
            Op::MaskWrite { address: 0x0001_d200, value: 0xf00, mask: 0x1f00 },
            Op::BlockWrite { address: 0x0001_d020, words: vec![5, 6] },
            Op::Patch { address: 0x0001_d024, argument: Argument::C, offset: 64 },
            Op::Sync { column: 3, row: 0, direction: Direction::S2mm, channel: 1, columns: 1, rows: 1 },
        ];
        #[rustfmt::skip]
        let words = [
            0x0604_0100, 0x0000_0108, 5, 4 * (4 + 6 + 7 + 6 + 12 + 4),
            0, 0, 0x0201_d214, 0, 0x8003_0001, 24,
            3, 0, 0x0001_d200, 0, 0xf00, 0x1f00, 28,
            1, 0, 0x0001_d020, 24, 5, 6,
            0x81, 48, 0, 0, 0, 0, 0x0001_d024, 0, 2, 0, 64, 0,
            0x80, 16, 0x0003_0000, 0x0101_0100,
        ];
        assert_eq!(encode(Target::Npu4, &ops), words);
        assert_eq!(encode(Target::Npu1, &[]), [0x0603_0100, 0x0000_0104, 0, 16]);
    }

    #[test]
    fn what_is_malformed_is_named() {
        let good = encode(Target::Npu1, &[Op::Write { address: 1, value: 2 }]);
        let spoilt = |at: usize, value: u32| {
            let mut words = good.clone();
            words[at] = value;
            decode(&words, Target::Npu1).unwrap_err().to_string()
        };
        assert!(spoilt(0, 0x0603_0001).contains("major version 1, 0 was expected"));
        assert!(spoilt(2, 9).contains("operations 9, 1 was expected"));
        assert!(spoilt(3, 12).contains("size in bytes 12, 40 was expected"));
        assert!(spoilt(4, 0x77).contains("operation 0 (word 4) has the unknown code 0x77"));
        assert!(spoilt(7, 1).contains("upper address is 0x1"));
        assert!(decode(&good, Target::Npu4).unwrap_err().to_string().contains("device generation 3, 4"));
        assert!(decode(&good[..3], Target::Npu1).unwrap_err().to_string().contains("the header"));
        let mut cut = good[..9].to_vec();
        cut[3] = 36;
        assert!(decode(&cut, Target::Npu1).unwrap_err().to_string().contains("in a write that begins at word 4"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(ops in proptest::collection::vec(any_op(), 0..30), four in any::<bool>()) {
            let target = Target::ALL[usize::from(four)];
            prop_assert_eq!(decode(&encode(target, &ops), target), Ok(ops));
        }

        /// A valid header lets the noise through to the operations.
        #[test]
        fn noise_never_panics(mut noise in proptest::collection::vec(prop_oneof![0u32..8, 0x80u32..0x82, Just(16), Just(24), Just(48), any::<u32>()], 0..60)) {
            let mut words = encode(Target::Npu1, &[]);
            words.append(&mut noise);
            words[3] = 4 * words.len() as u32;
            let _ = decode(&words, Target::Npu1);
        }
    }
}
