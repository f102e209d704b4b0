#!/bin/sh
# Debian calls this with "configure" and the version before, RPM with how many are
# installed then. An upgrade hands the consumers over to the new binary: none of
# them is stopped.
set -e

removed=/var/lib/qsuper/removed # left by preremove.sh: Debian names a version then as well
case "$1" in
configure) [ -n "$2" ] && [ ! -e $removed ] && upgrade=yes || upgrade= ;;
1) upgrade= ;;
[2-9]*) upgrade=yes ;;
*) exit 0 ;; # Debian's ways back from something that has failed
esac

rm -f $removed
file=/etc/qsuper/qsuper.yaml
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers qsuper.conf
elif ! getent group qsuper >/dev/null; then
	groupadd --system qsuper
fi

[ -d /run/systemd/system ] || exit 0 # a container, or an image that is being made
systemctl daemon-reload
if systemctl is-active --quiet qsuper.service; then
	# Whether or not this works, the consumers go on.
	qsuper upgrade --config "$file" || cat >&2 <<-END
		qsuper: the version before goes on running, for the reason above.
		When it is out of the way:  qsuper upgrade
	END
elif [ -z "$upgrade" ] && [ -e "$file" ]; then
	systemctl enable --quiet qsuper.service
	invoke=systemctl
	command -v deb-systemd-invoke >/dev/null && invoke=deb-systemd-invoke # minds policy-rc.d
	$invoke start qsuper.service || echo "qsuper does not start: systemctl status qsuper" >&2
elif [ -z "$upgrade" ]; then
	cat <<-END
		qsuper has nothing to run yet. Write $file, for example with
		    qsuper import supervisor /etc/supervisor/supervisord.conf -o $file --verify
		or from /usr/share/doc/qsuper/examples/qsuper.yaml, and then
		    systemctl enable --now qsuper
	END
fi
