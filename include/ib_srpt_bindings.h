/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for ib_srpt: the RDMA verbs, both connection managers and
 * the management-datagram agent.
 */
#include <linux/list.h>
#include <linux/irq_poll.h>
#include <linux/irq_work.h>
#include <rdma/ib_cm.h>
#include <rdma/ib_mad.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>
