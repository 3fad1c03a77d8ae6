//! Reads what is fixed in a graph: the contents of initializers, and attributes.

#![allow(unsafe_code, reason = "reads ONNX Runtime's tensors and attributes")]

use std::{borrow::Cow, ffi::c_void, ptr};

use ort_sys::{OrtApi, OrtOpAttr, OrtOpAttrType, OrtStatusPtr, OrtValue};

use super::error::SnapshotError;
use crate::{
    graph::{Attribute, Constant, DataType},
    runtime::{OrtError, Runtime, check, ort_call, text},
};

/// Borrows the contents of a tensor in CPU memory; `None` if its element type is not one that this EP knows.
///
/// # Safety
/// `value` is a tensor that is alive and unchanged for `'a`.
pub unsafe fn borrow_constant<'a>(
    runtime: Runtime,
    name: &str,
    value: *const OrtValue,
) -> Result<Option<Constant<'a>>, SnapshotError> {
    // SAFETY: as the caller promises, here and below.
    let Some((dtype, shape)) = (unsafe { tensor_type(runtime.api, value)? }) else { return Ok(None) };
    let (mut data, mut size) = (ptr::null(), 0);
    // SAFETY: as above.
    unsafe {
        ort_call!(runtime.api, GetTensorData(value, &mut data))?;
        ort_call!(runtime.api, GetTensorSizeInBytes(value, &mut size))?;
    }
    let elements = shape.iter().try_fold(1usize, |elements, axis| elements.checked_mul(*axis));
    let expected = elements.map(|elements| dtype.bytes(elements));
    if expected != Some(size) || (data.is_null() && size > 0) {
        return Err(SnapshotError::Size { name: name.to_owned(), bytes: size, shape, dtype });
    }
    // SAFETY: `size` bytes at `data` belong to the tensor; an empty one may have no data.
    let bytes = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) } };
    Ok(Some(Constant::new(dtype, shape, Cow::Borrowed(bytes))))
}

/// Element type and shape of a tensor that exists; `None` for element types that this EP does not know.
///
/// # Safety
/// `value` is a tensor.
unsafe fn tensor_type(api: &OrtApi, value: *const OrtValue) -> Result<Option<(DataType, Vec<usize>)>, SnapshotError> {
    let mut info = ptr::null_mut();
    // SAFETY: as the caller promises; `info` is released on every way out.
    unsafe {
        ort_call!(api, GetTensorTypeAndShape(value, &mut info))?;
        let read = || -> Result<_, OrtError> {
            let (mut code, mut rank) = (0_i32, 0);
            ort_call!(api, GetTensorElementType(info, (&raw mut code).cast()))?;
            ort_call!(api, GetDimensionsCount(info, &mut rank))?;
            let mut sizes = vec![0_i64; rank];
            ort_call!(api, GetDimensions(info, sizes.as_mut_ptr(), rank))?;
            Ok((code, sizes))
        };
        let result = read();
        (api.ReleaseTensorTypeAndShapeInfo)(info);
        let (code, sizes) = result?;
        // A tensor that exists has no negative sizes; `None` would be the answer if it had.
        let shape = sizes.into_iter().map(|size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>();
        Ok(DataType::from_onnx(code).zip(shape))
    }
}

/// A copy of a tensor attribute's contents.
///
/// # Safety
/// `value` is a tensor.
unsafe fn copy_constant(
    runtime: Runtime,
    name: &str,
    value: *const OrtValue,
) -> Result<Option<Constant<'static>>, SnapshotError> {
    // SAFETY: as the caller promises; what is borrowed is copied before this returns.
    let borrowed = unsafe { borrow_constant(runtime, name, value)? };
    Ok(borrowed.map(|constant| Constant { bytes: Cow::Owned(constant.bytes.into_owned()), ..constant }))
}

/// An attribute and its name; `None` if ONNX Runtime cannot say what it is.
///
/// # Safety
/// `handle` is valid.
pub unsafe fn attribute(
    runtime: Runtime,
    handle: *const OrtOpAttr,
) -> Result<Option<(String, Attribute<'static>)>, SnapshotError> {
    use OrtOpAttrType as Kind;
    if handle.is_null() {
        return Ok(None);
    }
    let api = runtime.api;
    // SAFETY: as the caller promises. The kind is read as a number: a later version may have kinds that Rust's enum
    // lacks.
    let (name, kind) = unsafe {
        let (mut name, mut kind) = (ptr::null(), 0_i32);
        ort_call!(api, OpAttr_GetName(handle, &mut name))?;
        let name = text(name);
        if ort_call!(api, OpAttr_GetType(handle, (&raw mut kind).cast())).is_err() {
            return Ok(Some((name, Attribute::Other)));
        }
        (name, kind)
    };
    // SAFETY: as the caller promises, and each kind is read into room for its own elements.
    let attribute = unsafe {
        match kind {
            kind if kind == Kind::ORT_OP_ATTR_INT as i32 => {
                one(elements::<i64>(api, handle, Kind::ORT_OP_ATTR_INT)?).map(Attribute::Int)
            }
            kind if kind == Kind::ORT_OP_ATTR_FLOAT as i32 => {
                one(elements::<f32>(api, handle, Kind::ORT_OP_ATTR_FLOAT)?).map(Attribute::Float)
            }
            kind if kind == Kind::ORT_OP_ATTR_INTS as i32 => {
                Some(Attribute::Ints(elements(api, handle, Kind::ORT_OP_ATTR_INTS)?))
            }
            kind if kind == Kind::ORT_OP_ATTR_FLOATS as i32 => {
                Some(Attribute::Floats(elements(api, handle, Kind::ORT_OP_ATTR_FLOATS)?))
            }
            kind if kind == Kind::ORT_OP_ATTR_STRING as i32 => {
                strings(elements(api, handle, Kind::ORT_OP_ATTR_STRING)?).into_iter().next().map(Attribute::String)
            }
            kind if kind == Kind::ORT_OP_ATTR_STRINGS as i32 => {
                Some(Attribute::Strings(strings(elements(api, handle, Kind::ORT_OP_ATTR_STRINGS)?)))
            }
            kind if kind == Kind::ORT_OP_ATTR_TENSOR as i32 => {
                let mut value = ptr::null_mut();
                ort_call!(api, OpAttr_GetTensorAttributeAsOrtValue(handle, &mut value))?;
                let copy = copy_constant(runtime, &name, value);
                (api.ReleaseValue)(value);
                copy?.map(Attribute::Tensor)
            }
            _ => None,
        }
    };
    Ok(Some((name, attribute.unwrap_or(Attribute::Other))))
}

fn one<T>(elements: Vec<T>) -> Option<T> {
    elements.into_iter().next()
}

/// Strings that each end in NUL, one after another.
fn strings(bytes: Vec<u8>) -> Vec<String> {
    bytes
        .split_inclusive(|byte| *byte == 0)
        .map(|string| String::from_utf8_lossy(string.strip_suffix(&[0]).unwrap_or(string)).into_owned())
        .collect()
}

/// Reads an attribute's elements.
///
/// # Safety
/// `handle` is valid, and `T` is the type of the elements of an attribute of this kind.
unsafe fn elements<T: Copy + Default>(
    api: &OrtApi,
    handle: *const OrtOpAttr,
    kind: OrtOpAttrType,
) -> Result<Vec<T>, OrtError> {
    let read = |data: *mut c_void, room: usize, size: &mut usize| -> OrtStatusPtr {
        // SAFETY: as the caller promises; `data` has `room` bytes.
        unsafe { (api.ReadOpAttr)(handle, kind, data, room, size) }
    };
    let mut size = 0;
    // Without room the call fails, but says how much room it wants.
    let mut nothing = [0_u64; 1];
    let probe = read(nothing.as_mut_ptr().cast(), 0, &mut size);
    // SAFETY: the status was just returned by `api`.
    let probed = unsafe { check(api, "ReadOpAttr", probe) };
    if size == 0 {
        return probed.map(|()| Vec::new());
    }
    let mut elements = vec![T::default(); size.div_ceil(size_of::<T>())];
    // SAFETY: as above.
    unsafe { check(api, "ReadOpAttr", read(elements.as_mut_ptr().cast(), size, &mut size))? };
    Ok(elements)
}
