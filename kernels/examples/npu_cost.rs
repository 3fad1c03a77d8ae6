//! Prints `docs/npu-cost.md`: what the NPU is predicted to take, beside what others have published.

fn main() {
    print!("{}", undertone_kernels::npu::cost::report::document());
}
