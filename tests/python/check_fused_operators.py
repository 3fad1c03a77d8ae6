"""Operators that ONNX Runtime's optimizer makes, and those of newer ONNX versions: what the execution provider claims of
them gives what ONNX Runtime's CPU provider gives, and what it does not carry out exactly it leaves alone.

    python3 check_fused_operators.py EP_LIBRARY

Needs onnxruntime, onnx, numpy.
"""

import os
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from check_operators import EP_NAME, alike, claimed_nodes, session
from onnx import TensorProto, helper

BATCH, LENGTH, KEYS, HEADS, WIDTH = 2, 5, 7, 3, 8
ROW = HEADS * WIDTH
MICROSOFT = "com.microsoft"
random = numpy.random.default_rng(7)


def noise(*shape, dtype=numpy.float32):
    return random.standard_normal(shape).astype(dtype)


def model(operator, inputs, constants, domain, opset, results, attributes):
    """One node of `inputs` and `constants` in order; `None` is an operand that is left out."""
    names, graph_inputs, initializers, feed = [], [], [], {}
    for index, (value, constant) in enumerate(zip(inputs, constants)):
        names.append("" if value is None else f"x{index}")
        if value is None:
            continue
        if constant:
            initializers.append(onnx.numpy_helper.from_array(value, names[-1]))
            continue
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph_inputs.append(helper.make_tensor_value_info(names[-1], kind, value.shape))
        feed[names[-1]] = value
    # Of a skip and a norm, ONNX Runtime's CPU provider makes the first result and the last.
    made = (0, 3) if operator.startswith("Skip") else range(results)
    outputs = [f"y{index}" if index in made else "" for index in range(results)]
    node = helper.make_node(operator, names, outputs, domain=domain, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    kinds = [kind] * results
    if operator == "EmbedLayerNormalization":
        kinds = [TensorProto.FLOAT, TensorProto.INT32, TensorProto.FLOAT]
    graph_outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(outputs, kinds) if name]
    graph = helper.make_graph([node], "g", graph_inputs, graph_outputs, initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), feed


def case(operator, *inputs, constant=(), domain=MICROSOFT, opset=20, results=1, claimed=True, **attributes):
    constants = [index in constant for index in range(len(inputs))]
    made, feed = model(operator, inputs, constants, domain, opset, results, attributes)
    shown = {"constant": constant, "results": results, **attributes}
    name = f"{operator} of {[None if value is None else (value.dtype.name, value.shape) for value in inputs]} {shown}"
    return name, made, feed, claimed


def gelus():
    x, bias = noise(BATCH, LENGTH, ROW), noise(ROW)
    x[0, 0, :4] = [30, -30, 0, 1e-6]
    for dtype in (numpy.float32, numpy.float16):
        for approximate in ("none", "tanh"):
            yield case("Gelu", x.astype(dtype), domain="", approximate=approximate, claimed=True)
    yield case("Gelu", x)
    for constant in ((), (1,)):
        yield case("BiasGelu", x, bias, constant=constant)
        yield case("FastGelu", x, bias, constant=constant)
    yield case("FastGelu", x)
    yield case("FastGelu", x[:0])
    for options in ({}, {"alpha": 0.5}):
        yield case("QuickGelu", x, **options)


def indices():
    x = noise(5, 3, 4)
    for kind in (numpy.int32, numpy.int64):
        yield case("Gather", x, numpy.array([[1, -1], [0, 4]], kind), domain="")
        yield case("Gather", x, numpy.array(-2, kind), domain="", axis=1)
    yield case("Gather", x, numpy.array([0, 1] * 60, numpy.int32), domain="", axis=2 - 3)
    yield case("GatherND", x, numpy.array([[[1]], [[-1]]]), domain="")
    yield case("GatherND", x, numpy.array([[1, 2]]), domain="", claimed=False)


def norms():
    x, gain, bias = noise(BATCH, LENGTH, ROW), noise(ROW), noise(ROW)
    for opset in (16, 17):
        yield case("LayerNormalization", x, gain, bias, constant=(1, 2), domain="", opset=opset)
    yield case("LayerNormalization", x, gain, domain="", opset=17, epsilon=0.1)
    yield case("LayerNormalization", x, gain, bias, domain="", opset=17, results=2, claimed=False)
    yield case("LayerNormalization", x, noise(LENGTH, ROW), domain="", opset=17, axis=1, claimed=False)
    yield case("SimplifiedLayerNormalization", x, gain, domain="", opset=17)
    for dtype in (numpy.float32, numpy.float16):
        yield case("RMSNormalization", x.astype(dtype), gain.astype(dtype), domain="", opset=23, epsilon=1e-3)
    yield case("RMSNormalization", x, noise(LENGTH, ROW), domain="", opset=23, axis=1, claimed=False)
    for skip in (noise(BATCH, LENGTH, ROW), noise(1, LENGTH, ROW), noise(LENGTH, ROW)):
        yield case("SkipLayerNormalization", x, skip, gain, bias, noise(ROW), constant=(2, 3, 4))
        yield case("SkipLayerNormalization", x, skip, gain, bias, epsilon=1e-2)
        yield case("SkipLayerNormalization", x, skip, gain)
    # The sum is wanted too.
    for skip in (x[::-1].copy(), noise(1, LENGTH, ROW)):
        yield case("SkipLayerNormalization", x, skip, gain, bias, results=4)
        yield case("SkipLayerNormalization", x, skip, gain, bias, noise(ROW), constant=(2, 3, 4), results=4)
        yield case("SkipLayerNormalization", x, skip, gain, None, noise(ROW), results=4)
        yield case("SkipSimplifiedLayerNormalization", x, skip, gain, results=4, epsilon=1e-3)
        yield case("SkipSimplifiedLayerNormalization", x, skip, gain, noise(ROW), results=4)
    half = [part.astype(numpy.float16) for part in (x, x[::-1], gain, bias)]
    yield case("SkipLayerNormalization", *half, constant=(2, 3), results=4)
    yield case("SkipSimplifiedLayerNormalization", x, x, gain)


def embeddings():
    words, positions = numpy.array([[3, 1, 4], [1, 5, 9]], numpy.int32), numpy.array([[2, 3, 4], [0, 1, 2]], numpy.int32)
    table, places, gain, bias = noise(10, ROW), noise(6, ROW), noise(ROW), noise(ROW)
    options = {"constant": (2, 3, 5, 6), "epsilon": 1e-5}
    for results in (2, 3):
        operands = (words, None, table, places, None, gain, bias, None, positions)
        yield case("EmbedLayerNormalization", *operands, results=results, **options)
    mask = numpy.array([[1, 1, 1], [1, 1, 0]], numpy.int32)
    operands = (words, None, table, places, None, gain, bias, mask, positions)
    yield case("EmbedLayerNormalization", *operands, results=2, claimed=False, **options)


def products():
    for alpha in (1.0, 0.125):
        for trans_a in (0, 1):
            for trans_b in (0, 1):
                a = noise(2, 3, 6, 4) if trans_a else noise(2, 3, 4, 6)
                for b in (noise(5, 6) if trans_b else noise(6, 5), noise(3, 5, 6) if trans_b else noise(3, 6, 5)):
                    for constant in ((), (1,)):
                        options = {"alpha": alpha, "transA": trans_a, "transB": trans_b}
                        yield case("FusedMatMul", a, b, constant=constant, **options)
    yield case("FusedMatMul", noise(4, 2, 3, 6), noise(2, 3, 6, 5), transBatchA=1, claimed=False)
    yield case("FusedMatMul", noise(6), noise(6, 5), claimed=False)


def multi_head_attentions():
    q, k, v = noise(BATCH, LENGTH, ROW), noise(BATCH, KEYS, ROW), noise(BATCH, KEYS, ROW)
    bias, options = noise(3 * ROW), {"num_heads": HEADS}
    yield case("MultiHeadAttention", q, k, v, **options)
    yield case("MultiHeadAttention", q, k, v, scale=0.5, **options)
    for constant in ((), (3,)):
        yield case("MultiHeadAttention", q, k, v, bias, constant=constant, **options)
    for scores in ((1, 1), (1, HEADS), (BATCH, 1), (BATCH, HEADS)):
        mask = noise(*scores, LENGTH, KEYS)
        mask[..., 3] = -1e9
        yield case("MultiHeadAttention", q, k, v, None, None, mask, **options)
        yield case("MultiHeadAttention", q, k, v, bias, None, mask, **options)
    yield case("MultiHeadAttention", q, q[::-1].copy(), q + 1, unidirectional=1, **options)
    heads_first = [noise(BATCH, HEADS, KEYS, WIDTH) for _ in range(2)]
    yield case("MultiHeadAttention", q, *heads_first, **options)
    # One row, as a decoder has it, and one head.
    yield case("MultiHeadAttention", q[:, :1], k, v, **options)
    yield case("MultiHeadAttention", q, k, v, num_heads=1)
    padding = numpy.array([[1] * KEYS, [1] * 4 + [0] * 3], numpy.int32)
    past = [noise(BATCH, HEADS, 4, WIDTH) for _ in range(2)]
    refused = {"claimed": False, **options}
    yield case("MultiHeadAttention", q, k, v, None, padding, **options)
    yield case("MultiHeadAttention", q, k, v, bias, padding, mask_filter_value=-1e4, **options)
    yield case("MultiHeadAttention", q, q * 2, q + 1, None, padding[:, :LENGTH].copy(), unidirectional=1, **options)
    yield case("MultiHeadAttention", q, q * 2, q + 1, None, None, noise(1, 1, LENGTH, LENGTH), unidirectional=1, **options)
    # More keys than queries and fewer: the first query sees the first key.
    yield case("MultiHeadAttention", q, k, v, unidirectional=1, **options)
    yield case("MultiHeadAttention", k, q, q + 1, unidirectional=1, **options)
    # The bias of queries is the only one where keys and values come out of a cache.
    for constant in ((), (3,)):
        yield case("MultiHeadAttention", q, *heads_first, bias, constant=constant, **options)
    yield case("MultiHeadAttention", q, k, v, None, padding, noise(1, 1, LENGTH, KEYS), **refused)
    yield case("MultiHeadAttention", q, k, v, None, numpy.array([KEYS, 4], numpy.int32), **refused)
    for rows in (q, q[:, :1], q.astype(numpy.float16)):
        before = [part.astype(rows.dtype) for part in past]
        for options in ({"num_heads": HEADS}, {"num_heads": HEADS, "unidirectional": 1}):
            new, options = (rows, rows * 2, rows + 1), {"results": 3, **options}
            yield case("MultiHeadAttention", *new, None, None, None, *before, **options)
            yield case("MultiHeadAttention", *new, bias.astype(rows.dtype), None, None, *before, **options)
            yield case("MultiHeadAttention", *new, bias.astype(rows.dtype), **options)
    behind = numpy.concatenate([numpy.ones((BATCH, 4), numpy.int32), padding[:, :LENGTH]], axis=1)
    options = {"results": 3, "num_heads": HEADS}
    for options in (options, {"unidirectional": 1, **options}):
        yield case("MultiHeadAttention", q, q * 2, q + 1, None, behind, None, *past, **options)
        yield case("MultiHeadAttention", q, q, q, bias, None, noise(1, 1, LENGTH, 4 + LENGTH), *past, **options)
        yield case("MultiHeadAttention", q[:, :2], q, q + 1, None, None, None, *past, **options)
    # A beam search's own attention writes into its past, which beams share: it is ONNX Runtime's.
    step, room = noise(3, BATCH, 1, ROW), noise(2, BATCH, HEADS, 5, WIDTH)
    beams = {"results": 3, "past_present_share_buffer": 1, **refused}
    yield case("DecoderMaskedMultiHeadAttention", *step, None, None, *room, numpy.array([4], numpy.int32), **beams)
    yield case("MultiHeadAttention", q, k, noise(BATCH, KEYS, 2 * ROW), **refused)


def projected_attentions():
    """com.microsoft's Attention, which makes queries, keys and values itself."""
    x, weights, bias, options = noise(BATCH, LENGTH, 10), noise(10, 3 * ROW), noise(3 * ROW), {"num_heads": HEADS}
    seen = numpy.array([[1] * LENGTH, [1, 1, 1, 0, 0]], numpy.int32)
    for options in (options, {"unidirectional": 1, **options}, {"scale": 0.3, "mask_filter_value": -50.0, **options}):
        yield case("Attention", x, weights, bias, constant=(1, 2), **options)
        yield case("Attention", x[:, :1], weights, bias, constant=(1, 2), **options)
        yield case("Attention", x, weights, bias, seen, constant=(1, 2), **options)
        for scores in ((1, 1), (1, HEADS), (BATCH, 1), (BATCH, HEADS)):
            mask = noise(*scores, LENGTH, LENGTH)
            yield case("Attention", x, weights, bias, None, None, mask, constant=(1, 2), **options)
    yield case("Attention", x, weights, bias, constant=(1, 2), qkv_hidden_sizes=[ROW] * 3, **options)
    refused = {"claimed": False, "num_heads": HEADS}
    yield case("Attention", x, weights, bias, **refused)
    yield case("Attention", x, weights, bias, numpy.array([LENGTH, 3], numpy.int32), constant=(1, 2), **refused)
    past, behind = noise(2, BATCH, HEADS, 4, WIDTH), numpy.concatenate([numpy.ones((BATCH, 4), numpy.int32), seen], axis=1)
    for options in ({"num_heads": HEADS}, {"num_heads": HEADS, "unidirectional": 1}):
        options = {"constant": (1, 2), "results": 2, **options}
        yield case("Attention", x, weights, bias, **options)
        for rows in (x, x[:, :1]):
            yield case("Attention", rows, weights, bias, None, past, **options)
        yield case("Attention", x, weights, bias, behind, past, **options)


def attentions():
    attention = {"domain": "", "opset": 23}
    q, k, v = noise(BATCH, HEADS, LENGTH, WIDTH), noise(BATCH, HEADS, KEYS, WIDTH), noise(BATCH, HEADS, KEYS, WIDTH)
    yield case("Attention", q, k, v, **attention)
    yield case("Attention", q, k, v, scale=0.3, **attention)
    yield case("Attention", q, k[:, :1], v[:, :1], **attention)
    yield case("Attention", q, q[::-1].copy(), q + 1, is_causal=1, **attention)
    for shape in ((LENGTH, KEYS), (1, LENGTH, KEYS), (HEADS, LENGTH, KEYS), (BATCH, 1, LENGTH, KEYS)):
        mask = noise(*shape)
        mask[..., 2] = -1e9
        yield case("Attention", q, k, v, mask, **attention)
        yield case("Attention", q, k, v, mask > -1, **attention)
    rows = [noise(BATCH, LENGTH, ROW), noise(BATCH, KEYS, ROW), noise(BATCH, KEYS, ROW)]
    heads = {"q_num_heads": HEADS, "kv_num_heads": HEADS, **attention}
    yield case("Attention", *rows, **heads)
    yield case("Attention", *[row.astype(numpy.float16) for row in rows], **heads)
    yield case("Attention", *rows, noise(LENGTH, KEYS), **heads)
    refused = {"claimed": False, **attention}
    yield case("Attention", q, k, v, softcap=2.0, **refused)
    yield case("Attention", q, k, v, is_causal=1, **attention)
    yield case("Attention", k, q, q + 1, is_causal=1, **attention)
    yield case("Attention", q, k, v, noise(LENGTH, KEYS), is_causal=1, **attention)
    yield case("Attention", q, k, v, noise(BATCH, 1, LENGTH, KEYS) > -1, is_causal=1, **attention)
    yield case("Attention", *rows, is_causal=1, **heads)
    yield case("Attention", q, k, noise(BATCH, HEADS, KEYS, 2 * WIDTH), **refused)
    many, few = noise(BATCH, 4, LENGTH, WIDTH), (k[:, :2].copy(), v[:, :2].copy())
    yield case("Attention", many, *few, **attention)
    yield case("Attention", many, *few, noise(BATCH, 4, LENGTH, KEYS), is_causal=1, **attention)
    yield case("Attention", many, *few, noise(LENGTH, KEYS) > -1, **attention)
    shared = [noise(BATCH, 2, 4, WIDTH) for _ in range(2)]
    yield case("Attention", many, *few, None, *shared, results=3, is_causal=1, **attention)
    packed = (noise(BATCH, LENGTH, 4 * WIDTH), noise(BATCH, KEYS, 2 * WIDTH), noise(BATCH, KEYS, 2 * WIDTH))
    yield case("Attention", *packed, domain="", opset=23, q_num_heads=4, kv_num_heads=2)
    past = [noise(BATCH, HEADS, 4, WIDTH) for _ in range(2)]
    yield case("Attention", q, k, v, None, *past, results=3, **attention)
    yield case("Attention", q, k, v, None, k, v, results=3, **attention)
    yield case("Attention", q, k, v, results=3, **attention)
    yield case("Attention", q, k, v, None, *[noise(BATCH, HEADS, 0, WIDTH)] * 2, results=3, **attention)
    yield case("Attention", *rows, None, *past, results=3, **heads)
    half = [value.astype(numpy.float16) for value in (*rows, *past)]
    yield case("Attention", *half[:3], None, *half[3:], results=3, **heads)
    yield case("Attention", q, k, v, noise(LENGTH, 4 + KEYS), *past, results=3, **attention)
    yield case("Attention", q, k, v, noise(BATCH, HEADS, LENGTH, 4 + KEYS) > -1, *past, results=3, **attention)
    for queries in (q, q[:, :, :1], k):
        yield case("Attention", queries, q, q + 1, None, *past, results=3, is_causal=1, **attention)


def coded():
    """Matrices of a few bits, their codes at random."""

    def codes(*shape):
        return random.integers(256, size=shape, dtype=numpy.uint8)

    for bits, block, inputs, outputs in ((4, 16, 48, 5), (4, 32, 80, 33), (4, 128, 100, 7), (8, 32, 96, 40), (2, 32, 64, 9), (4, 64, 512, 3)):
        blocks = -(-inputs // block)
        sizes = {"K": inputs, "N": outputs, "bits": bits, "block_size": block}
        b, scales = codes(outputs, blocks, block * bits // 8), noise(outputs, blocks) / 2**bits
        zeros = codes(outputs, -(-blocks * bits // 8))
        for rows in (1, 7, 40):
            x, constant = noise(2, rows, inputs), (1, 2, 3, 5)
            yield case("MatMulNBits", x, b, scales, constant=constant, **sizes)
            yield case("MatMulNBits", x, b, scales, zeros, constant=constant, **sizes)
            if bits != 2:
                yield case("MatMulNBits", x, b, scales, zeros, None, noise(outputs), constant=constant, **sizes)
            if bits == 4:
                half = [value.astype(numpy.float16) for value in (x, scales)]
                yield case("MatMulNBits", half[0], b, half[1], constant=constant, **sizes)
                yield case("MatMulNBits", x, b, scales, noise(outputs, blocks) + 8, constant=constant, **sizes)
        # Older tools write one list.
        flat = (b, scales.ravel(), zeros.ravel())
        yield case("MatMulNBits", x, *flat, constant=constant, **sizes)
        yield case("MatMulNBits", x[:, :0], *flat, constant=constant, **sizes)
        if bits == 4:
            groups = (numpy.arange(inputs) // block).astype(numpy.int32)
            yield case("MatMulNBits", x, b, scales, zeros, groups, constant=(1, 2, 3, 4), claimed=False, **sizes)
        yield case("MatMulNBits", x, b, scales, constant=(), claimed=False, **sizes)
    for kind in (0, 1):
        for inputs, outputs in ((64, 24), (48, 9)):
            sizes = {"K": inputs, "N": outputs, "block_size": 32, "quant_type": kind}
            entries = inputs * outputs
            b, scales = codes(-(-entries // 2)), abs(noise(-(-entries // 32)))
            yield case("MatMulBnb4", noise(2, 3, inputs), b, scales, constant=(1, 2), **sizes)


def check(name, made, feed, claimed, devices, report):
    """What is wrong with a case, if anything is."""
    try:
        expected = session(made).run(None, feed)
    except Exception as error:
        return f"{name}: the CPU provider says {error}"
    try:
        ours = session(made, devices, report)
        nodes = claimed_nodes(report)
        got = ours.run(None, feed)
    except Exception as error:
        return f"{name}: {error}"
    if nodes != int(claimed):
        return f"{name}: {nodes} nodes are claimed"
    return None if all(map(alike, expected, got)) else f"{name}: {got} instead of {expected}"


def main(library):
    onnxruntime.register_execution_provider_library("undertone", library)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == EP_NAME]
    families = (gelus, indices, norms, embeddings, products, multi_head_attentions, projected_attentions, attentions, coded)
    cases = [case for family in families for case in family()]
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.json")
        wrong = [fault for case in cases if (fault := check(*case, devices, report))]
    print(*wrong, f"{len(cases)} cases, {len(wrong)} wrong", sep="\n")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
