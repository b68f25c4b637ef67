//! The commands of `hornbeam-rank serve`, one a line, each answered by one line that begins with
//! `ok` or `error`:
//!
//! * `form GENERATION RANK SILENCE_MS ADDRESS,FIRST,END...` joins (or regroups) with the members
//!   given in rank order
//! * `sum ELEMENTS` all-reduces values that depend on the shards alone; answers the result's
//!   checksum
//! * `sum-shared ELEMENTS` the same some times over in memory that ranks on this machine read directly
//! * `read` answers how many bytes this rank has read so
//! * `barrier`
//! * `bench ELEMENTS BATCHES BATCH` answers the best and the median batch's time of an all-reduce
//!   in microseconds
//! * `bench-shared ELEMENTS BATCHES BATCH` the same in memory that ranks on this machine read directly
//! * `copy BYTES BATCHES BATCH` the same for a plain exchange over one connection between ranks 0
//!   and 1
//! * `quit`, or the end of the input

use std::error::Error;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hornbeam_collective::{Group, GroupConfig, Listener, Member, SharedSlice};

use crate::copy;

type Answer = Result<String, Box<dyn Error>>;

/// A rank before or in a group.
enum State {
    Alone(Option<Box<Listener>>),
    Member(Box<Group>),
}

/// Answers commands until there are no more.
pub(crate) fn serve(ip: &str) -> Result<(), Box<dyn Error>> {
    let token = std::env::var("HORNBEAM_TOKEN").map_err(|_| "HORNBEAM_TOKEN is not set")?;
    let listener = Listener::bind(ip.parse()?, 0..=0, token)?;
    println!("ok {}", listener.address());
    let mut state = State::Alone(Some(Box::new(listener)));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        match obey(&mut state, &words) {
            Ok(answer) => println!("ok {answer}"),
            Err(error) => println!("error {error}"),
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn obey(state: &mut State, words: &[&str]) -> Answer {
    match (state, words) {
        (state, ["form", generation, rank, silence, members @ ..]) => {
            let members = members
                .iter()
                .map(|word| member(word))
                .collect::<Result<_, _>>()?;
            form(
                state,
                generation.parse()?,
                rank.parse()?,
                silence.parse()?,
                members,
            )
        }
        (State::Member(group), ["sum", elements]) => sum(group, elements.parse()?),
        (State::Member(group), ["sum-shared", elements]) => sum_shared(group, elements.parse()?),
        (State::Member(group), ["read"]) => {
            let peers = group.stats().peers;
            let read: u64 = peers.iter().map(|peer| peer.bytes_read_in_place).sum();
            Ok(read.to_string())
        }
        (State::Member(group), ["barrier"]) => {
            group.barrier()?;
            Ok(String::new())
        }
        (State::Member(group), ["bench", elements, batches, batch]) => {
            let mut data = vec![1.0f32; elements.parse::<usize>()? * group.partials().len().max(1)];
            measure(group, batches.parse()?, batch.parse()?, |group| {
                Ok(group.all_reduce(&mut data)?)
            })
        }
        (State::Member(group), ["bench-shared", elements, batches, batch]) => {
            let length = elements.parse::<usize>()? * group.partials().len().max(1);
            let mut data = SharedSlice::<f32>::zeroed(length)?;
            measure(group, batches.parse()?, batch.parse()?, |group| {
                Ok(group.all_reduce(&mut data)?)
            })
        }
        (State::Member(group), ["copy", bytes, batches, batch]) => {
            let mut exchange = copy::Exchange::new(group, bytes.parse()?)?;
            measure(group, batches.parse()?, batch.parse()?, |_| {
                Ok(exchange.run()?)
            })
        }
        (State::Alone(_), _) => Err("this rank has joined no group".into()),
        (State::Member(_), _) => Err(format!("unknown command {words:?}").into()),
    }
}

fn member(word: &str) -> Result<Member, Box<dyn Error>> {
    let [address, first, end] = word.split(',').collect::<Vec<_>>()[..] else {
        return Err(format!("{word} is not ADDRESS,FIRST,END").into());
    };
    Ok(Member {
        address: address.parse::<SocketAddr>()?,
        shards: first.parse()?..end.parse()?,
    })
}

fn form(
    state: &mut State,
    generation: u64,
    rank: u32,
    silence: u64,
    members: Vec<Member>,
) -> Answer {
    let began = Instant::now();
    match state {
        State::Member(group) => group.regroup(rank, generation, members)?,
        State::Alone(listener) => {
            let listener = listener.take().ok_or("the listener is gone")?;
            let mut config = GroupConfig::new("hornbeam-rank", rank, members, generation);
            config.timeouts.silence = Duration::from_millis(silence);
            config.timeouts.heartbeat = config.timeouts.silence / 6;
            match Group::connect_or_return(*listener, config) {
                Ok(group) => *state = State::Member(Box::new(group)),
                Err((error, listener)) => {
                    *state = State::Alone(Some(listener));
                    return Err(error.into());
                }
            }
        }
    }
    Ok(format!("{:.3} ms", began.elapsed().as_secs_f64() * 1e3))
}

/// A value that only shard and place decide.
fn value(shard: u32, at: usize) -> f32 {
    let mixed = (u64::from(shard) << 32 | at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) as f32 - 8_388_608.0) * (mixed & 0xff) as f32
}

/// What this rank delivers.
fn partials(group: &Group, elements: usize) -> Vec<f32> {
    let mut data = Vec::new();
    for subtree in group.partials() {
        data.extend(partial(subtree.shards(), elements));
    }
    data.resize(elements * group.partials().len().max(1), 0.0);
    data
}

fn sum(group: &Group, elements: usize) -> Answer {
    let mut data = partials(group, elements);
    group.all_reduce(&mut data)?;
    Ok(digest(&data[..elements]))
}

/// Sums until all can read each other's memory, and once more. The memory is kept from one command
/// to the next.
fn sum_shared(group: &Group, elements: usize) -> Answer {
    static MEMORY: Mutex<Vec<SharedSlice<f32>>> = Mutex::new(Vec::new());
    let partials = partials(group, elements);
    let mut memory = MEMORY.lock().map_err(|_| "a command has panicked")?;
    if memory.iter().all(|slice| slice.len() != partials.len()) {
        memory.push(SharedSlice::zeroed(partials.len())?);
    }
    let data = memory
        .iter_mut()
        .find(|slice| slice.len() == partials.len())
        .ok_or("it is there")?;
    let mut answers = Vec::new();
    for _ in 0..3 {
        data.copy_from_slice(&partials);
        group.all_reduce(data)?;
        answers.push(digest(&data[..elements]));
    }
    if answers.iter().any(|answer| *answer != answers[0]) {
        return Err(format!("the sums differ: {answers:?}").into());
    }
    Ok(answers.remove(0))
}

fn digest(values: &[f32]) -> String {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let digest = bytes.fold(0u64, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{digest:016x}")
}

/// A subtree's sum, by the definition.
fn partial(shards: std::ops::Range<u32>, elements: usize) -> Vec<f32> {
    if shards.len() == 1 {
        return (0..elements).map(|at| value(shards.start, at)).collect();
    }
    let middle = shards.start + shards.len() as u32 / 2;
    let right = partial(middle..shards.end, elements);
    partial(shards.start..middle, elements)
        .into_iter()
        .zip(right)
        .map(|(a, b)| a + b)
        .collect()
}

/// The best and the median batch's time of a run; all ranks begin together. One run alone says
/// little: it is short for the rank that comes last.
fn measure(
    group: &Group,
    batches: usize,
    batch: usize,
    mut run: impl FnMut(&Group) -> Result<(), Box<dyn Error>>,
) -> Answer {
    run(group)?;
    group.barrier()?;
    let mut times = Vec::with_capacity(batches);
    for _ in 0..batches {
        let began = Instant::now();
        for _ in 0..batch {
            run(group)?;
        }
        times.push(began.elapsed().as_secs_f64() * 1e6 / batch as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(format!("{:.1} {:.1}", times[0], times[times.len() / 2]))
}
