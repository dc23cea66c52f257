//! Web servers: httpd with an address, with the address alone, nginx beside ipfail, two addresses.

use std::path::Path;
use std::time::Duration;

use crate::common::pairs::{group, Pair, ADDRESSES, NODES};
use crate::common::skip;
use crate::site::{never, page, page_at, pair, served_by};

const HTTPD: &str = "/usr/sbin/apache2";
const NGINX: &str = "/usr/sbin/nginx";
const CONFIG: &str = "/etc/ha.d/httpd.conf";

fn has(program: &str) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip::skip_without_privilege("web servers become another user, which needs root");
        return false;
    }
    let there = Path::new(program).exists();
    if !there {
        skip::skip(&format!("there is no {program}"));
    }
    there
}

/// A server on each node whose page is the node's name.
fn configure_httpd(pair: &Pair, listen: &str) {
    let modules = "/usr/lib/apache2/modules";
    for (node, name) in NODES.into_iter().enumerate() {
        let config = format!(
            "ServerRoot /etc/ha.d\nServerName {name}\nListen {listen}\nPidFile /var/run/httpd.pid\nErrorLog /var/log/httpd\n\
             User www-data\nGroup www-data\nMutex file:/tmp\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule dir_module {modules}/mod_dir.so\nDirectoryIndex page\nDocumentRoot /var/log/site\n"
        );
        let host = pair.host(node);
        host.write_file(CONFIG, &config).expect("configuration");
        host.write_file("/var/log/site/page", &format!("{name}\n")).expect("page");
        pair.run(node, &["sh", "-c", "chmod 755 /var/log /var/log/site"]);
    }
}

#[test]
fn httpd_with_an_address() {
    let resources = format!("{} apache::{CONFIG}", group(0));
    let Some(pair) = has(HTTPD).then(|| pair(&["auto_failback on"], &resources)).flatten() else { return };
    configure_httpd(&pair, "80");
    pair.start_both();
    served_by(&pair, 0);
    let status = ["/ha", "apache", CONFIG, "status"];
    assert!(pair.host(1).run(&status).expect("status").stdout.contains("stopped"));
    pair.world.crash(NODES[0]).expect("crash");
    served_by(&pair, 1);
    pair.world.boot(NODES[0]).expect("boot");
    pair.start(0);
    served_by(&pair, 0);
    pair.wait("stopped server", || {
        pair.host(1).run(&status).is_ok_and(|output| output.stdout.contains("stopped"))
    });
    pair.wait("end of all transitions", || (0..2).all(|node| pair.resource_status(node) == "local"));
    // By hand, for work on the node.
    pair.command(0, "hb_standby", "all");
    served_by(&pair, 1);
    pair.wait("end of all transitions", || {
        pair.resource_status(0) == "none" && pair.resource_status(1) == "all"
    });
    pair.command(0, "hb_takeover", "all");
    served_by(&pair, 0);
}

#[test]
fn httpd_everywhere_and_the_address_alone() {
    let Some(pair) = has(HTTPD).then(|| pair(&["auto_failback off"], &group(0))).flatten() else { return };
    configure_httpd(&pair, "0.0.0.0:80");
    // Started at boot on both, by whatever starts services there.
    for node in 0..2 {
        pair.run(node, &["/ha", "apache", CONFIG, "start"]);
    }
    pair.start_both();
    served_by(&pair, 0);
    pair.world.crash(NODES[0]).expect("crash");
    served_by(&pair, 1);
    pair.world.boot(NODES[0]).expect("boot");
    pair.run(0, &["/ha", "apache", CONFIG, "start"]);
    pair.start(0);
    pair.wait("node1 stable beside node2", || {
        pair.resource_status(0) == "none" && pair.resource_status(1) == "all"
    });
    never(Duration::from_secs(1), "it moved back", || page(&pair, "") == NODES[0]);
    for node in 0..2 {
        pair.run(node, &["/ha", "apache", CONFIG, "stop"]);
    }
}

/// A script as distributions have it in /etc/init.d.
const NGINX_SCRIPT: &str = r#"#!/bin/sh
config=/etc/ha.d/nginx.conf pid=/var/run/nginx.pid
runs() { [ -s $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }
case "$1" in
start) runs || exec /usr/sbin/nginx -c $config ;;
stop) runs || exit 0; kill -TERM "$(cat $pid)"; while runs; do sleep 0.1; done ;;
status) runs && echo "nginx is running" || { echo "nginx is stopped"; exit 3; } ;;
esac
"#;

#[test]
fn nginx_with_ucast_and_ipfail() {
    let resources = format!("{} nginx", group(0));
    let more = ["auto_failback off", "ping 192.0.2.200", "deadping 1", "respawn hacluster /ha ipfail"];
    let Some(pair) = has(NGINX).then(|| pair(&more, &resources)).flatten() else { return };
    for (node, name) in NODES.into_iter().enumerate() {
        let host = pair.host(node);
        // ucast in the place of bcast: each node names the other one's addresses.
        let peer = NODES[1 - node];
        let service = pair.world.service_address(peer).expect("address");
        let heartbeat = pair.world.heartbeat_address(peer).expect("address");
        let ha_cf = pair.ha_cf(&more);
        let ucast = format!("ucast eth0 {service}\nucast eth1 {heartbeat}");
        host.write_file("/etc/ha.d/ha.cf", &ha_cf.replace("bcast eth0 eth1", &ucast)).expect("ha.cf");
        host.write_file_with_mode("/etc/ha.d/resource.d/nginx", NGINX_SCRIPT, 0o755).expect("script");
        let config = format!(
            "pid /var/run/nginx.pid;\nerror_log /var/log/nginx.log;\nevents {{}}\nhttp {{\n access_log off;\n \
             client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; \
             scgi_temp_path /tmp/e;\n server {{ listen 80; return 200 \"{name}\\n\"; }}\n}}\n"
        );
        host.write_file("/etc/ha.d/nginx.conf", &config).expect("configuration");
    }
    pair.start_both();
    served_by(&pair, 0);
    for (on, name) in NODES.iter().enumerate() {
        for of in NODES {
            let words = ["cl_status", "clientstatus", of, "ipfail", "2000"];
            pair.wait(&format!("ipfail of {of} on {name}"), || {
                pair.host(on).run(&words).is_ok_and(|output| output.stdout.trim_end() == "online")
            });
        }
        pair.wait("gateway", || {
            let words = ["cl_status", "nodestatus", "192.0.2.200"];
            pair.host(on).run(&words).is_ok_and(|output| output.stdout.trim_end() == "ping")
        });
    }
    // The node is well, its cable to the clients is not.
    pair.world.cut(NODES[0], "eth0").expect("cut");
    served_by(&pair, 1);
    pair.world.heal(NODES[0], "eth0").expect("heal");
    pair.world.crash(NODES[1]).expect("crash");
    served_by(&pair, 0);
}

#[test]
fn two_addresses_one_on_each_node() {
    let resources = format!("{}\n{}", group(0), group(1));
    let Some(pair) = has(HTTPD).then(|| pair(&["auto_failback on"], &resources)).flatten() else { return };
    configure_httpd(&pair, "0.0.0.0:80");
    for node in 0..2 {
        pair.run(node, &["/ha", "apache", CONFIG, "start"]);
    }
    pair.start_both();
    let both = |owners: [usize; 2]| {
        for (home, owner) in owners.into_iter().enumerate() {
            let url = format!("http://{}/", ADDRESSES[home]);
            pair.wait(&format!("{url} from {}", NODES[owner]), || page_at(&pair, &url) == NODES[owner]);
        }
    };
    both([0, 1]);
    pair.world.crash(NODES[1]).expect("crash");
    both([0, 0]);
    pair.world.boot(NODES[1]).expect("boot");
    pair.run(1, &["/ha", "apache", CONFIG, "start"]);
    pair.start(1);
    both([0, 1]);
    for node in 0..2 {
        pair.run(node, &["/ha", "apache", CONFIG, "stop"]);
    }
}
