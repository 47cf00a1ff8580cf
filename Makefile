# Everything a developer types; `make help` lists it. CI runs .ci/run, which is `make test` and `make check`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
MAX_BINARY := 25000000

# A tool is pinned by a module of its own, so that what it drags in stays out of ours.
tool = go tool -modfile=tools/$(1)/go.mod $(1)

# Packages whose tests start goroutines that share something. Everything at once under -race takes minutes on two cores.
RACE := ./probes ./internal/host/...
# Methods that only mark a type for reflection are never called.
MARKERS := Opt\.isOpt|Cut\.isCut
# A hanging test must fail with its stacks before CI's own limit cuts it off without a word.
TEST_TIMEOUT := 12m

.PHONY: build
build: ## build bin/hostmend: static, stripped
	@$(GOBUILD) -o bin/hostmend ./cmd/hostmend

.PHONY: run
run: build ## build, diagnose this host and print the report
	@bin/hostmend diagnose || case $$? in 1 | 4) ;; *) exit 1 ;; esac # 1: findings, 4: not everything could be checked

.PHONY: test
test: packages ## run the tests, with all packages they need
	go test -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./...

.PHONY: packages
packages: ## as root on Debian or Ubuntu: install the packages that tests and the lab use
	@tools/packages

.PHONY: check
check: fmt-check vet lint deadcode vulncheck mod-check docs-check race cross ## everything that must hold before a commit, beside the tests
	@echo '== all checks passed'

.PHONY: fmt
fmt: ## format the code
	@$(call tool,gofumpt) -w .

.PHONY: fmt-check
fmt-check:
	@echo '== gofumpt'
	@unformatted=$$($(call tool,gofumpt) -l .); \
	if [ -n "$$unformatted" ]; then echo "run make fmt; not formatted:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	@echo '== go vet'
	@go vet ./...

.PHONY: lint
lint: ## run golangci-lint; .golangci.yml explains what and why
	@echo '== golangci-lint'
	@$(call tool,golangci-lint) run ./...

.PHONY: deadcode
deadcode:
	@echo '== deadcode'
	@dead=$$($(call tool,deadcode) -test ./...); dead=$$(grep -vE '$(MARKERS)' <<<"$$dead" || true); \
	if [ -n "$$dead" ]; then echo "$$dead"; exit 1; fi

.PHONY: vulncheck
vulncheck:
	@echo '== govulncheck'
	@tools/vulncheck

.PHONY: mod-check
mod-check:
	@echo '== go.mod tidy and verified'
	@go mod tidy -diff
	@go mod verify >/dev/null
	@for m in tools/*/; do (cd $$m && go mod tidy -diff); done

.PHONY: docs
docs: ## write the reference pages in docs/ from the code
	@go test ./internal/meta -run '^TestDocs$$' -update

.PHONY: docs-check
docs-check:
	@echo '== docs are what make docs writes'
	@go test ./internal/meta -run '^TestDocs$$'

.PHONY: race
race:
	@echo '== race detector'
	@if [ -z "$$(command -v gcc || command -v clang)" ]; then echo 'skipped: the race detector needs a C compiler'; \
	else CGO_ENABLED=1 go test -race -short -timeout $(TEST_TIMEOUT) $(RACE); fi

.PHONY: cross
cross: build
	@echo '== static binaries for linux/amd64 and linux/arm64, at most $(MAX_BINARY) bytes'
	@for arch in amd64 arm64; do \
	  GOOS=linux GOARCH=$$arch $(GOBUILD) -o bin/hostmend-linux-$$arch ./cmd/hostmend; \
	  size=$$(stat -c %s bin/hostmend-linux-$$arch); echo "$$arch: $$size bytes"; \
	  if [ $$size -gt $(MAX_BINARY) ]; then echo "too large"; exit 1; fi; \
	done

.PHONY: bench
bench: build packages ## measure the figures, peers beside them, and write docs/benchmarks.md
	PATH="$$(tools/peers):$$PATH" go run ./internal/bench

.PHONY: lab
lab: packages ## make disposable hosts, break them, and see whether hostmend names each fault
	go run ./lab

.PHONY: score
score: packages ## try all that the lab has, the healthy host a hundred times, and write docs/score.md
	go run ./lab -kind faults,frozen,learnt,doubles,decoys -repeat 100 -score docs/score.md

.PHONY: new-probe
new-probe: ## start a probe: make new-probe NAME=thermal GROUP=linux
	@tools/new-probe '$(NAME)' '$(GROUP)'

.PHONY: new-playbook
new-playbook: build ## start a playbook: make new-playbook NAME=swap-thrashing
	@bin/hostmend playbook new '$(NAME)' --dir playbooks/library

.PHONY: clean
clean: ## remove what make built
	@rm -rf bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
