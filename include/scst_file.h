/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_FILE_H
#define SCST_FILE_H

int scst_c_rename_within(const char *dir, const char *from, const char *to);
int scst_c_unlink_within(const char *dir, const char *name);

#endif
