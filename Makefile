# Bare `make` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean lock

IN_VENV := .venv/bin/python

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## bring the servers and make .venv from requirements.lock
	@scripts/setup.sh

demo: setup ## forecast a failing platform until Ctrl-C; ONCE=1 ends after both alerts, SEED=n repeats one
	@$(IN_VENV) -m detector demo $(if $(ONCE),--once) $(if $(SEED),--seed $(SEED))

test: setup ## run every test, on two processes
	$(IN_VENV) -m pytest -n 2 --dist worksteal $(ARGS)

lint: setup ## ruff, its formatter, and mypy --strict
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy

bench: setup ## compare with others, write docs/benchmarks.md (a quarter of an hour; QUICK=1: a look)
	@scripts/bench_env.sh
	$(IN_VENV) -m bench $(if $(QUICK),--quick)

lock: setup ## resolve the dependencies anew into requirements.lock and bench/requirements.lock
	scripts/lock.sh

clean: ## remove caches, build products, .venv, .venv-bench and .tools
	rm -rf .venv .venv-bench .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
