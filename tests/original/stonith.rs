//! The programs `stonith` and `meatclient` beside those of Debian's cluster-glue: each command line to
//! both, with the same plugins, output and exit code compared.

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::{binary, skip};

const ORIGINAL: &str = "/usr/sbin/stonith";
const PLUGINS: &str = "/usr/lib/stonith/plugins";

/// A plugin of every verb; what it says of the environment is what the contract promises.
const PLUGIN: &str = r#"#!/bin/sh
case $1 in
gethosts) [ "$aa" = 7 ] || echo "N1 n2";;
getconfignames) echo "aa bb";;
status) echo "state one"; echo "state two [$cc]"; exit $aa;;
reset|on|off) echo "$@ [$aa] [$bb] $HA_LOGTAG ${PATH%%:*}"; exit $aa;;
getinfo-devid) echo "a device";;
getinfo-devname) echo "its name";;
getinfo-devdescr) echo "text with <&>"; echo second;;
getinfo-devurl) echo "http://x/";;
getinfo-xml) echo '<parameters><parameter name="aa" unique="0" required="1"></parameter></parameters>';;
*) exit 1;;
esac
"#;

/// One that ends by a signal.
const KILLED: &str = "#!/bin/sh\ncase $1 in getconfignames) echo hostlist;; *) kill -9 $$;; esac\n";

/// One that cannot say anything of itself, one that has nothing to say, one that names itself alone.
const FAILS: &str = "#!/bin/sh\nexit 3\n";
const SILENT: &str = "#!/bin/sh\nexit 0\n";
const FENCE_FAILS: &str =
    "#!/bin/sh\n[ \"$1\" = -o ] && exec sed -n '/^<?xml/,/^<.resource/p' \"${0%fails}t\"\n\
                           cat >/dev/null\nexit 2\n";

const FENCE: &str = r#"#!/bin/sh
if [ "$1" = -o ]; then
cat <<X
<?xml version="1.0" ?>
<resource-agent name="fence_t" shortdesc="t"><longdesc>a long text</longdesc>
<parameters>
	<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/></parameter>
	<parameter name="ipaddr" unique="0" required="1"><content type="string"/></parameter>
	<parameter name="passwd" unique="0" required="0"><content type="string"/></parameter>
</parameters>
</resource-agent>
X
else
tr '\n' ' '
fi
"#;

/// Command lines, each for both programs.
const COMMANDS: &[&str] = &[
    "-x",
    "-t",
    "x y",
    "-c 2",
    "-c 2 -t null",
    "-c 0 -t null -l",
    "-T foo -t null x",
    "-t null -p a x y",
    "-t null -p a",
    "-t null -p a -F x -l",
    "-t null -p a b=c -l",
    "-t null -l",
    "-t null -F /nonexistent -l",
    "-t null -F FOLDER/good -lS x",
    "-t ssh -F FOLDER/empty -l",
    "-t nosuch -l",
    "-t nosuch -p x -l",
    "-t null -n",
    "-t null -m -n -l",
    "-t suicide -l",
    "-t suicide -S",
    "-t suicide -T on x",
    "-t suicide -T reset elsewhere",
    "-t null -p 'a,B' -lS -T off C",
    "-t null -p 'a b' -c 2 -lS x",
    "-t null -s -p a -S",
    "-t null -v -p a -S",
    "-t null -E -lS x",
    "-t null hostlist=x hostlist=y -l",
    "-t null hostlist=x=y -l",
    "-t null a=b -l",
    "-t null =y -l",
    "-t null hostlist= -l",
    "-t ssh hostlist= -l",
    "-t ssh -p 'a b' -lS",
    "-t ssh -p 'a b' -T on a",
    "-t ssh -p 'a b' -T reset c",
    "-t meatware hostlist= -l",
    "-t meatware hostlist='A b' -lS",
    "-t external/t -n",
    "-t external/t -m",
    "-t external/t -h",
    "-t external/t -p '0 x y z' -lS -T reset N1",
    "-t external/t aa=3 -lS -T off N1",
    "-t external/t aa=0 cc=9 -S",
    "-t external/t aa=7 -l",
    "-t external/t aa=0 -c 2 -T on N1",
    "-t external/t -p 0 -l",
    "-t external/nosuch -n",
    "-t external/killed -p a -S",
    "-t external/killed -p a x",
    "-t external/killed -p a -l",
    "-t external/writable -n",
    "-t external/plain -n",
    "-t external/ -n",
    "-t rhcs/t -n",
    "-t rhcs/t ipaddr=1 hostlist='A b' -lS -T reset A",
    "-t rhcs/t ipaddr=1 passwd='x y' hostlist=A -T off c",
    "-t rhcs/nosuch -n",
    "-t rhcs -n",
    // The type is missing, one bad word among several, values behind the node, numbers of any size.
    "-l",
    "-n x",
    "-",
    "-T bad -T reset -t null -p a x",
    "-T reset -T off -t null -p a x",
    "-c 0 -c 2 -t null -p a -l",
    "-c ' +2x' -t null -p a -l",
    "-c 4294967297 -t null -p a -l",
    "-c 4294967296 -t null -p a -l",
    "-c 99999999999999999999 -t null -p a -l",
    "-t null x hostlist=a",
    "x hostlist=a -t null -S",
    "hostlist=a -t null -lS x",
    "-t null -p '' -l",
    "-t null -F FOLDER -l",
    "-t null -F FOLDER/unended -l",
    "-t null -F FOLDER/tabs -lS",
    "-t null -l MANY",
    "-t null -p x -l MANY",
    // Help for what is not there, and for plugins that say little.
    "-h -t nosuch",
    "-h -t external/nosuch",
    "-h -t external/writable",
    "-h -t external",
    "-h -t external/fails",
    "-h -t external/silent",
    "-h -t external/killed",
    "-h -t rhcs/silent",
    "-m -t external/fails",
    // A status that failed is none the better for a list of hosts.
    "-t external/t aa=3 -lS",
    "-t external/t aa=3 -c 2 -lS",
    "-t rps10 -p '/dev/nosuch node1 0' -lS",
    "-t rps10 serial_to_targets='/dev/null node1 1' -S",
    "-t apcsmart -p '/dev/null a' -T off z",
    // A plugin that cannot name its parameters takes no values.
    "-t external/fails a=b -S",
    "-t external/fails -E -S",
    "-t external/fails -F FOLDER/good -S",
    "-t external/fails -S",
    "-t external/silent -S",
    "-t external/silent a=b -lS x",
    "-t external/t aa=0 PATH=/bin -T reset x",
    "-t rhcs/silent -n",
    "-t rhcs/silent -F FOLDER/good x",
    "-t rhcs/silent -S",
    "-t rhcs/fails ipaddr=1 hostlist=a -lS",
    "-t rhcs/fails ipaddr=1 hostlist=a -T reset a",
];

/// Command lines without a terminal: each word on the stream that is its own.
const SPLIT: &[&str] = &[
    "-t null -p 'a B' -lS x",
    "-d -t null -p a -S",
    "-t nosuch -l",
    "-h -t nosuch",
    "-l",
    "-t null -n",
    "-t null a=b -l",
    "-c 0 -t null -p a -l",
    "-t external/t aa=3 -lS",
    "-t external/t -h",
    "-t external/fails -m",
    "-t rhcs/fails ipaddr=1 hostlist=a -lS",
];

/// A folder of plugins for both, which nobody else sees.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// `None` where the original is not installed, or no folder can be mounted.
    fn new() -> Option<Self> {
        if !Path::new(ORIGINAL).exists() {
            skip::skip_without_privilege("Debian's cluster-glue is not installed");
            return None;
        }
        let mounts = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !mounts.is_ok_and(|status| status.success()) {
            skip::skip("unshare -m is not possible");
            return None;
        }
        let stage = Self { folder: tempfile::tempdir().expect("folder") };
        let plugins = stage.path("plugins");
        let copied = Command::new("cp").args(["-a", PLUGINS]).arg(&plugins).status();
        assert!(copied.expect("cp").success());
        fs::create_dir(plugins.join("rhcs")).expect("folder");
        stage.write("plugins/external/t", PLUGIN, 0o755);
        stage.write("plugins/external/killed", KILLED, 0o755);
        stage.write("plugins/external/fails", FAILS, 0o755);
        stage.write("plugins/external/silent", SILENT, 0o755);
        stage.write("plugins/rhcs/fence_silent", SILENT, 0o755);
        stage.write("plugins/rhcs/fence_fails", FENCE_FAILS, 0o755);
        stage.write("unended", "node1 node2", 0o644);
        stage.write("tabs", "\tnode1\tnode2 \n", 0o644);
        stage.write("plugins/external/writable", PLUGIN, 0o777);
        stage.write("plugins/external/plain", PLUGIN, 0o644);
        stage.write("plugins/rhcs/fence_t", FENCE, 0o755);
        stage.write("good", "# hosts\n\nnode1 node2\nother\n", 0o644);
        stage.write("empty", "#\n", 0o644);
        symlink(binary(), stage.path("stonith")).expect("link");
        Some(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).expect("file");
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("mode");
    }

    /// Runs a command line of the shell with the plugins in place.
    fn shell(&self, line: &str) -> Output {
        let line = format!("mount --bind {} {PLUGINS} && {line}", self.path("plugins").display());
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &line]).stdin(Stdio::null()).env("HA_logfacility", "none");
        command.output().expect("unshare")
    }

    /// What a person at a terminal sees of one program, exit code included.
    fn at_terminal(&self, program: &str, words: &str) -> String {
        let words = self.filled(words);
        self.write("command", &format!("{program} {words}; echo \"exit $?\""), 0o644);
        let line = format!("script -qec 'sh {}' /dev/null", self.path("command").display());
        let output = self.shell(&line);
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        // The original adds an empty line to each line of a plugin; its libraries have a log of their own.
        let told = |line: &&str| !line.is_empty() && !line.starts_with("** (process:");
        text.lines().filter(told).map(|line| format!("{line}\n")).collect()
    }

    /// The command line with what stands for something else.
    fn filled(&self, words: &str) -> String {
        let many: Vec<String> = (0..51).map(|number| format!("a{number}=b")).collect();
        let words = words.replace("FOLDER", &self.folder.path().display().to_string());
        words.replace("MANY", &many.join(" "))
    }

    /// What one program writes where there is no terminal: exit code, standard output, standard error.
    fn without_terminal(&self, program: &str, words: &str) -> (Option<i32>, String, String) {
        let output = self.shell(&format!("{program} {}", self.filled(words)));
        let text = |bytes: &[u8]| {
            let told = String::from_utf8_lossy(bytes).replace(program, ORIGINAL);
            let lines = told.lines().filter(|line| !line.is_empty() && !line.starts_with("** (process:"));
            // A line of the log: without its time and the number of the process.
            let plain = |line: &str| match line.split_once(" stonith: [") {
                Some((_, rest)) => rest.split_once("]: ").map_or(rest, |(_, text)| text).to_owned(),
                None => line.to_owned(),
            };
            lines.map(plain).map(|line| format!("{line}\n")).collect::<String>()
        };
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn ours(&self) -> String {
        self.path("stonith").display().to_string()
    }
}

#[test]
fn every_command_line_answers_as_the_original() {
    let Some(stage) = Stage::new() else { return };
    for words in COMMANDS {
        // Both say their own name in errors of options.
        let ours = stage.at_terminal(&stage.ours(), words).replace(&stage.ours(), ORIGINAL);
        let theirs = stage.at_terminal(ORIGINAL, words);
        // That a plugin was killed, their shell says and our log.
        let line = |text: &str| text.lines().last().unwrap_or_default().to_owned();
        match words.contains("killed") {
            true => assert_eq!(line(&ours), line(&theirs), "stonith {words}"),
            false => assert_eq!(ours, theirs, "stonith {words}"),
        }
    }
}

#[test]
fn each_word_is_on_the_stream_that_the_original_has_it_on() {
    let Some(stage) = Stage::new() else { return };
    for words in SPLIT {
        let ours = stage.without_terminal(&stage.ours(), words);
        assert_eq!(ours, stage.without_terminal(ORIGINAL, words), "stonith {words}");
    }
}

#[test]
fn types_and_their_parameters_are_those_of_the_original() {
    let Some(stage) = Stage::new() else { return };
    let both = |words: &str| {
        let run = |program: &str| {
            let output = stage.shell(&format!("{program} {words} 2>/dev/null; echo $?"));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        (run(&stage.ours()), run(ORIGINAL))
    };
    let (ours, theirs) = both("-L");
    assert_eq!(ours, theirs);
    // The texts of the meta-data are each one's own, and the rest is what Pacemaker reads.
    let skeleton = |text: &str| -> Vec<String> {
        let tags = text.lines().filter(|line| line.contains("<parameter ") || line.contains("<action"));
        tags.map(str::to_owned).collect()
    };
    for name in theirs.lines().filter(|name| !name.contains('/') && name.parse::<u32>().is_err()) {
        let (ours, theirs) = both(&format!("-t {name} -n"));
        assert_eq!(ours, theirs, "{name}");
        let (ours, theirs) = both(&format!("-t {name} -m"));
        assert_eq!(skeleton(&ours), skeleton(&theirs), "{name}");
        let (ours, theirs) = both(&format!("-t {name} -h"));
        let tail = |text: &str| {
            text.split_once("List of valid").map(|(_, tail)| tail.to_owned()).unwrap_or_default()
        };
        assert_eq!(tail(&ours), tail(&theirs), "{name}");
    }
}

#[test]
fn meatware_and_meatclient_work_with_those_of_the_original() {
    let Some(stage) = Stage::new() else { return };
    symlink(binary(), stage.path("meatclient")).expect("link");
    let clients = ["/usr/sbin/meatclient".to_owned(), stage.path("meatclient").display().to_string()];
    let devices = [ORIGINAL.to_owned(), stage.ours()];
    let mut transcripts = Vec::new();
    for (device, client) in
        devices.iter().flat_map(|device| clients.iter().map(move |client| (device, client)))
    {
        let host = format!("meat{}", std::process::id());
        // The second client answers for another host: the device says that this is no reset.
        let line = format!(
            "mount -t tmpfs none /run; \
             {client} -c {host}; echo client $?; \
             {device} -t meatware -p {host} -T reset {host} & \
             device=$!; echo y | {client} -w -c {host} | tr -d '.'; wait $device; echo device $?; ls /run; \
             rm -f /run/meatware.{host}; {device} -t meatware -p {host} -T reset {host} & \
             while ! [ -p /run/meatware.{host} ]; do sleep 0.1; done; \
             printf 'meatware reply other\\0' > /run/meatware.{host}; wait $!; echo device $?; \
             rm -f /run/meatware.{host}; {device} -t meatware -p {host} -T reset {host} & \
             device=$!; echo n | {client} -w -c {host} | tr -d '.'; wait $device; echo device $?; \
             {client}; {client} -c a b 2>&1; echo $?"
        );
        let output = stage.shell(&line);
        // Whether the client had to wait is chance.
        let text = String::from_utf8_lossy(&output.stdout).replace("\n\n\n", "\n\n");
        assert!(text.contains("reset confirmed") && text.contains("device 0"), "{device} {client}: {text}");
        transcripts.push(text);
    }
    assert!(transcripts.windows(2).all(|pair| pair[0] == pair[1]), "{transcripts:#?}");
}
