//! XRT's numbers, from its C headers, and the proof that `xrt-sys` names them as this XRT does.

#[allow(non_camel_case_types, non_upper_case_globals, dead_code, missing_docs, reason = "generated from C")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/constants.rs"));
}

use std::ffi::CStr;

use xrt_sys::CommandState;

/// XRT's version, as its header tells it.
pub const BUILT_AGAINST: &CStr = match CStr::from_bytes_until_nul(generated::xrt_build_version) {
    Ok(version) => version,
    Err(_) => c"unknown",
};

/// Memory for instruction streams: the host writes it through its cache.
pub const INSTRUCTION_MEMORY: u32 = generated::XCL_BO_FLAGS_CACHEABLE;

/// Memory for data: in the host's memory, where the array's DMA reaches it.
pub const DATA_MEMORY: u32 = generated::XRT_BO_FLAGS_HOST_ONLY;

/// `left` and `right`, compared while compiling.
const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index == left.len() && index == right.len()
}

/// Each state's name and number against the header's.
macro_rules! states {
    ($($name:ident = $text:literal;)*) => {
        $(const _: () = assert!(same(CommandState::NAMES[generated::$name as usize - 1], $text));)*
        const _: () = assert!(generated::ERT_CMD_STATE_MAX as usize == CommandState::NAMES.len() + 1);
    };
}

states! {
    ERT_CMD_STATE_NEW = "NEW";
    ERT_CMD_STATE_QUEUED = "QUEUED";
    ERT_CMD_STATE_RUNNING = "RUNNING";
    ERT_CMD_STATE_COMPLETED = "COMPLETED";
    ERT_CMD_STATE_ERROR = "ERROR";
    ERT_CMD_STATE_ABORT = "ABORT";
    ERT_CMD_STATE_SUBMITTED = "SUBMITTED";
    ERT_CMD_STATE_TIMEOUT = "TIMEOUT";
    ERT_CMD_STATE_NORESPONSE = "NORESPONSE";
    ERT_CMD_STATE_SKERROR = "SKERROR";
    ERT_CMD_STATE_SKCRASHED = "SKCRASHED";
}
const _: () = assert!(CommandState::TIMEOUT.0 == generated::ERT_CMD_STATE_TIMEOUT);
const _: () = assert!(CommandState::NORESPONSE.0 == generated::ERT_CMD_STATE_NORESPONSE);
