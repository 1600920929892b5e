#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One of two nodes of a Pacemaker cluster: node.py NUMBER. Its target and its ALUA states are the resource agent's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = ["/lab/vm", "/lab/ha_guest"]

# pylint: disable=wrong-import-position
import asked
import node as ha
import scst
import srp
from lib import Failure, equal, sh, wait_until

_AGENT = Path("/usr/lib/ocf/resource.d/scst/scst")
_COROSYNC = """totem {
	version: 2
	cluster_name: lab
	transport: udpu
	token: 8000
}
nodelist {
	node {
		ring0_addr: 192.168.90.1
		nodeid: 1
		name: node1
	}
	node {
		ring0_addr: 192.168.90.2
		nodeid: 2
		name: node2
	}
}
quorum {
	provider: corosync_votequorum
	two_node: 1
	wait_for_all: 0
}
logging {
	to_logfile: yes
	logfile: /tmp/corosync.log
	to_syslog: no
}
"""
_ALUA = {"alua": "true", "device_group": "esos", "local_tgt_grp": "local", "remote_tgt_grp": "remote",
         "s_alua_state": "standby", "modules": "scst scst_vdisk ib_srpt"}


def _pairs(prefix: str, values: dict[str, str]) -> str:
    return "".join(f'<nvpair id="{prefix}-{name}" name="{name}" value="{value}"/>' for name, value in values.items())


def _target(number: int) -> str:
    """DRIVER/TARGET of a node."""
    return f"ib_srpt/{srp.Link(number - 1).gid}"


def _resource() -> str:
    own = "".join(
        f'<instance_attributes id="own{number}"><rule id="rule{number}" score="INFINITY"><expression id="is{number}" '
        f'attribute="#uname" operation="eq" value="node{number}"/></rule>{_pairs(f"own{number}", {"targets": _target(number)})}'
        "</instance_attributes>" for number in (1, 2))
    operations = "".join(
        f'<op id="op-{name}-{role}" name="{name}" interval="{interval}" timeout="120s"{role and f" role=" + chr(34) + role + chr(34)}/>'
        for name, interval, role in (("monitor", "5s", "Promoted"), ("monitor", "6s", "Unpromoted"), ("start", "0s", ""),
                                     ("stop", "0s", ""), ("promote", "0s", ""), ("demote", "0s", ""), ("notify", "0s", "")))
    return ('<clone id="scst-clone"><meta_attributes id="meta">'
            + _pairs("meta", {"promotable": "true", "notify": "true", "interleave": "true"})
            + '</meta_attributes><primitive id="scst" class="ocf" provider="scst" type="scst">'
            f'<instance_attributes id="all">{_pairs("all", _ALUA)}</instance_attributes>{own}'
            f"<operations>{operations}</operations></primitive></clone>")


class Node:
    """What it has, and what it can be asked."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._running: list[subprocess.Popen[bytes]] = []
        sh("hostname", f"node{number}")
        Path("/etc/hosts").write_text("127.0.0.1 localhost\n192.168.90.1 node1\n192.168.90.2 node2\n")
        self.target, self.link = ha.set_up(number, "standby", "standby")
        sh("ip", "addr", "add", f"192.168.90.{number}/24", "dev", "eth1")
        sh("ip", "link", "set", "eth1", "up")
        _AGENT.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2("/lab/packaging/ocf/scst", _AGENT)

    def guid(self) -> str:
        """What initiators have to say to log in."""
        return ha.guid(self.link)

    def tester(self) -> str:
        """What ocf-tester makes of the agent, with ALUA."""
        options = [word for name, value in {**_ALUA, "targets": _target(self._number)}.items()
                   for word in ("-o", f"{name}={value}")]
        text = sh("ocf-tester", "-n", "scst", *options, str(_AGENT), timeout=300)
        if "passed all tests" not in text:
            raise Failure(text)
        equal(scst.get(scst.GROUPS / "esos/target_groups/local/state"), "standby", "the state that it left")
        return text.splitlines()[-1]

    def _start(self, *command: str) -> None:
        with open(f"/tmp/{command[0]}.out", "wb") as log:
            environment = {**os.environ, "PCMK_logfile": "/tmp/pacemaker.log"}
            # pylint: disable=consider-using-with
            self._running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def join(self) -> None:
        """Start the cluster's software."""
        Path("/etc/corosync/corosync.conf").write_text(_COROSYNC)
        self._start("corosync", "-f")
        wait_until(lambda: "nodeid" in sh("corosync-cfgtool", "-s", status=None).lower(), 60, "corosync does not run")
        self._start("pacemakerd")

    def together(self) -> None:
        """Wait until both nodes are there."""
        def online() -> bool:
            found = re.search(r"Online: \[ (.*?) \]", sh("crm_mon", "-1", status=None))
            return bool(found) and found[1].split() == ["node1", "node2"]
        wait_until(online, 200, "the nodes do not see each other")

    def configure(self) -> None:
        """Give the cluster its resource."""
        for name, value in (("stonith-enabled", "false"), ("no-quorum-policy", "ignore")):
            sh("crm_attribute", "--type", "crm_config", "--name", name, "--update", value)
        sh("cibadmin", "--create", "--scope", "resources", "--xml-text", _resource())

    def _roles(self) -> dict[str, str]:
        """The nodes where the resource runs, and how."""
        text = sh("crm_resource", "--resource", "scst-clone", "--locate", status=None)
        return {name: role or "Unpromoted" for name, role in re.findall(r"running on: (\S+) ?(Promoted)?", text)}

    def roles(self, *wanted: str) -> str:
        """Wait until the resource runs so: for each node Promoted, Unpromoted or -; or until one of both is promoted."""
        want = {f"node{number}": role for number, role in enumerate(wanted, 1) if role != "-"}
        start = time.monotonic()

        def there() -> bool:
            roles = self._roles()
            return roles == want if want else sorted(roles.values()) == ["Promoted", "Unpromoted"]
        try:
            wait_until(there, 200, f"want {want or 'one promoted'}")
        except Failure as failure:
            log = Path("/tmp/pacemaker.log").read_text(errors="replace").splitlines()[-30:]
            raise Failure(f"{failure}: {self._roles()}\n{sh('crm_mon', '-1', status=None)}\n" + "\n".join(log)) from None
        if not want:
            return next(name[-1] for name, role in self._roles().items() if role == "Promoted")
        return f"{time.monotonic() - start:.1f} s"

    def states(self) -> str:
        """What this node tells initiators of both."""
        return " ".join(scst.get(scst.GROUPS / f"esos/target_groups/{name}/state") for name in ("local", "remote"))

    def move(self, where: str) -> None:
        """Have the other node promoted."""
        sh("crm_resource", "--resource", "scst-clone", "--clear")
        sh("crm_resource", "--resource", "scst-clone", "--move", "--promoted", "--node", f"node{where}")

    def rest(self, which: str, on: str) -> None:
        """Take a node out of service, or back."""
        sh("crm_resource", "--resource", "scst-clone", "--clear")
        sh("crm_attribute", "--node", f"node{which}", "--name", "standby", "--update", on, "--lifetime", "reboot")

    def leave(self) -> None:
        """Leave the cluster as a shutdown does."""
        for process in reversed(self._running):
            process.terminate()
            process.wait(200)


def main() -> int:
    """Be asked."""
    node = Node(int(sys.argv[1]))
    can = ("guid", "tester", "join", "together", "configure", "roles", "states", "move", "rest", "leave")
    asked.serve({name: getattr(node, name) for name in can}, 900)
    node.target.unload()
    return 0


if __name__ == "__main__":
    sys.exit(main())
