//! What a stream makes the shim tiles do: a model of their registers, to which operations are applied.

use super::{
    Op, StreamError, decode,
    registers::{CONTROLLER, CONTROLLER_MASK, DESCRIPTOR_WORDS, Push, Register, register, transfer},
};
use crate::npu::{
    access::{DESCRIPTORS, Transfer},
    design::{Argument, Channel},
    target::Target,
};

/// What the array notices of a stream, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task goes into a channel's queue.
    Push {
        /// Which channel.
        channel: Channel,
        /// The buffer descriptor that it uses; not to be written again before the task is done.
        descriptor: usize,
        /// What that says at this moment.
        transfer: Transfer,
        /// How often the transfer is done again after the first time, `iteration` going on by one each time.
        repeats: u32,
        /// Whether a token says that it is done.
        token: bool,
    },
    /// The stream goes on when the channel has given one more token.
    Wait {
        /// Which channel.
        channel: Channel,
    },
}

/// The registers of all shim tiles.
#[derive(Clone, Debug)]
pub struct Shim {
    target: Target,
    columns: Vec<[Descriptor; DESCRIPTORS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Descriptor {
    words: [u32; DESCRIPTOR_WORDS],
    /// The kernel argument and its first byte there, once patched.
    address: Option<(Argument, u32)>,
}

impl Shim {
    /// Registers in which nothing was written yet.
    pub fn new(target: Target) -> Self {
        Self { target, columns: vec![[Descriptor::default(); DESCRIPTORS]; target.columns()] }
    }

    /// Executes one operation. A sync of several columns gives an event for each.
    ///
    /// # Errors
    /// A register that streams do not write; a task whose descriptor the designs would not use, or that the hardware
    /// can't do.
    pub fn apply(&mut self, op: &Op) -> Result<Vec<Event>, StreamError> {
        match *op {
            Op::Write { address, value } => {
                return Ok(self.write(address, value)?.into_iter().collect());
            }
            Op::BlockWrite { address, ref words } => {
                let mut events = Vec::new();
                for (index, value) in words.iter().enumerate() {
                    let address =
                        u32::try_from(index).ok().and_then(|index| address.checked_add(index.checked_mul(4)?));
                    let Some(address) = address else {
                        return Err(StreamError::Register {
                            address: u32::MAX,
                            reason: "a block write runs past the end".into(),
                        });
                    };
                    events.extend(self.write(address, *value)?);
                }
                return Ok(events);
            }
            Op::MaskWrite { address, value, mask } => {
                let Register::Control(_) = register(address, self.target)? else {
                    return Err(StreamError::Register { address, reason: "only control registers are masked".into() });
                };
                if (value, mask) != (CONTROLLER, CONTROLLER_MASK) {
                    let reason = format!("value {value:#x} with mask {mask:#x} is not the tokens' way");
                    return Err(StreamError::Register { address, reason });
                }
            }
            Op::Patch { address, argument, offset } => {
                let Register::Descriptor { column, descriptor, word: 1 } = register(address, self.target)? else {
                    return Err(StreamError::Register { address, reason: "it holds no address to patch".into() });
                };
                self.columns[column][descriptor].address = Some((argument, offset));
            }
            Op::Sync { column, row, direction, channel, columns, rows } => {
                let last = usize::from(column) + usize::from(columns);
                if row != 0 || rows != 1 || columns == 0 || channel > 1 || last > self.target.columns() {
                    let reason = format!(
                        "a sync names channel {channel} of columns {column}..{last}, rows {row}..{}; shim tiles have channels 0 and 1 and \
                         are row 0 of {} columns",
                        u16::from(row) + u16::from(rows),
                        self.target.columns()
                    );
                    return Err(StreamError::Register { address: u32::from(column) << 25, reason });
                }
                let channel = |column| Channel { column, direction, channel: channel.into() };
                return Ok((column.into()..last).map(|column| Event::Wait { channel: channel(column) }).collect());
            }
        }
        Ok(Vec::new())
    }

    fn write(&mut self, address: u32, value: u32) -> Result<Option<Event>, StreamError> {
        match register(address, self.target)? {
            Register::Descriptor { column, descriptor, word } => {
                let entry = &mut self.columns[column][descriptor];
                entry.words[word] = value;
                if word == 1 {
                    // The patched address is overwritten.
                    entry.address = None;
                }
                Ok(None)
            }
            Register::Control(_) => {
                Err(StreamError::Register { address, reason: "a control register is written with a mask only".into() })
            }
            Register::Queue(channel) => {
                let Push { descriptor, repeats, token } =
                    Push::read(value).map_err(|reason| StreamError::Register { address, reason: reason.into() })?;
                let refuse = |reason: String| StreamError::Descriptor { column: channel.column, descriptor, reason };
                let entry = &self.columns[channel.column][descriptor];
                let Some((argument, offset)) = entry.address else {
                    return Err(refuse("its address was not patched since it was written".into()));
                };
                let transfer = transfer(&entry.words, argument, offset).map_err(|reason| refuse(reason.into()))?;
                transfer.check().map_err(|error| refuse(error.to_string()))?;
                Ok(Some(Event::Push { channel, descriptor, transfer, repeats, token }))
            }
        }
    }
}

/// What a stream makes the shim tiles do.
///
/// # Errors
/// A malformed stream, or one that the designs would not use.
pub fn events(words: &[u32], target: Target) -> Result<Vec<Event>, StreamError> {
    let mut shim = Shim::new(target);
    let mut events = Vec::new();
    for op in decode(words, target)? {
        events.append(&mut shim.apply(&op)?);
    }
    Ok(events)
}
