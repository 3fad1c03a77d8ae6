//! `xrt-sys` and its shim on the real XRT: what each fault of the device comes out as, and that nothing is left behind.

mod common;

use std::time::{Duration, Instant};

use common::{Fault, assert_nothing_open, count, log, path};
use xrt_sys::{CommandState, Context, Device, Error, Library, Memory, Run};

/// First word of the stream that the container's stand-in executes; the second is how many bytes it adds.
const ADD: u32 = 0x0add_0add;
const LIMIT: Duration = Duration::from_secs(20);

fn device() -> Device {
    Library::load().unwrap().open(0).unwrap()
}

fn container() -> Vec<u8> {
    std::fs::read(path("UNDERTONE_ADD_XCLBIN")).unwrap()
}

fn context(device: &Device) -> Context {
    device.context(&container()).unwrap()
}

/// How commands are started.
type Execute = fn(&mut Context, &mut [Run], Duration) -> Result<(), Error>;

fn in_a_list(context: &mut Context, runs: &mut [Run], limit: Duration) -> Result<(), Error> {
    context.execute(&mut runs.iter_mut().collect::<Vec<_>>(), limit)
}

fn alone(context: &mut Context, runs: &mut [Run], limit: Duration) -> Result<(), Error> {
    runs.iter_mut().try_for_each(|run| context.execute_alone(run, limit))
}

/// Executes C = A + B so many times in one list, and compares.
fn add(context: &mut Context, bytes: usize, times: usize, limit: Duration) -> Result<(), Error> {
    add_by(in_a_list, context, bytes, times, limit)
}

/// The same, started in some way.
fn add_by(execute: Execute, context: &mut Context, bytes: usize, times: usize, limit: Duration) -> Result<(), Error> {
    let mut stream = context.buffer(Memory::Instructions, 8)?;
    let words = [ADD, bytes as u32];
    stream.bytes_mut().copy_from_slice(&words.map(u32::to_le_bytes).concat());
    stream.sync_to_device()?;
    let (mut buffers, mut runs) = (Vec::new(), Vec::new());
    for time in 0..times {
        let mut arguments = Vec::new();
        for argument in 0..3 {
            let mut buffer = context.buffer(Memory::Argument(argument), bytes)?;
            for (index, byte) in buffer.bytes_mut().iter_mut().enumerate() {
                *byte = (index * (argument as usize + 3) + time) as u8;
            }
            buffer.sync_to_device()?;
            arguments.push(buffer);
        }
        let mut run = context.run()?;
        run.set(&stream, words.len() as u32, [&arguments[0], &arguments[1], &arguments[2]])?;
        runs.push(run);
        buffers.push(arguments);
    }
    execute(context, &mut runs, limit)?;
    for arguments in &mut buffers {
        arguments[2].sync_from_device()?;
        let sums = arguments[0].bytes().iter().zip(arguments[1].bytes()).map(|(a, b)| a.wrapping_add(*b));
        assert!(sums.eq(arguments[2].bytes().iter().copied()));
    }
    Ok(())
}

#[test]
fn lists_of_all_lengths_are_executed_and_nothing_is_left() {
    log();
    let device = device();
    let mut context = context(&device);
    for times in [1, 2, 24, 25, 70] {
        let before = (count("executed"), count("submissions"));
        add(&mut context, 4097, times, LIMIT).unwrap();
        assert_eq!(count("executed") - before.0, times as u64);
        // XRT hands a list over in pieces of 24.
        assert_eq!(count("submissions") - before.1, times.div_ceil(24) as u64);
    }
    drop((context, device));
    assert_nothing_open();
    assert_eq!(log(), "");
}

#[test]
fn commands_by_themselves_are_each_a_submission_and_nothing_is_left() {
    log();
    let device = device();
    let mut context = context(&device);
    for times in [1, 3] {
        let before = (count("executed"), count("submissions"));
        add_by(alone, &mut context, 4097, times, LIMIT).unwrap();
        assert_eq!((count("executed") - before.0, count("submissions") - before.1), (times as u64, times as u64));
    }
    drop((context, device));
    assert_nothing_open();
    assert_eq!(log(), "");
}

#[test]
fn a_container_with_fewer_than_five_buffers_is_refused() {
    let device = device();
    let three = std::fs::read(path("UNDERTONE_THREE_XCLBIN")).unwrap();
    let error = device.context(&three).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("fewer than 5 buffers"), "{error}");
    drop(device);
    assert_nothing_open();
}

#[test]
fn what_is_not_synced_is_seen_only_where_memory_is_coherent() {
    let coherent = std::env::var("UNDERTONE_FAKE_NPU_INCOHERENT").as_deref() != Ok("1");
    let device = device();
    let mut context = context(&device);
    let mut stream = context.buffer(Memory::Instructions, 8).unwrap();
    stream.bytes_mut().copy_from_slice(&[ADD, 3].map(u32::to_le_bytes).concat());
    stream.sync_to_device().unwrap();
    let mut buffers = [0, 1, 2].map(|argument| context.buffer(Memory::Argument(argument), 3).unwrap());
    buffers[0].bytes_mut().copy_from_slice(&[1, 2, 3]);
    buffers[0].sync_to_device().unwrap();
    buffers[1].sync_to_device().unwrap();
    buffers[1].bytes_mut().copy_from_slice(&[10, 20, 30]);
    let mut run = context.run().unwrap();
    run.set(&stream, 2, [&buffers[0], &buffers[1], &buffers[2]]).unwrap();
    context.execute(&mut [&mut run], LIMIT).unwrap();
    let before = buffers[2].bytes().to_vec();
    buffers[2].sync_from_device().unwrap();
    let (seen, unseen) = ([11, 22, 33], [1, 2, 3]);
    assert_eq!(buffers[2].bytes(), if coherent { seen } else { unseen });
    assert_eq!(before, if coherent { seen } else { [0; 3] });
    drop((run, buffers, stream, context, device));
    assert_nothing_open();
}

#[test]
fn a_failed_command_is_an_error_and_the_context_goes_on() {
    let device = device();
    let mut context = context(&device);
    for execute in [in_a_list, alone] {
        for (fault, state) in [("error", 5), ("abort", 6), ("error 3", 5)] {
            let fault = Fault::begin(fault);
            match add_by(execute, &mut context, 100, 6, LIMIT) {
                Err(Error::Command { state: CommandState(found), words }) => {
                    assert_eq!(found, state, "{words}");
                    assert!(words.contains("ERT_CMD_STATE_"), "{words}");
                }
                other => panic!("{other:?}"),
            }
            drop(fault);
            add_by(execute, &mut context, 100, 6, LIMIT).unwrap();
        }
    }
    drop((context, device));
    assert_nothing_open();
}

#[test]
fn a_command_that_never_ends_is_a_timeout_and_the_process_lives_on() {
    let device = device();
    let mut stuck = context(&device);
    let fault = Fault::begin("timeout");
    let start = Instant::now();
    let limit = Duration::from_millis(300);
    let error = add(&mut stuck, 100, 3, limit).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() >= limit && start.elapsed() < LIMIT, "{:?}", start.elapsed());
    // It takes no more, and says so at once.
    let error = add(&mut stuck, 100, 1, LIMIT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    drop(fault);
    drop(stuck);
    let mut next = context(&device);
    add(&mut next, 100, 3, LIMIT).unwrap();
    drop((next, device));
    assert_nothing_open();
}

#[test]
fn the_drivers_watchdog_ends_a_command_that_hangs() {
    let device = device();
    let mut context = context(&device);
    for execute in [in_a_list, alone] {
        let fault = Fault::begin("hang 0 1");
        let start = Instant::now();
        match add_by(execute, &mut context, 100, 3, LIMIT) {
            Err(Error::Command { state: CommandState::TIMEOUT, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() > Duration::from_millis(1900) && start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
        drop(fault);
        add(&mut context, 100, 3, LIMIT).unwrap();
    }
    drop((context, device));
    assert_nothing_open();
}

#[test]
fn a_refused_command_is_an_error_and_the_context_goes_on() {
    let device = device();
    let mut context = context(&device);
    for execute in [in_a_list, alone] {
        let fault = Fault::begin("refused");
        let error = add_by(execute, &mut context, 100, 3, LIMIT).unwrap_err().to_string();
        assert!(error.contains("EXEC_CMD"), "{error}");
        drop(fault);
        add_by(execute, &mut context, 100, 3, LIMIT).unwrap();
    }
    drop((context, device));
    assert_nothing_open();
}

#[test]
fn no_memory_is_an_error_that_says_so() {
    let device = device();
    let mut context = context(&device);
    let fault = Fault::begin("no-memory");
    let error = context.buffer(Memory::Argument(0), 1 << 20).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("Cannot allocate memory"), "{error}");
    drop(fault);
    add(&mut context, 100, 3, LIMIT).unwrap();
    drop((context, device));
    assert_nothing_open();
}

#[test]
fn one_context_more_than_the_silicon_has_is_an_error() {
    let device = device();
    let most = if count_of_columns() == 4 { 6 } else { 16 };
    let mut open: Vec<_> = (0..most).map(|_| context(&device)).collect();
    let error = device.context(&container()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("CREATE_HWCTX"), "{error}");
    for context in &mut open {
        add(context, 100, 1, LIMIT).unwrap();
    }
    open.pop();
    open.push(context(&device));
    drop((open, device));
    assert_nothing_open();
}

fn count_of_columns() -> usize {
    if std::env::var("UNDERTONE_FAKE_NPU_TARGET").as_deref() == Ok("npu4") { 8 } else { 4 }
}

#[test]
fn a_lost_device_is_an_error_everywhere_and_the_process_lives_on() {
    for execute in [in_a_list, alone] {
        let device = device();
        let mut context = context(&device);
        add(&mut context, 100, 1, LIMIT).unwrap();
        let fault = Fault::begin("lost");
        let error = add_by(execute, &mut context, 100, 1, LIMIT).unwrap_err();
        assert!(error.to_string().contains("No such device"), "{error}");
        // Gives back what it cannot give back any more.
        drop((context, device));
        drop(fault);
        let device = self::device();
        add(&mut self::context(&device), 100, 1, LIMIT).unwrap();
        drop(device);
    }
    assert_nothing_open();
}

#[test]
fn a_device_that_is_lost_while_a_command_runs_ends_the_wait() {
    let device = device();
    let mut context = context(&device);
    let hang = Fault::begin("timeout");
    let start = Instant::now();
    let losing = std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(200));
        Fault::begin("lost")
    });
    let error = add(&mut context, 100, 1, LIMIT).unwrap_err();
    assert!(!matches!(error, Error::Command { .. } | Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < LIMIT / 2, "{error} after {:?}", start.elapsed());
    let lost = losing.join().unwrap();
    drop((context, device));
    drop((hang, lost));
    assert_nothing_open();
}
