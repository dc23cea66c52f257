//! What is written into the FIFO, well or ill, while the pair serves.

use crate::common::pairs::Pair;

/// Root may write anything there: no beat is late for it, and the next good message arrives.
#[test]
fn floods_of_the_fifo_delay_nothing() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    let note = "#!/bin/sh\necho $HA_number $HA_src >>/var/log/told\n";
    for node in [0, 1] {
        pair.host(node)
            .write_file_with_mode("/etc/ha.d/rc.d/note", note, 0o755)
            .expect("the host takes files");
    }
    pair.allow(&["/var/lib/heartbeat/fifo", "message from a local program", "too many scripts are waiting"]);
    let told = |node: usize| pair.host(node).read_file("/var/log/told").unwrap_or_default();
    let message = |number: usize| {
        format!("printf '\\n<<<\\n>>>\\nt=note\\nnumber={number}\\n<<<\\n' >/var/lib/heartbeat/fifo")
    };
    let many = "i=0; while [ $i -lt 2000 ]; do printf '>>>\\nt=nothing\\n<<<\\n'; i=$((i+1)); done";
    for (number, flood) in [
        "head -c 20000000 /dev/zero",
        "yes | head -c 20000000",
        "yes '>>>' | head -c 5000000",
        "{ echo '>>>'; yes t=x | head -c 5000000; }",
        "{ printf '###\\n99999:'; head -c 100000 /dev/zero; }",
        many,
    ]
    .into_iter()
    .enumerate()
    {
        pair.mark();
        pair.run(0, &["sh", "-c", &format!("{flood} >/var/lib/heartbeat/fifo")]);
        pair.run(0, &["sh", "-c", &message(number)]);
        for node in [0, 1] {
            pair.wait(&format!("message after {flood}"), || {
                told(node).contains(&format!("{number} node1\n"))
            });
            assert_eq!(pair.times_logged(node, "is dead"), 0, "{flood}: {}", pair.log(node));
            assert!(pair.times_logged(node, "/fifo: ") <= 12, "{flood}: {}", pair.log(node));
        }
        pair.settled("local", "local");
    }
}
