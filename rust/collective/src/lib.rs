//! Deterministic all-reduce between processes: sockets, rendezvous, deadlines. Knows no graph.
