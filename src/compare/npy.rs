//! numpy's files: `.npy` with one array, `.npz` with several by name. Reads what `numpy.save` and `numpy.savez` write of
//! numbers and truth values.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use undertone_runner::any_graph::Elements;

/// An array with its name: in an archive its own, in a file of one array the file's stem.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// What it is called.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// In the order of C.
    pub elements: Elements,
}

/// Reads a file.
///
/// # Errors
/// If it can't be read, or holds something else.
pub fn read(path: &Path) -> Result<Vec<Array>> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let of = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(path).with_context(of)?;
    if bytes.starts_with(MAGIC) {
        return Ok(vec![array(name, &bytes).with_context(of)?]);
    }
    if !bytes.starts_with(b"PK") {
        return Err(anyhow!("it is no .npy and no .npz file: write one with numpy.save or numpy.savez").context(of()));
    }
    let mut archive = zip::ZipArchive::new(File::open(path).with_context(of)?).with_context(of)?;
    let mut arrays = Vec::new();
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).with_context(of)?;
        let name = member.name().with_context(of)?.into_owned();
        let name = name.strip_suffix(".npy").map_or(name.clone(), str::to_owned);
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).with_context(of)?;
        arrays.push(array(name.clone(), &bytes).with_context(|| format!("{}: {name}", of()))?);
    }
    Ok(arrays)
}

const MAGIC: &[u8] = b"\x93NUMPY";

fn array(name: String, bytes: &[u8]) -> Result<Array> {
    let version = *bytes.get(6).filter(|_| bytes.starts_with(MAGIC)).context("it is no numpy array")?;
    let (length, begin): (Option<usize>, usize) = match version {
        1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
        2 | 3 => (bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize), 12),
        other => bail!("its version is {other}, and 1 to 3 are known"),
    };
    let length = length.context("it ends within its head")?;
    let head = bytes.get(begin..begin.saturating_add(length)).context("it ends within its head")?;
    let head = std::str::from_utf8(head).context("its head is no text")?;
    let value = |key: &str| {
        let (_, rest) = head.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let dtype = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
    let dtype = dtype.context("it holds records: numbers alone can be read")?;
    let fortran = value("fortran_order").is_some_and(|rest| rest.starts_with("True"));
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next()).context("it has no shape")?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().with_context(|| format!("its shape has '{size}'")))
        .collect::<Result<_>>()?;
    ensure!(!fortran || shape.len() < 2, "it lies in Fortran's order: write numpy.ascontiguousarray(…)");
    let data = &bytes[begin + length..];
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)).context("it is too large")?;
    let elements = elements(dtype, data, count)?;
    Ok(Array { name, shape, elements })
}

fn elements(dtype: &str, data: &[u8], count: usize) -> Result<Elements> {
    macro_rules! read {
        ($type:ty => $variant:ident) => {{
            let width = size_of::<$type>();
            let needed = count.checked_mul(width).filter(|needed| *needed <= data.len());
            let data = &data[..needed.with_context(|| format!("it ends before its {count} elements"))?];
            let value = |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().unwrap_or_default());
            Elements::$variant(data.chunks_exact(width).map(value).collect())
        }};
    }
    Ok(match dtype.trim_start_matches(['<', '|', '=']) {
        "f4" => read!(f32 => F32),
        "f8" => read!(f64 => F64),
        "f2" => read!(half::f16 => F16),
        "i1" => read!(i8 => I8),
        "i2" => read!(i16 => I16),
        "i4" => read!(i32 => I32),
        "i8" => read!(i64 => I64),
        "u1" => read!(u8 => U8),
        "u2" => read!(u16 => U16),
        "u4" => read!(u32 => U32),
        "u8" => read!(u64 => U64),
        "b1" => {
            let Elements::U8(bytes) = read!(u8 => U8) else { bail!("it is no truth value") };
            Elements::Bool(bytes.into_iter().map(|byte| byte != 0).collect())
        }
        other => bail!("its elements are '{other}': numbers in this machine's order, and truth values, can be read"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numpy.save` writes.
    fn file(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let head = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
        let head = format!("{head:<117}\n");
        [MAGIC, &[1, 0], &(head.len() as u16).to_le_bytes(), head.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_are_read() {
        let two: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let read = array("x".into(), &file("<f4", "(1, 2)", &two)).unwrap();
        assert_eq!((read.shape, read.elements), (vec![1, 2], Elements::F32(vec![1.5, -2.0])));
        let one = array("x".into(), &file("<i8", "()", &7_i64.to_le_bytes())).unwrap();
        assert_eq!((one.shape, one.elements), (vec![], Elements::I64(vec![7])));
        let truth = array("x".into(), &file("|b1", "(3,)", &[1, 0, 1])).unwrap();
        assert_eq!((truth.shape, truth.elements), (vec![3], Elements::Bool(vec![true, false, true])));
    }

    #[test]
    fn other_files_are_refused_in_words() {
        let error = |bytes: &[u8]| array("x".into(), bytes).unwrap_err().to_string();
        assert!(error(&file("<f4", "(2,)", &[0; 7])).contains("ends before its 2 elements"));
        assert!(error(&file("<c8", "(1,)", &[0; 8])).contains("'c8'"));
        assert!(error(&file("<f4", "(9999999999, 9999999999, 9)", &[])).contains("too large"));
        assert!(error(b"\x93NUMPY\x01\x00\xff\xff{").contains("ends within its head"));
        assert!(error(b"text").contains("no numpy array"));
        for length in 0..64 {
            assert!(array("x".into(), &file("<f4", "(1,)", &[0; 4])[..length]).is_err());
        }
    }

    #[test]
    fn an_archive_has_names() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut archive = zip::ZipWriter::new(path.reopen().unwrap());
        for (name, value) in [("input_ids.npy", 3_i64), ("n.npy", 5)] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut archive, &file("<i8", "(1,)", &value.to_le_bytes())).unwrap();
        }
        archive.finish().unwrap();
        let arrays = read(path.path()).unwrap();
        let named = |at: usize, name: &str, value| {
            assert_eq!((arrays[at].name.as_str(), &arrays[at].elements), (name, &Elements::I64(vec![value])));
        };
        named(0, "input_ids", 3);
        named(1, "n", 5);
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), "text").unwrap();
        assert!(read(other.path()).unwrap_err().chain().any(|cause| cause.to_string().contains("numpy.save")));
    }
}
