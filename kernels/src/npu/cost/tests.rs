use super::*;

#[test]
fn bytes_are_those_of_the_paper_s_formulas_and_our_scales() {
    let design = Design::new(Target::Npu1, Kernels::Int8, Tile { m: 48, k: 64, n: 64 }).unwrap();
    let (rows, inputs, outputs) = (1536, 384, 1536);
    let [a, b, c] = predict(&design, Problem::Linear { rows, inputs, outputs }).bytes;
    let macs = (rows * inputs * outputs) as u64;
    let (tiles, a_object, b_object) = ([48 * 64, 64 * 64], design.a_object() as u64, design.b_object() as u64);
    assert_eq!(a, macs / (64 * 4) * a_object / tiles[0]);
    assert_eq!(b, macs / (48 * 4) * b_object / tiles[1]);
    assert_eq!(c, (rows * outputs * 2) as u64);
}

#[test]
fn what_is_executed_moves_the_bytes_that_are_predicted() {
    // The tasks of the stream itself, whose transfers the simulator and the hardware execute.
    let problems = [
        (Kernels::Int8, Problem::Linear { rows: 300, inputs: 200, outputs: 600 }),
        (Kernels::Bf16, Problem::Linear { rows: 1, inputs: 64, outputs: 1 }),
        (Kernels::Int8, Problem::Attention { heads: 6, queries: 300, keys: 130 }),
        (Kernels::Bf16, Problem::Attention { heads: 1, queries: 1500, keys: 1500 }),
    ];
    for target in Target::ALL {
        for (kernels, problem) in problems {
            let design = Design::shipped(target, kernels).unwrap();
            let array = super::super::sim::SimArray::new(target, super::super::sim::Mode::Fast);
            let report = run(&array, &design, &problem);
            assert_eq!(report.dma_bytes, predict(&design, problem).bytes, "{target} {kernels} {problem}");
            let macs: u64 = report.core_macs.iter().sum();
            assert_eq!(macs, predict(&design, problem).macs, "{target} {kernels} {problem}");
        }
    }
}

fn run(array: &super::super::sim::SimArray, design: &Design, problem: &Problem) -> super::super::RunReport {
    use super::super::{
        Array as _, Buffer as _, Job,
        layout::{self, PackMethod},
        stream,
    };
    let context = array.open(design).unwrap();
    let program = array.program(&context, &stream::write(design, problem).unwrap()).unwrap();
    let mut buffers =
        Argument::ALL.map(|argument| array.buffer(&context, argument, design.buffer_bytes(problem, argument)).unwrap());
    // Objects of zeros have control blocks of zeros, which say neither first nor last: fill in what packing would
    // write.
    let [a, b, c] = &mut buffers;
    let pool = &crate::Serial;
    match *problem {
        Problem::Linear { rows, inputs, .. } => {
            let x = vec![0.0; rows * inputs];
            layout::pack_rows(PackMethod::best(), design, &x, [rows, inputs], false, a.bytes_mut(), pool);
        }
        Problem::Attention { heads, queries, keys } => {
            let q = vec![0.0; heads * queries * HEAD_WIDTH];
            let q = crate::Heads::new(&q, [0, queries * HEAD_WIDTH, HEAD_WIDTH]);
            layout::pack_queries(PackMethod::best(), design, &q, [1, heads, queries, keys], 1.0, a.bytes_mut(), pool);
        }
    }
    b.flush().unwrap();
    let mut jobs = [Job { program: &program, a, b, c }];
    array.run(&context, &mut jobs, pool).unwrap()
}

#[test]
fn nothing_costs_a_dispatch() {
    let design = Design::shipped(Target::Npu4, Kernels::Bf16).unwrap();
    let nothing = predict(&design, Problem::Attention { heads: 0, queries: 5, keys: 5 });
    assert_eq!((nothing.macs, nothing.total, nothing.useful), (0, nothing.dispatch, 1.0));
}

/// The driver resets an NPU on which nothing is completed for its `tdr_timeout_ms`, 2 s: the largest lists of Whisper,
/// those of a layer of large for one window, stay far from it.
#[test]
fn a_list_of_whispers_stays_under_a_second() {
    let (rows, width) = (1500, 1280);
    let linear = |inputs, outputs| Problem::Linear { rows, inputs, outputs };
    let lists = [
        vec![linear(width, width); 3],
        vec![linear(width, 4 * width)],
        vec![linear(4 * width, width)],
        vec![Problem::Linear { rows: 3000, inputs: 3 * width, outputs: width }],
        vec![Problem::Attention { heads: 20, queries: rows, keys: rows }],
    ];
    for (target, kernels) in Target::ALL.into_iter().flat_map(|target| Kernels::ALL.map(|kernels| (target, kernels))) {
        let design = Design::shipped(target, kernels).unwrap();
        for list in &lists {
            let seconds: f64 = list.iter().map(|problem| predict(&design, problem).total).sum();
            assert!(seconds < 1.0, "{target} {kernels} {list:?}: {seconds} s");
        }
    }
}
