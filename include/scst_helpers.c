// SPDX-License-Identifier: GPL-2.0
/*
 * Functions for what Rust cannot call: static inlines and macros of the kernel.
 * Each does exactly that and decides nothing. Names: scst_c_<kernel name>.
 *
 * The kernel is built by gcc, so nothing here is ever inlined into Rust code:
 * where the data path would need several calls, one function does the lot.
 */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#include <linux/fs.h>
#include "scst_helpers.h"

void scst_c_cond_resched(void)
{
	cond_resched();
}

bool scst_c_need_resched(void)
{
	return need_resched();
}

void scst_c_cpu_relax(void)
{
	cpu_relax();
}

void scst_c_set_current_state(unsigned int state)
{
	set_current_state(state);
}

/* linux/spinlock.h: the irqsave variants are macros. */

unsigned long scst_c_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void scst_c_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

bool scst_c_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

/* linux/utsname.h */

const char *scst_c_init_utsname_release(void)
{
	return init_utsname()->release;
}

/* linux/rcupdate.h */

void *scst_c_xchg_ptr(void **slot, void *new)
{
	return xchg(slot, new);
}

void scst_c_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

/* linux/percpu.h */

void scst_c_percpu_add(u64 __percpu *counters, size_t n,
		       const struct scst_c_percpu_delta *delta, size_t k)
{
	for (; k; k--, delta++)
		if (delta->index < n)
			this_cpu_add(counters[delta->index], delta->value);
}

u64 scst_c_percpu_sum(const u64 __percpu *counters, size_t index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(counters + index, cpu));
	return sum;
}

void scst_c_percpu_clear(u64 __percpu *counters, size_t index)
{
	int cpu;

	for_each_possible_cpu(cpu)
		WRITE_ONCE(*per_cpu_ptr(counters + index, cpu), 0);
}

/* linux/wait.h: wq_has_sleeper() has the barrier that waitqueue_active() lacks. */

void scst_c_wake_up_all(struct wait_queue_head *wq)
{
	if (wq_has_sleeper(wq))
		wake_up_all(wq);
}

/* The counts of kapi::uses */

bool scst_c_uses_tryget_rcu(const struct scst_c_uses *uses)
{
	if (unlikely(READ_ONCE(uses->killed)))
		return false;
	this_cpu_inc(uses->counts[0]);
	return true;
}

bool scst_c_uses_tryget(const struct scst_c_uses *uses)
{
	bool got;

	rcu_read_lock();
	got = scst_c_uses_tryget_rcu(uses);
	rcu_read_unlock();
	return got;
}

void scst_c_uses_get(const struct scst_c_uses *uses)
{
	this_cpu_inc(uses->counts[0]);
}

void scst_c_uses_put(const struct scst_c_uses *uses)
{
	rcu_read_lock();
	/*
	 * Who sees the end sees the beginning, and what the user did; pairs
	 * with the barrier in scst_c_uses_none().
	 */
	smp_mb__before_atomic();
	this_cpu_inc(uses->counts[1]);
	if (unlikely(READ_ONCE(uses->killed)))
		scst_c_wake_up_all(uses->gone);
	rcu_read_unlock();
}

bool scst_c_uses_none(const struct scst_c_uses *uses)
{
	unsigned long ended = 0, begun = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		ended += READ_ONCE(per_cpu_ptr(uses->counts, cpu)[1]);
	/* The ends first: a use that is missed among the beginnings has not ended either. */
	smp_mb();
	for_each_possible_cpu(cpu)
		begun += READ_ONCE(per_cpu_ptr(uses->counts, cpu)[0]);
	return begun == ended;
}

/* linux/cpumask.h */

int scst_c_cpumask_parse(const char *buf, struct cpumask *mask)
{
	return cpumask_parse(buf, mask);
}

void scst_c_kiocb_end_write(struct kiocb *iocb)
{
	kiocb_end_write(iocb);
}
