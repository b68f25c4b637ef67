//! One rank in a process of its own, to try a network, to test and to measure.
//!
//! ```text
//! hornbeam-rank serve [IP]    takes commands from standard input (see `session`), answers on standard output
//! hornbeam-rank bench [--csv]  measures two such processes on this machine and prints a table
//! ```
//! The token comes from the environment, `HORNBEAM_TOKEN`.

mod bench;
mod copy;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve"] => session::serve("127.0.0.1"),
        ["serve", ip] => session::serve(ip),
        ["bench"] => bench::run(false),
        ["bench", "--csv"] => bench::run(true),
        _ => Err("usage: hornbeam-rank serve [IP] | bench [--csv]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hornbeam-rank: {error}");
            ExitCode::FAILURE
        }
    }
}
