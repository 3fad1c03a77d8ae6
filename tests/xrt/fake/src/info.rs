//! What a program can ask about the device.

use undertone_kernels::npu::Target;

use crate::Errno;
use crate::driver::Client;
use crate::fields::Fields;

/// Rows of tiles: shim, memory, cores.
const ROWS: u16 = 1 + 1 + Target::ROWS as u16;

/// Columns that the silicon has: npu1 has one more than its designs use.
fn columns(target: Target) -> u16 {
    match target {
        Target::Npu1 => 5,
        Target::Npu4 => 8,
    }
}

/// Answers `GET_INFO`: at most `size` bytes.
///
/// # Errors
/// `EOPNOTSUPP` for a question that is not answered here.
pub fn answer(client: &Client, question: u32, size: usize) -> Result<Vec<u8>, Errno> {
    let target = client.world.target;
    let mut bytes = vec![0; 256];
    let mut fields = Fields(&mut bytes);
    let length = match question {
        // The array: bytes of a column's status, columns, rows, version, and of each kind of tile rows, first row,
        // channels, locks, events.
        1 => {
            fields.set_u32(0, 0x10000);
            fields.set_u32(4, u32::from(columns(target)) | u32::from(ROWS) << 16);
            fields.set_u32(8, 2);
            fields.set_u32(12, 0);
            for (index, (rows, first, channels, locks)) in
                [(4, 2, 2, 16), (1, 1, 6, 64), (1, 0, 2, 16)].into_iter().enumerate()
            {
                fields.set_u32(16 + 16 * index, rows | first << 16);
                fields.set_u32(20 + 16 * index, channels | locks << 16);
            }
            64
        }
        // Version of the array's interface.
        2 => {
            fields.set_u32(0, 2);
            8
        }
        // Clocks: two names and frequencies, in MHz.
        3 => {
            let clock = (target.clock() / 1e6) as u32;
            for (index, name) in [b"MP-NPU Clock", b"H Clock\0\0\0\0\0"].into_iter().enumerate() {
                fields.0[24 * index..24 * index + name.len()].copy_from_slice(name);
                fields.set_u32(24 * index + 16, clock);
            }
            48
        }
        // Version of the firmware.
        8 => {
            for (index, part) in [1, 5, 5, 391].into_iter().enumerate() {
                fields.set_u32(4 * index, part);
            }
            16
        }
        // Power mode: default.
        9 => 8,
        _ => return Err(libc::EOPNOTSUPP),
    };
    bytes.truncate(length.min(size));
    Ok(bytes)
}

/// Answers `GET_ARRAY`: the bytes, and how many elements they are.
///
/// # Errors
/// `EOPNOTSUPP` for a question that is not answered here, `ENOSPC` if there is no room.
pub fn array(client: &Client, question: u32, size: usize, count: usize) -> Result<(Vec<u8>, usize), Errno> {
    // 0: all contexts; 1: the one whose number stands in the first element. Both are answered with all.
    if question > 1 {
        return Err(libc::EOPNOTSUPP);
    }
    let contexts = client.context_states();
    if contexts.len() > count {
        return Err(libc::ENOSPC);
    }
    let mut bytes = vec![0; size * contexts.len()];
    if size > 0 {
        for (element, state) in bytes.chunks_exact_mut(size).zip(&contexts) {
            let mut fields = Fields(element);
            fields.set_u32(0, state.handle);
            fields.set_u32(8, client.world.target.columns() as u32);
            fields.set_u32(12, state.handle);
            fields.set_u64(16, u64::from(std::process::id()));
            fields.set_u64(24, state.submitted);
            fields.set_u64(32, state.completed);
        }
    }
    Ok((bytes, contexts.len()))
}
