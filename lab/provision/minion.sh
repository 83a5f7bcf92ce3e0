#!/bin/sh
# Makes this machine a Salt minion of a lab: configuration, keys, service.
# Run as root after salt.sh; a second run changes nothing. In a chroot it enables the service, without starting it.
#
# minion.sh CHECKOUT KEYS ID MASTER
#   CHECKOUT  where this tree is now; only its etc/minion.d and etc/systemd are read, and copied
#   KEYS      directory with ID.pem, ID.pub and master.pub
#   ID        the minion's id
#   MASTER    address of the master
set -eu

checkout=$1 keys=$2 id=$3 master=$4

install -d /etc/salt/minion.d /var/log/salt
install -d -m 700 /etc/salt/pki /etc/salt/pki/minion
install -m 644 "$checkout"/etc/minion.d/*.conf /etc/salt/minion.d/
cat > /etc/salt/minion.d/site.conf <<EOF
id: $id
master: $master
EOF

install -m 400 "$keys/$id.pem" /etc/salt/pki/minion/minion.pem
install -m 644 "$keys/$id.pub" /etc/salt/pki/minion/minion.pub
# Known beforehand, so that the minion talks to this master and to no other.
install -m 644 "$keys/master.pub" /etc/salt/pki/minion/minion_master.pub

cat > /etc/systemd/system/salt-minion.service <<'EOF'
[Unit]
Description=The Salt Minion
After=network.target

[Service]
Type=notify
NotifyAccess=all
KillMode=process
LimitNOFILE=8192
ExecStart=/opt/salt/bin/salt-minion

[Install]
WantedBy=multi-user.target
EOF
install -D -m 644 "$checkout/etc/systemd/salt-minion.conf" /etc/systemd/system/salt-minion.service.d/restart.conf
systemctl enable salt-minion
if [ -d /run/systemd/system ]; then systemctl restart salt-minion; fi
