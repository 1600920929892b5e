# SPDX-License-Identifier: GPL-2.0
#
# kbuild reads Kbuild; this file is for people. What is more than a line is in lab/ (python3 -m lab).

PYTHON ?= python3
LAB := $(PYTHON) -m lab
KREL ?= $(shell uname -r)
MO := $(CURDIR)/build/modules-custom
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup modules modules-7.3 modules-debug modules_install run test soak bench profile shell kunit check docs dkms clean distclean

help: ## this list
	@echo 'SCST in Rust. Everything below works in a fresh clone; KDIR=... uses your own kernel instead of the lab.'
	@sed -n 's/^\([a-z0-9_.-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'
	@echo 'Variables: ARGS="..." (more arguments), MIRROR=URL (Debian mirror), SCST_LAB_CACHE=DIR (default ~/.cache/scst-lab)'

run: ## boot a machine, attach disks of every kind, check data, show figures beside the peers
	@$(LAB) run $(ARGS)

test: ## all tests; ARGS="vm" runs a part, ARGS="NAME" one test; FRESH=1 also what has not changed since it passed
	@$(LAB) test $(if $(FRESH),--fresh )$(ARGS)

soak: ## the long runs: storms, power cuts, load and unload
	@$(LAB) soak $(ARGS)

bench: ## instructions per I/O beside LIO, scsi_debug and null_blk
	@$(LAB) bench $(ARGS)

profile: ## the same, and where the instructions go by module and symbol
	@$(LAB) bench --profile $(ARGS)

shell: ## a shell in the machine (ARGS=--debug: on the debug kernel)
	@$(LAB) shell $(ARGS)

kunit: ## the KUnit suites on the debug kernel
	@$(LAB) kunit

check: ## format, lints, unsafe rooms, licences
	@$(LAB) check

docs: ## docs/sysfs.md, the reference of the sysfs interface, from the attribute tables of the code
	@$(LAB) docs

dkms: ## try the DKMS package in a plain Debian
	@$(LAB) dkms

setup: ## fetch and make what the rest needs (ARGS=--all: also for make test)
	@$(LAB) setup $(ARGS)

ifdef KDIR
modules:
	@mkdir -p $(MO)
	$(MAKE) -C $(KDIR) M=$(CURDIR) MO=$(MO) modules
else
modules: ## the modules for Debian 7.2, in build/modules-7.2 (KDIR=DIR: for your kernel, in build/modules-custom)
	@$(LAB) modules 7.2
endif

modules-7.3 modules-debug: modules-%: ## the modules for Debian 7.3, for the debug kernel
	@$(LAB) modules $*

modules_install: KDIR ?= /lib/modules/$(KREL)/build
modules_install: ## install the modules made with KDIR=DIR, and run depmod
	$(MAKE) -C $(KDIR) M=$(CURDIR) MO=$(MO) CONFIG_MODULE_SIG_ALL= modules_install
	$(if $(INSTALL_MOD_PATH),,depmod $(KREL))

clean: ## remove build/
	rm -rf build

distclean: ## remove build/ and what the lab keeps in its cache
	@$(LAB) distclean
