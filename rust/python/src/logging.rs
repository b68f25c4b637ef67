//! What the crates log, handed to Python's `logging`.
//!
//! Messages come from any thread, some of them under a lock for which a thread that holds the
//! interpreter's may be waiting. So they are queued, and the next call that comes back to Python
//! hands them over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

/// More messages than this are not kept: the oldest go.
const KEPT: usize = 1000;

struct Message {
    level: Level,
    logger: String,
    text: String,
}

struct Queue {
    messages: Mutex<VecDeque<Message>>,
    is_filled: AtomicBool,
}

static QUEUE: Queue = Queue {
    messages: Mutex::new(VecDeque::new()),
    is_filled: AtomicBool::new(false),
};

impl Queue {
    fn take(&self) -> VecDeque<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_filled.store(false, Ordering::Relaxed);
        std::mem::take(&mut *messages)
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hornbeam")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = Message {
            level: record.level(),
            logger: record.target().replacen('_', ".", 1).replace("::", "."),
            text: record.args().to_string(),
        };
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() == KEPT {
            messages.pop_front();
        }
        messages.push_back(message);
        self.is_filled.store(true, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// Begins to queue.
pub(crate) fn start() {
    // Whoever was first keeps it; there is nobody else in this library.
    if log::set_logger(&QUEUE).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Hands over what was logged. Trouble with that is no reason to fail: the messages are lost then.
pub(crate) fn hand_over(py: Python<'_>) {
    if !QUEUE.is_filled.load(Ordering::Relaxed) {
        return;
    }
    let messages = QUEUE.take();
    let tell = || -> PyResult<()> {
        let get_logger = py.import("logging")?.getattr("getLogger")?;
        for Message {
            level,
            logger,
            text,
        } in &messages
        {
            let number = match level {
                Level::Error => 40,
                Level::Warn => 30,
                Level::Info => 20,
                Level::Debug | Level::Trace => 10,
            };
            let logger = get_logger.call1((logger,))?;
            logger.call_method1("log", (number, "%s", text))?;
        }
        Ok(())
    };
    if let Err(error) = tell() {
        error.write_unraisable(py, None);
    }
}
