//! Configurations as articles about Heartbeat have had them for twenty years, typed as they stand there.

use std::time::Duration;

use ha_core::demo::world::{HostKind, World, WorldError};

use crate::common::{self, logs};
use crate::site::{is_active, script};

const LIMIT: Duration = Duration::from_secs(90);
const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 50);

/// What one article says to type.
struct Article {
    name: &'static str,
    ha_cf: &'static str,
    haresources: &'static str,
    /// Commands that make authkeys on the first node.
    keys: &'static str,
}

const ARTICLES: [Article; 3] = [
    Article {
        name: "bcast, md5 by openssl, httpd",
        ha_cf: "debugfile /var/log/ha-debug\nlogfile\t/var/log/ha-log\nlogfacility\tlocal0\n\
                #\n#\tA note on specifying \"how long\" times below...\n#\n\
                keepalive 200ms\ndeadtime 2\nwarntime 1\ninitdead 4\nudpport\t694\nbcast\teth0\t\t# Linux\n\
                auto_failback on\nnode\tnode1\nnode\tnode2\n",
        haresources: "node1 IPaddr::192.0.2.50/24/eth0 httpd\n",
        keys: "echo auth 1 >/etc/ha.d/authkeys\n\
               echo -n '1 md5 ' >>/etc/ha.d/authkeys\n\
               openssl rand -hex 16 >>/etc/ha.d/authkeys || exit 77",
    },
    Article {
        name: "ucast, sha1 by sha1sum, ipfail",
        ha_cf: "logfile /var/log/ha-log\nkeepalive 200ms\ndeadtime 2\nwarntime 1\ninitdead 4\n\
                ucast eth1 198.51.100.1\nucast eth1 198.51.100.2\nucast eth0 192.0.2.1\nucast eth0 192.0.2.2\n\
                auto_failback off\nnode node1\nnode node2\nping 192.0.2.200\n\
                respawn hacluster /usr/lib64/heartbeat/ipfail\napiauth ipfail gid=haclient uid=hacluster\n",
        haresources: "node1 192.0.2.50 httpd\n",
        keys: "( echo -ne 'auth 1\\n1 sha1 '; dd if=/dev/urandom bs=512 count=1 2>/dev/null | sha1sum | \
               cut --delimiter=' ' --fields=1 ) > /etc/ha.d/authkeys",
    },
    Article {
        name: "mcast, sha1 by openssl, several links",
        ha_cf: "use_logd no\nlogfile /var/log/ha-log\nlogfacility none\nkeepalive 200ms\ndeadtime 2\ninitdead 4\n\
                mcast eth0 225.0.0.1 694 1 0\nmcast eth1 239.0.0.42 694 1 0\nauto_failback off\ncrm off\n\
                node node1 node2\n",
        haresources: "# the pair\nnode1 \\\n    IPaddr2::192.0.2.50/24/eth0/192.0.2.255 \\\n    httpd\n",
        keys: "( echo -e 'auth 3\\n3 sha1 '\"$(dd if=/dev/urandom bs=512 count=1 2>/dev/null | openssl sha1 | \
               sed 's/^.*= //')\" ) >/etc/ha.d/authkeys || exit 77",
    },
];

#[test]
fn configurations_of_articles_work_when_typed() {
    for article in &ARTICLES {
        let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
        match play(article, &world) {
            Ok(true) => {}
            Ok(false) => common::skip::skip(&format!("{}: openssl is not here", article.name)),
            Err(error) => panic!("{}: {error}\n{}", article.name, logs(&world)),
        }
    }
}

/// `false`: a program of the article is missing here.
fn play(article: &Article, world: &World) -> Result<bool, WorldError> {
    let first = world.host("node1")?;
    // `echo -ne` of these articles is bash's
    let made = first.run(&["bash", "-c", article.keys])?;
    if matches!(made.code, Some(77 | 127)) {
        return Ok(false);
    }
    let keys = first.read_file("/etc/ha.d/authkeys")?;
    for host in world.hosts() {
        host.write_file("/etc/ha.d/ha.cf", article.ha_cf)?;
        host.write_file("/etc/ha.d/haresources", article.haresources)?;
        host.write_file_with_mode("/etc/ha.d/authkeys", &keys, 0o600)?;
        host.write_file_with_mode("/etc/ha.d/resource.d/httpd", &script("httpd"), 0o755)?;
        let checked = host.run(&["/ha", "check"])?;
        assert!(checked.code.is_some_and(|code| code < 2), "{}: {}", article.name, checked.stdout);
        host.start_daemon()?;
    }
    world.wait_owner(ADDRESS, "node1", LIMIT)?;
    served_by(article, world, "node1");
    world.crash("node1")?;
    world.wait_owner(ADDRESS, "node2", LIMIT)?;
    served_by(article, world, "node2");
    Ok(true)
}

#[track_caller]
fn served_by(article: &Article, world: &World, node: &str) {
    let active = || is_active(world.host(node).expect("host"), "httpd");
    common::wait_for(world, &format!("{}: httpd on {node}", article.name), LIMIT, active);
}
