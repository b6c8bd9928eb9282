#!/bin/sh
# usage: install.sh install|uninstall BIN
#
# Installs what belongs to latchkey, or takes it away. BIN is the folder with
# the built programs. It is the one list of files there is: the packages are
# made of what it installs.
#
# DESTDIR   where the file tree begins (empty: /)
# PREFIX    /usr/local
# INIT      systemd, or openrc
# ZSHDIR    where zsh looks for completions ($PREFIX/share/zsh/site-functions)
# LATCHKEY  a latchkey that runs on this machine (BIN/latchkey), with a latchkey-sshd
#           and a keypaird in the same folder
#
# The configuration is never overwritten and never taken away.
set -eu
umask 022

action=$1 bin=$2
DESTDIR=${DESTDIR:-} PREFIX=${PREFIX:-/usr/local} INIT=${INIT:-systemd}
ZSHDIR=${ZSHDIR:-$PREFIX/share/zsh/site-functions} LATCHKEY=${LATCHKEY:-$bin/latchkey}
share=$PREFIX/share lib=$PREFIX/lib
cd "$(dirname "$0")/.."

# file MODE PATH COMMAND... installs what the command prints. What is running
# from PATH keeps its file.
install_file() {
	mode=$1 path=$DESTDIR$2
	shift 2
	mkdir -p "$(dirname "$path")"
	"$@" >"$path.new"
	chmod "$mode" "$path.new"
	mv -f "$path.new" "$path"
}

uninstall_file() { rm -f "$DESTDIR$2"; }

case $action in
install | uninstall) file() { "${action}_file" "$@"; } ;;
*) echo "usage: install.sh install|uninstall BIN" >&2; exit 64 ;;
esac

# with_prefix prints a file that names programs, with the names that they have.
with_prefix() { sed "s|/usr/sbin/|$PREFIX/sbin/|g" "$1"; }

config() {
	[ "$action" = install ] || return 0
	mkdir -p "$DESTDIR/etc/latchkey/latchkey.toml.d"
	[ -e "$DESTDIR/etc/latchkey/latchkey.toml" ] || file 644 /etc/latchkey/latchkey.toml cat packaging/latchkey.toml
}

programs() {
	file 755 "$PREFIX/bin/latchkey" cat "$bin/latchkey"
	file 755 "$PREFIX/bin/latchkey-sshd" cat "$bin/latchkey-sshd"
	file 755 "$PREFIX/sbin/latchkeyd" cat "$bin/latchkeyd"
	file 755 "$PREFIX/sbin/latchkey-authorized-keys" cat "$bin/latchkey-authorized-keys"
	file 755 "$PREFIX/sbin/keypaird" cat "$bin/keypaird"
}

for_systemd() {
	for unit in latchkeyd.service latchkey-network.socket latchkey-network@.service keypaird.service; do
		file 644 "$lib/systemd/system/$unit" with_prefix "systemd/units/$unit"
	done
	file 644 "$lib/systemd/catalog/latchkey.catalog" cat packaging/latchkey.catalog
	file 644 "$lib/sysusers.d/latchkey.conf" cat packaging/sysusers.conf
	file 644 "$lib/tmpfiles.d/latchkey.conf" cat packaging/tmpfiles.conf
}

for_openrc() { file 755 /etc/init.d/latchkeyd with_prefix packaging/openrc/latchkeyd; }

completions() {
	for program in "$LATCHKEY" "$LATCHKEY-sshd" "${LATCHKEY%latchkey}keypaird"; do
		name=${program##*/}
		file 644 "$share/bash-completion/completions/$name" "$program" completion bash
		file 644 "$share/fish/vendor_completions.d/$name.fish" "$program" completion fish
		file 644 "$ZSHDIR/_$name" "$program" completion zsh
	done
}

documents() {
	for page in packaging/man/*.[1-8]; do
		file 644 "$share/man/man${page##*.}/${page##*/}.gz" gzip -9nc "$page"
	done
	file 644 "$share/doc/latchkey/changelog.gz" gzip -9nc CHANGELOG.md
	file 644 "$share/doc/latchkey/copyright" cat packaging/copyright
	file 644 "$share/doc/latchkey/third-party.gz" third_party
}

# third_party prints, gzipped, the licences of what is linked in: all of them ask
# for it.
third_party() { packaging/licences.sh ./cmd/... | gzip -9n; }

programs
config
"for_$INIT"
completions
documents
[ "$action" = install ] || rmdir "$DESTDIR$share/doc/latchkey" 2>/dev/null || true
