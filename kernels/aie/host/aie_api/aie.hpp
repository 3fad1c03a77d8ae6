// The part of the AIE API that the kernels in ../../src use, in plain C++20, so that the same sources run on the host.
//
// It is written from the API's documented behaviour and holds nothing of AMD's. Integer operations give the silicon's results bit for bit. Of
// floating point this is assumed, and was not compared with silicon: every fp32 addition and multiplication is rounded once, to nearest even;
// mmul adds the (exact) products of two bf16 in the order of the inner dimension, rounding after each; denormals are kept. Silicon may sum the products of one
// instruction before it rounds, builds fp32 products from bf16 ones, and may flush denormals.
// Compile with -ffp-contract=off: a fused multiply-add would round less often.
#pragma once

#include "types.hpp"
#include "vector.hpp"
#include "accum.hpp"
#include "mmul.hpp"
#include "operations.hpp"
