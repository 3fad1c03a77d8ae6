//! As much of ELF as `aiebu-asm` writes: 32 bits, little-endian, a text section, relocations with addends.

/// A file of aiebu's.
pub struct Elf {
    /// The stream.
    pub text: Vec<u8>,
    /// Where addresses go, in order of place.
    pub patches: Vec<Patch>,
}

/// A relocation.
#[derive(Debug)]
pub struct Patch {
    /// Byte of the stream where the buffer descriptor begins.
    pub place: u32,
    /// The argument's number, as XRT counts.
    pub symbol: String,
    /// Added to the argument's address.
    pub addend: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()).into()
}

fn string(table: &[u8], at: u32) -> String {
    let rest = &table[at as usize..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(rest[..end].to_vec()).unwrap()
}

/// Takes a file apart.
pub fn read(bytes: &[u8]) -> Elf {
    assert_eq!(&bytes[..6], b"\x7fELF\x01\x01", "32 bits, little-endian");
    let (table, size, count, names) = (word(bytes, 32) as usize, half(bytes, 46), half(bytes, 48), half(bytes, 50));
    let header = |index: usize| &bytes[table + size * index..][..size];
    let content = |index: usize| &bytes[word(header(index), 16) as usize..][..word(header(index), 20) as usize];
    let section = |name: &str| {
        let index = (0..count).find(|index| string(content(names), word(header(*index), 0)) == name);
        content(index.unwrap_or_else(|| panic!("no section {name}")))
    };
    let text = section(".ctrltext").to_vec();
    // A stream without transfers has no symbols, so no relocations.
    let has_patches = (0..count).any(|index| string(content(names), word(header(index), 0)) == ".rela.dyn");
    let mut patches = Vec::new();
    if has_patches {
        let (symbols, strings) = (section(".dynsym"), section(".dynstr"));
        for entry in section(".rela.dyn").chunks_exact(12) {
            let symbol = &symbols[(word(entry, 4) >> 8) as usize * 16..][..16];
            patches.push(Patch {
                place: word(entry, 0),
                symbol: string(strings, word(symbol, 0)),
                addend: word(entry, 8),
            });
        }
    }
    patches.sort_by_key(|patch| patch.place);
    Elf { text, patches }
}
