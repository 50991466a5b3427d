//! A disk so small that it can be filled: a tmpfs in a mount namespace of its own.
//!
//! A process holds the namespace; programs are started inside, and the test reaches the files
//! through `/proc`. When the holder ends, which it does with the test, the disk is gone.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Root may mount by itself; others are root in a user namespace of their own, where the system
/// lets them. Arguments of `unshare`, and those with which `nsenter` follows.
const WAYS: [(&[&str], &[&str]); 2] = [
    (&["--mount"], &["--mount"]),
    (&["--user", "--map-root-user", "--mount"], &["--user", "--preserve-credentials", "--mount"]),
];

/// A mounted disk.
pub(crate) struct SmallDisk {
    holder: Child,
    enter: &'static [&'static str],
    mounted: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many KiB on this folder, which must exist.
    ///
    /// # Panics
    /// Where nothing can be mounted: a test that silently did nothing would be a lie.
    pub(crate) fn mount(folder: &Path, kib: u32) -> Self {
        let mut failed = String::new();
        for (unshare, enter) in WAYS {
            let script = "mount -t tmpfs -o \"size=$1k\" small \"$2\" && echo mounted && exec cat";
            let mut command = Command::new("unshare");
            command.args(unshare).args(["sh", "-c", script, "hold", &kib.to_string()]).arg(folder);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut holder = command.process_group(0).spawn().expect("run unshare (util-linux)");
            let mut said = String::new();
            let stdout = holder.stdout.take().expect("a pipe was asked for");
            BufReader::new(stdout).read_line(&mut said).expect("read what the holder says");
            if said == "mounted\n" {
                return Self { holder, enter, mounted: folder.to_owned() };
            }
            let ended = holder.wait_with_output().expect("wait for the holder");
            failed += &String::from_utf8_lossy(&ended.stderr);
        }
        panic!("no small disk can be mounted here, run the tests as root: {failed}");
    }

    /// A command that runs this one where the disk can be seen, with the same environment.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg("--target").arg(self.holder.id().to_string()).args(self.enter);
        inside.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// The disk's folder, for this process.
    pub(crate) fn folder(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        let mounted = self.mounted.strip_prefix("/").expect("a temporary folder is absolute");
        Path::new(&root).join(mounted)
    }

    /// Writes until nothing fits any more; false when there was no room for anything.
    pub(crate) fn fill(&self) -> bool {
        let mut filler = self.filler();
        // Large pieces first; a write that does not fit fails, and what it wrote stays.
        let mut is_full = false;
        for piece in [64 << 10, 1] {
            while filler.write_all(&vec![b'x'; piece]).is_ok() {
                is_full = true;
            }
        }
        is_full
    }

    /// Gives the space back that [`Self::fill`] took.
    pub(crate) fn free(&self) {
        self.filler().set_len(0).expect("shrink the filler");
    }

    fn filler(&self) -> File {
        let path = self.folder().join("filler");
        OpenOptions::new().create(true).append(true).open(path).expect("open the filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Fails when it has ended already: as good.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
