/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the stock qla2xxx module was built with, made from its BTF by
 * packaging/qla2x00t-layout.sh. Nothing else guards these structures, which
 * qla2x00tgt shares with it. For qla2x00t_helpers.c alone.
 */

/* Kernel: 7.2 */

QLA_LAYOUT(offsetof(struct qla_tgt_cmd, se_cmd), 8);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, sess), 496);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, state), 516);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, work), 520);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, sense_buffer), 552);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, sg), 664);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, sg_cnt), 672);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, bufflen), 676);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, offset), 680);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, unpacked_lun), 688);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, dma_data_direction), 696);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, atio), 744);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, cdb), 848);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, cdb_len), 864);
QLA_LAYOUT(offsetof(struct qla_tgt_cmd, trc_flags), 920);
QLA_LAYOUT(sizeof(struct qla_tgt_cmd), 928);
QLA_LAYOUT(offsetof(struct se_cmd, scsi_status), 4);
QLA_LAYOUT(offsetof(struct se_cmd, tag), 16);
QLA_LAYOUT(offsetof(struct se_cmd, se_cmd_flags), 48);
QLA_LAYOUT(offsetof(struct se_cmd, data_length), 52);
QLA_LAYOUT(offsetof(struct se_cmd, residual_count), 56);
QLA_LAYOUT(offsetof(struct se_cmd, orig_fe_lun), 64);
QLA_LAYOUT(offsetof(struct se_cmd, t_data_sg), 344);
QLA_LAYOUT(offsetof(struct se_cmd, t_data_nents), 360);
QLA_LAYOUT(sizeof(struct se_cmd), 472);
QLA_LAYOUT(offsetof(struct qla_tgt_mgmt_cmd, fc_tm_rsp), 6);
QLA_LAYOUT(offsetof(struct qla_tgt_mgmt_cmd, sess), 8);
QLA_LAYOUT(sizeof(struct qla_tgt_mgmt_cmd), 648);
QLA_LAYOUT(offsetof(struct fc_port, vha), 16);
QLA_LAYOUT(offsetof(struct fc_port, d_id), 64);
QLA_LAYOUT(offsetof(struct fc_port, loop_id), 68);
QLA_LAYOUT(offsetof(struct fc_port, se_sess), 128);
QLA_LAYOUT(offsetof(struct fc_port, sess_kref), 156);
QLA_LAYOUT(sizeof(struct fc_port), 704);
QLA_LAYOUT(offsetof(struct scsi_qla_host, host), 88);
QLA_LAYOUT(offsetof(struct scsi_qla_host, flags), 120);
QLA_LAYOUT(offsetof(struct scsi_qla_host, dpc_flags), 144);
QLA_LAYOUT(offsetof(struct scsi_qla_host, node_name), 936);
QLA_LAYOUT(offsetof(struct scsi_qla_host, port_name), 944);
QLA_LAYOUT(offsetof(struct scsi_qla_host, fc_vport), 1224);
QLA_LAYOUT(offsetof(struct scsi_qla_host, vp_idx), 1232);
QLA_LAYOUT(offsetof(struct scsi_qla_host, hw), 1264);
QLA_LAYOUT(offsetof(struct scsi_qla_host, vha_tgt), 1272);
QLA_LAYOUT(offsetof(struct scsi_qla_host, qlini_mode), 1878);
QLA_LAYOUT(sizeof(struct scsi_qla_host), 2408);
QLA_LAYOUT(offsetof(struct qla_hw_data, queue_pair_map), 192);
QLA_LAYOUT(offsetof(struct qla_hw_data, max_qpairs), 306);
QLA_LAYOUT(offsetof(struct qla_hw_data, base_qpair), 312);
QLA_LAYOUT(offsetof(struct qla_hw_data, cur_fw_xcb_count), 1370);
QLA_LAYOUT(offsetof(struct qla_hw_data, tgt), 3648);
QLA_LAYOUT(sizeof(struct qla_hw_data), 4288);
QLA_LAYOUT(sizeof(struct qla_qpair), 448);
QLA_LAYOUT(offsetof(struct qla_tgt, sg_tablesize), 52);
QLA_LAYOUT(offsetof(struct qla_tgt, tgt_stopped), 64);
QLA_LAYOUT(sizeof(struct qla_tgt), 304);
QLA_LAYOUT(offsetof(struct qla_tgt_func_tmpl, find_cmd_by_tag), 0);
QLA_LAYOUT(offsetof(struct qla_tgt_func_tmpl, handle_cmd), 8);
QLA_LAYOUT(offsetof(struct qla_tgt_func_tmpl, chk_dif_tags), 152);
QLA_LAYOUT(sizeof(struct qla_tgt_func_tmpl), 176);
QLA_LAYOUT(sizeof(struct atio_from_isp), 64);
