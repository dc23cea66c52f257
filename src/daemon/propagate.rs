//! `ha_propagate`: copies ha.cf and authkeys to the other nodes with scp, and the start at boot with ssh.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::sys::print;

use super::layout::Layout;

/// Longest ha.cf that is read.
const HA_CF_MAX_BYTES: u64 = 1024 * 1024;

/// The program; the value is the exit code: 0 when all nodes have the files, 1 else. Each node is
/// tried, whatever became of those before.
pub fn program(layout: &Layout) -> u8 {
    let (ha_cf, authkeys) = (layout.ha_cf(), layout.authkeys());
    let text = crate::resource::script::read_text(&ha_cf, HA_CF_MAX_BYTES).ok();
    let Some(text) = text.filter(|_| authkeys.exists()) else {
        print::line("HA Linux not configured on this node.  Can not propagate.");
        return 1;
    };
    let own = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut code = 0;
    for node in nodes(&text).into_iter().filter(|node| node.to_lowercase() != own) {
        if !is_host_name(&node) {
            print::error_line(&format!(
                "ha_propagate: ERROR: {node:?} is no host name; nothing copied there"
            ));
            code = 1;
            continue;
        }
        if !copy_to(&node, &ha_cf, &authkeys, &layout.etc_dir) {
            code = 1;
        }
    }
    code
}

fn copy_to(node: &str, ha_cf: &Path, authkeys: &Path, etc_dir: &Path) -> bool {
    print::line(&format!("Propagating HA configuration files to node {node}."));
    let target = format!("root@{node}:{}/", etc_dir.display());
    let copied = succeeds(Command::new("scp").args([ha_cf, authkeys]).arg(target));
    print::line(&format!("Setting HA startup configuration on node {node}."));
    // Where there is no chkconfig (Debian), there is nothing to set.
    let local = Command::new("chkconfig").arg("heartbeat").stdin(Stdio::null()).output();
    let set = match local {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            let words = words.split_whitespace();
            succeeds(Command::new("ssh").arg(format!("root@{node}")).arg("chkconfig").args(words))
        }
        Err(error) => {
            print::error_line(&format!("ha_propagate: chkconfig: {error}; the start at boot is left alone"));
            true
        }
    };
    copied && set
}

fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            print::error_line(&format!("ha_propagate: ERROR: {program}: {error}"));
            false
        }
    }
}

/// All names of `node` lines.
fn nodes(ha_cf: &str) -> Vec<String> {
    let code = ha_cf.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = code.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.first() == Some(&"node"))
        .flat_map(|words| words[1..].iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
        .collect()
}

/// What scp and ssh cannot take for an option, a path or a command.
fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.starts_with('-') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes() {
        assert_eq!(nodes("node a\n#node b\n node  c d # e\nnodes f\nping g\n"), ["a", "c", "d"]);
        assert!(is_host_name("a-b.example_1"));
        for bad in ["-oProxyCommand=x", "a;b", "a b", "root@x", "$(x)", "a:b"] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
