# make demo        boot the emulated twin of the example facility, materialize the example experiment, show the result
# make clean       end and remove the twin
# make test        every check, roughly in the order below; each can also be run alone
# make lint        style, types, import layers, licences, documentation, changelog
# make unit        unit tests, under the lowest and the highest ansible-core
# make sanity      ansible-test sanity, under both
# make package     build the collection, install it offline into an empty directory, use it there, under both
# make firmware    mlx_config under the real mstconfig of two Debian releases and an emulated card
# make openstack   what the role openstack writes, read by Nova and Neutron themselves
# make page        the page of the report in Chromium
# make docs        the documentation site, in .docs/html
# make molecule    the scenarios on the twin, but for the next
# make hosts       the scenario of hosts unlike the twin's; for its time it is not part of make test
# make bench       measure what things cost, and print one table of it with the goals
# make changelog   write the changelog of the version in galaxy.yml from its fragments
# make constraints raise every pinned Python package to its newest version

# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export LC_ALL := C.UTF-8

# The newest ansible-core needs a newer one than some Debian has: see tests/tools/newest_python.sh.
PYTHON ?= python3
VENV_PYTHON = $(PYTHON)
NEWEST_PYTHON := tests/tools/newest_python.sh $(PYTHON)
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
IN_TREE := .ansible/collections/ansible_collections/mergetb/sriov
REQUIREMENTS := requirements.txt tests/unit/requirements.txt $(wildcard tests/*.txt)

MOLECULE := $(IN_VENV) MOLECULE_GLOB='molecule/*/molecule.yml' molecule --base-config molecule/config.yml

PLAY := .venv-demo/bin/ansible-playbook -i inventories/phobos/phobos.xir
EXPERIMENT := -e sriov_materialization=inventories/phobos/one.hello.demo.pb64 -e sriov_device_map=.twin/device_map.json

.PHONY: help demo clean test lint unit sanity package firmware openstack page docs molecule hosts bench changelog constraints setup

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

demo: .venv-demo/made $(IN_TREE)
	$(PLAY) mergetb.sriov.twin
	$(PLAY) -i .twin/hosts.yml mergetb.sriov.prepare -e sriov_reboot=true
	$(PLAY) -i .twin/hosts.yml mergetb.sriov.materialize $(EXPERIMENT)
	$(PLAY) -i .twin/hosts.yml mergetb.sriov.prove $(EXPERIMENT)
	@echo; cat .twin/result.txt

clean: .venv-demo/made $(IN_TREE)
	$(PLAY) mergetb.sriov.twin -e twin_state=absent

test:
	@tests/tools/run_checks.sh 'firmware sanity lint package docs page openstack' unit molecule

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/shellcheck .ci/run tests/tools/*.sh molecule/untagged/qemu/*
	PYTHONPATH=.ansible/collections .venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	.venv/bin/reuse lint --lines
	$(IN_VENV) ansible-lint
	$(IN_VENV) antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .
	.venv/bin/antsibull-changelog lint
	.venv/bin/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	tests/tools/check_portable.sh

unit: setup
	tests/tools/debian_packages.sh iproute2 systemd udev libvirt-clients libxml2-utils openssh-client openvswitch-switch \
		qemu-system-x86 qemu-utils grub2-common redis-server
	.venv/bin/python tests/tools/community_general.py
	.venv-lowest/bin/pytest --numprocesses auto
	.venv/bin/pytest --numprocesses auto

# No such file is ever made, so each lane runs anew, and beside the other where make has two jobs.
sanity: .venv-lowest/sanity .venv/sanity

.venv-lowest/sanity .venv/sanity: setup
	$(@D)/bin/python tests/tools/sanity.py

package: setup
	rm -rf dist
	.venv/bin/ansible-galaxy collection build --output-path dist
	.venv-lowest/bin/python tests/tools/check_package.py dist/*.tar.gz
	.venv/bin/python tests/tools/check_package.py dist/*.tar.gz

firmware: setup
	tests/tools/debian_packages.sh mmdebstrap python3-fusepy
	.venv/bin/pytest --numprocesses auto tests/connectx tests/integration

openstack: setup .venv-openstack/made
	.venv/bin/pytest tests/openstack

page: setup
	tests/tools/debian_packages.sh chromium chromium-driver poppler-utils
	.venv/bin/pytest tests/report

docs: setup
	rm -rf .docs
	mkdir -m 755 -p .docs/rst
	ANSIBLE_COLLECTIONS_PATH=.ansible/collections $(IN_VENV) antsibull-docs collection \
		--use-current --squash-hierarchy --fail-on-error --dest-dir .docs/rst mergetb.sriov
	.venv/bin/sphinx-build --quiet --fail-on-warning -c docs/docsite .docs/rst .docs/html

molecule: setup
	@echo "Without the scenario hosts: make hosts runs it"
	$(MOLECULE) test --no-command-borders --all --exclude hosts

hosts: setup
	$(MOLECULE) test --no-command-borders --scenario-name hosts

bench: setup
	tests/tools/debian_packages.sh chromium chromium-driver
	$(IN_VENV) python tests/bench/run.py

changelog: setup
	$(IN_VENV) antsibull-changelog release --reload-plugins --refresh --update-existing

# The lowest ansible-core comes first, since it decides where both need one version of a package.
constraints:
	: > tests/constraints.txt
	tests/tools/make_venv.sh $(PYTHON) .venv-lowest tests/requirements-lowest.txt
	.venv-lowest/bin/pip freeze | grep -v '^ansible-core==' > tests/constraints.txt
	tests/tools/make_venv.sh "$$($(NEWEST_PYTHON))" .venv tests/requirements.txt
	.venv/bin/pip freeze | grep -v '^ansible-core==' > tests/constraints.txt
	: > tests/openstack/constraints.txt
	tests/tools/make_venv.sh $(PYTHON) .venv-openstack tests/openstack/requirements.txt
	.venv-openstack/bin/pip freeze > tests/openstack/constraints.txt
	touch .venv-lowest/made .venv/made .venv-openstack/made

setup: .venv/made .venv-lowest/made $(IN_TREE)

.venv/made: VENV_PYTHON = "$$($(NEWEST_PYTHON))"
.venv/made .venv-lowest/made .venv-demo/made: $(REQUIREMENTS)
	@tests/tools/make_venv.sh $(VENV_PYTHON) $(@D) tests/requirements$(@D:.venv%=%).txt
	@touch $@

.venv-openstack/made: tests/openstack/requirements.txt tests/openstack/constraints.txt
	@tests/tools/make_venv.sh $(PYTHON) $(@D) $<
	@touch $@

# Ansible finds the checkout as an installed collection through this link.
$(IN_TREE):
	mkdir -p $(@D)
	ln -sfn ../../../.. $@
