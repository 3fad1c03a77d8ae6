//! What executes a command: for the design that the loaded configuration stands for, the simulator.
//!
//! On silicon the configuration (PDI) holds the cores' programs. Without their compiler there are none, so the
//! containers that tests make hold a stand-in: a first line that says so, then the design, or the trial array, as JSON;
//! or the word `add`,
//! for tests of the driver itself: C = A + B, byte by byte, as many as the instruction stream's second word says.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;

use undertone_kernels::ScopedThreads;
use undertone_kernels::npu::sim::{self, Mode};
use undertone_kernels::npu::{Design, Target, Trial};

use crate::fields;
use crate::objects::{Bo, Kind};

/// First line of a stand-in for a configuration.
pub const STAND_IN: &[u8] = b"undertone stand-in for a PDI\n";
/// Where the buffers' addresses begin among a command's arguments.
const FIRST_BUFFER: usize = 20;
/// Buffers that a kernel has to declare: a command with room for fewer makes the firmware abort its run list
/// (`kMinHostBOs` of mlir-aie's `tools/aiecc/SidecarFiles.h`).
const LEAST_BUFFERS: usize = 5;
/// First word of an instruction stream for `add`.
const ADD: u32 = 0x0add_0add;

/// Executes commands.
pub enum Engine {
    /// C = A + B.
    Add,
    /// What the design computes.
    Design(Box<Design>),
    /// What the trial array does.
    Trial(Box<Trial>),
}

/// Memory that a command may touch.
pub struct Reach {
    /// The client's objects.
    pub objects: Vec<Arc<Bo>>,
    /// Numbers of those that the command named: the driver holds only these in place.
    pub named: BTreeSet<u32>,
}

impl Reach {
    /// The object and its byte that the device sees at an address.
    fn find(&self, what: &str, kind: Kind, address: u64) -> Result<(&Bo, usize), String> {
        // Objects cut from the heap lie in the heap's own: the kind tells them apart.
        let mut hits = self.objects.iter().filter(|object| object.kind == kind);
        let hit = hits.find_map(|object| object.offset_of(address).map(|offset| (&**object, offset)));
        let (object, offset) = hit.ok_or_else(|| format!("{what} at {address:#x} is in no {kind:?} object"))?;
        if !self.named.contains(&object.handle) {
            return Err(format!("{what} is in object {}, which the command does not name", object.handle));
        }
        Ok((object, offset))
    }
}

impl Engine {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If it is no stand-in, or its design is not for this silicon.
    pub fn from_configuration(bytes: &[u8], target: Target) -> Result<Self, String> {
        let text = bytes.strip_prefix(STAND_IN).ok_or("it is no stand-in: only the silicon can execute it")?;
        // A container pads.
        let text = text.trim_ascii_end();
        let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = text[..end].trim_ascii();
        if text == b"add" {
            return Ok(Engine::Add);
        }
        let said: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let (engine, made_for) = if said.get("kind").is_some() {
            let trial: Trial = serde_json::from_value(said).map_err(|error| format!("its trial array: {error}"))?;
            trial.check()?;
            let made_for = trial.target;
            (Engine::Trial(Box::new(trial)), made_for)
        } else {
            let design: Design = serde_json::from_value(said).map_err(|error| format!("its design: {error}"))?;
            design.check().map_err(|error| error.to_string())?;
            let made_for = design.target;
            (Engine::Design(Box::new(design)), made_for)
        };
        match made_for == target {
            true => Ok(engine),
            false => Err(format!("it is for {made_for}, and this is {target}")),
        }
    }

    /// Executes a command with its arguments: opcode, instruction stream, its words, A, B, C; on an array with a fault,
    /// if one is asked for. Gives the seconds that it takes on silicon at least.
    ///
    /// # Errors
    /// The first argument that is wrong, and how; or what the simulator says.
    pub fn execute(&self, arguments: &[u8], reach: &Reach, fault: Option<sim::Fault>) -> Result<f64, String> {
        let slots = arguments.len().saturating_sub(FIRST_BUFFER) / 8;
        if slots < LEAST_BUFFERS {
            return Err(format!("the kernel declares {slots} buffers: the firmware wants {LEAST_BUFFERS} or more"));
        }
        let opcode = fields::u64(arguments, 0);
        if opcode != 3 {
            return Err(format!("opcode {opcode}, not 3 (run an instruction stream)"));
        }
        let count = fields::u32(arguments, 16) as usize;
        let (stream, offset) = reach.find("the instruction stream", Kind::Dev, fields::u64(arguments, 8))?;
        let room = stream.bytes - offset;
        if count == 0 || count > room / 4 {
            return Err(format!("{count} words of instructions in a buffer with {room} bytes"));
        }
        let words = stream.memory.read_as_device(stream.start + offset, 4 * count).ok_or("the stream has moved")?;
        let words: Vec<u32> = (0..count).map(|index| fields::u32(&words, 4 * index)).collect();

        let mut places: Vec<(&Bo, usize)> = Vec::new();
        for (index, name) in ["A", "B", "C"].into_iter().enumerate() {
            let (object, offset) = reach.find(name, Kind::Share, fields::u64(arguments, FIRST_BUFFER + 8 * index))?;
            if places.iter().any(|(other, _)| other.handle == object.handle) {
                return Err(format!("{name} lies in the same buffer as another argument"));
            }
            places.push((object, offset));
        }
        if arguments.get(FIRST_BUFFER + 3 * 8..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
            return Err("there are arguments after C".into());
        }
        let mut buffers = Vec::new();
        for (object, offset) in places {
            // SAFETY: three different objects, each with memory of its own, and nothing else executes on them: the
            // program must not touch them until the command is done.
            let bytes = unsafe { object.memory.device_bytes(object.start + offset, object.bytes - offset) };
            buffers.push(bytes.ok_or("a buffer has moved")?);
        }
        let [a, b, c] = &mut buffers[..] else { return Err("not three buffers".into()) };
        match self {
            Engine::Add => add(&words, a, b, c).map(|()| 0.0),
            Engine::Design(design) => {
                let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
                sim::execute_faulty(design, &words, [a, b], c, Mode::Fast, &ScopedThreads(threads), fault)
                    .map(|report| least_seconds(design, &report.core_macs))
                    .map_err(|error| format!("{design}: {error}"))
            }
            Engine::Trial(trial) => sim::execute_trial(trial, &words, [a, b], c, fault)
                .map(|_| 0.0)
                .map_err(|error| format!("{trial}: {error}")),
        }
    }
}

/// What the busiest core's products take if it never waits.
fn least_seconds(design: &Design, core_macs: &[u64]) -> f64 {
    let Design { target, kernels, .. } = design;
    let busiest = core_macs.iter().max().copied().unwrap_or(0);
    busiest as f64 / (target.macs(*kernels) as f64 * target.clock())
}

fn add(words: &[u32], a: &[u8], b: &[u8], c: &mut [u8]) -> Result<(), String> {
    let &[ADD, bytes] = words else { return Err(format!("{words:x?} is no stream for \"add\"")) };
    let bytes = bytes as usize;
    let (Some(a), Some(b), Some(c)) = (a.get(..bytes), b.get(..bytes), c.get_mut(..bytes)) else {
        return Err(format!("{bytes} bytes do not fit the buffers"));
    };
    for (c, (a, b)) in c.iter_mut().zip(a.iter().zip(b)) {
        *c = a.wrapping_add(*b);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_core_says_how_long_a_command_takes() {
        use undertone_kernels::npu::Kernels;
        let design = Design::shipped(Target::Npu1, Kernels::Int8).unwrap();
        let second = design.target.macs(design.kernels) as u64 * 1_000_000_000;
        assert_eq!(least_seconds(&design, &[second, 3 * second, 0]), 3.0);
        assert!(least_seconds(&design, &[3 * second]) > crate::queue::WATCHDOG.as_secs_f64());
    }

    #[test]
    fn fewer_than_five_buffers_are_refused() {
        let reach = Reach { objects: Vec::new(), named: BTreeSet::new() };
        let said = |buffers: usize| {
            let mut arguments = vec![0; FIRST_BUFFER + 8 * buffers];
            arguments[0] = 3;
            Engine::Add.execute(&arguments, &reach, None).unwrap_err()
        };
        assert!(said(3).contains("declares 3 buffers"), "{}", said(3));
        assert!(said(4).contains("declares 4 buffers"), "{}", said(4));
        assert!(said(5).contains("the instruction stream at"), "{}", said(5));
    }
}
