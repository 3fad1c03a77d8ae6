//! Registers of a shim tile's DMA, as far as streams use them: sixteen buffer descriptors of eight words, and of each
//! channel a control register and a task queue. (AMD's register reference for AIE-ML; mlir-aie's target model has the
//! same numbers.)

use super::StreamError;
use crate::npu::{
    access::{DESCRIPTORS, Transfer},
    design::{Argument, Channel, Direction},
    target::Target,
};

const DESCRIPTOR_BASE: u32 = 0x1_d000;
const DESCRIPTOR_BYTES: u32 = 0x20;
/// Words of a descriptor.
pub(super) const DESCRIPTOR_WORDS: usize = 8;
/// The word of a descriptor that has the address' lower half: what a patch adds to.
const ADDRESS_WORD: u32 = 1;

/// The packet id of tokens that shim tiles send: mlir-aie gives it to the shim tile of every column and lays their way
/// by it.
pub const TOKEN_CONTROLLER: u32 = 15;
/// Bits of a control register that say with which id a channel sends tokens, and what streams write there.
pub(super) const CONTROLLER_MASK: u32 = 0x1f00;
pub(super) const CONTROLLER: u32 = TOKEN_CONTROLLER << 8;

const COLUMN_SHIFT: u32 = 25;
const ROW_SHIFT: u32 = 20;

/// A register of a shim tile, with its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// A word of a buffer descriptor.
    Descriptor { column: usize, descriptor: usize, word: usize },
    /// The control register of a channel.
    Control(Channel),
    /// The task queue of a channel.
    Queue(Channel),
}

/// Address of a channel's control register in its tile.
fn control(channel: Channel) -> u32 {
    let base = match channel.direction {
        Direction::S2mm => 0x1_d200,
        Direction::Mm2s => 0x1_d210,
    };
    base + 8 * channel.channel as u32
}

fn in_column(column: usize, register: u32) -> u32 {
    (column as u32) << COLUMN_SHIFT | register
}

/// Address of a channel's control register.
pub(super) fn control_address(channel: Channel) -> u32 {
    in_column(channel.column, control(channel))
}

/// Address of a channel's task queue.
pub(super) fn queue_address(channel: Channel) -> u32 {
    in_column(channel.column, control(channel) + 4)
}

/// Address of a buffer descriptor's first word.
pub(super) fn descriptor_address(column: usize, descriptor: usize) -> u32 {
    in_column(column, DESCRIPTOR_BASE + DESCRIPTOR_BYTES * descriptor as u32)
}

/// Address of the word of a buffer descriptor that a patch names.
pub(super) fn patch_address(column: usize, descriptor: usize) -> u32 {
    descriptor_address(column, descriptor) + 4 * ADDRESS_WORD
}

/// The register at an address.
pub(super) fn register(address: u32, target: Target) -> Result<Register, StreamError> {
    let refuse = |reason: String| Err(StreamError::Register { address, reason });
    let (column, row) = ((address >> COLUMN_SHIFT) as usize, address >> ROW_SHIFT & 0x1f);
    if column >= target.columns() {
        return refuse(format!("there is no column {column} in {target}"));
    }
    if row != 0 {
        return refuse(format!("row {row} is no shim tile; streams write to those only"));
    }
    let offset = address & 0xf_ffff;
    let descriptors = DESCRIPTOR_BASE..DESCRIPTOR_BASE + DESCRIPTOR_BYTES * DESCRIPTORS as u32;
    if !offset.is_multiple_of(4) {
        return refuse("it is not at a whole word".into());
    }
    if descriptors.contains(&offset) {
        let (descriptor, byte) =
            ((offset - DESCRIPTOR_BASE) / DESCRIPTOR_BYTES, (offset - DESCRIPTOR_BASE) % DESCRIPTOR_BYTES);
        return Ok(Register::Descriptor { column, descriptor: descriptor as usize, word: byte as usize / 4 });
    }
    for direction in [Direction::S2mm, Direction::Mm2s] {
        for channel in 0..2 {
            let channel = Channel { column, direction, channel };
            if offset == control(channel) {
                return Ok(Register::Control(channel));
            }
            if offset == control(channel) + 4 {
                return Ok(Register::Queue(channel));
            }
        }
    }
    refuse("streams do not write it".into())
}

/// The eight words of a descriptor, but for the address, which a patch sets.
pub(super) fn descriptor_words(transfer: &Transfer, target: Target) -> [u32; DESCRIPTOR_WORDS] {
    // Longest bursts that the target's shim knows, as mlir-aie does by default.
    let burst = match target {
        Target::Npu1 => 2,
        Target::Npu4 => 3,
    };
    // Lets the interconnect merge bursts.
    let cache = 2;
    let [wrap0, wrap1] = transfer.wraps;
    let [step0, step1, step2] = transfer.steps.map(|step| step - 1);
    [
        transfer.length,
        0,
        0,
        wrap0 << 20 | step0,
        burst << 30 | wrap1 << 20 | step1,
        cache << 24 | step2,
        (transfer.iterations - 1) << 20 | (transfer.iteration_step - 1),
        VALID,
    ]
}

const VALID: u32 = 1 << 25;

/// What a descriptor's words say of a transfer.
///
/// # Errors
/// What they say that the designs do not use: an address of its own, packets, locks, a next descriptor, a started
/// iteration.
pub(super) fn transfer(
    words: &[u32; DESCRIPTOR_WORDS],
    argument: Argument,
    offset: u32,
) -> Result<Transfer, &'static str> {
    let [length, low, packet, d0, d1, d2, iteration, flags] = *words;
    if flags & VALID == 0 {
        return Err("it is not marked as valid");
    }
    let unused = [
        (low, "it has an address beside the patched one"),
        (packet, "it has an upper address or a packet header"),
        (d0 >> 30, "reserved bits of dimension 0 are set"),
        (d2 >> 20 & 0xf, "it has a priority"),
        (d2 >> 28, "it has a stream identifier"),
        (iteration >> 26, "its iteration does not start at 0"),
        (flags & !VALID, "it takes locks or goes on to another descriptor"),
    ];
    if let Some((_, reason)) = unused.iter().find(|(bits, _)| *bits != 0) {
        return Err(reason);
    }
    let step = |word: u32| (word & 0xf_ffff) + 1;
    let wrap = |word: u32| word >> 20 & 0x3ff;
    Ok(Transfer {
        argument,
        offset: offset.into(),
        length,
        wraps: [wrap(d0), wrap(d1)],
        steps: [step(d0), step(d1), step(d2)],
        iterations: (iteration >> 20 & 0x3f) + 1,
        iteration_step: step(iteration),
    })
}

/// A task as a queue takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Push {
    pub descriptor: usize,
    /// Times after the first.
    pub repeats: u32,
    /// Whether a token says that it is done.
    pub token: bool,
}

impl Push {
    pub fn word(self) -> u32 {
        u32::from(self.token) << 31 | self.repeats << 16 | self.descriptor as u32
    }

    /// # Errors
    /// If bits are set that have no meaning.
    pub fn read(word: u32) -> Result<Self, &'static str> {
        if word & 0x7f00_fff0 != 0 {
            return Err("the task has bits set that mean nothing");
        }
        Ok(Self { descriptor: (word & 0xf) as usize, repeats: word >> 16 & 0xff, token: word >> 31 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::npu::access::{MOST_ITERATIONS, MOST_STEP, MOST_WRAP};

    /// Most repeats of one task, beside its first time.
    const MOST_REPEATS: u32 = 255;

    #[test]
    fn addresses_are_those_of_the_reference() {
        let channel = |column, direction, channel| Channel { column, direction, channel };
        assert_eq!(descriptor_address(2, 3), 0x0401_d060);
        assert_eq!(patch_address(0, 15), 0x1_d1e4);
        assert_eq!(control_address(channel(0, Direction::S2mm, 0)), 0x1_d200);
        assert_eq!(queue_address(channel(0, Direction::S2mm, 1)), 0x1_d20c);
        assert_eq!(queue_address(channel(1, Direction::Mm2s, 0)), 0x0201_d214);
        assert_eq!(queue_address(channel(7, Direction::Mm2s, 1)), 0x0e01_d21c);
    }

    #[test]
    fn every_register_has_one_address() {
        let mut seen = 0;
        for address in (0..0x20_0000u32).step_by(4) {
            match register(address, Target::Npu1) {
                Ok(Register::Descriptor { column, descriptor, word }) => {
                    assert_eq!(descriptor_address(column, descriptor) + 4 * word as u32, address);
                    seen += 1;
                }
                Ok(Register::Control(channel)) => assert_eq!(control_address(channel), address),
                Ok(Register::Queue(channel)) => assert_eq!(queue_address(channel), address),
                Err(error) => assert!(matches!(error, StreamError::Register { .. })),
            }
        }
        assert_eq!(seen, DESCRIPTORS * DESCRIPTOR_WORDS);
        let refused = |address| register(address, Target::Npu1).unwrap_err().to_string();
        assert!(refused(descriptor_address(4, 0)).contains("no column 4 in npu1"));
        assert!(refused(0x0011_d000).contains("row 1"));
        assert!(refused(0x0001_d001).contains("whole word"));
    }

    proptest! {
        #[test]
        fn transfers_survive_their_words(
            length in 1u32.., offset in any::<u32>(), w0 in 0..=MOST_WRAP, w1 in 0..=MOST_WRAP, steps in [1..=MOST_STEP, 1..=MOST_STEP, 1..=MOST_STEP],
            iterations in 1..=MOST_ITERATIONS, iteration_step in 1..=MOST_STEP, four in any::<bool>(),
        ) {
            let wraps = [w0, if w0 == 0 { 0 } else { w1 }];
            let meant = Transfer { argument: Argument::B, offset: u64::from(offset & !3), length, wraps, steps, iterations, iteration_step };
            prop_assert!(meant.check().is_ok());
            let words = descriptor_words(&meant, Target::ALL[usize::from(four)]);
            prop_assert_eq!(transfer(&words, Argument::B, offset & !3), Ok(meant));
        }

        #[test]
        fn tasks_survive_their_word(descriptor in 0..DESCRIPTORS, repeats in 0..=MOST_REPEATS, token in any::<bool>()) {
            let task = Push { descriptor, repeats, token };
            prop_assert_eq!(Push::read(task.word()), Ok(task));
        }

        #[test]
        fn any_words_are_read_or_refused(words in any::<[u32; 8]>(), task in any::<u32>()) {
            let _ = transfer(&words, Argument::A, 0);
            let _ = Push::read(task);
        }
    }
}
