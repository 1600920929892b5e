/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_SYSTEM_H
#define SCST_SYSTEM_H

#include <linux/types.h>

u32 scst_c_num_online_cpus(void);
u64 scst_c_totalram_mb(void);
bool scst_c_node_online(int node);

#endif
