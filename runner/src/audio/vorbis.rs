//! What a container's reader needs of Vorbis: how long a packet is. symphonia decodes.

/// The block lengths and which of them each mode has.
pub(super) struct Modes {
    sizes: [u64; 2],
    long: Vec<bool>,
    previous: Option<u64>,
}

impl Modes {
    /// From the identification and the set-up header.
    ///
    /// The modes stand at the set-up header's end, and only what comes before them is hard to read: they are read
    /// backwards. A mode is a flag, 32 bits of 0 and 8 bits of a mapping's number; in front of them stands their count
    /// less 1, in 6 bits.
    pub(super) fn read(ident: &[u8], setup: &[u8]) -> Option<Self> {
        let sizes = ident.get(28).map(|byte| [1 << (byte & 15), 1 << (byte >> 4)])?;
        let bit = |at: usize| setup[at / 8] >> (at % 8) & 1;
        let value = |from: usize, count: usize| (0..count).map(|i| u32::from(bit(from + i)) << i).sum::<u32>();
        // The framing bit is the last that is set.
        let last = setup.iter().rposition(|byte| *byte != 0)?;
        let framing = last * 8 + 7 - setup[last].leading_zeros() as usize;
        let mut long = Vec::new();
        let mut found = None;
        let mut at = framing;
        while let Some(start) = at.checked_sub(41).filter(|start| *start >= 56 && long.len() < 64) {
            if value(start + 1, 16) != 0 || value(start + 17, 16) != 0 || value(start + 33, 8) >= 64 {
                break;
            }
            long.insert(0, bit(start) == 1);
            at = start;
            // The count that is farthest from the end and fits is the right one: those of fewer are bits of a mode.
            if value(at - 6, 6) as usize + 1 == long.len() {
                found = Some(long.clone());
            }
        }
        Some(Self { sizes, long: found?, previous: None })
    }

    /// Frames that this packet adds: a quarter of the block before and of its own (Vorbis I, section 4.3.8).
    pub(super) fn frames(&mut self, packet: &[u8]) -> u64 {
        let Some(first) = packet.first().filter(|first| **first & 1 == 0) else { return 0 };
        let bits = usize::BITS - (self.long.len() - 1).leading_zeros();
        let mode = usize::from(first >> 1) & ((1 << bits) - 1);
        let size = self.sizes[usize::from(self.long.get(mode).copied().unwrap_or(false))];
        let frames = self.previous.map_or(0, |previous| (previous + size) / 4);
        self.previous = Some(size);
        frames
    }

    /// Forgets the block before.
    pub(super) fn reset(&mut self) {
        self.previous = None;
    }
}
