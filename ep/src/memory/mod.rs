//! Where values and weights lie: those of one run in its buffers, inputs and outputs ([`Values`]), constants in a plan
//! ([`Stored`]), and what sessions share in the process ([`Shared`]). Nothing here knows of operations.

mod store;
mod stored;
mod tensor;
mod values;

pub use self::{
    store::{PackedWeights, Record, Shared, SharedKernel, Store, WORTH_SHARING, WeightKey, WeightSource},
    stored::{Stored, computed, floats},
    tensor::{Buffer, Location, MAX_RANK, Shape, Tensor, scalar, shape_of},
    values::{Destination, Input, Outputs, Values},
};
