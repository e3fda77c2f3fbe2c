# Two commands do everything: `make demo` and `make test`. Each sets up what it needs, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One after the other, because most use both cores, and all write to one terminal; `test` knows those that do not.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif

# Debian keeps debootstrap and chroot there, and a user's or an empty environment may not look there.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

PYTHON := .venv/bin/python
SETUP := .venv/.set-up
DEPLOY_SETUP := .venv/.set-up-deploy
CHART := deploy/helm/modelarts-exporter
# Node, which is in Playwright's package, needs libatomic, which Debian's base does not have.
BROWSER := 'chromium:chromium' 'libatomic.so.1:libatomic1'
SYSTEMD := systemd-analyze:systemd
IMAGE := apt-get:apt buildah:buildah debootstrap:debootstrap
PROMETHEUS := 'prometheus:prometheus' 'promtool:prometheus' 'prometheus-alertmanager|alertmanager:prometheus-alertmanager'

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(SETUP) ## Start an emulated cloud with an exporter on it, and print the URLs; Ctrl-C ends it
	@.ci/with "the demo's Prometheus and Alertmanager" $(PROMETHEUS) -- true
	@exec .venv/bin/modelarts-exporter demo

# Parts that use one core stand side by side, and show their output at their end; each of the others uses both cores.
# Two that install programs would lock each other out, so all programs are installed before.
ONE_CORE := lint image-test type package-test deploy-test
.PHONY: test
test: $(DEPLOY_SETUP) ## Run every check there is; about eight minutes on two cores
	@.ci/with "some of the tests" $(PROMETHEUS) $(BROWSER) $(SYSTEMD) $(IMAGE) -- true
	@$(MAKE) --no-print-directory SIDE_BY_SIDE=yes --jobs=2 --output-sync $(ONE_CORE)
	@$(MAKE) --no-print-directory unit live browser

.PHONY: lint
lint: $(SETUP) ## Check style and format (ruff), and who imports whom (import-linter)
	$(PYTHON) -m ruff check --quiet
	$(PYTHON) -m ruff format --quiet --check
	.venv/bin/lint-imports --no-logo --no-cache

.PHONY: type
type: $(SETUP) ## Check types (mypy, strict)
	$(PYTHON) -m mypy --no-error-summary

# To measure which branches of the core are run takes twice the time. These tests run all of them; the others run the
# core too, in the whole program, and prove what they prove without being measured.
MEASURED := $(patsubst %,tests/test_%.py,alert_state anonymiser api apply_events apply_updates audit \
	awaited backfill_replay classifier counters failure_cause families first_reads golden_store ledger_laws \
	login_backoff modelarts_source moved_services notifications overview phases project_totals rate_limit \
	read_now schedule scrape_gap scrub service_lookup service_page shard size update_feed)
# The files that have tests with a marker: to import all others takes each worker eight seconds.
marked = $$(grep --recursive --files-with-matches --include='test_*.py' 'mark\.$(1)' tests | sort)
UNIT := -m pytest -q --dist worksteal -m 'not deploy and not live and not browser and not long'
.PHONY: unit
unit: $(SETUP) ## Run the tests that need Python alone; every branch of exporter/core must be run
	$(PYTHON) $(UNIT) -n 2 $(MEASURED) --cov=exporter/core --cov-branch --cov-fail-under=100
	@# Three on two cores, because they wait a little for the programs that they start.
	$(PYTHON) $(UNIT) -n 3 $(MEASURED:%=--ignore=%)

.PHONY: deploy-test
deploy-test: $(DEPLOY_SETUP) ## Render the Helm chart, and check deploy/ with the programs that read it
	@.ci/with "the tests of deploy/" $(PROMETHEUS) $(SYSTEMD) -- true
	$(PYTHON) -m pytest -q -m deploy $(call marked,deploy)

# Five at a time, because they mostly wait: the longest, which wait for most of two minutes, begin together.
.PHONY: live
live: $(SETUP) ## Run the tests against a real Prometheus
	@.ci/with "the tests against a real Prometheus" $(PROMETHEUS) -- true
	$(PYTHON) -m pytest -q -n 5 --dist worksteal -m live $(call marked,live)

.PHONY: browser
browser: $(SETUP) ## Run the tests of the pages in a real browser
	@.ci/with "the tests in a browser" $(BROWSER) -- true
	$(PYTHON) -m pytest -q -n 3 -m browser $(call marked,browser)

.PHONY: image-test
image-test: $(SETUP) ## Build the container image and try it out (root on Debian)
	@.ci/with "the image test" root $(IMAGE) -- tests/image/run

.PHONY: package-test
package-test: $(SETUP) ## Build the package, install it where nothing else is, and try it out (a package index)
	@tests/package/run

.PHONY: release-check
release-check: $(SETUP) ## Check what a release needs beside `make test`: SBOM, licences, vulnerabilities, the same image
	@.ci/release-check

.PHONY: fuzz
fuzz: $(SETUP) ## Try out what a server may send, for some minutes more than `make test` does
	$(PYTHON) -m pytest -q -n 2 --hypothesis-profile=fuzz --timeout=0 tests/test_http_fuzz.py

.PHONY: long
long: $(SETUP) ## Run what takes too long for every change, such as the alert rules in the newest Prometheus; some minutes
	@.ci/with "the newest Prometheus" $(PROMETHEUS) -- true
	$(PYTHON) -m pytest -q -n 2 --timeout=0 -m long $(call marked,long)

.PHONY: bench
bench: $(SETUP) ## Measure, with floors and rivals beside each figure; some ten minutes, nothing fails
	@$(PYTHON) -m tests.bench --json build/bench.json

# Into a temporary file first, so that a generator that fails leaves the page as it was.
.PHONY: docs
docs: $(SETUP) ## Write the generated pages of docs/
	@$(PYTHON) -m docs.source.metrics >docs/.new && mv docs/.new docs/metrics.md
	@$(PYTHON) -m docs.source.configuration >docs/.new && mv docs/.new docs/configuration.md
	@$(PYTHON) -m docs.source.causes >docs/.new && mv docs/.new docs/causes.md
	@$(PYTHON) -m docs.source.recordings >docs/.new && mv docs/.new docs/recordings.md
	@$(PYTHON) -m docs.source.man >docs/.new && mv docs/.new docs/modelarts-exporter.1
	@$(PYTHON) -m dashboards.source.build
	@$(PYTHON) alerts/render.py --output alerts/modelarts.rules.yml
	@cp alerts/modelarts.rules.yml $(CHART)/files/
	@cp dashboards/*.json $(CHART)/files/dashboards/

.PHONY: screenshots
screenshots: $(SETUP) ## Take the pictures of docs/images/
	@.ci/with "the pictures" $(BROWSER) -- $(PYTHON) tests/browser/screenshots.py docs/images

.PHONY: fmt
fmt: $(SETUP) ## Format the code, and fix what ruff can fix
	$(PYTHON) -m ruff check --quiet --fix
	$(PYTHON) -m ruff format

# Hashes are those of every file of a version that the index has, so that they hold for each Python and machine.
HASHES = build/lock/bin/pip-compile --quiet --generate-hashes --no-header --no-annotate --strip-extras \
	--no-emit-index-url --no-emit-find-links --constraint constraints.txt --output-file - pyproject.toml
.PHONY: lock
lock: ## Write the newest versions that pyproject.toml allows to constraints.txt, and those of the image with hashes
	@rm -rf build/lock && python3 -m venv build/lock
	@build/lock/bin/python -m pip --quiet --disable-pip-version-check install '.[dev,deploy,release]'
	@sed -i '/^[^#]/d' constraints.txt
	@build/lock/bin/python -m pip --disable-pip-version-check freeze --exclude modelarts-exporter >>constraints.txt
	@build/lock/bin/python -m pip --quiet --disable-pip-version-check install pip-tools
	@sed -i '/^[^#]/d' requirements.txt requirements-build.txt
	@$(HASHES) >>requirements.txt
	@$(HASHES) --only-build-deps --build-deps-for wheel >>requirements-build.txt

.PHONY: clean
clean: ## Remove what was made here; the cache of the image test is in ~/.cache/modelarts-exporter
	rm -rf .venv build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find exporter tests -name __pycache__ -prune -exec rm -rf {} +

$(SETUP): pyproject.toml constraints.txt .ci/setup
	@.ci/setup dev
	@touch $@

# It has what $(SETUP) has.
$(DEPLOY_SETUP): pyproject.toml constraints.txt .ci/setup
	@.ci/setup dev,deploy
	@touch $(SETUP) $@
