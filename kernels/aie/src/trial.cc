// The entry of the trial array of one core.
#include <aie_api/aie.hpp>

#include "entry.h"
#include "trial.h"

extern "C" {

void UNDERTONE_ENTRY(trial_answer)(const int32_t *a, int32_t *c) { undertone::trial_answer(a, c); }
}
