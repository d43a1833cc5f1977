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
        // Print the error and its causes on one line, without a backtrace.
        Err(error) => fail(&format!("{error:#}"), 1),
    }
}

/// The environment's variables that are text. fleetlog's own settings always are.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn fail(reason: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fleetlog: {reason}");
    ExitCode::from(code)
}
