//! The part of HTTP/1.1 (RFC 9112) that the AWS SDK, the Lambda runtime and the stack use, with blocking sockets. A
//! blocked thread wakes within microseconds and uses almost no CPU; the work of an asynchronous server would distort
//! what is measured here.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// A request or an answer, as sent over the wire.
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

    /// The next message, or `None` if the other side has closed the connection.
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

/// Connects, with Nagle's algorithm switched off.
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

/// Listens on a free port of the loopback and serves each connection on a thread of its own, until the program ends. An
/// error closes the connection.
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
