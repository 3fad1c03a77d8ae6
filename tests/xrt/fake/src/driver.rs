//! The driver: what a client made, and the rules under which it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use undertone_kernels::npu::Target;

use crate::Errno;
use crate::engine::{Engine, Reach};
use crate::faults::Fault;
use crate::memory::Memory;
use crate::objects::{Bo, HEAP_CHUNK, HEAP_MOST, Heap, Kind, NO_ADDRESS, PAGE};
use crate::packet::{self, Packet};
use crate::queue::{Job, Queue};
use crate::timeline::Timeline;
use crate::world::{World, lock};

/// A program that opened the device.
pub struct Client {
    /// The device.
    pub world: &'static World,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<u32, Arc<Bo>>,
    heap: Heap,
    contexts: BTreeMap<u32, Context>,
    syncobjs: BTreeMap<u32, Arc<Timeline>>,
    /// The last number given to anything; numbers are never used twice, so that a stale one is found out.
    last: u32,
    /// Where the next object can be mapped.
    end: u64,
}

impl Inner {
    fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn object(&self, handle: u32) -> Result<Arc<Bo>, Errno> {
        self.objects.get(&handle).cloned().ok_or(libc::ENOENT)
    }
}

/// A hardware context.
struct Context {
    units: Vec<Arc<Engine>>,
    queue: Queue,
}

/// What is known about a context.
pub struct ContextState {
    /// Its number.
    pub handle: u32,
    /// Submissions so far.
    pub submitted: u64,
    /// Those that are done.
    pub completed: u64,
}

/// A command for a context.
pub struct Submission {
    /// The context.
    pub context: u32,
    /// The object that holds the packet.
    pub command: u32,
    /// Objects that the command names.
    pub reach: Vec<u32>,
}

impl Client {
    /// One that made nothing yet.
    pub fn new(world: &'static World) -> Self {
        Self { world, inner: Mutex::default() }
    }

    /// Makes a buffer object; of the program's own memory, if it gives an address and a length.
    ///
    /// # Errors
    /// `ENOMEM`; `EAGAIN` if the heap has no room left; `EINVAL` for what is not one.
    ///
    /// # Safety
    /// The program's memory stays valid until the object is closed.
    #[allow(unsafe_code)]
    pub unsafe fn create_object(&self, kind: u32, bytes: u64, program: Option<(u64, u64)>) -> Result<u32, Errno> {
        let kind = Kind::from_number(kind).ok_or(libc::EINVAL)?;
        if self.world.fault(&[Fault::NoMemory]).is_some() {
            return Err(libc::ENOMEM);
        }
        let bytes = program.map_or(bytes, |(_, bytes)| bytes);
        if bytes == 0 || bytes > 1 << 40 {
            return Err(libc::EINVAL);
        }
        let new = |bytes: u64, incoherent| {
            Memory::new(bytes.next_multiple_of(PAGE) as usize, incoherent).map(Arc::new).map_err(|_| libc::ENOMEM)
        };
        let mut inner = lock(&self.inner);
        let mut device_address = NO_ADDRESS;
        let mut start = 0;
        let memory = match (kind, program) {
            (Kind::Share, Some((address, bytes))) => {
                if !address.is_multiple_of(PAGE) {
                    return Err(libc::EINVAL);
                }
                // SAFETY: the caller's promise.
                Arc::new(unsafe { Memory::of_program(address, bytes as usize) })
            }
            (_, Some(_)) => return Err(libc::EINVAL),
            (Kind::Share, None) => new(bytes, self.world.incoherent)?,
            // The kernel driver reads these itself, with the CPU.
            (Kind::Cmd, None) => new(bytes, false)?,
            (Kind::Heap, None) => {
                if !bytes.is_multiple_of(HEAP_CHUNK) || inner.heap.bytes() + bytes > HEAP_MOST {
                    return Err(libc::EINVAL);
                }
                let memory = new(bytes, self.world.incoherent)?;
                device_address = inner.heap.grow(Arc::clone(&memory));
                memory
            }
            (Kind::Dev, None) => {
                let (address, memory, at) = inner.heap.cut(bytes).ok_or(libc::EAGAIN)?;
                (device_address, start) = (address, at);
                memory
            }
        };
        let handle = inner.number();
        // What lies in the heap, or is the program's already, is not mapped by itself.
        let map_offset = if kind == Kind::Dev || program.is_some() {
            NO_ADDRESS
        } else {
            let offset = PAGE + inner.end;
            inner.end = offset + bytes.next_multiple_of(PAGE);
            offset
        };
        let mapped_at = AtomicU64::new(0);
        let object = Bo { handle, kind, memory, start, bytes: bytes as usize, device_address, map_offset, mapped_at };
        inner.objects.insert(handle, Arc::new(object));
        drop(inner);
        self.world.count(|counters| {
            counters.buffers += 1;
            counters.buffers_made += 1;
            counters.buffer_bytes += bytes;
        });
        Ok(handle)
    }

    /// Closes a buffer object. Commands that use it keep its memory until they are done.
    ///
    /// # Errors
    /// `EINVAL` if there is none of that number.
    pub fn close_object(&self, handle: u32) -> Result<(), Errno> {
        let mut inner = lock(&self.inner);
        let object = inner.objects.remove(&handle).ok_or(libc::EINVAL)?;
        match object.kind {
            Kind::Dev => inner.heap.give_back(object.device_address),
            Kind::Heap if inner.heap.is_idle() => inner.heap.clear(),
            _ => {}
        }
        drop(inner);
        self.world.count(|counters| {
            counters.buffers -= 1;
            counters.buffer_bytes -= object.bytes as u64;
        });
        Ok(())
    }

    /// A buffer object.
    ///
    /// # Errors
    /// `ENOENT` if there is none of that number.
    pub fn object(&self, handle: u32) -> Result<Arc<Bo>, Errno> {
        lock(&self.inner).object(handle)
    }

    /// The object that is mapped at an offset.
    pub fn at_offset(&self, offset: u64) -> Option<Arc<Bo>> {
        let inner = lock(&self.inner);
        inner.objects.values().find(|object| object.map_offset == offset && offset != NO_ADDRESS).cloned()
    }

    /// Brings bytes of an object to the device (direction 0) or back (1).
    ///
    /// # Errors
    /// `ENOENT`, or `EINVAL` for bytes beyond its end.
    pub fn sync(&self, handle: u32, direction: u32, offset: u64, bytes: u64) -> Result<(), Errno> {
        let object = self.object(handle)?;
        let within = offset.checked_add(bytes).is_some_and(|end| end <= object.bytes as u64);
        if !within || direction > 1 {
            return Err(libc::EINVAL);
        }
        object.memory.sync(direction == 0, object.start + offset as usize, bytes as usize);
        Ok(())
    }

    /// Makes a context for so many cores; gives its number and that of its timeline.
    ///
    /// # Errors
    /// `EINVAL` if there are too many, or the array has fewer columns; `ENOENT` without a heap.
    pub fn create_context(&self, cores: u32) -> Result<(u32, u32), Errno> {
        let columns = cores as usize / Target::ROWS;
        let target = self.world.target;
        if columns == 0 || columns > target.columns() || !(cores as usize).is_multiple_of(Target::ROWS) {
            self.world.log(&format!("a context for {cores} cores; {target} has {}", target.cores()));
            return Err(libc::EINVAL);
        }
        // As many as the driver's tables say for each silicon.
        let most = target.contexts().unwrap_or(16) as u64;
        if self.world.counters().contexts >= most || self.world.fault(&[Fault::Contexts]).is_some() {
            return Err(libc::EINVAL);
        }
        let mut inner = lock(&self.inner);
        if inner.heap.bytes() == 0 {
            return Err(libc::ENOENT);
        }
        let (handle, syncobj) = (inner.number(), inner.number());
        let timeline = Arc::new(Timeline::default());
        inner.syncobjs.insert(syncobj, Arc::clone(&timeline));
        inner.contexts.insert(handle, Context { units: Vec::new(), queue: Queue::start(self.world, timeline) });
        drop(inner);
        self.world.count(|counters| {
            counters.contexts += 1;
            counters.contexts_made += 1;
        });
        Ok((handle, syncobj))
    }

    /// Gives a context's compute units their configurations.
    ///
    /// # Errors
    /// `EINVAL` if it has them already, or they are nothing that can be executed here.
    pub fn configure(&self, context: u32, objects: &[u32]) -> Result<(), Errno> {
        let mut inner = lock(&self.inner);
        let mut units = Vec::new();
        for handle in objects {
            let object = inner.object(*handle)?;
            let bytes = object.memory.read_as_device(object.start, object.bytes).ok_or(libc::EINVAL)?;
            match Engine::from_configuration(&bytes, self.world.target) {
                Ok(engine) => units.push(Arc::new(engine)),
                Err(reason) => {
                    self.world.log(&format!("a configuration is refused: {reason}"));
                    return Err(libc::EINVAL);
                }
            }
        }
        let context = inner.contexts.get_mut(&context).ok_or(libc::EINVAL)?;
        if !context.units.is_empty() {
            return Err(libc::EINVAL);
        }
        context.units = units;
        Ok(())
    }

    /// Ends a context; commands that are not done are aborted.
    ///
    /// # Errors
    /// `EINVAL` if there is none of that number.
    pub fn destroy_context(&self, handle: u32) -> Result<(), Errno> {
        let context = lock(&self.inner).contexts.remove(&handle).ok_or(libc::EINVAL)?;
        // Waits for a command that is being executed: outside the lock.
        drop(context);
        self.world.count(|counters| counters.contexts -= 1);
        Ok(())
    }

    /// Forgets a timeline.
    ///
    /// # Errors
    /// `EINVAL` if there is none of that number.
    pub fn destroy_syncobj(&self, handle: u32) -> Result<(), Errno> {
        lock(&self.inner).syncobjs.remove(&handle).map(|_| ()).ok_or(libc::EINVAL)
    }

    /// Takes a command; gives the point of the timeline that its completion reaches.
    ///
    /// # Errors
    /// `EINVAL` or `ENOENT` for what is no command. A command whose arguments are wrong is taken, and fails.
    pub fn submit(&self, submission: Submission) -> Result<u64, Errno> {
        if self.world.fault(&[Fault::Refused]).is_some() {
            return Err(libc::EINVAL);
        }
        let mut inner = lock(&self.inner);
        let objects: Vec<Arc<Bo>> = inner.objects.values().cloned().collect();
        let named = submission.reach.iter().copied().collect::<BTreeSet<_>>();
        if let Some(unknown) = named.iter().find(|handle| !inner.objects.contains_key(handle)) {
            self.world.log(&format!("a command names object {unknown}, which does not exist"));
            return Err(libc::ENOENT);
        }
        let command = inner.object(submission.command)?;
        let commands = match self.packet(&command)? {
            start @ Packet::Start { .. } => vec![(Arc::clone(&command), start)],
            Packet::Chain { handles } => {
                let links = handles.into_iter().map(|handle| {
                    let link = inner.object(handle)?;
                    let packet = self.packet(&link)?;
                    Ok((link, packet))
                });
                links.collect::<Result<_, Errno>>()?
            }
        };
        let context = inner.contexts.get_mut(&submission.context).ok_or(libc::EINVAL)?;
        let mut work = Vec::new();
        for (link, packet) in commands {
            let Packet::Start { unit, arguments } = packet else {
                self.world.log("a chain in a chain");
                return Err(libc::EINVAL);
            };
            let Some(engine) = context.units.get(unit).cloned() else {
                self.world.log(&format!("compute unit {unit} was not configured"));
                return Err(libc::EINVAL);
            };
            work.push((link, engine, arguments));
        }
        self.world.count(|counters| {
            counters.submissions += 1;
            counters.pending += 1;
        });
        Ok(context.queue.push(|point| Job { point, command, work, reach: Reach { objects, named } }))
    }

    fn packet(&self, object: &Bo) -> Result<Packet, Errno> {
        if object.kind != Kind::Cmd {
            self.world.log(&format!("object {} is submitted and was not made for commands", object.handle));
            return Err(libc::EINVAL);
        }
        let bytes = object.memory.read(object.start, object.bytes).ok_or(libc::EINVAL)?;
        packet::parse(&bytes).map_err(|reason| {
            self.world.log(&format!("a packet is refused: {reason}"));
            libc::EINVAL
        })
    }

    /// Waits until a context's timeline reaches a point.
    ///
    /// # Errors
    /// `ETIME` if it takes longer, `ENODEV` if the device is lost meanwhile, `EINVAL` for what is no context.
    pub fn wait_context(&self, handle: u32, point: u64, until: Option<Instant>) -> Result<(), Errno> {
        let timeline = lock(&self.inner).contexts.get(&handle).map(|context| context.queue.timeline());
        timeline.ok_or(libc::EINVAL)?.wait(point, until, || self.world.lost())
    }

    /// The same for a timeline.
    ///
    /// # Errors
    /// As [`Client::wait_context`].
    pub fn wait_syncobj(&self, handle: u32, point: u64, until: Option<Instant>) -> Result<(), Errno> {
        let timeline = lock(&self.inner).syncobjs.get(&handle).cloned();
        timeline.ok_or(libc::ENOENT)?.wait(point, until, || self.world.lost())
    }

    /// Its contexts.
    pub fn context_states(&self) -> Vec<ContextState> {
        let inner = lock(&self.inner);
        let state = |(handle, context): (&u32, &Context)| ContextState {
            handle: *handle,
            submitted: context.queue.submitted(),
            completed: context.queue.timeline().reached(),
        };
        inner.contexts.iter().map(state).collect()
    }

    /// Cleans up what is left.
    pub fn end(&self) {
        let Inner { objects, contexts, .. } = std::mem::take(&mut *lock(&self.inner));
        let (count, bytes) = (objects.len() as u64, objects.values().map(|object| object.bytes as u64).sum::<u64>());
        let open = contexts.len() as u64;
        drop(contexts);
        self.world.count(|counters| {
            counters.contexts -= open;
            counters.buffers -= count;
            counters.buffer_bytes -= bytes;
        });
    }
}
