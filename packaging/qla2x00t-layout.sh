#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Print include/qla2x00t_layout_SERIES.h for a kernel: what its qla2xxx.ko was built with, from the module's BTF.
#
#   qla2x00t-layout.sh VMLINUX QLA2XXX_KO      (VMLINUX: an ELF file with BTF, or /sys/kernel/btf/vmlinux)
set -eu

vmlinux=$1
module=$2

series=$(modinfo -F vermagic "$module" | sed -n 's/^\([0-9]*\.[0-9]*\).*/\1/p')
if [ -z "$series" ]; then
	echo "qla2x00t-layout.sh: $module does not say for which kernel it is" >&2
	exit 1
fi

cat <<'HEADER'
/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the stock qla2xxx module was built with, made from its BTF by
 * packaging/qla2x00t-layout.sh. Nothing else guards these structures, which
 * qla2x00tgt shares with it. For qla2x00t_helpers.c alone.
 */

HEADER
printf '/* Kernel: %s */\n\n' "$series"

# structure: members
layout() {
	pahole --btf_base "$vmlinux" -C "$1" "$module" 2> /dev/null | awk -v struct="$1" -v wanted=" $2 " '
		# A member: its name, or that of a function pointer, and in the comment its offset.
		/^\t[^\t}].*\/\* +[0-9]+ +[0-9]+ \*\// {
			comment = $0
			sub(/.*\/\* +/, "", comment)
			sub(/ .*/, "", comment)
			name = $0
			if (!sub(/^[^;]*\(\*/, "", name) || !sub(/\)\(.*/, "", name)) {
				name = $0
				sub(/( __attribute__.*|\[.*)?;.*/, "", name)
				sub(/.*[ *]/, "", name)
			}
			if (index(wanted, " " name " ")) {
				printf "QLA_LAYOUT(offsetof(struct %s, %s), %d);\n", struct, name, comment
				found++
			}
		}
		/\/\* size: / { match($0, /size: [0-9]+/); size = substr($0, RSTART + 6, RLENGTH - 6) }
		END {
			if (size == "" || found != split(wanted, all, " ")) {
				print "qla2x00t-layout.sh: the BTF of " struct " lacks some of:" wanted > "/dev/stderr"
				exit 1
			}
			printf "QLA_LAYOUT(sizeof(struct %s), %d);\n", struct, size
		}'
}

layout qla_tgt_cmd "se_cmd sess state work sense_buffer sg sg_cnt bufflen offset unpacked_lun dma_data_direction atio cdb cdb_len trc_flags"
layout se_cmd "tag orig_fe_lun t_data_sg t_data_nents data_length scsi_status residual_count se_cmd_flags"
layout qla_tgt_mgmt_cmd "fc_tm_rsp sess"
layout fc_port "se_sess sess_kref vha d_id loop_id"
layout scsi_qla_host "host fc_vport hw port_name node_name qlini_mode vha_tgt dpc_flags flags vp_idx"
layout qla_hw_data "tgt cur_fw_xcb_count max_qpairs queue_pair_map base_qpair"
layout qla_qpair ""
layout qla_tgt "sg_tablesize tgt_stopped"
layout qla_tgt_func_tmpl "find_cmd_by_tag handle_cmd chk_dif_tags"
layout atio_from_isp ""
