# The two commands of the README: `make demo` and `make test`. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := $(if $(filter 0,$(shell id -u)),apt-get,sudo apt-get)
DEBIAN_PACKAGES := python3-venv mmdebstrap debian-archive-keyring iproute2 openssh-client util-linux

.PHONY: demo test lint unit integration test-vm experiment clean

demo: $(BIN)/relocate system
	$(BIN)/relocate demo

test: lint unit integration

lint: $(BIN)/relocate
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/yamllint --strict .
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint --offline --profile production

unit: $(BIN)/relocate
	$(BIN)/pytest -n auto tests/unit

integration: $(BIN)/relocate system
	$(BIN)/pytest tests/integration

# Machines with their own kernel: NFS, a kernel that is replaced. Emulated where KVM does not work; about 20 minutes then.
test-vm: $(BIN)/relocate system
	$(BIN)/pytest tests/vm

# Figures 4 and 5 of the paper, live, judged by the attackers' logs (docs/experiment.md): about 45 minutes, into build/experiment.
EXPERIMENT := $(BIN)/relocate experiment
FLEET := --hosts 8 --targets 8 --attackers 3
experiment: $(BIN)/relocate system
	$(EXPERIMENT) time $(FLEET) --for 200s --out build/experiment/time
	$(EXPERIMENT) space $(FLEET) --for 4m --policy static --policy random --policy high --policy argmax --out build/experiment/space

.PHONY: system
system:
	@missing=$$(dpkg-query -W -f='$${db:Status-Abbrev} $${Package}\n' $(DEBIAN_PACKAGES) 2>&1 | grep -v '^ii' | grep -o '[^ ]*$$'); \
	if [ -n "$$missing" ]; then $(APT) update -q && DEBIAN_FRONTEND=noninteractive $(APT) install -y -q --no-install-recommends $(DEBIAN_PACKAGES); fi

$(BIN)/relocate: pyproject.toml
	@dpkg-query -W python3-venv >/dev/null 2>&1 || { $(APT) update -q && $(APT) install -y -q --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	-[ -x $(BIN)/relocate ] && $(BIN)/relocate testbed down
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
