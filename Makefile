# Lanes of tests. `make test` needs Go only and takes minutes; the others say
# what they need if it is missing.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Executions of each fuzz target, and random kills in the fault lane.
FUZZ_COUNT ?= 5000
FAULT_KILLS ?= 100

.PHONY: test check interop cuda-sim bench fault build

# Unit, golden and command tests.
test:
	$(GO) test ./...

# Everything that must hold before a commit. Needs Go, git and a C compiler
# (for the race detector).
check:
	GO='$(GO)' STATICCHECK='$(STATICCHECK)' FUZZ_COUNT='$(FUZZ_COUNT)' tools/check.sh

# Our files in the Python libraries and theirs in ours. Installs its packages.
interop:
	interop/run.sh

# The CUDA backend through a simulator of the driver. Needs g++ and clang-19;
# no GPU.
cuda-sim:
	tools/cuda_sim.sh

# Kills, full disks, interrupts and truncated inputs. Needs Linux; what needs
# root (small file systems) or strace says NOT RUN without it.
fault:
	$(GO) test -tags fault -count=1 -run 'Hostile|Large|Index|Stops' ./format/checkpoint ./merge
	$(GO) test -tags fault -count=1 -timeout 30m -v ./test/fault -kills='$(FAULT_KILLS)'

# Times beside cp and PEFT, written to bench/RESULTS.md.
bench:
	bench/run.sh

# The static binary, the same bytes wherever it is built.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags=-buildid= -o loratool ./cmd/loratool
