# libcgf: the two commands, and what they are made of.
#
#     make run     set up, build, and show the main job on real processes
#     make test    set up, build, and run every test
#     make bench   compare with the bare kernel path
#     make install [PREFIX=/usr/local] [DESTDIR=]
#
# CGF_DEMAND=1 (as in CI) makes a backend or a tool that is missing a failure;
# without it what cannot run is skipped, and says why.

SHELL  := /bin/bash
CARGO  ?= cargo
target := $(abspath $(or $(CARGO_TARGET_DIR),target))

export CARGO_TERM_COLOR ?= never
export CGF_ACTOR       := $(target)/actor
export CGF_COUNTER     := $(target)/counter
export CGF_CRIU        := $(target)/criu/criu
export CGF_VALGRIND    := $(target)/valgrind/valgrind
export CGF_COMMAND     := $(target)/release/cgf
export CGF             := $(CGF_COMMAND)
export CGF_DRIVER_RUST := $(target)/release/contract-driver
export CGF_DRIVER_C    := $(target)/contract-driver-c
export CGF_LIBRARIES   := $(target)/release
export CGF_PYTHON      := $(target)/venv/bin/python

.PHONY: run test soak bench install setup setup-tests build lint test-rust test-c test-python test-shell clean

run: setup
	@$(CARGO) build --quiet --release --locked --package cgf-shell
	@$(CGF_COMMAND) demo

test: setup setup-tests lint test-rust test-c test-python test-shell
	@echo "all tests passed"

bench: setup
	$(MAKE) --no-print-directory -C ffi
	$(CARGO) bench --quiet --locked --package cgf

install:
	$(MAKE) --no-print-directory -C ffi install
	$(CARGO) build --quiet --release --locked --package cgf-shell
	install -D -m 755 $(CGF_COMMAND) $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/cgf

# What a new machine may lack. Without apt or the right to use it, the tests
# that need a missing tool say so.
setup:
	@./setup.sh

# For the tests alone, and nowhere but in the target folder.
setup-tests:
	@tests/criu/install.sh $(dir $(CGF_CRIU))
	@tests/valgrind/install.sh $(dir $(CGF_VALGRIND))

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps --package cgf

build: $(CGF_ACTOR) $(CGF_COUNTER)
	$(CARGO) build --quiet --release --locked --workspace
	$(MAKE) --no-print-directory -C ffi
	$(CC) -std=c11 -O1 -g -Wall -Wextra -Werror -Iinclude $(wildcard tests/contract/*.c) -o $(CGF_DRIVER_C) \
	    -L$(target)/release -l:libcgf.so.0 -Wl,-rpath,$(target)/release

$(CGF_ACTOR) $(CGF_COUNTER): $(target)/%: tests/actor/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -pthread $< -o $@

# The contract table needs every surface, so all are built before. The tests
# themselves are not optimised: what they test is, and they are built sooner.
test-rust: build
	$(MAKE) --no-print-directory -C bindings/python build
	$(CARGO) test --quiet --locked --workspace

test-c: build
	$(MAKE) --no-print-directory -C tests/c check-asan check-asan-rust

test-python: build
	$(MAKE) --no-print-directory -C bindings/python test

test-shell: build
	tests/shell/run.sh

# The proofs of the counters in full: every instruction, every seed. Hours.
soak:
	CGF_SOAK=1 $(CARGO) test --locked --package cgf --lib counters::checks -- --nocapture --test-threads=1

clean:
	rm -rf $(target)
