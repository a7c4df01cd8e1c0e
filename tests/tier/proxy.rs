//! A proxy that does to one command what networks and servers do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives; the connection is cut.
    CutBefore,
    /// It is executed; its answer is lost with the connection.
    CutAfter,
    /// It is executed; half of its answer comes, then a reset.
    Reset,
    /// It is executed; half of its answer comes, and the connection stands.
    Half,
    /// Nothing comes back, and the connection stands.
    Hang,
    /// The answer comes a byte at a time, too slowly.
    Trickle,
    /// The server refuses it.
    Refuse(&'static str),
    /// Something else comes back.
    Garbage(&'static [u8]),
    /// The client gives up; then it is executed all the same, once the test lets it.
    Late,
}

type Act = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Plan {
    /// Number of the command, and what happens to it; once.
    fault: Option<(u64, Fault)>,
    /// The same for the next command of this name.
    named: Option<(&'static str, Fault)>,
    commands: u64,
    connections: u64,
    /// What is done before a command of this name is answered.
    before_answer: Option<(&'static str, Act)>,
    /// New connections are refused.
    is_down: bool,
    /// Answers come a byte a second; so many did.
    is_slow: bool,
    slow_bytes: u64,
    /// A late command may be executed; has been.
    lets_late: bool,
    late_done: bool,
    sockets: Vec<TcpStream>,
}

struct Shared {
    server: PathBuf,
    plan: Mutex<Plan>,
    changed: Condvar,
    ends: AtomicBool,
}

pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn to(server: PathBuf) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::default(),
            changed: Condvar::new(),
            ends: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            let mut serving = Vec::new();
            for client in listener.incoming() {
                if of_thread.ends.load(Ordering::SeqCst) {
                    break;
                }
                let (client, shared) = (client.unwrap(), Arc::clone(&of_thread));
                serving.push(std::thread::spawn(move || {
                    let socket = client.try_clone().unwrap();
                    // Either side may go at any time.
                    let _ = shared.serve(client);
                    shared.end(socket);
                }));
            }
            serving.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Proxy { shared, port, accepting: Some(accepting) }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were taken.
    pub fn connections(&self) -> u64 {
        self.shared.plan.lock().unwrap().connections
    }

    /// From here on, `act` runs before a command of this name is answered, or its answer is lost.
    pub fn before_answer(&self, name: &'static str, act: impl Fn() + Send + Sync + 'static) {
        self.shared.plan.lock().unwrap().before_answer = Some((name, Arc::new(act)));
    }

    pub fn before_no_answer(&self) {
        self.shared.plan.lock().unwrap().before_answer = None;
    }

    /// Lets the command that comes after `skipped` others meet a fault.
    pub fn plan(&self, skipped: u64, fault: Fault) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.fault = Some((plan.commands + skipped, fault));
    }

    pub fn plan_next(&self, name: &'static str, fault: Fault) {
        self.shared.plan.lock().unwrap().named = Some((name, fault));
    }

    /// Whether the planned command has come.
    pub fn has_struck(&self) -> bool {
        let plan = self.shared.plan.lock().unwrap();
        plan.fault.is_none() && plan.named.is_none()
    }

    pub fn set_down(&self, is_down: bool) {
        self.shared.plan.lock().unwrap().is_down = is_down;
    }

    /// Lets every answer come a byte a second, until it is set back.
    pub fn set_slow(&self, is_slow: bool) {
        self.shared.plan.lock().unwrap().is_slow = is_slow;
        self.shared.changed.notify_all();
    }

    /// Bytes that came so.
    pub fn slow_bytes(&self) -> u64 {
        self.shared.plan.lock().unwrap().slow_bytes
    }

    /// Has the late command executed, and waits until it is.
    pub fn let_late(&self) {
        let mut plan = self.shared.plan.lock().unwrap();
        plan.lets_late = true;
        self.shared.changed.notify_all();
        while !plan.late_done {
            let (guard, timeout) = self.shared.changed.wait_timeout(plan, Duration::from_secs(30)).unwrap();
            assert!(!timeout.timed_out(), "the late command was not executed");
            plan = guard;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for socket in self.shared.plan.lock().unwrap().sockets.drain(..) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.accepting.take().unwrap().join().unwrap();
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        {
            let mut plan = self.plan.lock().unwrap();
            if plan.is_down {
                return Ok(());
            }
            plan.connections += 1;
            plan.sockets.push(client.try_clone()?);
        }
        client.set_nodelay(true)?;
        let mut to_client = client.try_clone()?;
        let mut from_client = BufReader::new(client);
        let mut to_server = UnixStream::connect(&self.server)?;
        let mut from_server = BufReader::new(to_server.try_clone()?);
        // A server that takes no transaction takes nothing of it.
        let mut refusing = None;
        loop {
            let (command, name) = read_command(&mut from_client)?;
            if let Some(text) = refusing {
                refusing = refusing.filter(|_| name != "EXEC");
                to_client.write_all(refusal(text).as_bytes())?;
                continue;
            }
            let mut execute = |command: &[u8]| -> std::io::Result<Vec<u8>> {
                to_server.write_all(command)?;
                let mut reply = Vec::new();
                read_reply(&mut from_server, &mut reply)?;
                Ok(reply)
            };
            match self.fault_of(&name) {
                None => {
                    let reply = execute(&command)?;
                    self.act_before_answer(&name);
                    self.answer(&mut to_client, &reply)?
                }
                Some(Fault::CutBefore) => return Ok(()),
                Some(Fault::CutAfter) => {
                    execute(&command)?;
                    self.act_before_answer(&name);
                    return Ok(());
                }
                Some(fault @ (Fault::Reset | Fault::Half)) => {
                    let reply = execute(&command)?;
                    to_client.write_all(&reply[..reply.len() / 2])?;
                    if fault == Fault::Half {
                        return wait_for_end(&mut from_client);
                    }
                    socket2::SockRef::from(&to_client).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                Some(Fault::Hang) => return wait_for_end(&mut from_client),
                Some(Fault::Trickle) => {
                    for byte in execute(&command)? {
                        to_client.write_all(&[byte])?;
                        std::thread::sleep(Duration::from_millis(40));
                    }
                    return wait_for_end(&mut from_client);
                }
                Some(Fault::Refuse(text)) => {
                    // A command that the server refuses too, so that a transaction around it fails.
                    execute(b"*1\r\n$7\r\nREFUSED\r\n")?;
                    to_client.write_all(refusal(text).as_bytes())?;
                    refusing = Some(text).filter(|_| name == "MULTI");
                }
                Some(Fault::Garbage(bytes)) => {
                    to_client.write_all(bytes)?;
                    return wait_for_end(&mut from_client);
                }
                Some(Fault::Late) => {
                    wait_for_end(&mut from_client)?;
                    let mut plan = self.plan.lock().unwrap();
                    while !plan.lets_late && !self.ends.load(Ordering::SeqCst) {
                        plan = self.changed.wait(plan).unwrap();
                    }
                    execute(&command)?;
                    plan.late_done = true;
                    self.changed.notify_all();
                    return Ok(());
                }
            }
        }
    }

    fn act_before_answer(&self, name: &str) {
        let act = self.plan.lock().unwrap().before_answer.clone();
        if let Some((_, act)) = act.filter(|(wanted, _)| *wanted == name) {
            act();
        }
    }

    fn answer(&self, to_client: &mut TcpStream, reply: &[u8]) -> std::io::Result<()> {
        for (number, byte) in reply.iter().enumerate() {
            let is_held = |plan: &mut Plan| plan.is_slow && !self.ends.load(Ordering::SeqCst);
            let mut plan = self.plan.lock().unwrap();
            if !plan.is_slow {
                drop(plan);
                return to_client.write_all(&reply[number..]);
            }
            plan = self.changed.wait_timeout_while(plan, Duration::from_secs(1), is_held).unwrap().0;
            plan.slow_bytes += 1;
            drop(plan);
            to_client.write_all(&[*byte])?;
        }
        Ok(())
    }

    /// Cuts a connection: of its clones too, or nothing would be cut. One that was told not to linger is reset.
    fn end(&self, socket: TcpStream) {
        let is_reset = socket2::SockRef::from(&socket).linger().is_ok_and(|linger| linger.is_some());
        let peer = socket.peer_addr().ok();
        self.plan.lock().unwrap().sockets.retain(|clone| peer.is_some() && clone.peer_addr().ok() != peer);
        if !is_reset {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn fault_of(&self, name: &str) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        let number = plan.commands;
        plan.commands += 1;
        let named = plan.named.take_if(|(wanted, _)| *wanted == name).map(|(_, fault)| fault);
        named.or_else(|| plan.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault))
    }
}

fn refusal(text: &str) -> String {
    format!("-{text}\r\n")
}

/// Until the client goes; what it sends meanwhile is lost.
fn wait_for_end(from: &mut impl Read) -> std::io::Result<()> {
    let mut lost = [0; 4096];
    while from.read(&mut lost)? > 0 {}
    Ok(())
}

fn read_line(from: &mut impl BufRead, to: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let begin = to.len();
    if from.read_until(b'\n', to)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(to[begin..].to_vec())
}

fn number(line: &[u8]) -> i64 {
    std::str::from_utf8(&line[1..]).unwrap().trim().parse().unwrap()
}

fn read_command(from: &mut impl BufRead) -> std::io::Result<(Vec<u8>, String)> {
    let mut command = Vec::new();
    read_reply(from, &mut command)?;
    let name = command.split(|byte| *byte == b'\n').nth(2).unwrap();
    Ok((command.clone(), String::from_utf8_lossy(name).trim().to_string()))
}

/// One value of the protocol, whatever is in it.
fn read_reply(from: &mut impl BufRead, to: &mut Vec<u8>) -> std::io::Result<()> {
    let line = read_line(from, to)?;
    match line[0] {
        b'$' | b'=' | b'!' if number(&line) >= 0 => {
            let begin = to.len();
            to.resize(begin + number(&line) as usize + 2, 0);
            from.read_exact(&mut to[begin..])
        }
        b'*' | b'~' | b'>' => (0..number(&line)).try_for_each(|_| read_reply(from, to)),
        b'%' => (0..2 * number(&line)).try_for_each(|_| read_reply(from, to)),
        _ => Ok(()),
    }
}
