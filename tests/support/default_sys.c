/* default_sys.c - the calls of core/sys.h as they are, for test builds: weak, so that what fake_sys.c or faulty_sys.c
 * replaces is theirs. */
#define RILL_SYS_DEFAULTS
#include "rill/core/sys.h"
