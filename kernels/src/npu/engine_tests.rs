//! Which designs are tried again when they did not open, on an array that fails as it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{
    DeviceKind,
    npu::{array::RunReport, design::Kernels, device::Commands, target::Target},
};

/// An array whose commands all end in the same error.
struct Failing {
    error: ArrayError,
    opened: AtomicU64,
}

struct Bytes(Vec<u8>);

impl Buffer for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn flush(&mut self) -> Result<(), ArrayError> {
        Ok(())
    }
}

impl Array for Failing {
    type Context = ();
    type Buffer = Bytes;
    type Program = ();

    fn kind(&self) -> DeviceKind {
        DeviceKind::Npu
    }

    fn target(&self) -> Target {
        Target::Npu1
    }

    fn open(&self, _design: &Design) -> Result<(), ArrayError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn buffer(&self, (): &(), _argument: Argument, bytes: usize) -> Result<Bytes, ArrayError> {
        Ok(Bytes(vec![0; bytes]))
    }

    fn program(&self, (): &(), _words: &[u32]) -> Result<(), ArrayError> {
        Ok(())
    }

    fn run_by(
        &self,
        _commands: Commands,
        (): &(),
        _jobs: &mut [Job<'_, Self>],
        _pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError> {
        Err(self.error.clone())
    }
}

/// How often two designs were opened that were each asked for three times.
fn tries(error: ArrayError) -> u64 {
    let engines = Engines::new(Failing { error: error.clone(), opened: AtomicU64::new(0) }, None);
    for kernels in [Kernels::Int8, Kernels::Bf16] {
        let design = Design::shipped(Target::Npu1, kernels).unwrap();
        for _ in 0..3 {
            assert_eq!(engines.engine(&design).err(), Some(error.clone()));
        }
    }
    engines.array.opened.load(Ordering::Relaxed)
}

#[test]
fn lists_stay_under_what_the_driver_waits_for() {
    assert!(lists(&[]).is_empty());
    assert_eq!(lists(&[0.1; 3]), [3]);
    assert_eq!(lists(&[0.4; 5]), [2, 2, 1]);
    assert_eq!(lists(&[0.1, 3.0, 0.1, 0.9, 0.1]), [1, 1, 2, 1]);
}

#[test]
fn a_design_that_hung_is_not_tried_again_and_one_that_failed_is() {
    assert_eq!(tries(ArrayError::Timeout { limit: Duration::from_secs(10), reason: "it hangs".into() }), 2);
    assert_eq!(tries(ArrayError::Untrusted { what: "it".into(), reason: "it computes otherwise".into() }), 2);
    assert_eq!(tries(ArrayError::Failed("once".into())), 6);
}
