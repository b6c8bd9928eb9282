#!/bin/sh
# usage: need.sh PROGRAM...
#
# Sees to it that the programs are installed; python3-NAME stands for a module of
# Debian's Python, libnss-NAME for one of nsswitch.conf(5). Root gets what is missing from Debian; anyone else is told
# what is missing and the command that installs it, and the exit status is 1.
#
# What this installs serves tests only: none of it is started, nor left to start
# with the machine.
set -eu

PATH=$PATH:/usr/sbin:/sbin

# package_of prints the Debian packages that a program comes with.
package_of() {
	case $1 in
	sshd) echo openssh-server ;;
	ssh | sftp | scp | ssh-add | ssh-keygen | ssh-keyscan) echo openssh-client ;;
	dbclient | dropbearconvert) echo dropbear-bin ;;
	gcc) echo gcc libc6-dev ;;
	ip) echo iproute2 ;;
	node) echo nodejs ;;
	journalctl) echo systemd ;;
	systemd-nspawn) echo systemd-container ;;
	userdbctl) echo systemd-userdbd ;;
	google_authorized_keys) echo google-compute-engine-oslogin ;;
	*) echo "$1" ;;
	esac
}

# units_of prints the units that a program's packages start with the machine.
units_of() {
	case $1 in
	sshd) echo ssh.service ssh.socket ;;
	userdbctl) echo systemd-userdbd.socket ;;
	google_authorized_keys) echo google-oslogin-cache.timer ;;
	esac
}

# installed tells whether a program, or a module, is there.
installed() {
	case $1 in
	libnss-*) ls /usr/lib/*/"libnss_${1#libnss-}.so.2" ;;
	python3-*) /usr/bin/python3 -W ignore -c "import ${1#python3-}" ;;
	*) command -v "$1" ;;
	esac >/dev/null 2>&1
}

missing=
packages=
for program in "$@"; do
	if ! installed "$program"; then
		missing="$missing $program"
		packages="$packages $(package_of "$program")"
	fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "missing:$missing" >&2
	echo "install with: sudo apt-get install --no-install-recommends$packages" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo "missing:$missing (no apt-get here: install them by other means)" >&2
	exit 1
fi

# deny_services keeps apt-get from starting what it installs, for as long as
# this script runs: see /usr/share/doc/init-system-helpers/README.policy-rc.d.gz.
policy=/usr/sbin/policy-rc.d
deny_services() {
	[ ! -e $policy ] || return 0
	trap 'rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
}

install_packages() {
	# shellcheck disable=SC2086 # words on purpose
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages </dev/null >/dev/null
}

echo "installing:$packages" >&2
deny_services
install_packages 2>/dev/null || { # the package lists may be missing or old
	apt-get update -qq </dev/null
	install_packages
}
for program in $missing; do
	for unit in $(units_of "$program"); do
		systemctl disable "$unit" >/dev/null 2>&1 || true
	done
done
