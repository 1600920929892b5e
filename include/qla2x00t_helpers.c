// SPDX-License-Identifier: GPL-2.0
/*
 * The target mode of the stock qla2xxx driver: see qla2x00t_helpers.h.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/unaligned.h>
#include "qla_def.h"
#include "qla_target.h"
#include "qla2x00t_helpers.h"
#ifdef QLA_LAYOUT_FILE
#define QLA_LAYOUT(what, is) \
	static_assert((what) == (is), \
		      "these qla2xxx headers are not those that qla2xxx.ko was built with: " \
		      "make include/" QLA_LAYOUT_FILE " for this kernel (packaging/qla2x00t-layout.sh)")
#include QLA_LAYOUT_FILE
#endif

/* module! of this kernel has no field for it. */
MODULE_VERSION("3.11.0-pre");

/* The same numbers stand in qla.rs. */
static_assert(QLA_C_CMD_SIZE >= sizeof(struct qla_tgt_cmd));
static_assert(sizeof(struct qla_c_incoming) == 32);
static_assert(offsetof(struct qla_c_incoming, lun) == 8);
static_assert(offsetof(struct qla_c_incoming, tag) == 16);
static_assert(offsetof(struct qla_c_incoming, length) == 20);
static_assert(offsetof(struct qla_c_incoming, cdb_len) == 24);
static_assert(offsetof(struct qla_c_incoming, attribute) == 26);
static_assert(offsetof(struct qla_c_incoming, direction) == 27);
static_assert(sizeof(struct qla_c_login) == 16);
static_assert(sizeof(struct qla_c_answer) == 32);
static_assert(offsetof(struct qla_c_answer, under) == 16);
static_assert(offsetof(struct qla_c_answer, status) == 24);
static_assert(sizeof(struct qla_c_state) == 24);
static_assert(offsetof(struct qla_c_state, ini_mode) == 20);
static_assert(TRANSPORT_SENSE_BUFFER == 96);

static struct workqueue_struct *queue;

/* Commands ----------------------------------------------------------------- */

static struct qla_tgt_cmd *get_cmd(struct fc_port *sess)
{
	return sess->se_sess ? qla2x00t_get(sess->se_sess) : NULL;
}

static int get_cmd_ref(struct qla_tgt_cmd *cmd)
{
	return qla2x00t_ref(cmd) ? 0 : -ESHUTDOWN;
}

static int handle_cmd(struct scsi_qla_host *vha, struct qla_tgt_cmd *cmd,
		      unsigned char *cdb, uint32_t data_length,
		      int fcp_task_attr, int data_dir, int bidi)
{
	const struct atio7_fcp_cmnd *fcp = &cmd->atio.u.isp24.fcp_cmnd;
	const struct qla_c_incoming in = {
		.cdb = cdb,
		.lun = get_unaligned_be64(&fcp->lun),
		.tag = le32_to_cpu(cmd->atio.u.isp24.exchange_addr),
		.length = data_length,
		.cdb_len = cmd->cdb_len,
		.attribute = fcp->task_attr,
		.direction = fcp->wrdata | fcp->rddata << 1,
	};

	/* The driver reads these when it aborts. */
	cmd->se_cmd.orig_fe_lun = cmd->unpacked_lun;
	qla2x00t_command(cmd->sess->se_sess, cmd, &in);
	return 0;
}

static void data_work(struct work_struct *work)
{
	struct qla_tgt_cmd *cmd = container_of(work, struct qla_tgt_cmd, work);

	cmd->cmd_in_wq = 0;
	cmd->cmd_sent_to_fw = 0;
	qla2x00t_data(cmd->sess->se_sess, cmd,
		      cmd->write_data_transferred && !cmd->aborted);
}

/* The driver holds its locks, which sending takes. */
static void handle_data(struct qla_tgt_cmd *cmd)
{
	cmd->trc_flags |= TRC_DATA_IN;
	cmd->cmd_in_wq = 1;
	INIT_WORK(&cmd->work, data_work);
	queue_work(queue, &cmd->work);
}

static void retry_work(struct work_struct *work)
{
	struct qla_tgt_cmd *cmd = container_of(work, struct qla_tgt_cmd, work);

	cmd->cmd_in_wq = 0;
	usleep_range(500, 1000);
	qla2x00t_retry(cmd->sess->se_sess, cmd);
}

void qla_c_retry_later(struct qla_tgt_cmd *cmd)
{
	cmd->cmd_in_wq = 1;
	INIT_WORK(&cmd->work, retry_work);
	queue_work(queue, &cmd->work);
}

static void free_cmd(struct qla_tgt_cmd *cmd)
{
	cmd->state = QLA_TGT_STATE_DONE;
	cmd->cmd_sent_to_fw = 0;
	cmd->trc_flags |= TRC_CMD_DONE | TRC_CMD_FREE;
	qla2x00t_done(cmd);
}

static struct qla_tgt_cmd *find_cmd_by_tag(struct fc_port *sess, uint64_t tag)
{
	return qla2x00t_find(sess->vha->vha_tgt.target_lport_ptr, sess, tag);
}

int qla_c_send(struct qla_tgt_cmd *cmd, const struct qla_c_answer *answer)
{
	struct se_cmd *se_cmd = &cmd->se_cmd;
	int what = QLA_TGT_XMIT_STATUS;

	cmd->sg = answer->sg;
	cmd->sg_cnt = answer->nents;
	cmd->bufflen = answer->length;
	cmd->offset = 0;
	/* As the target's adapter sees it. */
	cmd->dma_data_direction = DMA_TO_DEVICE;
	/* For a retransmission. */
	se_cmd->t_data_sg = answer->sg;
	se_cmd->t_data_nents = answer->nents;
	se_cmd->data_length = answer->length;
	se_cmd->scsi_status = answer->status;
	se_cmd->residual_count = answer->under ?: answer->over;
	se_cmd->se_cmd_flags = answer->under ? SCF_UNDERFLOW_BIT :
			       answer->over ? SCF_OVERFLOW_BIT : 0;
	if (answer->length) {
		cmd->trc_flags |= TRC_XMIT_DATA;
		what |= QLA_TGT_XMIT_DATA;
	} else {
		cmd->trc_flags |= TRC_XMIT_STATUS;
	}
	return qlt_xmit_response(cmd, what, answer->status);
}

int qla_c_fetch(struct qla_tgt_cmd *cmd, struct scatterlist *sg, u32 nents,
		u32 length)
{
	cmd->sg = sg;
	cmd->sg_cnt = nents;
	cmd->bufflen = length;
	cmd->offset = 0;
	cmd->dma_data_direction = DMA_FROM_DEVICE;
	cmd->se_cmd.t_data_sg = sg;
	cmd->se_cmd.t_data_nents = nents;
	cmd->se_cmd.data_length = length;
	cmd->trc_flags |= TRC_XFR_RDY;
	return qlt_rdy_to_xfer(cmd);
}

u8 *qla_c_sense_buffer(struct qla_tgt_cmd *cmd)
{
	return cmd->sense_buffer;
}

void qla_c_abort(struct qla_tgt_cmd *cmd)
{
	qlt_abort_cmd(cmd);
}

bool qla_c_wants_data(const struct qla_tgt_cmd *cmd)
{
	return READ_ONCE(cmd->state) == QLA_TGT_STATE_NEED_DATA;
}

void qla_c_free(struct qla_tgt_cmd *cmd)
{
	qlt_free_cmd(cmd);
}

void qla_c_confirm(struct qla_tgt_cmd *cmd, bool explicit)
{
	cmd->conf_compl_supported &= explicit;
}

void qla_c_fill(struct scatterlist *sg, u32 nents, const void *memory,
		u32 chunk, u32 length)
{
	u32 at;

	sg_init_table(sg, nents);
	for (at = 0; at < nents; at++, length -= chunk)
		sg_set_buf(&sg[at], memory, min(length, chunk));
}

/* Task management ---------------------------------------------------------- */

/* int_to_scsilun(), as a big-endian number. */
static u64 wire_lun(u64 lun)
{
	return (lun & 0xffff) << 48 | (lun & 0xffff0000) << 16 |
	       (lun >> 16 & 0xffff0000) | lun >> 48;
}

static int handle_tmr(struct qla_tgt_mgmt_cmd *mcmd, u64 lun, uint16_t func,
		      uint32_t tag)
{
	struct fc_port *sess = mcmd->sess;

	return qla2x00t_manage(sess->vha->vha_tgt.target_lport_ptr, sess, mcmd,
			       wire_lun(lun), func, tag);
}

static void free_mcmd(struct qla_tgt_mgmt_cmd *mcmd)
{
	qlt_free_mcmd(mcmd);
}

void qla_c_managed(struct qla_tgt_mgmt_cmd *mcmd, u8 response)
{
	mcmd->fc_tm_rsp = response;
	qlt_xmit_tm_rsp(mcmd);
}

/* Sessions ----------------------------------------------------------------- */

static int check_initiator_node_acl(struct scsi_qla_host *vha,
				    unsigned char *wwpn, struct fc_port *sess)
{
	const struct qla_c_login login = {
		.port_name = get_unaligned_be64(wwpn),
		.port_id = sess->d_id.b24,
		.loop_id = sess->loop_id,
	};
	const void *session;
	int ret;

	/* It can be found before this is set, and has no commands till then. */
	ret = qla2x00t_login(vha->vha_tgt.target_lport_ptr, sess, &login,
			     &session);
	if (!ret)
		sess->se_sess = (void *)session;
	return ret;
}

static void update_sess(struct fc_port *sess, port_id_t s_id, uint16_t loop_id,
			bool conf_compl_supported)
{
	sess->conf_compl_supported = conf_compl_supported;
}

static struct fc_port *find_sess_by_loop_id(struct scsi_qla_host *vha,
					    const uint16_t loop_id)
{
	return qla2x00t_by_loop(vha->vha_tgt.target_lport_ptr, loop_id);
}

static struct fc_port *find_sess_by_s_id(struct scsi_qla_host *vha,
					 const be_id_t s_id)
{
	return qla2x00t_by_id(vha->vha_tgt.target_lport_ptr, sid_to_key(s_id));
}

static void clear_nacl_from_fcport_map(struct fc_port *sess)
{
	qla2x00t_forget(sess->vha->vha_tgt.target_lport_ptr, sess);
}

static void sess_unused(struct kref *kref)
{
	qlt_unreg_sess(container_of(kref, struct fc_port, sess_kref));
}

static void put_sess(struct fc_port *sess)
{
	if (sess)
		kref_put(&sess->sess_kref, sess_unused);
}

/* All that has to be done is done when it ends. */
static void shutdown_sess(struct fc_port *sess)
{
}

static void free_session(struct fc_port *sess)
{
	qla2x00t_logout(sess->se_sess);
}

void qla_c_close(struct fc_port *sess)
{
	struct qla_hw_data *ha = sess->vha->hw;
	unsigned long flags;

	spin_lock_irqsave(&ha->tgt.sess_lock, flags);
	sess->explicit_logout = 1;
	qlt_unreg_sess(sess);
	spin_unlock_irqrestore(&ha->tgt.sess_lock, flags);
}

/* Protection information is refused: no device here has it. */
static int get_dif_tags(struct qla_tgt_cmd *cmd, uint16_t *pfw_prot_opts)
{
	return 0;
}

static int chk_dif_tags(uint32_t tag)
{
	return 0;
}

static void rel_cmd(struct qla_tgt_cmd *cmd)
{
	qla2x00t_release(cmd->sess->se_sess, cmd);
}

static const struct qla_tgt_func_tmpl functions = {
	.find_cmd_by_tag	= find_cmd_by_tag,
	.handle_cmd		= handle_cmd,
	.handle_data		= handle_data,
	.handle_tmr		= handle_tmr,
	.get_cmd		= get_cmd,
	.get_cmd_ref		= get_cmd_ref,
	.put_cmd_ref		= qla2x00t_unref,
	.rel_cmd		= rel_cmd,
	.free_cmd		= free_cmd,
	.free_mcmd		= free_mcmd,
	.free_session		= free_session,
	.check_initiator_node_acl = check_initiator_node_acl,
	.update_sess		= update_sess,
	.find_sess_by_loop_id	= find_sess_by_loop_id,
	.find_sess_by_s_id	= find_sess_by_s_id,
	.clear_nacl_from_fcport_map = clear_nacl_from_fcport_map,
	.put_sess		= put_sess,
	.shutdown_sess		= shutdown_sess,
	.get_dif_tags		= get_dif_tags,
	.chk_dif_tags		= chk_dif_tags,
};

/* Ports -------------------------------------------------------------------- */

void qla_c_hold(struct scsi_qla_host *vha)
{
	scsi_host_get(vha->host);
}

void qla_c_put(struct scsi_qla_host *vha)
{
	scsi_host_put(vha->host);
}

void qla_c_state(struct scsi_qla_host *vha, struct qla_c_state *state)
{
	*state = (struct qla_c_state) {
		.port_name = get_unaligned_be64(vha->port_name),
		.node_name = get_unaligned_be64(vha->node_name),
		.host_no = vha->host->host_no,
		.ini_mode = vha->qlini_mode,
		.target = vha->host->active_mode & MODE_TARGET,
		.claimed = vha->hw->tgt.tgt_ops != NULL,
		.online = vha->flags.online &&
			  !(vha->device_flags & DFLG_NO_CABLE),
	};
}

struct kobject *qla_c_kobj(struct scsi_qla_host *vha)
{
	return &vha->host->shost_dev.kobj;
}

u32 qla_c_depth(struct scsi_qla_host *vha)
{
	return vha->hw->cur_fw_xcb_count;
}

u32 qla_c_segments(struct scsi_qla_host *vha)
{
	return vha->vha_tgt.qla_tgt ? vha->vha_tgt.qla_tgt->sg_tablesize : 0;
}

static int claim(struct scsi_qla_host *vha, void *port, u64 npiv_wwpn,
		 u64 npiv_wwnn)
{
	if (vha->hw->tgt.tgt_ops)
		return -EBUSY;
	vha->vha_tgt.target_lport_ptr = port;
	vha->hw->tgt.tgt_ops = &functions;
	return 0;
}

/*
 * Responses may be to be confirmed; each command says whether its own is
 * (qla_c_confirm). To be called before a reset of the adapter is asked for, which
 * changes other bits of the same word.
 */
static void confirm_all(struct scsi_qla_host *vha, bool may)
{
	struct qla_hw_data *ha = vha->hw;

	mutex_lock(&ha->mq_lock);
	if (may)
		QLA_ENA_CONF(ha)
	else
		QLA_DIS_CONF(ha)
	mutex_unlock(&ha->mq_lock);
}

int qla_c_enable(struct scsi_qla_host *vha, const void *port)
{
	int ret = qlt_lport_register((void *)port,
				     get_unaligned_be64(vha->port_name), 0, 0,
				     claim);

	if (ret)
		return ret;
	confirm_all(vha, true);
	qlt_enable_vha(vha);
	return 0;
}

/*
 * Who is not in its slot any more is not reset: the driver's thread does nothing
 * once it has seen that. So that nobody waits for it, the request is taken back.
 */
void qla_c_renounce(struct scsi_qla_host *vha)
{
	if (!pci_device_is_present(vha->hw->pdev) && vha->hw->flags.eeh_busy)
		clear_bit(ISP_ABORT_NEEDED, &vha->dpc_flags);
}

struct absence {
	struct delayed_work work;
	struct scsi_qla_host *vha;
};

static void renounce_work(struct work_struct *work)
{
	struct absence *absence =
		container_of(to_delayed_work(work), struct absence, work);

	qla_c_renounce(absence->vha);
	schedule_delayed_work(&absence->work, HZ / 10);
}

static void stop(struct scsi_qla_host *vha, struct qla_tgt *tgt)
{
	if (!vha->vp_idx)
		confirm_all(vha, false);
	qlt_stop_phase1(tgt);
	if (!tgt->tgt_stopped)
		qlt_stop_phase2(tgt);
}

void qla_c_stop(struct scsi_qla_host *vha)
{
	struct qla_tgt *tgt = vha->vha_tgt.qla_tgt;
	struct absence absence = { .vha = vha };

	if (!tgt)
		return;
	/* The driver waits for a reset. */
	INIT_DELAYED_WORK_ONSTACK(&absence.work, renounce_work);
	schedule_delayed_work(&absence.work, 0);
	stop(vha, tgt);
	cancel_delayed_work_sync(&absence.work);
	destroy_delayed_work_on_stack(&absence.work);
}

/*
 * Who is not in its slot any more does not give back what it has. The driver does,
 * in a reset or when it has waited in vain, but only while the port is a target.
 */
void qla_c_reclaim(struct scsi_qla_host *vha)
{
	struct qla_hw_data *ha = vha->hw;
	int tries = 300;

	if (pci_device_is_present(ha->pdev))
		return;
	qla_c_reset(vha);
	while (tries-- &&
	       !(ha->flags.eeh_busy && ha->flags.eeh_flush == EEH_FLUSH_DONE) &&
	       (test_bit(ISP_ABORT_NEEDED, &vha->dpc_flags) ||
		test_bit(ABORT_ISP_ACTIVE, &vha->dpc_flags)))
		msleep(100);
}

void qla_c_disown(struct scsi_qla_host *vha)
{
	qlt_lport_deregister(vha);
}

void qla_c_reset(struct scsi_qla_host *vha)
{
	set_bit(ISP_ABORT_NEEDED, &vha->dpc_flags);
	qla2xxx_wake_dpc(vha);
}

/* Virtual ports ------------------------------------------------------------- */

struct scsi_qla_host *qla_c_create(struct scsi_qla_host *parent, u64 port_name,
				   u64 node_name)
{
	/* What a virtual port is asked to be; it is nothing until enabled. */
	struct fc_vport_identifiers ids = {
		.node_name = node_name,
		.port_name = port_name,
		.roles = FC_PORT_ROLE_FCP_INITIATOR,
		.vport_type = FC_PORTTYPE_NPIV,
		.disable = true,
	};
	struct fc_vport *vport = fc_vport_create(parent->host, 0, &ids);

	return vport ? vport->dd_data : NULL;
}

void qla_c_delete(struct scsi_qla_host *vha)
{
	fc_vport_terminate(vha->fc_vport);
}

/* The adapter's port has been claimed, and with it the functions of all. */
void qla_c_enable_virtual(struct scsi_qla_host *vha, const void *port)
{
	vha->vha_tgt.target_lport_ptr = (void *)port;
	qlt_enable_vha(vha);
}

void qla_c_disown_virtual(struct scsi_qla_host *vha)
{
	vha->vha_tgt.target_lport_ptr = NULL;
}

/* The adapter's own port, if the driver has the device. */
static struct scsi_qla_host *port_of(struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);

	if (!pdev->driver || strcmp(pdev->driver->name, QLA2XXX_DRIVER_NAME))
		return NULL;
	return pci_get_drvdata(pdev);
}

static int pci_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct scsi_qla_host *vha;

	if (event != BUS_NOTIFY_BOUND_DRIVER && event != BUS_NOTIFY_UNBIND_DRIVER)
		return NOTIFY_DONE;
	vha = port_of(data);
	if (!vha)
		return NOTIFY_DONE;
	if (event == BUS_NOTIFY_BOUND_DRIVER)
		qla2x00t_appeared(vha);
	else
		qla2x00t_gone(vha);
	return NOTIFY_OK;
}

static struct notifier_block pci_watch = { .notifier_call = pci_event };

int qla_c_watch(struct workqueue_struct *wq)
{
	queue = wq;
	return bus_register_notifier(&pci_bus_type, &pci_watch);
}

void qla_c_unwatch(void)
{
	bus_unregister_notifier(&pci_bus_type, &pci_watch);
}

void qla_c_scan(void)
{
	struct pci_dev *pdev = NULL;
	struct scsi_qla_host *vha;

	while ((pdev = pci_get_device(PCI_VENDOR_ID_QLOGIC, PCI_ANY_ID, pdev))) {
		device_lock(&pdev->dev);
		vha = port_of(&pdev->dev);
		if (vha)
			qla2x00t_appeared(vha);
		else if (pdev->class >> 8 == PCI_CLASS_SERIAL_FIBER)
			qla2x00t_without(pci_name(pdev));
		device_unlock(&pdev->dev);
	}
}
