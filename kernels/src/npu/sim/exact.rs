//! The cores' arithmetic by their own C++ code, on objects that are gathered word by word.

use undertone_aie as aie;

use super::{
    core::{CoreState, word},
    error::SimError,
    network::{CoreWork, Output},
};
use crate::npu::{
    design::{CONTROL_BYTES, Design, Kernels},
    layout::control::COLUMN,
    sim::feed::Object,
    target::Target,
};

const _: () = assert!(aie::Target::ALL.len() == Target::ALL.len(), "the cores' code is tested for each NPU");

/// One result of one core.
///
/// # Errors
/// If the code does not take the design's tiles.
pub(super) fn compute(
    design: &Design,
    output: &Output,
    a: &[u8],
    b: &[u8],
    state: &mut CoreState,
    c: &mut [u8],
) -> Result<(), SimError> {
    let target = match design.target {
        Target::Npu1 => aie::Target::Npu1,
        Target::Npu4 => aie::Target::Npu4,
    };
    let tile = aie::Tile { m: design.tile.m, k: design.tile.k, n: design.tile.n };
    let CoreState { integers, floats, gathered: [a_object, b_object], .. } = state;
    let steps = output.a.iter().zip(&output.b);
    match (output.work, design.kernels) {
        (CoreWork::Linear, Kernels::Int8) => {
            integers.resize(tile.m * tile.n, 0);
            for (a_place, b_place) in steps {
                gather(a_place, a, a_object);
                gather(b_place, b, b_object);
                aie::linear_int8(target, tile, a_object, b_object, integers, c)?;
            }
        }
        (CoreWork::Linear, Kernels::Bf16) => {
            floats.resize(tile.m * tile.n, 0.0);
            for (a_place, b_place) in steps {
                gather(a_place, a, a_object);
                gather(b_place, b, b_object);
                aie::linear_bf16(target, tile, a_object, b_object, floats, c)?;
            }
        }
        (CoreWork::Attention, kernels) => {
            let precision = match kernels {
                Kernels::Int8 => aie::Precision::Int8,
                Kernels::Bf16 => aie::Precision::Bf16,
            };
            let mut core = aie::Attention::new(target, precision, tile)?;
            for place in &output.a {
                gather(place, a, a_object);
                // The core's own objects name its column.
                let column = word(&a_object[a_object.len() - CONTROL_BYTES..], COLUMN);
                core.queries(a_object, column as usize)?;
            }
            for (block, objects) in output.b.chunks_exact(2).enumerate() {
                gather(&objects[0], b, b_object);
                core.keys(b_object, block)?;
                gather(&objects[1], b, b_object);
                core.values(b_object)?;
            }
            core.end(c)?;
        }
    }
    Ok(())
}

/// Moves an object word by word, as a DMA does.
fn gather(object: &Object, argument: &[u8], to: &mut Vec<u8>) {
    to.clear();
    for piece in object.pieces() {
        for word in (piece.offset..piece.offset + piece.bytes).step_by(4) {
            to.extend_from_slice(&argument[word..word + 4]);
        }
    }
}
