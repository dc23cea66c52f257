# hto-mapfuncs: what scripts of resource.d read that hand their work to an OCF agent.
#
# Written by heartbeat when it found no file of this name; it may be changed or replaced. A script sets
# OCF_TYPE, OCF_RESOURCE_INSTANCE and OCF_RESKEY_..., has a function "usage", and calls
# "ra_execocf OPERATION". Any POSIX shell will do.

. "${HA_FUNCS:-${HA_DIR:-/etc/ha.d}/shellfuncs}"

: "${OCF_ROOT:=/usr/lib/ocf}"
OCF_RA_DIR=$OCF_ROOT/resource.d/
OCF_RA_VERSION_MAJOR=1
OCF_RA_VERSION_MINOR=0
export OCF_ROOT OCF_RA_VERSION_MAJOR OCF_RA_VERSION_MINOR
LEGAL_ACTIONS="(start|stop|status|usage|meta-data)"

log_and_print() {
	ha_log "$*"
	echo "$*"
}

# Runs one action of the agent: that of the host, else the one that is part of heartbeat.
ha_own_agent() {
	if [ -x "$OCF_RA_DIR/heartbeat/$OCF_TYPE" ]; then
		"$OCF_RA_DIR/heartbeat/$OCF_TYPE" "$1"
	else
		"$HA_NOARCHBIN/$OCF_TYPE" "$1"
	fi
}

# ra_execocf OPERATION: one result line, and the agent's exit code.
ra_execocf() {
	if [ -z "${OCF_TYPE:-}" ]; then
		log_and_print "ERROR: Internal error. No value for OCF_TYPE specified"
		exit 1
	fi
	if [ ! -x "$OCF_RA_DIR/heartbeat/$OCF_TYPE" ] && [ ! -x "$HA_NOARCHBIN/$OCF_TYPE" ]; then
		log_and_print "ERROR: $OCF_RA_DIR/heartbeat/$OCF_TYPE is not an executable file "
		exit 1
	fi
	ha_own_good=Success
	case ${1:-} in
	'')
		log_and_print "ERROR: No action specfied."
		usage
		exit 1
		;;
	start | stop) ha_own_agent "$1" ;;
	status | monitor)
		ha_own_good="Running OK"
		ha_own_agent monitor
		;;
	usage | help) usage ;;
	*)
		log_and_print "ERROR: Unknown operation: $1"
		usage
		exit 1
		;;
	esac
	ha_own_code=$?
	# Two blanks: the original puts a name there that is always empty.
	case $ha_own_code in
	0) log_and_print "INFO:  $ha_own_good" ;;
	1) log_and_print "ERROR:  Generic error" ;;
	2) log_and_print "ERROR:  Illegal argument" ;;
	3) log_and_print "ERROR:  Function unimplemented" ;;
	4) log_and_print "ERROR:  User had insufficient privilege" ;;
	5) log_and_print "ERROR:  Program is not installed" ;;
	6) log_and_print "ERROR:  Program is not configured" ;;
	7) log_and_print "INFO:  Resource is stopped" ;;
	*)
		log_and_print "ERROR:  Unknown error: $ha_own_code"
		exit 1
		;;
	esac
	return $ha_own_code
}
