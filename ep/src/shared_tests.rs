//! What many threads share, under many threads: packed weights and constants ([`crate::memory`]), key-value caches
//! ([`crate::kv`]), workspaces and shape caches of a plan that runs at several moments with several shapes
//! ([`crate::plan`]). `tests/lifetime/run.sh threads` has ThreadSanitizer watch these.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    graph::{Attribute, Constant, DataType, Graph},
    kv::{self, KvError},
    memory::{Shared, Store, WORTH_SHARING},
    options::Options,
    plan::Plan,
    testing::{Builder, exact, floats, fused, noise, run},
};

const F: DataType = DataType::F32;
const THREADS: usize = 4;

/// Numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

fn with_threads(work: impl Fn(usize, &mut Chance) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread, &mut Chance(thread as u64 + 1)));
        }
    });
}

/// Whoever asks for a constant while another holds it gets that one; what nobody holds is forgotten.
#[test]
fn equal_constants_are_one_while_somebody_holds_them() {
    const KINDS: usize = 3;
    let shared = Shared::default();
    let contents: Vec<Vec<u8>> = (0..KINDS).map(|kind| vec![kind as u8; WORTH_SHARING]).collect();
    // For each kind the addresses that threads hold, and how many hold each.
    let held: [Mutex<HashMap<usize, usize>>; KINDS] = Default::default();
    with_threads(|_, chance| {
        for _ in 0..400 {
            let kind = chance.below(KINDS);
            let constant = Constant::new(DataType::U8, vec![WORTH_SHARING], Cow::Borrowed(&contents[kind]));
            let stored = Store::new(&shared).constant(&constant).unwrap();
            let address = std::sync::Arc::as_ptr(&stored) as usize;
            {
                let mut held = held[kind].lock().unwrap();
                assert!(held.keys().all(|other| *other == address), "two of one kind");
                *held.entry(address).or_default() += 1;
            }
            assert_eq!(stored.bytes(), contents[kind]);
            if chance.below(3) == 0 {
                std::thread::yield_now();
            }
            let mut held = held[kind].lock().unwrap();
            let count = held.get_mut(&address).expect("it is held");
            *count -= 1;
            if *count == 0 {
                held.remove(&address);
            }
            // Under the lock: whoever looks next finds neither the entry nor the constant.
            drop(stored);
        }
    });
    assert!(held.iter().all(|held| held.lock().unwrap().is_empty()));
}

/// Plans with the same weights come and go; each computes what it computes alone.
#[test]
fn plans_that_come_and_go_share_their_weights() {
    let graph = |seed: u64| -> Graph<'static> {
        Builder::default()
            .input("x", F, &[1, 64])
            .constant("w", &[64, 300], &noise(64 * 300, seed))
            .node("MatMul", &["x", "w"], "y")
            .build(&["y"])
    };
    let (graphs, x, options) = ([graph(1), graph(2)], noise(64, 3), Options::default());
    let of = |graph: &Graph<'_>, shared: &Shared| {
        let plan = Plan::build(graph, &options, &Store::new(shared)).unwrap();
        run(&plan, graph, &[floats(&[1, 64], &x)], 4096).unwrap().remove(0).bytes
    };
    let alone = [0, 1].map(|which| of(&graphs[which], &Shared::default()));
    let shared = Shared::default();
    with_threads(|_, chance| {
        for _ in 0..60 {
            let which = chance.below(2);
            assert_eq!(of(&graphs[which], &shared), alone[which]);
        }
    });
    assert_eq!(shared.packed_linears(), 0, "nobody holds any");
}

/// A cache is one run's at a time, whoever else has its number; a number that was given back is nobody's.
#[test]
fn caches_are_one_run_s_at_a_time() {
    let numbers: Vec<u64> = (0..3).map(|_| kv::create()).collect();
    let in_use: Vec<AtomicBool> = numbers.iter().map(|_| AtomicBool::new(false)).collect();
    let (used, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    with_threads(|_, chance| {
        for _ in 0..2000 {
            let which = chance.below(numbers.len());
            kv::begin_run(Some(&numbers[which].to_string())).unwrap();
            let handle = kv::of_run().expect("it was begun");
            match kv::lock(&handle) {
                Ok(mut state) => {
                    assert!(!in_use[which].swap(true, Ordering::Relaxed), "two runs in one cache");
                    state.ask(|question| question.count = 1);
                    std::thread::yield_now();
                    assert!(state.is_asked());
                    state.end_run();
                    in_use[which].store(false, Ordering::Relaxed);
                    used.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    assert_eq!(error, KvError::Busy);
                    busy.fetch_add(1, Ordering::Relaxed);
                }
            }
            kv::end_run();
            let own = kv::create();
            assert!(kv::release(own) && !kv::release(own) && kv::find(own).is_err());
        }
    });
    assert_eq!(used.into_inner() + busy.into_inner(), 2000 * THREADS);
    assert!(numbers.into_iter().all(kv::release));
}

/// Reshapes and slices that follow from shapes, which a workspace remembers: each run finds one that another run, of
/// other shapes, has left.
#[test]
fn runs_of_other_shapes_at_the_same_moment_find_their_own() {
    let graph = Builder::default()
        .input("past", F, &[1, 0, 4])
        .input("x", F, &[1, 1, 4])
        .constant("w", &[4, 4], &noise(16, 1))
        .integers("last", &[1])
        .integers("axes", &[0])
        .integers("far", &[i64::MAX])
        .integers("flat", &[-1, 2])
        .node("MatMul", &["x", "w"], "new")
        .node_of("Concat", &["past", "new"], &[("present", F)], &[("axis", Attribute::Int(1))])
        .node_of("Shape", &["present"], &[("sizes", DataType::I64)], &[])
        .node_of("Slice", &["sizes", "last", "far", "axes"], &[("ends", DataType::I64)], &[])
        .node_of("Gather", &["ends", "zero"], &[("length", DataType::I64)], &[("axis", Attribute::Int(0))])
        .bytes("zero", DataType::I64, &[1], &0_i64.to_ne_bytes())
        .node("Reshape", &["present", "flat"], "pairs")
        .node("Slice", &["pairs", "length", "far", "axes"], "tail")
        .build(&["present", "tail"]);
    let plan = fused(&graph, &exact());
    let of = |length: usize| {
        let (past, x) = (noise(length * 4, length as u64 + 1), noise(4, length as u64 + 20));
        let made = run(&plan, &graph, &[floats(&[1, length, 4], &past), floats(&[1, 1, 4], &x)], 1 << 12).unwrap();
        made.into_iter().map(|output| (output.shape, output.bytes)).collect::<Vec<_>>()
    };
    let alone: Vec<_> = (0..24).map(of).collect();
    assert_eq!(alone[5][1].0, [6, 2], "twelve pairs without the first six");
    with_threads(|_, chance| {
        for _ in 0..300 {
            let length = chance.below(alone.len());
            assert_eq!(of(length), alone[length], "length {length}");
        }
    });
}
