#!/bin/sh
# Makes this machine the Salt master of a lab: configuration, key, accepted minions, service.
# Run as root after salt.sh; a second run changes nothing. In a chroot it enables the service, without starting it.
#
# master.sh CHECKOUT KEYS MINION...
#   CHECKOUT  where this tree is now; the running master reads it at /srv/globoapp
#   KEYS      directory with master.pem, master.pub and MINION.pub
#   MINION    id whose key is accepted
set -eu

checkout=$1 keys=$2
shift 2

install -d /etc/salt/master.d /var/log/salt
install -d -m 700 /etc/salt/pki /etc/salt/pki/master
install -d /etc/salt/pki/master/minions
for conf in "$checkout"/etc/master.d/*.conf; do
    ln -sf "/srv/globoapp/etc/master.d/$(basename "$conf")" /etc/salt/master.d/
done
# A lab has two processors and a handful of minions.
cat > /etc/salt/master.d/lab.conf <<'EOF'
worker_threads: 3
EOF

install -m 400 "$keys/master.pem" /etc/salt/pki/master/
install -m 644 "$keys/master.pub" /etc/salt/pki/master/
for minion in "$@"; do
    install -m 644 "$keys/$minion.pub" "/etc/salt/pki/master/minions/$minion"
done

cat > /etc/systemd/system/salt-master.service <<'EOF'
[Unit]
Description=The Salt Master Server
After=network.target

[Service]
Type=notify
NotifyAccess=all
LimitNOFILE=100000
ExecStart=/opt/salt/bin/salt-master

[Install]
WantedBy=multi-user.target
EOF
systemctl enable salt-master
if [ -d /run/systemd/system ]; then systemctl restart salt-master; fi
