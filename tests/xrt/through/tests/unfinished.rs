//! A command that was started by itself and never ends: its process lives on, and what belongs to it stays. A program of
//! its own, which leaves the device open.

mod common;

use std::time::Duration;

use common::{Fault, path};
use xrt_sys::{Error, Library, Memory};

#[test]
fn a_command_by_itself_that_never_ends_stays_and_the_process_lives_on() {
    let library = Library::load().unwrap();
    let device = library.open(0).unwrap();
    let mut context = device.context(&std::fs::read(path("UNDERTONE_ADD_XCLBIN")).unwrap()).unwrap();
    let stream = context.buffer(Memory::Instructions, 8).unwrap();
    let buffers = [0, 1, 2].map(|argument| context.buffer(Memory::Argument(argument), 64).unwrap());
    let mut run = context.run().unwrap();
    run.set(&stream, 2, [&buffers[0], &buffers[1], &buffers[2]]).unwrap();
    let _fault = Fault::begin("timeout");
    let limit = Duration::from_millis(300);
    for limit in [limit, limit * 100] {
        // The second time it is said at once.
        let error = context.execute_alone(&mut run, limit).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    }
    drop((run, context));
    assert_eq!(library.live().runs, 1, "XRT ends a process that gives such a run back");
}
