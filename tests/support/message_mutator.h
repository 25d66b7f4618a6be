/* message_mutator.h - changes HTTP messages as messages: lines come, go, come twice or change places, and chunks are
 * made to fit. For the fuzzers. */
#ifndef RILL_TESTS_SUPPORT_MESSAGE_MUTATOR_H
#define RILL_TESTS_SUPPORT_MESSAGE_MUTATOR_H

#include "rill/core/base.h"
#include <stdint.h>

/* As LLVMFuzzerCustomMutator(); the message begins behind the first PREFIX bytes. Half of the time it leaves the change
 * to libFuzzer, which knows nothing of lines. */
size_t message_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, size_t prefix);

#endif
