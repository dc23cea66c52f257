# shellfuncs: what scripts of rc.d and resource.d read with ". $HA_FUNCS".
#
# Written by heartbeat when it found no file of this name. It may be changed or replaced: heartbeat
# leaves a file that is there alone. Where the package resource-agents is installed its functions are
# used, else those below. Any POSIX shell will do.

# Where things are. What is set already stays.
: "${HA_DIR:=/etc/ha.d}"
: "${HA_CF:=$HA_DIR/ha.cf}"
: "${HA_RCDIR:=$HA_DIR/rc.d}"
: "${HA_RESOURCEDIR:=$HA_DIR/resource.d}"
: "${HA_FIFO:=/var/lib/heartbeat/fifo}"
: "${HA_BIN:=/usr/libexec/heartbeat}"
: "${HA_SBIN_DIR:=/usr/sbin}"
: "${HA_NOARCHBIN:=/usr/share/heartbeat}"
: "${HA_DOCDIR:=/usr/share/doc/heartbeat}"
: "${HA_VARLIB:=/var/lib/heartbeat}"
: "${HA_VARRUN:=/var/run}"
: "${HA_VARLOCK:=/var/lock/subsys}"
: "${HA_DATEFMT:=%Y/%m/%d_%T	}"
: "${HA_DEBUGLOG:=/dev/null}"
: "${HA_LOGFILE=}"
: "${HA_LOGFACILITY=}"
: "${INITDIR:=/etc/init.d}"
: "${OCF_ROOT:=/usr/lib/ocf}"
: "${OCF_AGENTS:=$OCF_ROOT/resource.d/heartbeat/}"
export HA_DIR HA_RCDIR HA_FIFO HA_BIN HA_DEBUGLOG HA_LOGFILE HA_LOGFACILITY
export HA_DATEFMT HA_RESOURCEDIR HA_DOCDIR OCF_ROOT OCF_AGENTS

case :$PATH: in
*:"$HA_BIN:$HA_SBIN_DIR:$HA_NOARCHBIN":*) ;;
*) PATH=$HA_BIN:$HA_SBIN_DIR:$HA_NOARCHBIN:$PATH ;;
esac
export PATH

# Messages of programs are compared with English words.
LC_ALL=C
export LC_ALL

ha_own_functions() {
	: "${HA_RSCTMP:=$HA_VARRUN/heartbeat/rsctmp}"
	OCF_SUCCESS=0
	OCF_ERR_GENERIC=1
	OCF_ERR_ARGS=2
	OCF_ERR_UNIMPLEMENTED=3
	OCF_ERR_PERM=4
	OCF_ERR_INSTALLED=5
	OCF_ERR_CONFIGURED=6
	OCF_NOT_RUNNING=7

	hadate() {
		date "+$HA_DATEFMT"
	}

	# The name that lines carry: script, instance, process.
	ha_own_tag() {
		echo "${HA_LOGTAG:-${0##*/}(${OCF_RESOURCE_INSTANCE:-default})[$$]}"
	}

	# ha_own_write SYSLOG-LEVEL FILE OTHER-FILE TEXT
	ha_own_write() {
		if [ -t 0 ]; then
			echo "${HA_LOGTAG:+$HA_LOGTAG: }$4" >&2
			return 0
		fi
		if [ "${HA_LOGD:-}" = yes ] && ha_logger -t "$(ha_own_tag)" "$4" 2>/dev/null; then
			return 0
		fi
		ha_own_facility=$HA_LOGFACILITY
		[ "$ha_own_facility" != none ] || ha_own_facility=
		if [ -n "$ha_own_facility" ]; then
			logger -t "$(ha_own_tag)" -p "$ha_own_facility.$1" -- "$4"
		fi
		if [ -n "$2" ]; then
			echo "$(hadate | tr -d '\t')  $(ha_own_tag):    $4" >>"$2"
		elif [ -z "$ha_own_facility" ]; then
			echo "$(hadate | tr -d '\t') $4" >&2
		fi
		if [ -n "$3" ] && [ "$3" != "$2" ]; then
			echo "$(ha_own_tag):	$(hadate | tr -d '\t') $4" >>"$3"
		fi
		return 0
	}

	# ha_log "info: text": to the terminal, else to where ha.cf says.
	ha_log() {
		case $* in
		*ERROR*) ha_own_write err "$HA_LOGFILE" "$HA_DEBUGLOG" "$*" ;;
		*WARN*) ha_own_write warning "$HA_LOGFILE" "$HA_DEBUGLOG" "$*" ;;
		*INFO*) ha_own_write info "$HA_LOGFILE" "$HA_DEBUGLOG" "$*" ;;
		*) ha_own_write notice "$HA_LOGFILE" "$HA_DEBUGLOG" "$*" ;;
		esac
	}

	# The same with "debug" of ha.cf above 0, into the debug file.
	ha_debug() {
		[ "${HA_debug:-0}" = 0 ] || ha_own_write debug "$HA_DEBUGLOG" "" "$*"
	}

	# ocf_log LEVEL TEXT...
	ocf_log() {
		ha_own_level=$1
		shift
		case $ha_own_level in
		crit) ha_log "CRIT: $*" ;;
		err) ha_log "ERROR: $*" ;;
		warn) ha_log "WARNING: $*" ;;
		info) ha_log "INFO: $*" ;;
		debug) ha_debug "DEBUG: $*" ;;
		*) ha_log "$(echo "$ha_own_level" | tr '[:lower:]' '[:upper:]'): $*" ;;
		esac
	}

	ocf_is_root() {
		[ "$(id -u)" = 0 ]
	}

	ocf_is_decimal() {
		case $1 in
		'' | *[!0-9]*) return 1 ;;
		esac
	}

	ocf_is_true() {
		case $1 in
		yes | true | 1 | YES | TRUE | True | ja | on | ON) return 0 ;;
		esac
		return 1
	}

	# ha_pseudo_resource NAME OPERATION [FILE]: a resource that is but a file. Says nothing.
	ha_pseudo_resource() {
		ha_own_file=${3:-$HA_RSCTMP/$1}
		case $2 in
		start | restart | reload) : >"$ha_own_file" ;;
		stop) rm -f "$ha_own_file" ;;
		status) [ -f "$ha_own_file" ] || return 3 ;;
		monitor) [ -f "$ha_own_file" ] || return 7 ;;
		print) echo "$ha_own_file" ;;
		*) return 3 ;;
		esac
	}
}

# ha_parameter NAME: the value of a line of ha.cf.
ha_parameter() {
	ha_own_value=$(
		awk -v name="$1" '
			{ sub(/#.*/, "") }
			tolower($1) == tolower(name) { $1 = ""; sub(/^ /, ""); print; exit }
		' "$HA_CF" 2>/dev/null
	)
	if [ -z "$ha_own_value" ]; then
		case $1 in
		keepalive) ha_own_value=2 ;;
		deadtime) ha_own_value=$(($(ha_parameter keepalive) * 2 + 1)) ;;
		esac
	fi
	echo "$ha_own_value"
}

if [ -z "${HA_OWN_OCF:-}" ] && [ -r "${OCF_FUNCTIONS_DIR:=$OCF_ROOT/lib/heartbeat}/ocf-shellfuncs" ]; then
	. "$OCF_FUNCTIONS_DIR/ocf-shellfuncs"
else
	ha_own_functions
fi

Echo() {
	echo "$@"
}

# Gives standard input, lines of the form name=value with t=TYPE among them, to the heartbeat daemon,
# which sends it to all nodes. One write, so that messages of several scripts do not mix.
ha_clustermsg() {
	if [ ! -p "$HA_FIFO" ] && [ ! -c "$HA_FIFO" ]; then
		ha_log "ERROR: $HA_FIFO is no FIFO: heartbeat does not run. The message was not sent"
		cat >/dev/null
		return 1
	fi
	awk 'BEGIN { text = ">>>\n" } { text = text $0 "\n" } END { printf "%s<<<\n", text }' >>"$HA_FIFO"
}

# BSD_Status PROGRAM: the answer of "status" of an init script.
BSD_Status() {
	ha_own_base=${1##*/}
	if [ -n "$(ps -ao pid,command 2>/dev/null | grep -F -- "$ha_own_base" | grep -v grep)" ]; then
		echo "$ha_own_base is running..."
		return 0
	fi
	for ha_own_file in "$HA_VARRUN/$ha_own_base.pid" "/var/run/$ha_own_base.pid"; do
		if [ -f "$ha_own_file" ]; then
			echo "$ha_own_base dead but pid file exists"
			return 1
		fi
	done
	for ha_own_file in "$HA_VARLOCK/$ha_own_base.pid" "/var/spool/lock/$ha_own_base"; do
		if [ -f "$ha_own_file" ]; then
			echo "$ha_own_base dead but lock file exists"
			return 2
		fi
	done
}
