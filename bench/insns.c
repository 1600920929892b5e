// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin: counts the instructions that the guest executes, by translated block (one processor).
 *
 * The guest brackets what is to be measured with two marker instructions (mark.c): START sets the counters to zero,
 * STOP writes them to OUT.0, OUT.1, ... as lines of "address count", address being a block's first instruction.
 *
 * The declarations are those of plugin API version 4 (QEMU 9.2 and later) or, with -DAPI=7, of version 7 (QEMU 11.1), which takes
 * none that is older; Debian does not package the header.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef API
#define API 4
#endif
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;
typedef void (*insn_exec_cb)(unsigned int vcpu, void *userdata);

enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };

#if API >= 7
typedef void (*tb_trans_cb)(struct qemu_plugin_tb *tb, void *userdata);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb, void *userdata);
#else
typedef void (*tb_trans_cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_trans_cb cb);
#endif
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest, size_t len);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_exec_cb cb, int flags, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int op, qemu_plugin_u64 entry,
						       uint64_t imm);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int vcpu);

EXPORT int qemu_plugin_version = API;

/* One slot a block; blocks are told apart by address, so a block that is translated again keeps its slot. */
enum { SLOTS = 1 << 20 };

static struct qemu_plugin_scoreboard *board;
static uint64_t address[SLOTS];
static size_t used;
static const char *out = "insns";
static unsigned int dumps;

static uint64_t *counters(void)
{
	return qemu_plugin_scoreboard_find(board, 0);
}

static size_t slot_of(uint64_t vaddr)
{
	size_t slot = (vaddr * 0x9E3779B97F4A7C15ull) >> 44;

	while (address[slot] && address[slot] != vaddr)
		slot = (slot + 1) % SLOTS;
	if (!address[slot]) {
		if (++used > SLOTS / 4 * 3) {
			fprintf(stderr, "insns: too many blocks\n");
			exit(1);
		}
		address[slot] = vaddr;
	}
	return slot;
}

static void start(unsigned int vcpu, void *userdata)
{
	memset(counters(), 0, SLOTS * sizeof(uint64_t));
}

static void stop(unsigned int vcpu, void *userdata)
{
	const uint64_t *count = counters();
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s.%u", out, dumps++);
	file = fopen(path, "w");
	if (!file) {
		perror(path);
		exit(1);
	}
	for (size_t slot = 0; slot < SLOTS; slot++)
		if (count[slot])
			fprintf(file, "%llx %llu\n", (unsigned long long)address[slot], (unsigned long long)count[slot]);
	fclose(file);
}

/* Markers are seven-byte no-operations: nopl 0x5c57a00N(%rax), N=1 start, N=2 stop. */
static void look_for_marker(struct qemu_plugin_insn *insn)
{
	static const uint8_t no_operation[] = { 0x0f, 0x1f, 0x80 }, magic[] = { 0xa0, 0x57, 0x5c };
	uint8_t bytes[7];

	if (qemu_plugin_insn_size(insn) != sizeof(bytes) ||
	    qemu_plugin_insn_data(insn, bytes, sizeof(bytes)) != sizeof(bytes) || memcmp(bytes, no_operation, 3) ||
	    memcmp(bytes + 4, magic, 3))
		return;
	if (bytes[3] == 1)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, start, QEMU_PLUGIN_CB_NO_REGS, NULL);
	else if (bytes[3] == 2)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, stop, QEMU_PLUGIN_CB_NO_REGS, NULL);
}

static void look_at(struct qemu_plugin_tb *tb)
{
	uint64_t vaddr = qemu_plugin_tb_vaddr(tb);
	size_t insns = qemu_plugin_tb_n_insns(tb);
	qemu_plugin_u64 counter = { board, slot_of(vaddr) * sizeof(uint64_t) };

	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, counter, insns);
	if (vaddr >> 63)
		return; /* markers are in user space */
	for (size_t i = 0; i < insns; i++)
		look_for_marker(qemu_plugin_tb_get_insn(tb, i));
}

#if API >= 7
static void translated(struct qemu_plugin_tb *tb, void *userdata)
{
	look_at(tb);
}
#else
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	look_at(tb);
}
#endif

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
	board = qemu_plugin_scoreboard_new(SLOTS * sizeof(uint64_t));
#if API >= 7
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
#else
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
#endif
	return 0;
}
