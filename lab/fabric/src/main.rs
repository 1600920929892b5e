// SPDX-License-Identifier: GPL-2.0

//! Serves Fibre Channel adapters to virtual machines, and is the switch between them.

use clap::Parser;
use fabric::control;
use fabric::device::{lock, Slot};
use fabric::hba::Hba;
use fabric::switch::Fabric;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Emulated Fibre Channel adapters (QLogic ISP2532, vfio-user) and the switch between them.
#[derive(Parser)]
struct Arguments {
    /// An adapter: its name, WWPN (16 hexadecimal digits), the socket for QEMU, and if need be which switch it is on
    #[arg(long = "hba", value_name = "NAME,WWPN,SOCKET[,SWITCH]", required = true, value_parser = Adapter::parse)]
    adapters: Vec<Adapter>,
    /// Socket that takes commands: write "help" to it
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// Say what happens, on standard error
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone)]
struct Adapter {
    name: String,
    port_name: u64,
    socket: PathBuf,
    switch: String,
}

impl Adapter {
    fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').collect();
        let (name, port_name, socket, switch) = match parts[..] {
            [name, port_name, socket] => (name, port_name, socket, "fabric"),
            [name, port_name, socket, switch] => (name, port_name, socket, switch),
            _ => return Err("it is NAME,WWPN,SOCKET or NAME,WWPN,SOCKET,SWITCH".into()),
        };
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains('=') {
            return Err(format!("'{name}' is no name for an adapter"));
        }
        let port_name = match (port_name.len(), u64::from_str_radix(port_name, 16)) {
            (16, Ok(number)) => number,
            _ => return Err(format!("'{port_name}' is no WWPN: 16 hexadecimal digits")),
        };
        Ok(Self {
            name: name.into(),
            port_name,
            socket: socket.into(),
            switch: switch.into(),
        })
    }
}

/// Does what is due later, for as long as the process lives.
fn keep_time(fabric: &Mutex<Fabric>, wake: &Condvar) -> ! {
    const LONG: Duration = Duration::from_secs(3600);
    let mut held = lock(fabric);
    loop {
        let now = Instant::now();
        let wait = held
            .run_due(now)
            .map_or(LONG, |next| next.saturating_duration_since(now));
        held = wake
            .wait_timeout(held, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let mut hbas = Vec::new();
    for (number, adapter) in (1u32..).zip(&arguments.adapters) {
        if hbas
            .iter()
            .any(|hba: &Hba| hba.name == adapter.name || hba.port_name == adapter.port_name)
        {
            return Err(format!(
                "{}: there is one of that name or WWPN",
                adapter.name
            ));
        }
        // Domain 1, and a port of the switch for each adapter.
        hbas.push(Hba::new(
            &adapter.name,
            &adapter.switch,
            adapter.port_name,
            0x01_0000 | (number << 8),
        ));
    }
    let wake = Arc::new(Condvar::new());
    let fabric = Arc::new(Mutex::new(Fabric::new(
        hbas,
        wake.clone(),
        arguments.verbose,
    )));
    for (index, adapter) in arguments.adapters.iter().enumerate() {
        let slot = Slot::new(&adapter.socket, index, fabric.clone())
            .map_err(|error| format!("{}: {error}", adapter.socket.display()))?;
        thread::spawn(move || slot.serve());
    }
    if let Some(path) = &arguments.control {
        let listener =
            UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let fabric = fabric.clone();
        thread::spawn(move || control::serve(&listener, &fabric));
    }
    // Whoever started it may now start machines.
    println!("ready");
    keep_time(&fabric, &wake)
}

fn main() {
    if let Err(error) = run(Arguments::parse()) {
        eprintln!("fabric: {error}");
        std::process::exit(1);
    }
}
