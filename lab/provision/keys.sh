#!/bin/sh
# keys.sh DIR NAME...: an RSA key pair NAME.pem, NAME.pub in DIR for each name that has none yet.
set -eu

dir=$1
shift
umask 077
mkdir -p "$dir"
for name in "$@"; do
    [ -e "$dir/$name.pub" ] && continue
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$dir/$name.pem"
    openssl pkey -in "$dir/$name.pem" -pubout -out "$dir/$name.pub.new"
    mv "$dir/$name.pub.new" "$dir/$name.pub"
done
