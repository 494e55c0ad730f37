//! The SDK's examples do what they say.

use std::process::Command;

use dfs_tests::{Cluster, Content, Options, example};

#[test]
fn every_example_of_the_sdk_runs_and_does_what_it_says() {
    let cluster = Cluster::start(3, Options::default());
    let content = Content::new("example", 1, 1_500_000);
    cluster.file("in", &content.bytes());
    let run = |name: &str, args: &[&str]| {
        let mut command = Command::new(example(name));
        command.arg(cluster.coordinator().address()).args(args).current_dir(cluster.home());
        command.env("DFS_IDENTITY", cluster.user().expect("it is secured"));
        let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let said = text(run("put_and_get", &["in", "/a/b/file", "copy"]));
    assert!(said.contains("stored 1500000 bytes") && said.contains("fetched 1500000 bytes"), "{said}");
    content.expect("the copy", &std::fs::read(cluster.home().join("copy")).expect("a file"));
    let said = text(run("list", &["/"]));
    let names: Vec<_> = said.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["/a", "/a/b", "/a/b/file"]);
    let bytes = run("read_at", &["/a/b/file", "700000", "300000"]);
    assert_eq!((bytes.len(), content.first_difference(700_000, &bytes)), (300_000, None));
}
