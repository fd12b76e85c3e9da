//! What is refused at the start, and how.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::process::{API_VERSIONS, Broker, Directory, command, frame, refused};

#[test]
fn a_port_in_use_is_refused_before_anything_is_made() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listeners = ["--kafka-listen", "--admin-listen", "--mqtt-listen"];
    for flag in listeners {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("start").arg("--data-dir").arg(directory.data());
        for listener in listeners {
            let free = "127.0.0.1:0";
            command.args([listener, if listener == flag { &address } else { free }]);
        }
        let output = command.output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(&address) && line.contains("in use"), "{line}");
        assert!(!directory.data().exists());
    }
}

#[test]
fn a_data_directory_that_is_not_free_is_refused() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    let line = refused(&directory.data(), &[]);
    assert!(line.contains("another broker uses it"), "{line}");
    drop(broker);
    let line = refused(&directory.data(), &["--node-id", "2"]);
    assert!(line.contains("belongs to node 1"), "{line}");
    let foreign = directory.0.join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear").unwrap();
    let line = refused(&foreign, &[]);
    assert!(line.contains("letter.txt"), "{line}");
    let names: Vec<_> = fs::read_dir(&foreign).unwrap().collect();
    assert_eq!(names.len(), 1);
    let file = directory.0.join("file");
    fs::write(&file, "").unwrap();
    let line = refused(&file, &[]);
    assert!(line.contains("data directory"), "{line}");
}

#[test]
fn a_wrong_configuration_is_one_line_and_exit_code_2() {
    let directory = Directory::new();
    let file = directory.0.join("sluice.toml");
    fs::write(
        &file,
        "[kafka]\nlisten = \"127.0.0.1:0\"\nadvertize = \"x:1\"\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let line = refused(&directory.data(), &["--config", file]);
    assert!(
        line.contains("line 3; did you mean `kafka.advertise`?"),
        "{line}"
    );
    let line = refused(&directory.data(), &["--memory", "1M"]);
    assert!(line.contains("memory in flag --memory"), "{line}");
    let line = refused(&directory.data(), &["--memory", "130M", "--shards", "5"]);
    assert!(line.contains("shards in flag --shards"), "{line}");
    let line = refused(&directory.data(), &["--memry", "130M"]);
    assert!(line.contains("'--memory'"), "{line}");
    assert!(!directory.data().exists());
    let check = |file: &str| {
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["config", "check", file])
            .output()
            .unwrap()
    };
    assert_eq!(check(file).status.code(), Some(2));
    fs::write(file, "shards = 2\n").unwrap();
    assert_eq!(check(file).status.code(), Some(0));
}

#[test]
fn a_mistyped_variable_is_one_warning_and_one_of_kubernetes_is_none() {
    let directory = Directory::new();
    let warnings = |variables: &[(&str, &str)]| {
        let data = directory.data();
        let mut child = command(&data, &[], variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let is_up = output.lines().any(|line| line.unwrap() == "Try:");
        child.kill().unwrap();
        let stderr = child.wait_with_output().unwrap().stderr;
        assert!(is_up);
        let lines = String::from_utf8(stderr).unwrap();
        let lines = lines.lines().filter(|line| line.contains("SLUICE_"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let mistyped = warnings(&[("SLUICE_MEMRY", "64M"), ("SLUICE_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(mistyped.len(), 1, "{mistyped:?}");
    assert!(mistyped[0].contains("WARN"), "{mistyped:?}");
    assert!(
        mistyped[0].ends_with(": SLUICE_MEMRY (did you mean SLUICE_MEMORY?)"),
        "{mistyped:?}"
    );
    let kubernetes = [
        ("SLUICE_SERVICE_HOST", "10.0.0.1"),
        ("SLUICE_PORT", "tcp://10.0.0.1:9092"),
    ];
    assert!(warnings(&kubernetes).is_empty());
}

#[test]
fn values_that_nobody_can_mean_are_one_line_and_exit_code_2() {
    let directory = Directory::new();
    let largest = u64::MAX.to_string();
    let line = refused(&directory.data(), &["--memory", &largest]);
    assert!(line.contains("at most 70368744177664 bytes"), "{line}");
    // The broker must not run with its data elsewhere than it was told.
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_sluice"));
    elsewhere
        .args(["start", "--kafka-listen", "127.0.0.1:0"])
        .env("SLUICE_DATA_DIR", OsStr::from_bytes(b"/tmp/\xff"))
        .current_dir(&directory.0);
    let output = elsewhere.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("variable SLUICE_DATA_DIR: UTF-8"), "{line}");
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn a_log_that_nobody_takes_does_not_end_the_broker() {
    let directory = Directory::new();
    for format in ["text", "json"] {
        let flags = ["--log-level", "debug", "--log-format", format];
        let mut command = command(&directory.data(), &flags, &[]);
        // Every line is ENOSPC, as on a full disk.
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let broker = Broker::of(command.stderr(full));
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
        assert_eq!(broker.stop(), Some(0));
    }
}
