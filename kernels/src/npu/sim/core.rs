//! A core's memory, and how its words are read.

use super::feed::Object;

/// A core's memory from object to object, and room for objects that do not lie in one piece.
#[derive(Default)]
pub(super) struct CoreState {
    pub integers: Vec<i32>,
    pub wide_integers: [Vec<i32>; 2],
    pub floats: Vec<f32>,
    pub wide_floats: [Vec<f32>; 2],
    pub scores: [Vec<f32>; 2],
    pub rows: Vec<RowState>,
    pub queries: Vec<u8>,
    pub gathered: [Vec<u8>; 2],
}

/// The bytes of an object: where they lie, or gathered.
pub(super) fn bytes_of<'a>(object: &Object, argument: &'a [u8], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    if let Some(piece) = object.whole() {
        return &argument[piece.offset..piece.offset + piece.bytes];
    }
    gathered.clear();
    for piece in object.pieces() {
        gathered.extend_from_slice(&argument[piece.offset..piece.offset + piece.bytes]);
    }
    gathered
}

/// What is kept of a row of queries.
#[derive(Clone, Copy)]
pub(super) struct RowState {
    /// The largest score so far, as an exponent of 2.
    pub largest: f32,
    /// The sum of the probabilities against it.
    pub sum: f32,
}

/// fp32 number `index` of the words at the start of `bytes`.
#[inline(always)]
pub(super) fn float(bytes: &[u8], index: usize) -> f32 {
    f32::from_bits(word(bytes, index))
}

#[inline(always)]
pub(super) fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * index + byte]))
}

/// `[T]` of a length, zeroed.
#[inline(always)]
pub(super) fn zeroed<T: Copy + Default>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    memory.clear();
    memory.resize(len, T::default());
    memory
}
