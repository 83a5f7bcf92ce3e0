#!/bin/sh
# Installs the pinned Salt (salt.txt) into the virtualenv /opt/salt and links its commands into /usr/local/bin.
# Run as root on Debian. A second run finds the stamp and does nothing.
#
# GLOBOAPP_SALT  another Salt than the one pinned, as a pip requirement: salt~=3006.28
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wanted=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/salt.txt")
if [ -n "${GLOBOAPP_SALT:-}" ]; then
    wanted=$(printf '%s\n' "$wanted" | sed "s|^salt[^a-z].*|$GLOBOAPP_SALT|")
fi

if [ "$(cat /opt/salt/.installed 2>/dev/null)" = "$wanted" ]; then
    echo "salt.sh: /opt/salt has it already: $(echo "$wanted" | tr '\n' ' ')"
    exit 0
fi

# timelib, which Salt needs, has no wheels: a compiler and the headers of Python.
export DEBIAN_FRONTEND=noninteractive
apt-get -q update --error-on=any
apt-get -q install -y --no-install-recommends python3-venv python3-dev gcc libc6-dev

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rm -rf /opt/salt
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    python3 -m venv "$scratch/uv"
    "$scratch/uv/bin/pip" install -q uv
    uv=$scratch/uv/bin/uv
fi
printf '%s\n' "$wanted" > "$scratch/wanted.txt"
"$uv" venv --python /usr/bin/python3 /opt/salt
"$uv" pip install --python /opt/salt/bin/python --compile-bytecode -r "$scratch/wanted.txt"

for command in /opt/salt/bin/salt*; do
    ln -sf "$command" /usr/local/bin/
done
printf '%s\n' "$wanted" > /opt/salt/.installed
/opt/salt/bin/salt --version
