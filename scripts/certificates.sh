#!/bin/sh
# certificates.sh DIRECTORY: what tests of TLS need, as PEM files: the authorities `ca` and `other`, and a `server` (127.0.0.1) and
# a `client` that the first vouches for; each with its key.
set -eu
cd "$1"

new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
for authority in ca other; do
    # shellcheck disable=SC2086
    openssl req -x509 $new_key -days 2 -subj "/CN=$authority" -keyout "$authority.key" -out "$authority.pem" \
        -addext basicConstraints=critical,CA:TRUE 2>>log
done
for name in server client; do
    # shellcheck disable=SC2086
    openssl req $new_key -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>>log
    [ $name = server ] && echo "subjectAltName=IP:127.0.0.1" >ext || echo "subjectAltName=DNS:client" >ext
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out "$name.pem" 2>>log
done
