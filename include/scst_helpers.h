/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_HELPERS_H
#define SCST_HELPERS_H

void scst_c_cond_resched(void);

#endif
