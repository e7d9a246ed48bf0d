//! A web server that misbehaves on demand. Every connection carries one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use md5::{Digest, Md5};

/// Bytes without a repeating pattern, so that a test notices bytes at the wrong position.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

pub fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /name HTTP/1.1`
    pub line: String,
    /// First byte of the requested range.
    pub from: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    head: String,
    length: Option<usize>,
    body: Vec<u8>,
    /// Number of bytes of the body that are sent.
    sent: usize,
    /// The connection then stays open without sending.
    stalls: bool,
}

impl Answer {
    /// A status line and headers, without a body.
    pub fn status(head: &str) -> Self {
        Answer { head: head.to_owned(), length: Some(0), body: Vec::new(), sent: 0, stalls: false }
    }

    /// The whole file, for any request.
    pub fn whole(file: &[u8]) -> Self {
        Answer { length: Some(file.len()), body: file.to_vec(), sent: file.len(), ..Self::status("200 OK") }
    }

    /// The requested range.
    pub fn file(file: &[u8], asked: &Asked) -> Self {
        match asked.from {
            None => Self::whole(file),
            Some(from) if from >= file.len() => Self::status("416 Range Not Satisfiable"),
            Some(from) => Self::whole(&file[from..]).headed(&format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                file.len() - 1,
                file.len()
            )),
        }
    }

    pub fn headed(self, head: &str) -> Self {
        Answer { head: head.to_owned(), ..self }
    }

    /// Sends a wrong length, or none.
    pub fn claiming(self, length: Option<usize>) -> Self {
        Answer { length, ..self }
    }

    /// Ends after this number of bytes.
    pub fn breaking_after(self, bytes: usize) -> Self {
        Answer { sent: bytes.min(self.body.len()), ..self }
    }

    /// Stops sending after this number of bytes.
    pub fn stalling_after(self, bytes: usize) -> Self {
        Answer { stalls: true, ..self.breaking_after(bytes) }
    }
}

pub struct Server {
    /// `127.0.0.1:PORT`
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// `answer` gets the request's number, from 0, and the request.
    pub fn start(answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::serve(move |asked, number, mut stream| {
            let answer = answer(number, &asked);
            let length = answer.length.map_or(String::new(), |length| format!("Content-Length: {length}\r\n"));
            let head = format!("HTTP/1.1 {}\r\n{length}Connection: close\r\n\r\n", answer.head);
            // The client may have closed the connection. Its test checks that.
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&answer.body[..answer.sent]);
            if answer.stalls {
                let _ = stream.read(&mut [0]); // until the client closes
            }
        })
    }

    /// `answer` gets a request, its number, and the connection. It answers in any way.
    pub fn serve(answer: impl Fn(Asked, usize, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    let request = read_request(&stream);
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.len() - 1
                    };
                    answer(request, number, stream);
                });
            }
        });
        Server { address, asked }
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// First byte of the requested range, request by request.
    pub fn ranges(&self) -> Vec<Option<usize>> {
        self.asked().iter().map(|asked| asked.from).collect()
    }
}

fn read_request(stream: &TcpStream) -> Asked {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default();
    let mut from = None;
    for header in lines {
        if let Some(range) = header.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Asked { line, from }
}
