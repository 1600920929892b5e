// SPDX-License-Identifier: GPL-2.0
/* The version of SCST whose interface this is; scstadmin reads it. */
#include <linux/module.h>

MODULE_VERSION("3.11.0-pre");
