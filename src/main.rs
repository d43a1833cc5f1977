//! The binary: reads the settings, starts logging, and runs the command.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use fleetlog::cli::{self, Cli, environment};
use fleetlog::memory;

/// The exit code for invalid settings, the same as clap's.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    memory::give_large_blocks_back();
    let checked =
        environment::load(Path::new(".env")).and_then(|()| environment::check(&Cli::command(), variables()));
    if let Err(error) = checked {
        return fail(&error, USAGE);
    }
    let cli = Cli::parse();
    if let Err(error) = cli::logging::start(cli.log_format, &cli.log) {
        return fail(&format!("--log cannot be read: {error}"), USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match runtime.block_on(cli::run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if cli::output::is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&in_one_line(&error), 1),
    }
}

/// The environment's variables that are text. fleetlog's own settings always are.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// An error and its causes, without a backtrace. Some errors quote their cause: it is not said twice.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |said, cause| {
        if said.contains(&cause) { said } else { said + ": " + &cause }
    })
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fleetlog: {reason}");
    ExitCode::from(code)
}
