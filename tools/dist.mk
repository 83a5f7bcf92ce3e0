# What is built from app/: included by the Makefile.
# make artifact [VERSION=1.1]  dist/globoapp-1.1.zip and its .sha256; all versions without VERSION
# make wheels                  dist/wheels, for every Python of the fleet
# make dist                    both
# make lock [VERSION=1.1]      requirements.in -> requirements.lock and sbom.json
# make release VERSION=1.1     writes the artifact's digest to app/released.json: from then on it never changes
# make publish VERSION=1.1     pushes a version and its wheels to an artifact repository (docs/publish.md)
TOOLS := .venv-tools
TOOLS_RUN := PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(TOOLS)/bin/python

.PHONY: artifact wheels dist lock release publish

artifact: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/artifact.py $(VERSION)

release: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/artifact.py --release $(or $(VERSION),$(error VERSION is missing: make release VERSION=1.1))

wheels: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/wheels.py

dist: artifact wheels

lock: $(TOOLS)/complete
	@$(TOOLS_RUN) tools/lock.py $(VERSION) $(if $(UPGRADE),--upgrade)

publish: $(TOOLS)/complete artifact wheels
	@$(TOOLS_RUN) tools/publish.py $(or $(VERSION),$(error VERSION is missing: make publish VERSION=1.1))

$(TOOLS)/bin/pip:
	@python3 -m venv $(TOOLS)

$(TOOLS)/complete: tools/requirements.txt $(TOOLS)/bin/pip
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@
