//! Two processes on this machine: all-reduce at several sizes, in memory that they read directly and
//! over TCP, beside a plain exchange of as many bytes; and forming a group of three.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use hornbeam_collective::even_ranges;

/// Bytes, batches, and runs in a batch.
const SIZES: [(usize, usize, usize); 5] = [
    (4 << 10, 20, 100),
    (64 << 10, 20, 50),
    (1 << 20, 15, 10),
    (16 << 20, 8, 2),
    (64 << 20, 5, 1),
];
/// Every size is measured so often, the plain exchange in between, since a shared machine has
/// moods.
const ROUNDS: usize = 3;

struct Rank {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: String,
}

impl Rank {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env("HORNBEAM_TOKEN", "a token for one measurement")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let mut rank = Rank {
            process,
            lines: BufReader::new(output).lines(),
            address: String::new(),
        };
        rank.address = rank.answer()?;
        Ok(rank)
    }

    fn tell(&mut self, command: &str) -> Result<(), Box<dyn Error>> {
        let input = self.process.stdin.as_mut().ok_or("no input")?;
        Ok(writeln!(input, "{command}")?)
    }

    fn answer(&mut self) -> Result<String, Box<dyn Error>> {
        let line = self.lines.next().ok_or("the rank has died")??;
        match line.split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            _ => Err(line.into()),
        }
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Gives all ranks a command and collects their answers.
fn ask(
    ranks: &mut [Rank],
    command: impl Fn(usize) -> String,
) -> Result<Vec<String>, Box<dyn Error>> {
    for (rank, process) in ranks.iter_mut().enumerate() {
        process.tell(&command(rank))?;
    }
    ranks.iter_mut().map(Rank::answer).collect()
}

/// The best and median microseconds of the slower rank.
fn times(ranks: &mut [Rank], command: &str) -> Result<(f64, f64), Box<dyn Error>> {
    let mut slowest = (0f64, 0f64);
    for answer in ask(ranks, |_| command.to_owned())? {
        let (best, median) = answer.split_once(' ').ok_or("no two times")?;
        slowest = (slowest.0.max(best.parse()?), slowest.1.max(median.parse()?));
    }
    Ok(slowest)
}

fn form(ranks: &mut [Rank], generation: u64) -> Result<f64, Box<dyn Error>> {
    let count = ranks.len() as u32;
    let ranges = even_ranges(count.next_power_of_two(), count);
    let members: Vec<_> = ranks
        .iter()
        .zip(ranges)
        .map(|(rank, shards)| format!("{},{},{}", rank.address, shards.start, shards.end))
        .collect();
    let members = members.join(" ");
    let answers = ask(ranks, |rank| {
        format!("form {generation} {rank} 5000 {members}")
    })?;
    let times = answers
        .iter()
        .filter_map(|answer| answer.split(' ').next()?.parse::<f64>().ok());
    Ok(times.fold(0.0, f64::max))
}

/// Measures and prints a table; with `csv`, lines for a program to read.
pub(crate) fn run(csv: bool) -> Result<(), Box<dyn Error>> {
    let mut ranks = vec![Rank::start()?, Rank::start()?];
    form(&mut ranks, 1)?;
    if !csv {
        println!(
            "{:>12}  {:>21}  {:>21}  {:>21}",
            "", "all_reduce in memory", "all_reduce over TCP", "plain TCP exchange"
        );
        println!(
            "{:>12}  {:>10} {:>10}  {:>10} {:>10}  {:>10} {:>10}",
            "bytes", "best us", "median us", "best us", "median us", "best us", "median us"
        );
    }
    for (bytes, batches, batch) in SIZES {
        let commands = [
            format!("bench-shared {} {batches} {batch}", bytes / 4),
            format!("bench {} {batches} {batch}", bytes / 4),
            format!("copy {bytes} {batches} {batch}"),
        ];
        let mut best = [(f64::MAX, f64::MAX); 3];
        for _ in 0..ROUNDS {
            for (best, command) in best.iter_mut().zip(&commands) {
                let found = times(&mut ranks, command)?;
                *best = (best.0.min(found.0), best.1.min(found.1));
            }
        }
        let [memory, tcp, copy] = best;
        if csv {
            println!(
                "{bytes},{},{},{},{},{},{}",
                memory.0, memory.1, tcp.0, tcp.1, copy.0, copy.1
            );
        } else {
            println!(
                "{bytes:>12}  {:>10.1} {:>10.1}  {:>10.1} {:>10.1}  {:>10.1} {:>10.1}",
                memory.0, memory.1, tcp.0, tcp.1, copy.0, copy.1
            );
        }
    }
    ranks.push(Rank::start()?);
    let mut formations = (2..12)
        .map(|g| form(&mut ranks, g))
        .collect::<Result<Vec<_>, _>>()?;
    let first = formations.remove(0);
    formations.sort_by(f64::total_cmp);
    if csv {
        println!(
            "regroup,{},{}",
            formations[0],
            formations[formations.len() / 2]
        );
    } else {
        println!(
            "three ranks form a group in {first:.1} ms, regroup in {:.1} ms (median; best {:.1} ms)",
            formations[formations.len() / 2],
            formations[0]
        );
    }
    Ok(())
}
