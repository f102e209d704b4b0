#!/bin/sh
# Debian calls this with "remove" or "upgrade", RPM with how many remain. Consumers
# are given their grace, which may take minutes; an upgrade stops nothing.
set -e

case "$1" in
remove | deconfigure | 0) ;;
*) exit 0 ;;
esac
[ -d /var/lib/qsuper ] && : >/var/lib/qsuper/removed
[ -d /run/systemd/system ] || exit 0
systemctl disable --now qsuper.service
