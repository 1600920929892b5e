// SPDX-License-Identifier: GPL-2.0
/*
 * Functions for what Rust cannot call: static inlines and macros of the kernel.
 * Each does exactly that and decides nothing. Names: scst_c_<kernel name>.
 */
#include <linux/sched.h>
#include "scst_helpers.h"

void scst_c_cond_resched(void)
{
	cond_resched();
}
