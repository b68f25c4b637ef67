//! Ranks as processes of their own, killed and stopped from outside.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use hornbeam_collective::even_ranges;

struct Rank {
    process: Child,
    answers: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Rank {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hornbeam-rank"))
            .arg("serve")
            .env("HORNBEAM_TOKEN", "a token for tests")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut rank = Rank {
            process,
            answers,
            address: String::new(),
        };
        rank.address = rank.answer().strip_prefix("ok ").unwrap().to_owned();
        rank
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn answer(&mut self) -> String {
        self.answers.next().unwrap().unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Gives all ranks a command, different by rank, and collects the answers.
fn ask(ranks: &mut [&mut Rank], command: impl Fn(usize) -> String) -> Vec<String> {
    for (rank, process) in ranks.iter_mut().enumerate() {
        process.tell(&command(rank));
    }
    ranks.iter_mut().map(|process| process.answer()).collect()
}

fn form(ranks: &mut [&mut Rank], generation: u64) {
    let members: Vec<_> = ranks
        .iter()
        .zip(even_ranges(8, ranks.len() as u32))
        .map(|(rank, shards)| format!("{},{},{}", rank.address, shards.start, shards.end))
        .collect();
    let members = members.join(" ");
    for answer in ask(ranks, |rank| {
        format!("form {generation} {rank} 600 {members}")
    }) {
        assert!(answer.starts_with("ok"), "{answer}");
    }
}

/// The digest of a sum, on which all ranks agree.
fn sum(ranks: &mut [&mut Rank], command: &str, elements: usize) -> String {
    let answers = ask(ranks, |_| format!("{command} {elements}"));
    assert!(answers[0].starts_with("ok"), "{answers:?}");
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    answers[0].clone()
}

/// What happens when one of three processes gets a signal while the others wait for it: they fail,
/// say who was lost and how, go on as two, and are three again with a newcomer; the sums' bits are
/// always those of one process.
fn lose_one(command: &str, signal: &str, expected: &str) {
    let mut alone = Rank::start();
    form(&mut [&mut alone], 1);
    let sums = [1000, 100_000].map(|elements| sum(&mut [&mut alone], "sum", elements));
    let check = |ranks: &mut [&mut Rank]| {
        assert_eq!(
            [1000, 100_000].map(|elements| sum(ranks, "sum", elements)),
            sums
        );
        if cfg!(target_os = "linux") {
            assert_eq!(sum(ranks, "sum-shared", 100_000), sums[1]);
            for answer in ask(ranks, |_| "read".into()) {
                assert!(answer.starts_with("ok") && answer != "ok 0", "{answer}");
            }
        }
    };

    let (mut first, mut second, mut third) = (Rank::start(), Rank::start(), Rank::start());
    form(&mut [&mut first, &mut second, &mut third], 1);
    check(&mut [&mut first, &mut second, &mut third]);

    first.tell(&format!("{command} 100000"));
    third.tell(&format!("{command} 100000"));
    second.signal(signal);
    for rank in [&mut first, &mut third] {
        let answer = rank.answer();
        let blame = format!("lost rank 1 ({})", second.address);
        assert!(
            answer.starts_with("error") && answer.contains(&blame),
            "{answer}"
        );
        assert!(answer.contains(expected), "{answer}");
        rank.tell("barrier");
        assert!(rank.answer().contains("must be formed anew"));
    }
    form(&mut [&mut first, &mut third], 2);
    check(&mut [&mut first, &mut third]);

    if signal == "-STOP" {
        second.signal("-CONT");
        second.tell("barrier");
        assert!(
            second.answer().starts_with("error"),
            "a stopped rank must not go on as if nothing had been"
        );
    }
    let mut newcomer = Rank::start();
    form(&mut [&mut newcomer, &mut third, &mut first], 3);
    check(&mut [&mut newcomer, &mut third, &mut first]);
}

#[test]
fn a_killed_process_is_replaced() {
    lose_one("sum", "-KILL", "the connection was");
}

#[test]
fn a_killed_process_whose_memory_was_read_is_replaced() {
    lose_one("sum-shared", "-KILL", "the connection was");
    // It leaves nothing behind: the memory has no name that could outlive it.
    let names = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten();
    let left: Vec<_> = names
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains("hornbeam"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_stopped_process_is_replaced() {
    lose_one("sum", "-STOP", "it fell silent");
}

#[test]
fn a_stopped_process_whose_memory_was_read_is_replaced() {
    lose_one("sum-shared", "-STOP", "it fell silent");
}

#[test]
fn seven_processes_compute_what_one_does() {
    let mut alone = Rank::start();
    form(&mut [&mut alone], 1);
    let mut ranks: Vec<_> = (0..7).map(|_| Rank::start()).collect();
    let mut all: Vec<_> = ranks.iter_mut().collect();
    form(&mut all, 1);
    for elements in [0, 1, 10_000, 300_000] {
        let expected = sum(&mut [&mut alone], "sum", elements);
        assert_eq!(sum(&mut all, "sum", elements), expected);
        if cfg!(target_os = "linux") {
            assert_eq!(sum(&mut all, "sum-shared", elements), expected);
        }
    }
}
