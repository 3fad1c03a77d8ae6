//! What the handles stand for: XRT's objects with what has to live as long as they do, counted.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
};

use cxx::UniquePtr;
use xrt_sys::table::{ARGUMENT, COMMAND, EXCEPTION, Failure, INSTRUCTIONS, Live, TIMEOUT};

use crate::{
    bridge::ffi,
    constants::{DATA_MEMORY, INSTRUCTION_MEMORY},
};

/// Argument of the kernel that holds the instruction stream; before it comes the opcode, after it the number of words.
const STREAM_ARGUMENT: i32 = 1;
/// Argument of the kernel that holds the design's first buffer.
const FIRST_BUFFER: i32 = 3;
/// Buffers that a kernel has to declare, bound or not: with fewer a run list aborts (`kMinHostBOs` of mlir-aie's
/// `tools/aiecc/SidecarFiles.h`).
const LEAST_BUFFERS: usize = 5;
/// Opcode of a command that executes an instruction stream.
const EXECUTE_STREAM: u64 = 3;
/// After a failure, how long to wait for the rest of a list to be given up, in milliseconds.
const GRACE: u32 = 1000;

/// A failure: kind, number, words.
pub struct Fault(pub u32, pub i32, pub String);

impl Fault {
    /// Into the caller's struct.
    pub fn tell(&self, failure: &mut Failure) {
        failure.say(self.0, self.1, &self.2);
    }

    fn argument(words: &str) -> Self {
        Self(ARGUMENT, 0, words.into())
    }
}

impl From<cxx::Exception> for Fault {
    /// From `kind|number|words`, as the bridge's header writes it.
    fn from(exception: cxx::Exception) -> Self {
        let text = exception.what();
        let mut parts = text.splitn(3, '|');
        let mut next = || parts.next().unwrap_or_default();
        match (next().parse(), next().parse(), next()) {
            (Ok(kind), Ok(number), words) => Self(kind, number, words.into()),
            _ => Self(EXCEPTION, 0, text.into()),
        }
    }
}

static DEVICES: AtomicU64 = AtomicU64::new(0);
static CONTEXTS: AtomicU64 = AtomicU64::new(0);
static BUFFERS: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Handles that exist now.
pub fn live() -> Live {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Live { devices: read(&DEVICES), contexts: read(&CONTEXTS), buffers: read(&BUFFERS), runs: read(&RUNS) }
}

/// One of a counter, for as long as it lives.
struct Counted(&'static AtomicU64);

impl Counted {
    fn one_of(counter: &'static AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many devices XRT sees.
pub fn device_count() -> Result<u32, Fault> {
    Ok(ffi::device_count()?)
}

/// A device.
pub struct Device {
    device: UniquePtr<ffi::device>,
    _counted: Counted,
}

impl Device {
    pub fn open(index: u32) -> Result<Self, Fault> {
        Ok(Self { device: ffi::open_device(index)?, _counted: Counted::one_of(&DEVICES) })
    }

    pub fn text(&self, which: u32) -> Result<String, Fault> {
        match which {
            0 => Ok(ffi::device_address(&self.device)?),
            1 => Ok(ffi::device_name(&self.device)?),
            _ => Err(Fault::argument("a device has an address (0) and a name (1)")),
        }
    }

    pub fn context(&self, xclbin: &[u8]) -> Result<Context, Fault> {
        let xclbin = ffi::read_xclbin(xclbin)?;
        let name = ffi::array_kernel(&xclbin)?;
        if name.is_empty() {
            return Err(Fault(EXCEPTION, 0, "the container has no kernel whose name begins with MLIR_AIE".into()));
        }
        if ffi::kernel_arguments(&xclbin, &name)? < FIRST_BUFFER as usize + LEAST_BUFFERS {
            let words = "the container declares fewer than 5 buffers, and the firmware would abort its run lists: \
                         make the bundle anew";
            return Err(Fault(EXCEPTION, 0, words.into()));
        }
        let hardware = ffi::open_context(&self.device, &xclbin)?;
        let kernel = ffi::open_kernel(&hardware, &name)?;
        let list = ffi::new_runlist(&hardware)?;
        let device = ffi::share_device(&self.device)?;
        Ok(Context { list, kernel, device, stuck: false, _hardware: hardware, _counted: Counted::one_of(&CONTEXTS) })
    }
}

/// A hardware context.
pub struct Context {
    // Fields are dropped in this order: first what refers to the context, at last the context.
    list: UniquePtr<ffi::runlist>,
    kernel: UniquePtr<ffi::kernel>,
    device: UniquePtr<ffi::device>,
    /// A time limit passed: the list may still be executing.
    stuck: bool,
    _hardware: UniquePtr<ffi::hw_context>,
    _counted: Counted,
}

impl Context {
    pub fn buffer(&self, memory: u32, bytes: usize) -> Result<(Buffer, *mut u8), Fault> {
        let (flags, argument) = match memory {
            INSTRUCTIONS => (INSTRUCTION_MEMORY, STREAM_ARGUMENT),
            0..=2 => (DATA_MEMORY, FIRST_BUFFER + memory as i32),
            _ => return Err(Fault::argument("a design has the arguments 0, 1 and 2")),
        };
        let group = self.kernel.group_id(argument)?;
        let mut buffer = ffi::new_buffer(&self.device, bytes, flags, group)?;
        let address = ffi::map_buffer(buffer.pin_mut())?;
        if address.is_null() {
            return Err(Fault(EXCEPTION, 0, "XRT mapped a buffer at address 0".into()));
        }
        Ok((Buffer { buffer, _counted: Counted::one_of(&BUFFERS) }, address))
    }

    pub fn run(&self) -> Result<Run, Fault> {
        Ok(Run { run: ffi::new_run(&self.kernel)?, counted: Some(Counted::one_of(&RUNS)), late: false })
    }

    /// All commands in one run list.
    pub fn execute<'a>(&mut self, runs: impl Iterator<Item = &'a Run>, milliseconds: u32) -> Result<(), Fault> {
        self.idle()?;
        let result = self.submit(runs, milliseconds);
        if !self.stuck && self.list.pin_mut().reset().is_err() {
            // A failed submission leaves the list as if it were executing, until it was waited for. What the wait says
            // is of no interest any more: if it threw, the list is idle as well.
            let _ = ffi::wait_runlist(&self.list, GRACE);
            self.stuck = self.list.pin_mut().reset().is_err();
        }
        result
    }

    /// One command by itself.
    pub fn execute_alone(&mut self, run: &mut Run, milliseconds: u32) -> Result<(), Fault> {
        self.idle()?;
        run.run.pin_mut().start()?;
        // 0 would wait for ever.
        let fault = match ffi::wait_run(&run.run, milliseconds.max(1)).map_err(Fault::from) {
            Ok(true) => return Ok(()),
            Ok(false) => Fault(TIMEOUT, 0, "the command is still executing".into()),
            Err(fault) => fault,
        };
        // Only a command that failed is done.
        self.stuck = fault.0 != COMMAND;
        run.late = self.stuck;
        Err(fault)
    }

    /// Whether nothing of it may still be executing.
    fn idle(&self) -> Result<(), Fault> {
        match self.stuck {
            true => Err(Fault(TIMEOUT, 0, "an earlier command of this context never ended".into())),
            false => Ok(()),
        }
    }

    fn submit<'a>(&mut self, runs: impl Iterator<Item = &'a Run>, milliseconds: u32) -> Result<(), Fault> {
        for run in runs {
            ffi::add_run(self.list.pin_mut(), &run.run)?;
        }
        self.list.pin_mut().execute()?;
        // 0 would wait for ever.
        let fault = match ffi::wait_runlist(&self.list, milliseconds.max(1)).map_err(Fault::from) {
            Ok(true) => return Ok(()),
            Ok(false) => Fault(TIMEOUT, 0, "the run list is still executing".into()),
            Err(fault) => fault,
        };
        // Only a command that failed is done.
        self.stuck = fault.0 != COMMAND;
        Err(fault)
    }
}

/// A buffer object.
pub struct Buffer {
    buffer: UniquePtr<ffi::bo>,
    _counted: Counted,
}

impl Buffer {
    pub fn sync(&self, to_device: bool, bytes: usize) -> Result<(), Fault> {
        Ok(ffi::sync_buffer(&self.buffer, to_device, bytes)?)
    }
}

/// A command.
pub struct Run {
    run: UniquePtr<ffi::run>,
    counted: Option<Counted>,
    /// It was started by itself, and its time limit passed.
    late: bool,
}

impl Drop for Run {
    /// XRT ends the process when a run is given back that was started by itself and is not done. Such a one stays, and
    /// keeps its context and buffers.
    fn drop(&mut self) {
        if self.late && !ffi::is_done(&self.run).unwrap_or(false) {
            mem::forget(mem::replace(&mut self.run, UniquePtr::null()));
            mem::forget(self.counted.take());
        }
    }
}

impl Run {
    pub fn set(&mut self, instructions: &Buffer, words: u32, arguments: [&Buffer; 3]) -> Result<(), Fault> {
        let mut run = self.run.pin_mut();
        ffi::set_number(run.as_mut(), 0, EXECUTE_STREAM)?;
        ffi::set_buffer(run.as_mut(), STREAM_ARGUMENT, &instructions.buffer)?;
        ffi::set_number(run.as_mut(), STREAM_ARGUMENT + 1, words.into())?;
        for (index, argument) in (FIRST_BUFFER..).zip(arguments) {
            ffi::set_buffer(run.as_mut(), index, &argument.buffer)?;
        }
        Ok(())
    }
}
