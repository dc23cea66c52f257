# What the maintainer scripts of both packages have in common; the builds put it into each of them.
# Runs with any POSIX shell and the tools of a minimal host. What is started or changed here is undone at
# removal, and nothing that somebody else made is.

ha_binary=/usr/sbin/ha
ha_state=/var/lib/heartbeat
# Exists from before the files are unpacked until the end.
ha_mark=$ha_state/.installing
# Fencing plugins of a cluster-glue that goes away with the packages this one replaces.
ha_plugins="/usr/lib/stonith/plugins/external /usr/lib64/stonith/plugins/external"

ha_say() {
	echo "ha: $*" >&2
}

ha_systemd() {
	[ -d /run/systemd/system ]
}

# The process of the pid file; 0 where there is none.
ha_pid() {
	ha_number=$(tr -dc 0-9 2> /dev/null < /var/run/heartbeat.pid) || :
	echo "${ha_number:-0}"
}

# The group and the user of the original, with its numbers where they are free.
ha_account() {
	if ! getent group haclient > /dev/null; then
		if getent group 65 > /dev/null; then
			groupadd -r haclient 2> /dev/null || groupadd haclient
		else
			groupadd -g 65 haclient
		fi
	fi
	if ! getent passwd hacluster > /dev/null; then
		ha_number=
		getent passwd 17 > /dev/null || ha_number="-u 17"
		# Older tools know neither -r nor -M.
		# shellcheck disable=SC2086  # one option or none
		useradd -r $ha_number -g haclient -M -d $ha_state/cores/hacluster -s "$(ha_no_shell)" \
			-c "heartbeat user" hacluster 2> /dev/null ||
			useradd $ha_number -g haclient -d $ha_state/cores/hacluster -s "$(ha_no_shell)" \
				-c "heartbeat user" hacluster
	fi
}

ha_no_shell() {
	for ha_shell in /usr/sbin/nologin /sbin/nologin /bin/false; do
		[ ! -x $ha_shell ] || break
	done
	echo $ha_shell
}

ha_directories() {
	mkdir -p $ha_state/cores
	chmod 755 $ha_state $ha_state/cores
	for ha_user in root nobody hacluster; do
		mkdir -p $ha_state/cores/$ha_user
		chown $ha_user $ha_state/cores/$ha_user
		chmod 700 $ha_state/cores/$ha_user
	done
	mkdir -p /var/run/heartbeat
	chown hacluster:haclient /var/run/heartbeat
	chmod 750 /var/run/heartbeat
}

# Links at paths where the administrator or the package resource-agents may have a file.
ha_make_links() {
	$ha_binary --list-full | sed -n 's/ shared$//p' | while read -r ha_path; do
		if [ ! -e "$ha_path" ] && [ ! -L "$ha_path" ]; then
			mkdir -p "${ha_path%/*}"
			ln -s $ha_binary "$ha_path"
		elif [ -L "$ha_path" ] && [ ! -e "$ha_path" ]; then
			ha_say "$ha_path is a link that leads nowhere; left alone"
		fi
	done
}

# Takes away every link to the binary that is not the package's own, and what the daemon wrote.
ha_remove_links() {
	for ha_path in /etc/ha.d/* /etc/ha.d/resource.d/* /usr/lib/heartbeat/* /usr/lib64/heartbeat/* \
		/usr/libexec/heartbeat/*; do
		if [ -L "$ha_path" ] && [ "$(readlink "$ha_path")" = $ha_binary ]; then
			rm -f "$ha_path"
		fi
	done
	rmdir /usr/lib/heartbeat /usr/lib64/heartbeat /usr/libexec/heartbeat 2> /dev/null || :
}

# What the daemon wrote because it was missing; a copy tells whether somebody changed it since.
ha_remove_written() {
	for ha_path in /etc/ha.d/shellfuncs /etc/ha.d/resource.d/hto-mapfuncs; do
		if cmp -s "$ha_path" "$ha_state/programs/${ha_path##*/}"; then
			rm -f "$ha_path"
		fi
	done
	rm -rf $ha_state/programs $ha_state/fifo /var/run/heartbeat /var/run/heartbeat.pid
	rm -f /var/lock/subsys/heartbeat
}

# A daemon of ours runs: its program file is called ha, whatever link it was started by.
ha_runs() {
	case $(readlink "/proc/$(ha_pid)/exe") in
	*/ha | *"/ha (deleted)" | "$ha_binary"*) return 0 ;;
	esac
	return 1
}

# So does the original.
ha_original_runs() {
	case $(readlink "/proc/$(ha_pid)/exe") in
	*/heartbeat | *"/heartbeat (deleted)") return 0 ;;
	esac
	return 1
}

# Before anything is unpacked. An original that runs gives its resources to the other node and ends, as
# at a planned stop.
ha_before() {
	mkdir -p $ha_state
	: > $ha_mark
	for ha_folder in $ha_plugins; do
		[ ! -d $ha_folder ] || [ -L ${ha_folder%/*/*/*} ] || {
			mkdir -p "$ha_state/.plugins$ha_folder"
			cp -p $ha_folder/* "$ha_state/.plugins$ha_folder" 2> /dev/null || :
		}
	done
	if ha_original_runs; then
		echo running > $ha_mark
		# Where its files are gone already it needs ours to release anything: later then.
		if [ -e "$(readlink "/proc/$(ha_pid)/exe")" ] && ! ha_stop_original; then
			ha_say "nothing was changed"
			rm -rf $ha_mark $ha_state/.plugins
			return 1
		fi
	fi
}

# As `heartbeat -k` does it. It may take as long as the resources take.
ha_stop_original() {
	ha_say "stopping the Heartbeat that runs here; its resources go to the other node"
	ha_old=$(ha_pid)
	# Debian's package takes the daemon's own pipe away with its files; those who have it open still
	# show where it is, and without it the last message of a release gets nowhere.
	if [ ! -e $ha_state/fifo ]; then
		for ha_path in /proc/[0-9]*/fd/*; do
			if [ "$(readlink "$ha_path")" = "$ha_state/fifo (deleted)" ]; then
				ln -s "$ha_path" $ha_state/fifo
				break
			fi
		done
	fi
	kill -TERM "$ha_old" || return 0
	ha_waited=0
	while [ -d "/proc/$ha_old" ]; do
		if [ $ha_waited -ge 3660 ]; then
			ha_say "it does not stop; stop it by hand and install again"
			return 1
		fi
		sleep 1
		ha_waited=$((ha_waited + 1))
	done
	[ ! -L $ha_state/fifo ] || rm -f $ha_state/fifo
}

ha_was_running() {
	grep -q running $ha_mark 2> /dev/null
}

# When the packages that this one replaces are gone.
ha_after() {
	for ha_folder in $ha_plugins; do
		for ha_path in "$ha_state/.plugins$ha_folder"/*; do
			if [ -f "$ha_path" ] && [ ! -e "$ha_folder/${ha_path##*/}" ]; then
				mkdir -p $ha_folder
				cp -p "$ha_path" $ha_folder
			fi
		done
	done
	rm -rf $ha_state/.plugins $ha_mark
	# apt takes the other package away before any script of this one runs.
	sed -n 's,^[ 	]*stonith[_a-z]*[ 	].*external/\([^ 	]*\).*,\1,p' /etc/ha.d/ha.cf 2> /dev/null | while read -r ha_plugin; do
		for ha_folder in $ha_plugins; do
			[ ! -e "$ha_folder/$ha_plugin" ] || continue 2
		done
		ha_say "WARNING: /etc/ha.d/ha.cf names external/$ha_plugin, a script of cluster-glue that is not here any more:"
		ha_say "put it into ${ha_plugins%% *} (from the other node, or unpacked from that package), else nothing is fenced"
	done
}

# A new program file goes on in the running one's place, and no resource moves.
ha_upgrade() {
	ha_runs || return 0
	if ! $ha_binary heartbeat -r; then
		ha_say "the running heartbeat goes on with the former program; see its log, then: heartbeat -r"
	fi
}

# Pages of agents under the names by which they are looked for, where resource-agents has none.
ha_make_page_links() {
	$ha_binary --list-full | sed -n 's,^/etc/ha\.d/resource\.d/\([^ ]*\) .*,\1,p' | while read -r ha_agent; do
		ha_path=/usr/share/man/man7/ocf_heartbeat_$ha_agent.7.gz
		[ -e /usr/share/man/man7/"$ha_agent".7.gz ] || continue
		if [ ! -e "$ha_path" ] && [ ! -L "$ha_path" ] && [ ! -e "${ha_path%.gz}" ]; then
			ln -s "$ha_agent.7.gz" "$ha_path"
		fi
	done
}

ha_remove_page_links() {
	for ha_path in /usr/share/man/man7/ocf_heartbeat_*.7.gz; do
		ha_agent=${ha_path##*/ocf_heartbeat_}
		if [ -L "$ha_path" ] && [ "$(readlink "$ha_path")" = "$ha_agent" ]; then
			rm -f "$ha_path"
		fi
	done
}
