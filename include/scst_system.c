// SPDX-License-Identifier: GPL-2.0
/* What kapi::system asks. */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include "scst_system.h"


u32 scst_c_num_online_cpus(void)
{
	return num_online_cpus();
}

u64 scst_c_totalram_mb(void)
{
	return (u64)totalram_pages() >> (20 - PAGE_SHIFT);
}
