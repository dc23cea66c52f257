# ocf-shellfuncs: what OCF agents read with ". $OCF_FUNCTIONS_DIR/ocf-shellfuncs".
#
# For hosts without the package resource-agents: heartbeat names this folder in OCF_FUNCTIONS_DIR when
# there is no such file in OCF_ROOT/lib/heartbeat. The common functions are those of shellfuncs; the rest
# is here. Any POSIX shell will do.

HA_OWN_OCF=yes
. "${OCF_FUNCTIONS_DIR%/}/shellfuncs"
unset HA_OWN_OCF

__SCRIPT_NAME=${0##*/}
__OCF_ACTION=${1:-}
: "${OCF_RESKEY_CRM_meta_interval:=0}"
: "${OCF_CHECK_LEVEL:=${OCF_RESKEY_OCF_CHECK_LEVEL:-0}}"
OCF_RUNNING_MASTER=8
OCF_FAILED_MASTER=9

if [ -z "${OCF_RESOURCE_INSTANCE:-}" ]; then
	case ${__OCF_ACTION} in
	meta-data | usage) OCF_RESOURCE_INSTANCE=RESOURCE_ID ;;
	*)
		if [ -n "${OCF_RA_VERSION_MAJOR:-}" ]; then
			ha_log "ERROR: Need to tell us our resource instance name."
			exit $OCF_ERR_ARGS
		fi
		OCF_RESOURCE_INSTANCE=default
		;;
	esac
fi
mkdir -p "$HA_RSCTMP" 2>/dev/null

# An error for the log and for whoever reads standard error.
ocf_exit_reason() {
	printf '%s%s\n' "${OCF_EXIT_REASON_PREFIX:-ocf-exit-reason:}" "$*" >&2
	ocf_log err "$*"
}

have_binary() {
	ha_own_program=${1%% *}
	[ -n "$ha_own_program" ] && command -v "$ha_own_program" >/dev/null 2>&1
}

check_binary() {
	if ! have_binary "$1"; then
		ocf_exit_reason "Setup problem: couldn't find command: $1"
		exit $OCF_ERR_INSTALLED
	fi
}

ocf_is_probe() {
	[ "$__OCF_ACTION" = monitor ] && [ "$OCF_RESKEY_CRM_meta_interval" = 0 ]
}

ocf_is_clone() {
	[ -n "${OCF_RESKEY_CRM_meta_clone_max:-}" ] && [ "$OCF_RESKEY_CRM_meta_clone_max" -gt 0 ]
}

ocf_is_ms() {
	false
}

ocf_local_nodename() {
	uname -n
}

# ocf_run [-q] [-v] [-info|-warn|-err] COMMAND...: runs it and logs what it says.
ocf_run() {
	ha_own_quiet= ha_own_verbose= ha_own_level=err
	while :; do
		case ${1:-} in
		-q) ha_own_quiet=yes ;;
		-v) ha_own_verbose=yes ;;
		-info | -warn | -err) ha_own_level=${1#-} ;;
		*) break ;;
		esac
		shift
	done
	ha_own_rc=0
	ha_own_output=$("$@" 2>&1) || ha_own_rc=$?
	ha_own_output=$(echo $ha_own_output)
	if [ $ha_own_rc -ne 0 ]; then
		ha_own_failed=$ha_own_level
		ocf_log "$ha_own_failed" "${ha_own_output:-command failed: $*}"
	elif [ -n "$ha_own_output" ] && [ -z "$ha_own_quiet" ]; then
		ocf_log info "$ha_own_output"
		[ -z "$ha_own_verbose" ] || echo "$ha_own_output"
	fi
	return $ha_own_rc
}
