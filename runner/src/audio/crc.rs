//! Tables of cyclic redundancy checks that take the highest bit first.

/// The check of each byte by a polynomial of `bits` bits.
pub(super) const fn table(bits: u32, polynomial: u32) -> [u32; 256] {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u32) << 24, 0);
        while bit < 8 {
            crc = crc << 1 ^ if crc >> 31 == 0 { 0 } else { polynomial << (32 - bits) };
            bit += 1;
        }
        table[byte] = crc >> (32 - bits);
        byte += 1;
    }
    table
}
