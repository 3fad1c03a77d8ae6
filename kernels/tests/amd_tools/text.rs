//! The text that `aiebu-dump -d` prints of a stream.

/// One operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Op {
    Write { address: u32, value: u32 },
    Mask { address: u32, mask: u32, value: u32 },
    Block { address: u32, words: Vec<u32> },
    Patch { address: u32, argument: u32, offset: u32 },
    Sync { column: u32, columns: u32, row: u32, rows: u32, direction: String, channel: u32 },
}

/// A number, decimal or hexadecimal, after the marks that the text puts before and behind it.
fn number(text: &str) -> u32 {
    let text = text.trim_matches(|mark: char| "@#+[]() ".contains(mark));
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Start and count: `R[0]+1`.
fn range(text: &str) -> (u32, u32) {
    let (start, count) = text.split_once('+').unwrap();
    (number(start.trim_start_matches(['R', 'C'])), number(count))
}

/// The operations of a text; other lines are passed over, unknown operations are not.
pub fn read(text: &str) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.trim().split_once(char::is_whitespace) else { continue };
        let Some(name) = name.strip_prefix("XAIE_IO_") else { continue };
        let fields: Vec<&str> = rest.split(',').map(str::trim).collect();
        match (name, &fields[..]) {
            ("WRITE", [address, value]) => ops.push(Op::Write { address: number(address), value: number(value) }),
            ("MASKWRITE", [address, mask, value]) => {
                ops.push(Op::Mask { address: number(address), mask: number(mask), value: number(value) });
            }
            ("BLOCKWRITE", [address, count]) => {
                ops.push(Op::Block { address: number(address), words: Vec::with_capacity(number(count) as usize) });
            }
            ("CUSTOM_OP_DDR_PATCH", [address, argument, offset]) => {
                ops.push(Op::Patch { address: number(address), argument: number(argument), offset: number(offset) })
            }
            ("CUSTOM_OP_TCT", [rows, columns, direction, channel]) => {
                let ((row, rows), (column, columns)) = (range(rows), range(columns));
                let direction = direction.strip_prefix("#DMA_").unwrap().to_owned();
                ops.push(Op::Sync { column, columns, row, rows, direction, channel: number(channel) });
            }
            (word, [value]) if word.starts_with("BLOCKWRITE.") => {
                let Some(Op::Block { words, .. }) = ops.last_mut() else { panic!("{line}") };
                assert_eq!(word, format!("BLOCKWRITE.{}", words.len()));
                words.push(number(value));
            }
            _ => panic!("{line}"),
        }
    }
    ops
}
