#!/bin/sh
# Makes this machine the database server of a lab: Debian's PostgreSQL with a database "comments" and the role
# "globoapp" that owns it, which may log in from the lab's network. Its DATABASE_URL is in /root/database.url.
# For a chroot, before the first boot; runs minion.sh too.
#
# db.sh ADDRESS NETWORK CHECKOUT KEYS ID MASTER
#   ADDRESS  of this machine
#   NETWORK  of the lab, as 10.70.1.0/24
#   others   as minion.sh takes them
set -eu

address=$1 network=$2
shift 2
checkout=$1

sh "$checkout/lab/provision/minion.sh" "$@"

configuration=$(dirname /etc/postgresql/*/main/postgresql.conf)
version=$(basename "$(dirname "$configuration")")
echo "listen_addresses = '*'" > "$configuration/conf.d/lab.conf"
echo "host comments globoapp $network scram-sha-256" >> "$configuration/pg_hba.conf"

password=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
(umask 077 && echo "postgresql://globoapp:$password@$address/comments" > /root/database.url)
# In single-user mode, since nothing runs in a chroot, which has no /dev/shm either: a statement a line.
cd /
su postgres -c "/usr/lib/postgresql/$version/bin/postgres --single -D /var/lib/postgresql/$version/main \
    -c config_file=$configuration/postgresql.conf -c dynamic_shared_memory_type=mmap postgres" > /dev/null << EOF
CREATE ROLE globoapp LOGIN PASSWORD '$password'
CREATE DATABASE comments OWNER globoapp TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'
EOF
systemctl enable postgresql
