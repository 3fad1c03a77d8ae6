//! Containers: what comes back from one computes the same bits; one that is damaged, cut or foreign is an error, and
//! never a crash or another result.

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use undertone_kernels::Memory as _;

use super::{
    ContextError, Origin,
    container::{self, Container},
    map::Map,
};
use crate::{
    graph::{Attribute, DataType, Graph},
    memory::{Record, Shared, Store},
    options::Options,
    plan::Plan,
    testing::{Builder, Output, floats, noise, run},
};

const F: DataType = DataType::F32;
/// Rows of the embedding: its table is 800 KB, of which a run reads a few rows.
const ROWS: usize = 800;

/// `LayerNorm(Conv(Embed(ids)) · w₁ + b) · w₂`, w₂ large enough for threads.
fn graph() -> Graph<'static> {
    Builder::default()
        .input("ids", DataType::I64, &[1, 5])
        .constant("table", &[ROWS, 256], &noise(ROWS * 256, 1))
        .constant("kernel", &[96, 256, 3], &noise(96 * 256 * 3, 2))
        .constant("w1", &[96, 300], &noise(96 * 300, 3))
        .constant("b1", &[300], &noise(300, 4))
        .constant("gain", &[300], &noise(300, 5))
        .constant("w2", &[300, 1500], &noise(300 * 1500, 6))
        .node_of("Gather", &["table", "ids"], &[("x", F)], &[("axis", Attribute::Int(0))])
        .shape("x", &[1, 5, 256])
        .transpose("x", &[0, 2, 1], "t")
        .shape("t", &[1, 256, 5])
        .node_of("Conv", &["t", "kernel"], &[("c", F)], &[("pads", Attribute::Ints(vec![1, 1]))])
        .shape("c", &[1, 96, 5])
        .transpose("c", &[0, 2, 1], "u")
        .shape("u", &[1, 5, 96])
        .node("MatMul", &["u", "w1"], "m")
        .node("Add", &["m", "b1"], "a")
        .shape("a", &[1, 5, 300])
        .node_of("LayerNormalization", &["a", "gain"], &[("n", F)], &[])
        .node("MatMul", &["n", "w2"], "y")
        .build(&["y"])
}

const IDS: [i64; 5] = [0, 799, 17, 17, 400];

fn result(plan: &Plan, graph: &Graph<'_>) -> Output {
    run(plan, graph, &[crate::testing::integers(&[1, 5], &IDS)], 1 << 16).expect("a run").remove(0)
}

fn new_folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The container in a test's folder.
fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("a.xdna")
}

/// Writes the graph's container, and gives what it computes.
fn write(folder: &TempDir, options: &Options) -> Vec<u8> {
    let (graph, shared, record) = (graph(), Shared::default(), Record::default());
    let plan = Plan::build(&graph, options, &Store::recording(&shared, &record)).expect("a plan");
    let bytes = result(&plan, &graph).bytes;
    container::write(&file(folder), &Origin::new(options), vec![("group".into(), graph)], &record.into_weights())
        .expect("written");
    bytes
}

/// Reads it, and gives what it computes.
fn read(folder: &TempDir, options: &Options) -> Result<Vec<u8>, String> {
    let container = Container::open(&file(folder), &Origin::new(options)).map_err(|error| error.to_string())?;
    let graph = container.graph("group").ok_or("no such group")?;
    let shared = Shared::default();
    let plan = Plan::build(graph, options, &Store::reading(&shared, &container)).map_err(|error| error.to_string())?;
    Ok(result(&plan, graph).bytes)
}

fn with_precision(word: &str) -> Options {
    Options::parse([("precision", word)]).expect("options")
}

#[test]
fn what_comes_back_computes_the_same_bits() {
    for precision in ["int8", "bf16", "f32"] {
        let (folder, options) = (new_folder(), with_precision(precision));
        let wanted = write(&folder, &options);
        assert_eq!(wanted.len(), 5 * 1500 * 4);
        assert_eq!(read(&folder, &options), Ok(wanted));
    }
}

#[test]
fn weights_are_kept_packed_and_once() {
    let (folder, options) = (new_folder(), with_precision("int8"));
    write(&folder, &options);
    let packed = 96 * 256 * 3 + 96 * 300 + 300 * 1500;
    let len = fs::metadata(file(&folder)).expect("the file").len() as usize;
    let table = ROWS * 256 * 4;
    assert!((packed + table..packed + table + (packed + table) / 8).contains(&len), "{len} bytes");
}

#[test]
fn what_a_session_holds_is_not_read_again() {
    let (folder, options) = (new_folder(), with_precision("int8"));
    write(&folder, &options);
    let container = Container::open(&file(&folder), &Origin::new(&options)).expect("a container");
    let (graph, shared) = (container.graph("group").expect("the group"), Shared::default());
    let build = |container: &Container| Plan::build(graph, &options, &Store::reading(&shared, container));
    let first = build(&container).expect("a plan");
    // Another file of the same description, whose blobs are all damaged.
    let mut bytes = fs::read(file(&folder)).expect("the file");
    let blobs = bytes.len() - 4096;
    bytes[blobs / 2..].fill(0x55);
    let damaged = new_folder();
    fs::write(file(&damaged), bytes).expect("written");
    let damaged = Container::open(&file(&damaged), &Origin::new(&options)).expect("its description is whole");
    assert_eq!(result(&build(&damaged).expect("nothing is read"), graph).bytes, result(&first, graph).bytes);
    drop(first);
    assert!(build(&damaged).err().expect("now it is read").to_string().contains("checksum"));
}

#[test]
fn containers_of_others_are_refused_with_the_difference() {
    let (folder, options) = (new_folder(), with_precision("int8"));
    write(&folder, &options);
    let refused = |origin: Origin| match Container::open(&file(&folder), &origin) {
        Err(error @ ContextError::Foreign { .. }) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    let own = Origin::new(&options);
    let error = refused(Origin { precision: "bf16".into(), ..own.clone() });
    assert!(
        error.contains("precision int8") && error.contains("bf16") && error.contains("pack the model anew"),
        "{error}"
    );
    assert!(refused(Origin { build: "0.0.1".into(), ..own.clone() }).contains("build"));
    assert!(refused(Origin { instruction_set: "neon".into(), ..own.clone() }).contains("instruction set"));
    assert!(refused(Origin { claim: "matmul".into(), ..own.clone() }).contains("claim"));
    let nowhere = folder.path().join("none.xdna");
    assert!(matches!(Container::open(&nowhere, &own), Err(ContextError::Unreadable { .. })));
}

#[test]
fn a_file_of_another_kind_is_damaged() {
    let folder = new_folder();
    let origin = Origin::new(&Options::default());
    for bytes in [&b""[..], b"x", b"XDNApack", &[0; 64], &[0xff; 5000]] {
        fs::write(file(&folder), bytes).expect("written");
        assert!(Container::open(&file(&folder), &origin).is_err(), "{} bytes", bytes.len());
    }
}

#[test]
fn every_cut_and_every_region_with_a_flipped_bit_is_noticed() {
    let (folder, options) = (new_folder(), with_precision("int8"));
    let wanted = write(&folder, &options);
    let whole = fs::read(file(&folder)).expect("the file");
    let count = 150;
    for index in 0..count {
        let at = index * (whole.len() - 1) / (count - 1);
        fs::write(file(&folder), &whole[..at]).expect("written");
        assert!(read(&folder, &options).is_err(), "cut at {at}");
    }
    let mut noticed = 0;
    for index in 0..count {
        let at = (index * (whole.len() - 1) / (count - 1)) ^ (index & 7);
        let mut bytes = whole.clone();
        bytes[at.min(whole.len() - 1)] ^= 1 << (index % 8);
        fs::write(file(&folder), bytes).expect("written");
        match read(&folder, &options) {
            // What is between blobs says nothing.
            Ok(got) => assert_eq!(got, wanted, "flipped at {at}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > count * 9 / 10, "{noticed} of {count} were noticed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_beginning_is_an_error_or_changes_nothing(at in 0usize..4096, value: u8) {
        let (folder, options) = (new_folder(), with_precision("f32"));
        let wanted = write(&folder, &options);
        let mut bytes = fs::read(file(&folder)).expect("the file");
        bytes[at] = value;
        fs::write(file(&folder), bytes).expect("written");
        if let Ok(got) = read(&folder, &options) {
            prop_assert_eq!(got, wanted);
        }
    }
}

#[test]
fn forgotten_memory_is_read_again() {
    let folder = new_folder();
    let bytes: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
    fs::write(file(&folder), &bytes).expect("written");
    let map = Map::open(&file(&folder)).expect("mapped");
    assert_eq!(map.bytes(), bytes);
    map.forget(0..65536);
    map.forget(0..1 << 30);
    assert_eq!(map.bytes(), bytes);
}

#[test]
fn a_floating_point_input_is_none_of_the_ids() {
    let (folder, options) = (new_folder(), with_precision("int8"));
    write(&folder, &options);
    let container = Container::open(&file(&folder), &Origin::new(&options)).expect("a container");
    let (graph, shared) = (container.graph("group").expect("the group"), Shared::default());
    let plan = Plan::build(graph, &options, &Store::reading(&shared, &container)).expect("a plan");
    assert!(run(&plan, graph, &[floats(&[1, 5], &[0.0; 5])], 1 << 16).is_err());
}
