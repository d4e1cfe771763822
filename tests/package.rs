//! The Debian package: built twice it is the same, installed it brings what it says and starts nothing, purged it leaves nothing. Into a
//! root of its own, without a chroot: the maintainer's scripts honour DPKG_ROOT.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BINARY: &str = env!("CARGO_BIN_EXE_turnout");

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("turnout-package-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn good(command: &mut Command) -> String {
    let output: Output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn build(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/debian/build");
    // How it is compressed is not what is tested.
    let said = good(Command::new(script).arg(BINARY).arg(folder).env("DEB_COMPRESSION", "none"));
    PathBuf::from(said.lines().last().unwrap())
}

/// A root with nothing in it but dpkg's books and the user root.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for inside in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        std::fs::create_dir_all(root.join(inside)).unwrap();
    }
    for (name, text) in [
        ("var/lib/dpkg/status", ""),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ("etc/gshadow", "root:*::\n"),
    ] {
        std::fs::write(root.join(name), text).unwrap();
    }
    root
}

fn dpkg(root: &Path, args: &[&str]) -> String {
    let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new(if as_root { "dpkg" } else { "fakeroot" });
    if !as_root {
        command.arg("dpkg");
    }
    // What it depends on is on this machine, and not in that root.
    command.args(["--force-script-chrootless", "--force-depends", "--force-not-root", "--log=/dev/null"]);
    good(command.arg(format!("--root={}", root.display())).args(args))
}

/// All files below a folder that are not dpkg's and passwd's own books.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    let books =
        |name: &String| name.starts_with("var/lib/dpkg") || name.ends_with('-') || name == "etc/.pwd.lock";
    found.retain(|name| !books(name));
    found
}

#[test]
fn the_package_comes_and_goes() {
    let folder = Folder::new();
    let (package, again) = (build(&folder.0.join("one")), build(&folder.0.join("two")));
    assert!(
        std::fs::read(&package).unwrap() == std::fs::read(&again).unwrap(),
        "built twice it is not the same"
    );
    let about = good(Command::new("dpkg-deb").arg("--info").arg(&package));
    assert!(
        about.contains("Depends: libc6 (>= ") && about.contains("Recommends: ca-certificates"),
        "{about}"
    );

    let root = root(&folder.0);
    let before = files(&root);
    dpkg(&root, &["--install", package.to_str().unwrap()]);
    let there = files(&root);
    for name in [
        "usr/bin/turnout",
        "usr/lib/systemd/system/turnout.service",
        "etc/turnout/turnout.toml",
        "usr/share/man/man1/turnout.1.gz",
        "usr/share/man/man1/turnout-user-move.1.gz",
        "usr/share/bash-completion/completions/turnout",
        "usr/share/zsh/vendor-completions/_turnout",
        "usr/share/fish/vendor_completions.d/turnout.fish",
        "usr/share/doc/turnout/copyright",
        "usr/share/doc/turnout/migrating.md.gz",
        "usr/share/doc/turnout/examples/alerts.yml",
    ] {
        assert!(there.contains(name), "{name} in {there:#?}");
    }
    // Nothing is enabled: no link anywhere in etc/systemd, and the unit names the program that was installed.
    assert!(!there.iter().any(|name| name.starts_with("etc/systemd")), "{there:#?}");
    let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system/turnout.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/turnout run") && !unit.contains("/usr/local"), "{unit}");
    let version = good(Command::new(root.join("usr/bin/turnout")).arg("--version"));
    assert_eq!(version.trim(), format!("turnout {}", env!("CARGO_PKG_VERSION")));
    // The user is there, cannot log in, and his group alone may read the configuration beside root.
    let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("turnout:")).unwrap();
    assert!(user.ends_with(":/usr/sbin/nologin"), "{user}");
    for (name, mode) in [("etc/turnout", 0o750), ("etc/turnout/turnout.toml", 0o640)] {
        assert_eq!(std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    // As it is it says what is missing.
    let check =
        Command::new(BINARY).args(["check", "--config"]).arg(root.join("etc/turnout/turnout.toml")).output();
    assert!(String::from_utf8_lossy(&check.unwrap().stdout).contains("list the local SIP/XMPP domains"));

    // Removed it keeps configuration and state; an administrator's key stays even when it is purged.
    std::fs::create_dir_all(root.join("var/lib/turnout")).unwrap();
    std::fs::write(root.join("var/lib/turnout/contacts.redb"), "state").unwrap();
    std::fs::write(root.join("etc/turnout/contoso.com.key"), "key").unwrap();
    dpkg(&root, &["--remove", "turnout"]);
    let kept = files(&root);
    assert!(
        kept.contains("etc/turnout/turnout.toml") && kept.contains("var/lib/turnout/contacts.redb"),
        "{kept:#?}"
    );
    assert!(!kept.contains("usr"), "{kept:#?}");
    dpkg(&root, &["--purge", "turnout"]);
    assert_eq!(std::fs::read_to_string(root.join("etc/turnout/contoso.com.key")).unwrap(), "key");
    std::fs::remove_dir_all(root.join("etc/turnout")).unwrap();
    assert_eq!(files(&root), before);
    assert!(!std::fs::read_to_string(root.join("etc/passwd")).unwrap().contains("turnout"));
}
