// SPDX-License-Identifier: GPL-2.0
/* The Rust symbols that scst.ko offers to the other modules of this project. */
#include <linux/export.h>
#include <linux/module.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "scst_exports_generated.h"

/* The version of SCST whose interface this is; scstadmin reads it. */
MODULE_VERSION("3.11.0-pre");
