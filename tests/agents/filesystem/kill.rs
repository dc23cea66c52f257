//! The agent is killed at any moment: the next start or stop reaches the asked state all the same.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::world::{in_namespace, World};

/// Moments at which it is killed.
const MOMENTS: u32 = 16;

/// Kills each operation at moments spread over the time that it takes, then repeats it.
fn killed(world: &World, arguments: &[&str]) {
    let words = |operation| [arguments, &[operation]].concat();
    let data = world.text("data");
    let took = ["start", "stop"].map(|operation| {
        let began = Instant::now();
        world.expect(&words(operation), 0);
        began.elapsed()
    });
    for moment in 0..MOMENTS {
        for (operation, took) in ["start", "stop"].into_iter().zip(took) {
            let mut command = world.agent(&words(operation));
            let mut agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(took.min(Duration::from_secs(1)) * moment / (MOMENTS - 4));
            agent.kill().unwrap();
            agent.wait().unwrap();
            world.expect(&words(operation), 0);
            let mounted = super::world::mounted_at(&data);
            assert_eq!(mounted.is_some(), operation == "start", "{operation} {moment}\n{}", world.log());
            if arguments.last().is_some_and(|options| options.contains("ro")) {
                assert!(mounted.is_none_or(|(_, options)| options.starts_with("ro,")), "{}", world.log());
            }
        }
        let layers = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!layers.contains(&data), "{layers}");
    }
}

#[test]
fn with_a_device_a_file_and_a_directory() {
    in_namespace("filesystem::kill::with_a_device_a_file_and_a_directory", |world| {
        let data = world.text("data");
        let Some(device) = world.new_device("ext4") else { return };
        killed(world, &[&device, &data, "ext4"]);
        let Some(image) = world.image("ext4", "image", &[]) else { return };
        killed(world, &[&image.display().to_string(), &data, "ext4", "loop"]);
        std::fs::create_dir(world.path("source")).unwrap();
        killed(world, &[&world.text("source"), &data, "none", "bind,ro"]);
        let Some(device) = world.new_device("ext2") else { return };
        killed(world, &[&device, &data, "ext2"]);
    });
}
