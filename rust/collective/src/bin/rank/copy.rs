//! A plain exchange of bytes over one connection, as the measure for what the machine's TCP can do
//! at best.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use hornbeam_collective::Group;

/// Two ranks that send each other the same number of bytes at the same time.
pub(crate) struct Exchange {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Exchange {
    /// Connects ranks 0 and 1, who tell each other the port through the group.
    pub(crate) fn new(group: &Group, bytes: usize) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let ports = group.all_gather(&port.to_le_bytes())?;
        let stream = if group.rank() == 0 {
            TcpStream::connect(("127.0.0.1", u16::from_le_bytes([ports[1][0], ports[1][1]])))?
        } else {
            listener.accept()?.0
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Exchange {
            stream,
            outgoing: vec![1; bytes],
            incoming: vec![0; bytes],
        })
    }

    /// Sends and receives everything once, spinning.
    pub(crate) fn run(&mut self) -> std::io::Result<()> {
        let (mut sent, mut received) = (0, 0);
        let turn = |result: std::io::Result<usize>| match result {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        };
        while sent < self.outgoing.len() || received < self.incoming.len() {
            if sent < self.outgoing.len() {
                let end = self.outgoing.len().min(sent + (1 << 18));
                sent += turn(self.stream.write(&self.outgoing[sent..end]))?;
            }
            if received < self.incoming.len() {
                let end = self.incoming.len().min(received + (1 << 18));
                received += turn(self.stream.read(&mut self.incoming[received..end]))?;
            }
        }
        Ok(())
    }
}
