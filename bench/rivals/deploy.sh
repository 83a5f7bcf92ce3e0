#!/bin/sh
# The limit: the steps of a deploy as plain commands on the server itself; what is right already is left alone.
# deploy.sh VERSION PORT PATH STATUS TEXT; uv, wheels, artifacts and the rivals' files are in /srv/bench.
set -eu
version=$1 port=$2 path=$3 status=$4 text=$5
root=/opt/comments here=/srv/bench unit=/etc/systemd/system/comments.service changed=

id -u comments >/dev/null 2>&1 ||
    useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin comments
mkdir -p "$root/releases"

release=$root/releases/$version
if [ ! -e "$release" ]; then
    python3 -m zipfile -e "$here/globoapp-$version.zip" "$release.new"
    mv "$release.new" "$release"
fi

lock=$release/requirements.lock
if ! cmp -s "$lock" "$root/installed.lock"; then
    [ -e "$root/venv" ] || "$here/uv" venv --quiet --offline --python /usr/bin/python3 "$root/venv"
    "$here/uv" pip sync --quiet --offline --no-cache --python "$root/venv/bin/python" --compile-bytecode \
        --link-mode=copy --no-index --find-links "$here/wheels" --require-hashes "$lock"
    cp "$lock" "$root/installed.lock"
    changed=1
fi

if [ "$(readlink "$root/current")" != "releases/$version" ]; then
    ln -sfn "releases/$version" "$root/current"
    changed=1
fi

cmp -s "$here/gunicorn.conf.py" "$root/gunicorn.conf.py" || { cp "$here/gunicorn.conf.py" "$root/"; changed=1; }
sed "s/{{ bind_port }}/$port/" "$here/comments.service" >"$unit.new"
if cmp -s "$unit.new" "$unit"; then
    rm "$unit.new"
else
    mv "$unit.new" "$unit"
    systemctl daemon-reload
    changed=1
fi

[ -e /etc/systemd/system/multi-user.target.wants/comments.service ] || systemctl --quiet enable comments
if [ "$changed" ]; then systemctl restart comments; else systemctl is-active --quiet comments; fi

answer=$(curl -sS --retry 20 --retry-connrefused --retry-delay 1 -w ' %{http_code}' "http://127.0.0.1:$port$path")
case $answer in *"$text"*" $status") ;; *) echo "wrong answer: $answer" >&2; exit 1 ;; esac
