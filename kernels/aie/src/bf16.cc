// Entries of the array of bf16 operands.
#include <aie_api/aie.hpp>

using Type = bfloat16;
#define UNDERTONE_NAME(entry) UNDERTONE_ENTRY(bf16_##entry)
#include "matrix.h"
