// SPDX-License-Identifier: GPL-2.0
/* What kapi::system asks. */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include "scst_system.h"


u32 scst_c_num_online_cpus(void)
{
	return num_online_cpus();
}

bool scst_c_node_online(int node)
{
	return node >= 0 && node < MAX_NUMNODES && node_online(node);
}

u64 scst_c_totalram_mb(void)
{
	return (u64)totalram_pages() >> (20 - PAGE_SHIFT);
}
