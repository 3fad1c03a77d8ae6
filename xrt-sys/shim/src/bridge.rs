//! XRT's C++ classes, through cxx. What is a plain method of XRT is bound as that; constructors and templates have a
//! line in `include/undertone_xrt.h`. An exception comes back as text of the form `kind|number|words`.
#![allow(unsafe_code, missing_docs, reason = "the bridge to C++")]

#[cxx::bridge(namespace = "undertone")]
pub mod ffi {
    unsafe extern "C++" {
        include!("undertone_xrt.h");

        #[namespace = "xrt"]
        type device;
        #[namespace = "xrt"]
        type xclbin;
        #[namespace = "xrt"]
        type hw_context;
        #[namespace = "xrt"]
        type kernel;
        #[namespace = "xrt"]
        type bo;
        #[namespace = "xrt"]
        type run;
        #[namespace = "xrt"]
        type runlist;

        fn device_count() -> Result<u32>;
        fn open_device(index: u32) -> Result<UniquePtr<device>>;
        fn share_device(device: &device) -> Result<UniquePtr<device>>;
        fn device_address(device: &device) -> Result<String>;
        fn device_name(device: &device) -> Result<String>;

        fn read_xclbin(bytes: &[u8]) -> Result<UniquePtr<xclbin>>;
        fn array_kernel(xclbin: &xclbin) -> Result<String>;
        fn kernel_arguments(xclbin: &xclbin, name: &str) -> Result<usize>;
        fn open_context(device: &device, xclbin: &xclbin) -> Result<UniquePtr<hw_context>>;
        fn open_kernel(context: &hw_context, name: &str) -> Result<UniquePtr<kernel>>;
        fn group_id(self: &kernel, argument: i32) -> Result<i32>;

        fn new_buffer(device: &device, bytes: usize, flags: u32, group: i32) -> Result<UniquePtr<bo>>;
        fn map_buffer(buffer: Pin<&mut bo>) -> Result<*mut u8>;
        fn sync_buffer(buffer: &bo, to_device: bool, bytes: usize) -> Result<()>;

        fn new_run(kernel: &kernel) -> Result<UniquePtr<run>>;
        fn set_number(run: Pin<&mut run>, index: i32, value: u64) -> Result<()>;
        fn set_buffer(run: Pin<&mut run>, index: i32, buffer: &bo) -> Result<()>;
        fn start(self: Pin<&mut run>) -> Result<()>;
        fn wait_run(run: &run, milliseconds: u32) -> Result<bool>;
        fn is_done(run: &run) -> Result<bool>;

        fn new_runlist(context: &hw_context) -> Result<UniquePtr<runlist>>;
        fn add_run(list: Pin<&mut runlist>, run: &run) -> Result<()>;
        fn execute(self: Pin<&mut runlist>) -> Result<()>;
        fn wait_runlist(list: &runlist, milliseconds: u32) -> Result<bool>;
        fn reset(self: Pin<&mut runlist>) -> Result<()>;
    }
}
