//! The "server under test" of the connectrpc conformance runner: a reference server behind proxies.
//!
//! Usage: `conformance-shim PORTS SERVER [ARGUMENT...]`, where `PORTS` is `APP1,PROXY1,APP2,PROXY2`: for
//! each HTTP version the port on which the server must listen, and that of the proxy before it. The
//! runner's request is passed on to the server, and the server's answer back with the proxy's port.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Field of the request that holds the HTTP version; 2 is HTTP/2.
const HTTP_VERSION: u64 = 2;
/// Field of the answer that holds the port.
const PORT: u64 = 2;
/// Largest message taken.
const MAX: usize = 1024 * 1024;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let ports = arguments.next().context("no ports")?;
    let ports: Vec<u16> = ports.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let &[app1, proxy1, app2, proxy2] = ports.as_slice() else {
        bail!("four ports");
    };
    let request = read(&mut std::io::stdin())?;
    let is_http2 = fields(&request)?
        .iter()
        .any(|field| field.number == HTTP_VERSION && field.value == Some(2));
    let (app, proxy) = if is_http2 {
        (app2, proxy2)
    } else {
        (app1, proxy1)
    };
    let mut server = Command::new(arguments.next().context("no server")?)
        .args(arguments)
        .args(["-port", &app.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = server.stdin.take().context("no input")?;
    let mut output = server.stdout.take().context("no output")?;
    write(&mut input, &request)?;
    // A reference server reads no more than that, and ends with the signal that ends its group.
    drop(input);
    let answer = read(&mut output)?;
    write(&mut std::io::stdout(), &with_port(&answer, proxy)?)?;
    std::process::exit(end_together(&mut server)?);
}

/// Waits for the server; on this process's end by a signal the runner ends us, and a pipe the server.
fn end_together(server: &mut std::process::Child) -> anyhow::Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = interrupt.recv() => break,
                _ = look.tick() => if let Some(status) = server.try_wait()? {
                    return Ok(status.code().unwrap_or(1));
                },
            }
        }
        server.kill()?;
        server.wait()?;
        Ok(0)
    })
}

/// One field of a message: a number, or bytes that are passed on as they are.
struct Field<'a> {
    number: u64,
    value: Option<u64>,
    raw: &'a [u8],
}

fn fields(mut message: &[u8]) -> anyhow::Result<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let mut rest = message;
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Some(varint(&mut rest)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?)?;
                rest = rest.get(length..).context("a field is cut")?;
                None
            }
            kind => bail!("a field of kind {kind}"),
        };
        let (raw, _) = message.split_at(message.len() - rest.len());
        fields.push(Field {
            number: key >> 3,
            value,
            raw,
        });
        message = rest;
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().context("a number is cut")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number is too long")
}

fn with_port(message: &[u8], port: u16) -> anyhow::Result<Vec<u8>> {
    let kept = fields(message)?;
    let mut out: Vec<u8> = kept
        .iter()
        .filter(|field| field.number != PORT)
        .flat_map(|field| field.raw)
        .copied()
        .collect();
    out.push(u8::try_from(PORT << 3)?);
    let mut rest = u32::from(port);
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f | 0x80)?);
        rest >>= 7;
    }
    out.push(u8::try_from(rest)?);
    Ok(out)
}

/// A message with its length of four bytes before it.
fn read(from: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!(length <= MAX, "a message of {length} bytes");
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn write(to: &mut impl Write, message: &[u8]) -> anyhow::Result<()> {
    to.write_all(&u32::try_from(message.len())?.to_be_bytes())?;
    to.write_all(message)?;
    Ok(to.flush()?)
}
