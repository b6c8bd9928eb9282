# Run `make` for the list of targets. Each brings what it needs: as root it
# installs the Debian packages that are missing, otherwise it names them.

# sudo's PATH often lacks the folder that Go is unpacked into.
export PATH := $(PATH):/usr/local/go/bin

GO        ?= go
LDFLAGS   ?= -s -w
TESTFLAGS ?=
TIMEOUT   ?= 15m
FUZZTIME  ?= 20s
COUNT     ?= 6
SUITES    ?= bullseye bookworm trixie
VERSION   ?= 0.1.0
DIST      ?= dist
FORMATS   ?= deb rpm apk
ARCHES    ?= amd64 arm64
PREFIX    ?= /usr/local
DESTDIR   ?=

GOFUMPT     = $(GO) run mvdan.cc/gofumpt@v0.12.0
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.1
GOLANGCI    = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

need = internal/need/need.sh
root = $(filter 0,$(shell id -u))

.PHONY: help build demo test e2e sdk lint fuzz bench images package install uninstall clean go

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

go:
	@command -v $(GO) >/dev/null || { echo "missing: Go 1.26 or later; see https://go.dev/doc/install" >&2; exit 1; }

build: go ## the programs, static, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

demo: build ## bind, log in, unbind, before your eyes; SSHD=openssh (as root): on the real sshd
ifeq ($(SSHD),openssh)
	@$(need) sshd
	bin/latchkey demo --sshd=openssh
else
	bin/latchkey demo
endif

# Without root the tests that need a machine of their own are skipped; with
# it, trees of other OpenSSH releases are made once and kept.
test: go ## all tests, with the race detector; as root also those on a real machine
	@$(need) gcc ssh ssh-keygen $(if $(root),sshd journalctl lintian mandoc rpm shellcheck dbclient ssh-audit python3-paramiko python3-asyncssh libnss-systemd)
ifneq ($(root),)
	@$(MAKE) --no-print-directory images || echo "going on without these trees" >&2
else
	@echo "not root: what needs a machine with accounts and an sshd of its own is skipped (sudo make test)"
endif
	CGO_ENABLED=1 $(GO) test -race -timeout $(TIMEOUT) $(TESTFLAGS) $$($(GO) list ./... | grep -v /e2e$$)

e2e: go ## (root) end-to-end tests: the package on a Debian that boots
	@[ -n "$(root)" ] || { echo "make e2e boots machines: run it as root (sudo make e2e)" >&2; exit 1; }
	@$(need) curl gcc ip nsenter ssh sshpass systemd-nspawn
	@$(MAKE) --no-print-directory images SUITES='bookworm trixie'
	$(GO) test -count 1 -timeout $(TIMEOUT) $(TESTFLAGS) ./e2e/...

# The SDKs are a module of their own, so that nobody who builds latchkey needs
# them.
sdk: go ## the region's API with the official SDKs for Go and Node.js, as they are
	@$(need) gcc node npm
	cd keypair/ecsapi/sdktest && $(GO) test -count 1 -timeout $(TIMEOUT) $(TESTFLAGS) ./...

lint: go ## format, vet, staticcheck, golangci-lint, go.mod
	@$(need) gcc git
	@unformatted=$$($(GOFUMPT) -l .); [ -z "$$unformatted" ] || { echo "gofumpt would change:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	$(GOLANGCI) run ./...
	$(GO) mod tidy -diff
	cd keypair/ecsapi/sdktest && $(GO) vet ./... && $(GO) mod tidy -diff

fuzz: go ## every fuzz target for FUZZTIME (20s)
	@for folder in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$folder/*_test.go | cut -c6-); do \
			echo "$$folder $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$folder || exit 1; \
		done; \
	done

bench: go ## the figures, COUNT (6) times, as benchstat reads them
	@$(if $(root),$(need) sshd ssh python3-asyncssh)
	@$(if $(root),$(need) userdbctl google_authorized_keys || echo "going on without these peers" >&2)
	@$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./bench/...

images: go ## (root) the Debian trees with other OpenSSH releases, kept in ~/.cache/latchkey
	@$(need) debootstrap
	@internal/testmachine/images.sh $(SUITES)

package: go ## deb, rpm and apk for amd64 and arm64, into dist/; FORMATS= ARCHES= VERSION= DIST=
	@GO='$(GO)' VERSION='$(VERSION)' DIST='$(DIST)' FORMATS='$(FORMATS)' ARCHES='$(ARCHES)' packaging/package.sh

install: build ## without a package manager: below DESTDIR, into PREFIX (/usr/local)
	@GO='$(GO)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' packaging/install.sh install bin

# What is installed here, and not below DESTDIR, is first stopped and gives the
# instance back, as when a package is removed.
uninstall: ## what `make install` has installed; the configuration stays
	@[ -n '$(DESTDIR)' ] || [ ! -x '$(PREFIX)/bin/latchkey' ] || PATH='$(PREFIX)/bin':"$$PATH" packaging/scripts/rpm/preun 0
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' packaging/install.sh uninstall bin
	@[ -n '$(DESTDIR)' ] || packaging/scripts/rpm/postun 0

clean: ## what the other targets made here; the trees of `make images` stay
	rm -rf bin dist
