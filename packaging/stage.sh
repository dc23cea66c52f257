# The tree of files that both packages have, made from the static binary and this repository. Sourced by
# build-deb and build-rpm. What the binary's own tables say is asked of it: `ha --list-full`.

say() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# Whatever the umask of whoever builds.
umask 022

version() {
    sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1
}

# The time that all files get: that of the commit, else that of the newest change there is.
source_date() {
    if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
        echo "$SOURCE_DATE_EPOCH"
    else
        git -C "$root" log -1 --format=%ct 2> /dev/null || stat -c %Y "$root/CHANGELOG.md"
    fi
}

# put MODE FILE PATH: a copy in the tree.
put() {
    install -D -m "$1" "$2" "$tree$3"
}

# stage BINARY FAMILY: everything into $tree; FAMILY is deb or rpm.
stage() {
    local binary=$1 family=$2 files=$root/packaging/files
    put 755 "$binary" /usr/sbin/ha
    links
    put 755 "$files/heartbeat.init" /etc/init.d/heartbeat
    put 644 "$files/heartbeat.logrotate" /etc/logrotate.d/heartbeat
    put 644 "$files/heartbeat.tmpfiles" /usr/lib/tmpfiles.d/heartbeat.conf
    put 644 "$files/heartbeat.firewalld.xml" /usr/lib/firewalld/services/heartbeat.xml
    put 644 "$files/README.config" /etc/ha.d/README.config
    rc_scripts
    if [ "$family" = deb ]; then
        put 644 "$files/heartbeat.service" /lib/systemd/system/heartbeat.service
        put 644 "$files/heartbeat.default" /usr/share/heartbeat/default
        put 644 "$files/heartbeat.ufw" /etc/ufw/applications.d/heartbeat
    else
        put 644 "$files/heartbeat.service" /usr/lib/systemd/system/heartbeat.service
        put 644 "$files/heartbeat.default" /etc/sysconfig/heartbeat
    fi
    mkdir -p "$tree/etc/ha.d/resource.d" "$tree/var/lib/heartbeat/cores" \
        "$tree/usr/lib/stonith/plugins/external"
    documentation
    pages
    completions "$binary"
}

# The links that are ours alone; the others are made by the maintainer scripts.
links() {
    local path
    while read -r path; do
        mkdir -p "$tree${path%/*}"
        # Below /usr relative ones, so that the tree may be mounted elsewhere.
        ln -s "$(realpath -m --relative-to="${path%/*}" /usr/sbin/ha)" "$tree$path"
    done < <("$asked" --list-full | grep -v ' shared$')
}

# One for each type of message that the original has a script for: type and when it comes.
rc_scripts() {
    local kind when
    mkdir -p "$tree/etc/ha.d/rc.d"
    while IFS='|' read -r kind when; do
        sed -e "s/@TYPE@/$kind/" -e "s/@WHEN@/$when/" "$root/packaging/files/rc.d-script" > "$tree/etc/ha.d/rc.d/$kind"
        chmod 755 "$tree/etc/ha.d/rc.d/$kind"
    done << END
status|a node changed its status
ip-request|the other node asks for an address (old protocol)
ip-request-resp|the answer to such a question
hb_takeover|somebody asked this node to take resources
ask_resources|kept for its name; no message of this type gets here
END
}

documentation() {
    local doc=/usr/share/doc/ha name
    for name in "$root"/packaging/samples/*; do
        put 644 "$name" "$doc/$(basename "$name")"
    done
    for name in "$root"/packaging/examples/*; do
        put 755 "$name" "$doc/examples/$(basename "$name")"
    done
    put 644 "$root/packaging/files/README.config" $doc/README.config
    put 644 "$root/packaging/files/README.selinux" $doc/README.selinux
    put 644 "$root/README.md" $doc/README.md
    put 644 "$root/packaging/KERNELS.md" $doc/KERNELS.md
    put 644 "$root/THIRD-PARTY-NOTICES.md" $doc/THIRD-PARTY-NOTICES.md
    gzip -9n "$tree$doc/THIRD-PARTY-NOTICES.md"
    put 644 "$root/LICENSE-MIT" $doc/LICENSE-MIT
    # Where how-to articles copy from. Folders, as the original's were: a folder cannot become a link.
    local place
    for place in heartbeat heartbeat-3.0.6; do
        mkdir -p "$tree/usr/share/doc/$place"
        for name in "$tree$doc"/*; do
            ln -s "../ha/$(basename "$name")" "$tree/usr/share/doc/$place/$(basename "$name")"
        done
    done
}

# Each page, and a link for each other name of a program in its NAME section.
pages() {
    local page file section name
    for page in "$root"/man/*.[1-9]; do
        file=$(basename "$page")
        section=${file##*.}
        put 644 "$page" "/usr/share/man/man$section/$file"
        gzip -9n "$tree/usr/share/man/man$section/$file"
        for name in $(page_names "$page"); do
            [ "$name.$section" != "$file" ] || continue
            ! grep -qx "$name" "$tree.names" || ln -s "$file.gz" "$tree/usr/share/man/man$section/$name.$section.gz"
        done
    done
}

# Names in the NAME section, of either kind of page.
page_names() {
    awk '/^\.S[hH] / { inside = /NAME/; next }
        inside && /^\.Nm / { print $2 }
        inside && !/^\./ { sub(/\\-.*/, ""); gsub(/[,\\]/, " "); print }' "$1"
}

completions() {
    local shell
    for shell in bash:bash-completion/completions/ha zsh:zsh/vendor-completions/_ha fish:fish/vendor_completions.d/ha.fish; do
        mkdir -p "$tree/usr/share/$(dirname "${shell#*:}")"
        "$asked" completions "${shell%%:*}" > "$tree/usr/share/${shell#*:}"
    done
}

# script FILE [MORE]: with the common functions, and those of MORE, in it.
script() {
    local common
    common=$(cat "$root/packaging/scripts/maintain.sh" ${2:+"$2"})
    while IFS= read -r line; do
        if [ "$line" = @MAINTAIN@ ]; then printf '%s\n' "$common"; else printf '%s\n' "$line"; fi
    done < "$1"
}

# The binary whose tables are asked: the packaged one where this machine can run it.
choose_asked() {
    asked=$1
    "$asked" --version > /dev/null 2>&1 || { say "$asked does not run on this machine"; exit 3; }
    "$asked" --list-full | sed 's, shared$,,; s,.*/,,' | sort -u > "$tree.names"
}

# need PROGRAM PACKAGE: or stop.
need() {
    command -v "$1" > /dev/null || { say "$1 is missing: install $2"; exit 3; }
}
