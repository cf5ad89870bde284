//! HTTP/1.1 (RFC 9112) with blocking sockets, as much as the AWS SDK, the Lambda runtime and the stack speak among
//! themselves. A thread that blocks is on time to some microseconds and costs next to nothing; an asynchronous
//! server's own work would be a good part of what is measured here.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// A request or an answer, as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    head: usize,
}

impl Message {
    /// A message of a start line, header lines and a body.
    pub(crate) fn new(start: &str, headers: &[&str], body: &[u8]) -> Self {
        let lines = [&[start], headers].concat().join("\r\n");
        let mut bytes = format!("{lines}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        let head = bytes.len();
        bytes.extend_from_slice(body);
        Self { bytes, head }
    }

    /// The next message; `None` where the other side has closed the connection instead.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut bytes)? == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        let head = bytes.len();
        let mut message = Self { bytes, head };
        if message.header("transfer-encoding").is_some() {
            return Err(io::Error::other("a message came in chunks"));
        }
        let length = message.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
        if reader.take(length).read_to_end(&mut message.bytes)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(message))
    }

    /// Sends it in one piece.
    pub(crate) fn write(&self, mut connection: impl Write) -> io::Result<()> {
        connection.write_all(&self.bytes)
    }

    /// The request line or the status line.
    pub(crate) fn start(&self) -> &str {
        self.head().lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head().lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    fn head(&self) -> &str {
        self.bytes.get(..self.head).and_then(|head| str::from_utf8(head).ok()).unwrap_or_default()
    }
}

/// Connects, and sends without waiting for more to send.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// One exchange on a connection.
pub(crate) fn exchange(connection: &mut BufReader<impl Read + Write>, request: &Message) -> io::Result<Message> {
    request.write(connection.get_mut())?;
    Message::read(connection)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Serves each connection to a free port of the loopback on a thread of its own, until the program ends. A connection
/// that breaks is what the other side hears of.
pub(crate) fn serve(
    connection: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for accepted in listener.incoming().flatten() {
            let connection = connection.clone();
            thread::spawn(move || {
                accepted.set_nodelay(true)?;
                connection(accepted)
            });
        }
    });
    Ok(address)
}
