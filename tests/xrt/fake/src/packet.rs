//! Command packets (`xrt/detail/ert.h`): a header word, then what the command is about.

use crate::fields;

/// States of a command (`ERT_CMD_STATE_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, and not yet submitted.
    New = 1,
    /// Done.
    Completed = 4,
    /// Failed.
    Error = 5,
    /// Given up, because one before it failed or because its context ended.
    Abort = 6,
    /// Ended by the driver's watchdog.
    Timeout = 8,
}

/// Bytes of the header.
pub const HEADER: usize = 4;

/// What a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Run a kernel.
    Start {
        /// Which of the context's compute units.
        unit: usize,
        /// Its arguments' bytes, as laid out by the container's description of the kernel.
        arguments: Vec<u8>,
    },
    /// Run several packets, one after another.
    Chain {
        /// Buffer objects that hold them.
        handles: Vec<u32>,
    },
}

const START_CU: u32 = 0;
const CHAIN: u32 = 19;
/// Bytes of a chain's description before the handles: count, submitted, failed, three reserved.
pub const CHAIN_HEAD: usize = 24;
/// Most commands of a chain: what fits into a firmware message.
const MOST_CHAINED: usize = 64;

/// The header with another state.
pub fn with_state(header: u32, state: State) -> u32 {
    header & !0xf | state as u32
}

/// Reads a packet.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Packet, String> {
    let header = fields::u32(bytes, 0);
    let (state, masks) = (header & 0xf, (header >> 10 & 3) as usize + 1);
    let (count, opcode) = ((header >> 12 & 0x7ff) as usize, header >> 23 & 0x1f);
    if state != State::New as u32 {
        return Err(format!("a submitted command is in state {state}, not new"));
    }
    let Some(payload) = bytes.get(HEADER..HEADER + 4 * count) else {
        return Err(format!("a packet of {count} words in a buffer of {} bytes", bytes.len()));
    };
    match opcode {
        START_CU => {
            let Some((units, arguments)) = payload.split_at_checked(4 * masks) else {
                return Err(format!("{masks} masks of compute units in {count} words"));
            };
            let bits = |word: usize| (0..32).filter(move |bit| fields::u32(units, 4 * word) >> bit & 1 == 1);
            let chosen: Vec<usize> = (0..masks).flat_map(|word| bits(word).map(move |bit| 32 * word + bit)).collect();
            match chosen[..] {
                [unit] => Ok(Packet::Start { unit, arguments: arguments.to_vec() }),
                _ => Err(format!("compute units {chosen:?} are chosen, not one")),
            }
        }
        CHAIN => {
            let commands = fields::u32(payload, 0) as usize;
            if payload.len() != CHAIN_HEAD + 8 * commands || !(1..=MOST_CHAINED).contains(&commands) {
                return Err(format!("a chain of {commands} commands in {count} words (1 to {MOST_CHAINED} can be)"));
            }
            let handles = (0..commands).map(|index| fields::u64(payload, CHAIN_HEAD + 8 * index));
            let handles: Result<_, _> = handles.map(u32::try_from).collect();
            handles.map(|handles| Packet::Chain { handles }).map_err(|_| "a chain names no buffer object".into())
        }
        other => Err(format!("opcode {other} is not spoken here (0: start, 19: chain)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(opcode: u32, state: u32, words: &[u32]) -> Vec<u8> {
        let header = state | (words.len() as u32) << 12 | opcode << 23;
        [header].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn packets_are_read() {
        let start = parse(&packet(START_CU, 1, &[4, 3, 0, 7])).unwrap();
        assert_eq!(start, Packet::Start { unit: 2, arguments: vec![3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0] });
        let chain = parse(&packet(CHAIN, 1, &[2, 0, 0, 0, 0, 0, 8, 0, 9, 0])).unwrap();
        assert_eq!(chain, Packet::Chain { handles: vec![8, 9] });
        assert_eq!(with_state(0x1231, State::Completed), 0x1234);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(wrong(&packet(START_CU, 4, &[1])).contains("state 4"));
        assert!(wrong(&packet(START_CU, 1, &[5])).contains("[0, 2]"));
        assert!(wrong(&packet(START_CU, 1, &[])).contains("masks"));
        assert!(wrong(&packet(START_CU, 1, &[1, 2])[..8]).contains("2 words"));
        assert!(wrong(&packet(CHAIN, 1, &[2, 0, 0, 0, 0, 0, 8, 0])).contains("2 commands"));
        assert!(wrong(&packet(CHAIN, 1, &[1, 0, 0, 0, 0, 0, 0, 1])).contains("no buffer object"));
        assert!(wrong(&packet(20, 1, &[1])).contains("opcode 20"));
        assert!(wrong(&[]).contains("state 0"));
    }
}
