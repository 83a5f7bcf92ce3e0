"""What an image and its pods agree on: tools/image.py builds by it, the manifests are written by it."""

import re

# A repository of images: a registry's host, perhaps a port, and a path, without tag and digest.
IMAGE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*(:\d{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+\Z")
# Who an app is in the image, and in its pod where pillar has no uid and gid.
ACCOUNT = 10001
# Where the image has what gunicorn reads; what pillar says of it is mounted in a directory below, `settings`.
CONFIGURATION = "/etc/globoapp"
