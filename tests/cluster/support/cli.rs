//! `swell` as a person calls it, with the kubeconfig of the cluster's admin.

use tokio::process::Command;

use super::testbed;

/// What a call has said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// How it is called. Dropping what runs kills it.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swell"));
    command.args(args).env("KUBECONFIG", &testbed().service_account_kubeconfig).env_remove("NO_COLOR");
    command.kill_on_drop(true);
    command
}

/// Calls it and waits for its end.
pub(crate) async fn swell(args: &[&str]) -> Said {
    let output = command(args).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code().unwrap_or(-1) }
}
