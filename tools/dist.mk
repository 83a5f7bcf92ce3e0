# What is built from app/: included by the Makefile.
# make artifact [VERSION=1.1]  dist/globoapp-1.1.zip and its .sha256; all versions without VERSION
# make wheels                  dist/wheels, for every Python of the fleet
# make dist                    both
# make lock [VERSION=1.1]      requirements.in -> requirements.lock and sbom.json
# make release VERSION=1.1     writes the artifact's digest to app/released.json: from then on it never changes
# make image VERSION=1.1       the OCI image of a version in dist/images (root; NEW_BASE=1: with what Debian has today)
# make publish VERSION=1.1     pushes a version and its wheels to an artifact repository (docs/publish.md), and its image
#                              to a registry (docs/kubernetes.md), as GLOBOAPP_REPOSITORY and GLOBOAPP_REGISTRY say
TOOLS := .venv-tools
TOOLS_RUN := PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(TOOLS)/bin/python

.PHONY: artifact wheels dist lock release publish image

artifact: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/artifact.py $(VERSION)

release: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/artifact.py --release $(or $(VERSION),$(error VERSION is missing: make release VERSION=1.1))

wheels: $(TOOLS)/complete
	@$(TOOLS)/bin/python tools/wheels.py

dist: artifact wheels

lock: $(TOOLS)/complete
	@$(TOOLS_RUN) tools/lock.py $(VERSION) $(if $(UPGRADE),--upgrade)

image: $(TOOLS)/complete artifact wheels
	@$(TOOLS)/bin/python tools/image.py $(if $(NEW_BASE),--new-base) $(or $(VERSION),$(error VERSION is missing: make image VERSION=1.1))

# Without GLOBOAPP_REGISTRY there is no image to push; with it alone, no artifact repository to push to.
publish: $(TOOLS)/complete artifact wheels $(if $(GLOBOAPP_REGISTRY),image)
	@$(if $(GLOBOAPP_REPOSITORY)$(if $(GLOBOAPP_REGISTRY),,yes),$(TOOLS_RUN) tools/publish.py $(or $(VERSION),$(error VERSION is missing: make publish VERSION=1.1)))
	@$(if $(GLOBOAPP_REGISTRY),$(TOOLS)/bin/python tools/registry.py $(VERSION))

$(TOOLS)/bin/pip:
	@python3 -m venv $(TOOLS)

$(TOOLS)/complete: tools/requirements.txt $(TOOLS)/bin/pip
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@
