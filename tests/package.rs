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
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnout-{name}-{}", std::process::id()));
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

/// Makes the package, by somebody with this umask and these settings.
fn build(folder: &Path, umask: &str, settings: [(&str, &str); 2]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/debian/build");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(script).arg(BINARY).arg(folder);
    // How it is compressed is not what is tested.
    let said = good(command.env("DEB_COMPRESSION", "none").envs(settings));
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
    comes_and_goes();
}

/// What the compilers are told by config/debian/release, with the target folder inside the checkout and outside of it: of every path that could get
/// into the program, one that is the same wherever it is built.
#[test]
fn the_release_is_built_without_the_builders_paths() {
    let folder = Folder::new("release");
    let cargo = folder.0.join("cargo");
    let text = format!("#!/bin/sh\necho \"$*\" >{0}\nenv >>{0}\n", folder.0.join("told").display());
    std::fs::write(&cargo, text).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.0.join("cargo-home");
    std::fs::create_dir_all(&home).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    for target in [root.join("target"), folder.0.join("elsewhere")] {
        let mut release = Command::new(root.join("config/debian/release"));
        release.arg(&target).env("CARGO", &cargo).env("CARGO_HOME", &home).env("CARGO_INCREMENTAL", "1");
        let said = good(
            release.env("RUSTFLAGS", "-Cdebuginfo=2").env("SOURCE_DATE_EPOCH", "7").env("TZ", "Asia/Tokyo"),
        );
        assert_eq!(said.trim(), target.join("release/turnout").display().to_string());
        let told = std::fs::read_to_string(folder.0.join("told")).unwrap();
        assert!(told.starts_with("build --release --locked --bin turnout\n"), "{told}");
        let of = |name: &str| {
            told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or("").to_owned()
        };
        let maps = [(root.clone(), "/turnout"), (home.clone(), "/cargo"), (target.clone(), "/target")];
        // The last that fits counts: a folder in the checkout has to stand behind it.
        let rust: Vec<String> =
            maps.iter().map(|(path, to)| format!("--remap-path-prefix={}={to}", path.display())).collect();
        let c: Vec<String> =
            maps.iter().map(|(path, to)| format!("-ffile-prefix-map={}={to}", path.display())).collect();
        assert_eq!(of("RUSTFLAGS"), rust.join(" "), "and nothing of the builder's own");
        assert_eq!((of("CFLAGS"), of("CXXFLAGS")), (c.join(" "), c.join(" ")));
        assert_eq!(
            (of("CARGO_INCREMENTAL").as_str(), of("TZ").as_str(), of("LC_ALL").as_str()),
            ("0", "UTC", "C")
        );
        assert_ne!(of("SOURCE_DATE_EPOCH"), "7", "the time of the last commit");
    }
}

/// Set in the process that tests as somebody else.
const AS_NOBODY: &str = "TURNOUT_TEST_AS_NOBODY";

#[test]
fn the_package_comes_and_goes_without_being_root() {
    if std::env::var_os(AS_NOBODY).is_some() {
        assert_ne!(std::fs::metadata("/proc/self").unwrap().uid(), 0);
        return comes_and_goes();
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Then that is what the other test has done.
        return;
    }
    let folder = Folder::new("package-nobody");
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = good(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "the_package_comes_and_goes_without_being_root", "--nocapture"])
            .env(AS_NOBODY, "1")
            .env("TMPDIR", &folder.0)
            .env("HOME", &folder.0)
            // The checkout belongs to somebody else.
            .envs([
                ("GIT_CONFIG_COUNT", "1"),
                ("GIT_CONFIG_KEY_0", "safe.directory"),
                ("GIT_CONFIG_VALUE_0", "*"),
            ]),
    );
    assert!(said.contains("1 passed"), "{said}");
}

fn comes_and_goes() {
    let folder = Folder::new("package");
    let package = build(&folder.0.join("one"), "022", [("TZ", "UTC"), ("LC_ALL", "C")]);
    let again = build(&folder.0.join("two/deeper"), "077", [("TZ", "Asia/Tokyo"), ("LC_ALL", "C.UTF-8")]);
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

/// A program that writes down how it was called, and ends with a code of the test's.
fn fake(folder: &Path, name: &str, more: &str) {
    let path = folder.join("bin").join(name);
    let log = folder.join("calls");
    let text = format!("#!/bin/sh\necho \"{name} $*\" >>{}\n{more}\n", log.display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A machine on which systemd runs, as far as a maintainer's script can tell: its own /etc, /var/lib and /run, and programs that only write
/// down how they were called.
struct Machine(Folder);

impl Machine {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        for inside in ["bin", "etc/turnout", "lib/turnout"] {
            std::fs::create_dir_all(folder.0.join(inside)).unwrap();
        }
        for (name, text) in [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/turnout/turnout.toml", "# as the package brings it\n"),
            ("lib/turnout/contacts.redb", "state"),
            ("calls", ""),
        ] {
            std::fs::write(folder.0.join(name), text).unwrap();
        }
        // In a namespace of one user there is no other group to give a file to.
        let makes = "grep -q ^turnout: /etc/group && exit 0; echo turnout:x:0: >>/etc/group; echo turnout:x:999:0::/var/lib/turnout:/usr/sbin/nologin >>/etc/passwd";
        fake(&folder.0, "systemd-sysusers", makes);
        fake(&folder.0, "userdel", "sed -i /^turnout:/d /etc/passwd");
        let machine = Self(folder);
        machine.turnout_runs(false);
        machine
    }

    fn turnout_runs(&self, runs: bool) {
        let code = if runs { 0 } else { 3 };
        fake(&self.0.0, "systemctl", &format!("case \"$*\" in *is-active*) exit {code} ;; esac"));
    }

    /// Runs a script as dpkg does; what was called, and what it said.
    fn run(&self, with_systemd: bool, script: &str, args: &[&str]) -> (Vec<String>, String) {
        let folder = self.0.0.display();
        let systemd = if with_systemd { "mkdir -p /run/systemd/system;" } else { "" };
        let enter = format!(
            "set -e; mount --bind {folder}/etc /etc; mount --bind {folder}/lib /var/lib; mount -t tmpfs none /run; {systemd} \
             PATH={folder}/bin:$PATH; export PATH; unset DPKG_ROOT; exec \"$@\""
        );
        let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let user = if as_root { None } else { Some("--map-root-user") };
        std::fs::write(self.0.0.join("calls"), "").unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/debian").join(script);
        let said = good(
            Command::new("unshare")
                .args(user)
                .args(["--mount", "--propagation", "private", "sh", "-c", &enter, "sh"])
                .arg(path)
                .args(args),
        );
        let calls = std::fs::read_to_string(self.0.0.join("calls")).unwrap();
        (calls.lines().map(str::to_owned).collect(), said)
    }

    fn has(&self, path: &str) -> bool {
        self.0.0.join(path).exists()
    }
}

#[test]
fn the_scripts_tell_systemd_and_start_nothing() {
    let machine = Machine::new("scripts");
    let first = ["systemd-sysusers turnout.conf", "systemctl daemon-reload"];
    let (calls, said) = machine.run(true, "postinst", &["configure", ""]);
    assert_eq!(
        (calls, said.as_str()),
        (first.map(str::to_owned).to_vec(), ""),
        "a first installation starts nothing"
    );

    // After an upgrade what runs goes on running, and that is said.
    let (calls, said) = machine.run(true, "postinst", &["configure", "0.0.9"]);
    let asked = "systemctl --quiet is-active turnout.service";
    assert_eq!(
        calls,
        [first.as_slice(), &[asked]].concat().iter().map(|call| (*call).to_owned()).collect::<Vec<_>>()
    );
    assert_eq!(said, "", "nothing runs");
    machine.turnout_runs(true);
    let (calls, said) = machine.run(true, "postinst", &["configure", "0.0.9"]);
    assert_eq!(
        calls,
        [first.as_slice(), &[asked]].concat().iter().map(|call| (*call).to_owned()).collect::<Vec<_>>(),
        "nothing is restarted"
    );
    assert_eq!(said, "turnout: version 0.0.9 goes on running; systemctl restart turnout when it suits\n");
    assert_eq!(machine.run(true, "postinst", &["abort-upgrade", "0.0.9"]).0, [""; 0]);

    assert_eq!(machine.run(true, "prerm", &["upgrade", "0.2.0"]).0, [""; 0], "an upgrade stops nothing");
    assert_eq!(
        machine.run(true, "prerm", &["remove"]).0,
        ["systemctl --quiet disable --now turnout.service"]
    );
    assert_eq!(machine.run(true, "postrm", &["remove"]).0, ["systemctl daemon-reload"]);
    assert!(machine.has("lib/turnout/contacts.redb"), "state stays when it is removed");
    std::fs::write(machine.0.0.join("etc/turnout/contoso.com.key"), "key").unwrap();
    assert_eq!(machine.run(true, "postrm", &["purge"]).0, ["systemctl daemon-reload", "userdel turnout"]);
    assert!(!machine.has("lib/turnout") && machine.has("etc/turnout/contoso.com.key"));
}

#[test]
fn the_scripts_ask_nothing_of_a_systemd_that_does_not_run() {
    let machine = Machine::new("scripts-without");
    machine.turnout_runs(true);
    for (script, args, calls) in [
        ("postinst", &["configure", "0.0.9"][..], &["systemd-sysusers turnout.conf"][..]),
        ("prerm", &["remove"], &[]),
        ("postrm", &["remove"], &[]),
        ("postrm", &["purge"], &["userdel turnout"]),
        // Once more, when all is gone already.
        ("postrm", &["purge"], &[]),
    ] {
        let (called, said) = machine.run(false, script, args);
        assert_eq!(
            (called.as_slice(), said.as_str()),
            (calls.iter().map(|call| (*call).to_owned()).collect::<Vec<_>>().as_slice(), ""),
            "{script} {args:?}"
        );
    }
}
