// Entries of the array of int8 operands.
#include <aie_api/aie.hpp>

using Type = int8_t;
#define UNDERTONE_NAME(entry) UNDERTONE_ENTRY(int8_##entry)
#include "matrix.h"
