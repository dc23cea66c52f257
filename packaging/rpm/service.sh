
# ha_service start|stop
ha_service() {
	if ha_systemd; then
		systemctl "$1" heartbeat.service
	elif [ -x /etc/init.d/heartbeat ]; then
		/etc/init.d/heartbeat "$1"
	fi
}

# Whether it starts at boot.
ha_enabled() {
	if command -v systemctl > /dev/null && systemctl -q is-enabled heartbeat.service 2> /dev/null; then
		return 0
	fi
	for ha_path in /etc/rc[35].d/S[0-9][0-9]heartbeat /etc/rc.d/rc[35].d/S[0-9][0-9]heartbeat; do
		[ ! -e "$ha_path" ] || return 0
	done
	return 1
}

# ha_register install|upgrade
ha_register() {
	if command -v systemctl > /dev/null; then
		! ha_systemd || systemctl daemon-reload > /dev/null 2>&1 || :
		[ "$1" = upgrade ] || systemctl preset heartbeat.service > /dev/null 2>&1 || :
		! grep -q enabled $ha_mark 2> /dev/null || systemctl enable heartbeat.service > /dev/null 2>&1 || :
	elif command -v chkconfig > /dev/null; then
		chkconfig --add heartbeat || :
		! grep -q enabled $ha_mark 2> /dev/null || chkconfig heartbeat on || :
	fi
}

ha_unregister() {
	if command -v systemctl > /dev/null; then
		systemctl --no-reload disable heartbeat.service > /dev/null 2>&1 || :
	elif command -v chkconfig > /dev/null; then
		chkconfig --del heartbeat || :
	fi
}

# A package that this one replaces saved scripts that somebody had changed under another name: they go
# back to where they were, or nothing would run them.
ha_restore_saved() {
	find /etc/ha.d -name '*.rpmsave' -cnewer $ha_mark 2> /dev/null | while read -r ha_path; do
		if [ ! -e "${ha_path%.rpmsave}" ]; then
			mv "$ha_path" "${ha_path%.rpmsave}"
			ha_say "${ha_path%.rpmsave} was changed here and stays"
		fi
	done
}
