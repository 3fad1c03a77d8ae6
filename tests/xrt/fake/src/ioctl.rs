//! The driver's calls (`drm/amdxdna_accel.h`, `drm/drm.h`) as they come from a program: numbers at fixed places of a
//! structure.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_ulong, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use crate::driver::{Client, Submission};
use crate::fields::{self, Fields};
use crate::{Errno, info, world};

/// Largest structure of these calls.
const LARGEST: usize = 256;
/// Most bytes that one pointer in them leads to.
const MOST_POINTED: usize = 1 << 20;

/// Answers a call on the device node.
///
/// # Errors
/// The `errno` that the kernel would give.
///
/// # Safety
/// `argument` leads to as many bytes as `request` says; pointers in there lead to as many as their counts say.
pub unsafe fn answer(fd: c_int, request: c_ulong, argument: *mut c_void) -> Result<(), Errno> {
    let world = world::world().ok_or(libc::ENODEV)?;
    let client = world.client(fd).ok_or(libc::EBADF)?;
    let (number, kind, size) = (request & 0xff, request >> 8 & 0xff, (request >> 16 & 0x3fff) as usize);
    if kind != u64::from(b'd') || size > LARGEST || argument.is_null() {
        return Err(libc::ENOTTY);
    }
    if world.lost() {
        return Err(libc::ENODEV);
    }
    let mut bytes = [0; LARGEST];
    // SAFETY: the caller's promise; the copy has room.
    unsafe { ptr::copy_nonoverlapping(argument.cast::<u8>(), bytes.as_mut_ptr(), size) };
    let result = dispatch(&client, number, &mut Fields(&mut bytes[..size]));
    if let Err(errno) = result {
        world.log(&format!("call {number:#x} is answered with errno {errno}"));
    }
    // SAFETY: as above. The kernel copies back also after an error.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), argument.cast::<u8>(), size) };
    result
}

/// Bytes of the program's that a structure points to.
fn pointed(address: u64, bytes: usize) -> Result<Vec<u8>, Errno> {
    if bytes > MOST_POINTED {
        return Err(libc::EINVAL);
    }
    if address == 0 {
        return Err(libc::EFAULT);
    }
    let mut copy = vec![0; bytes];
    // SAFETY: the program's structure says that so many bytes are there (`answer`).
    unsafe { ptr::copy_nonoverlapping(address as *const u8, copy.as_mut_ptr(), bytes) };
    Ok(copy)
}

/// Writes where a structure points to.
fn answer_at(address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if address == 0 {
        return Err(libc::EFAULT);
    }
    // SAFETY: the program's structure says that so many bytes are there (`answer`).
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    Ok(())
}

fn dispatch(client: &Client, number: c_ulong, call: &mut Fields<'_>) -> Result<(), Errno> {
    match number {
        0x09 => client.close_object(call.u32(0)),
        0x2d | 0x2e => Err(libc::EOPNOTSUPP),
        0x40 => {
            let (context, syncobj) = client.create_context(call.u32(36))?;
            call.set_u32(44, u32::MAX);
            call.set_u32(48, context);
            call.set_u32(52, syncobj);
            Ok(())
        }
        0x41 => client.destroy_context(call.u32(0)),
        0x42 => match call.u32(4) {
            0 => {
                let units = pointed(call.u64(8), call.u32(16) as usize)?;
                let count =
                    usize::from(units.first().copied().unwrap_or(0)) + 256 * usize::from(*units.get(1).unwrap_or(&0));
                if count == 0 || units.len() < 8 + 8 * count {
                    return Err(libc::EINVAL);
                }
                let objects = (0..count).map(|unit| fields::u32(&units, 8 + 8 * unit)).collect::<Vec<_>>();
                client.configure(call.u32(0), &objects)
            }
            _ => Err(libc::EOPNOTSUPP),
        },
        0x43 => {
            let table = call.u64(8);
            let program = if table == 0 { None } else { Some(one_range(table)?) };
            // SAFETY: a range that the program gave stays its own until it closes the object, by the driver's contract.
            let handle = unsafe { client.create_object(call.u32(24), call.u64(16), program)? };
            call.set_u32(28, handle);
            Ok(())
        }
        0x44 => {
            let object = client.object(call.u32(16))?;
            call.set_u64(24, object.map_offset);
            call.set_u64(32, object.memory.program_address().unwrap_or(0));
            call.set_u64(40, object.device_address);
            Ok(())
        }
        0x45 => client.sync(call.u32(0), call.u32(4), call.u64(8), call.u64(16)),
        0x46 => {
            let (kind, commands) = (call.u32(20), call.u32(40));
            if kind != 0 || commands != 1 {
                return Err(libc::EINVAL);
            }
            let count = call.u32(44) as usize;
            let named = if count == 0 { Vec::new() } else { pointed(call.u64(32), 4 * count)? };
            let reach: Vec<u32> = (0..count).map(|index| fields::u32(&named, 4 * index)).collect();
            let command = u32::try_from(call.u64(24)).map_err(|_| libc::EINVAL)?;
            let point = client.submit(Submission { context: call.u32(16), command, reach })?;
            call.set_u64(48, point);
            Ok(())
        }
        0x47 => {
            let answer = info::answer(client, call.u32(0), call.u32(4) as usize)?;
            answer_at(call.u64(8), &answer)?;
            call.set_u32(4, answer.len() as u32);
            Ok(())
        }
        // The power mode can be set, and changes nothing.
        0x48 if call.u32(0) == 0 => Ok(()),
        0x49 => {
            let limit = call.u32(4);
            let until = (limit != 0).then(|| Instant::now() + Duration::from_millis(limit.into()));
            client.wait_context(call.u32(0), call.u64(8), until)
        }
        0x4a => {
            let (size, count) = (call.u32(4) as usize, call.u32(8) as usize);
            let (answer, elements) = info::array(client, call.u32(0), size, count)?;
            if !answer.is_empty() {
                answer_at(call.u64(16), &answer)?;
            }
            call.set_u32(8, elements as u32);
            Ok(())
        }
        0xc0 => client.destroy_syncobj(call.u32(0)),
        0xca => {
            let count = call.u32(24) as usize;
            let (handles, points) = (pointed(call.u64(0), 4 * count)?, pointed(call.u64(8), 8 * count)?);
            let until = monotonic(call.u64(16) as i64);
            (0..count).try_for_each(|index| {
                client.wait_syncobj(fields::u32(&handles, 4 * index), fields::u64(&points, 8 * index), until)
            })
        }
        _ => Err(libc::EOPNOTSUPP),
    }
}

/// The only range of a table of the program's memory.
fn one_range(table: u64) -> Result<(u64, u64), Errno> {
    let table = pointed(table, 24)?;
    if fields::u32(&table, 4) != 1 {
        return Err(libc::EOPNOTSUPP);
    }
    Ok((fields::u64(&table, 8), fields::u64(&table, 16)))
}

/// A time of the monotonic clock, in nanoseconds; none for one that is not reached in years.
fn monotonic(nanoseconds: i64) -> Option<Instant> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let left = nanoseconds.saturating_sub(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec));
    (left < i64::MAX / 2).then(|| Instant::now() + Duration::from_nanos(left.max(0) as u64))
}
