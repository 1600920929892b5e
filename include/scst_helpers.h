/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SCST_HELPERS_H
#define SCST_HELPERS_H

#include <linux/types.h>
#include <linux/spinlock_types.h>

struct cpumask;
struct wait_queue_head;

/* One "add @value to counter @index"; the Rust side is kapi::percpu. */
struct scst_c_percpu_delta {
	size_t index;
	u64 value;
};

/* Who uses something: how often that began and ended; the Rust side is kapi::uses. */
struct scst_c_uses {
	/* For each CPU: [0] begun, [1] ended. */
	unsigned long __percpu *counts;
	struct wait_queue_head *gone;
	int killed;
};

void scst_c_cond_resched(void);
bool scst_c_need_resched(void);
void scst_c_cpu_relax(void);
void scst_c_set_current_state(unsigned int state);

unsigned long scst_c_spin_lock_irqsave(spinlock_t *lock);
void scst_c_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
bool scst_c_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);

const char *scst_c_init_utsname_release(void);

void *scst_c_xchg_ptr(void **slot, void *new);
void scst_c_synchronize_rcu_tasks(void);

void scst_c_percpu_add(u64 __percpu *counters, size_t n,
		       const struct scst_c_percpu_delta *delta, size_t k);
u64 scst_c_percpu_sum(const u64 __percpu *counters, size_t index);
void scst_c_percpu_clear(u64 __percpu *counters, size_t index);

bool scst_c_uses_tryget(const struct scst_c_uses *uses);
bool scst_c_uses_tryget_rcu(const struct scst_c_uses *uses);
void scst_c_uses_get(const struct scst_c_uses *uses);
void scst_c_uses_put(const struct scst_c_uses *uses);
bool scst_c_uses_none(const struct scst_c_uses *uses);

void scst_c_wake_up_all(struct wait_queue_head *wq);

int scst_c_cpumask_parse(const char *buf, struct cpumask *mask);

struct kiocb;
void scst_c_kiocb_end_write(struct kiocb *iocb);

#endif
